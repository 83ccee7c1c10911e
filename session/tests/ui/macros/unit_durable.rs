use sea_session::{Error, prelude::*};

async fn work(db: Db) -> Result<(), Error> {
    unit!(db, durable, { s.flush().await })
}

fn main() {}
