use sea_session::{Error, prelude::*};

#[db_session]
async fn work(&mut ref s: &mut Session) -> Result<(), Error> {
    Ok(())
}

fn main() {}
