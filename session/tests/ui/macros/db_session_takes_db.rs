use sea_session::{Error, prelude::*};

#[db_session]
async fn work(db: &Db) -> Result<(), Error> {
    Ok(())
}

fn main() {}
