use sea_session::{Error, prelude::*};

#[db_session]
async fn work(s: &Session) -> Result<(), Error> {
    Ok(())
}

fn main() {}
