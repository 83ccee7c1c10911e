use sea_session::{Error, prelude::*};

async fn work(db: Db) -> Result<(), Error> {
    unit!(db, async |s| { s.flush().await })
}

fn main() {}
