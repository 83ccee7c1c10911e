use sea_session::{Error, prelude::*};

#[db_session]
async fn work() -> Result<(), Error> {
    Ok(())
}

fn main() {}
