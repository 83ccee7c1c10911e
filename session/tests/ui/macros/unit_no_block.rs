use sea_session::prelude::*;

async fn work(db: Db) -> Result<(), Error> {
    unit!(db, retry = 3)
}

fn main() {}
