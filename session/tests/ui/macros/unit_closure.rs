use sea_session::prelude::*;

async fn work(db: Db) -> Result<(), Error> {
    unit!(db, async |s| { s.flush().await })
}

fn main() {}
