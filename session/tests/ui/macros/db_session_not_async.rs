use sea_session::{Error, prelude::*};

#[db_session]
fn work(s: &mut Session) -> Result<(), Error> {
    Ok(())
}

fn main() {}
