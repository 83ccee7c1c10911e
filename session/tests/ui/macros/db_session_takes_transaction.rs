use sea_session::{Error, prelude::*};

#[db_session]
async fn work(tx: &sea_orm::DatabaseTransaction) -> Result<(), Error> {
    Ok(())
}

fn main() {}
