use sea_session::{Error, prelude::*};

async fn work(db: Db) -> Result<(), Error> {
    unit!(db, retry = 3)
}

fn main() {}
