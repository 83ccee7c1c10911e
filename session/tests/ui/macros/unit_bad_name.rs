use sea_session::{Error, prelude::*};

async fn work(db: Db) -> Result<(), Error> {
    unit!(db as &mut tx, { tx.flush().await })
}

fn main() {}
