use sea_session::prelude::*;

async fn work(db: Db) -> Result<(), Error> {
    unit!(db as &mut tx, { tx.flush().await })
}

fn main() {}
