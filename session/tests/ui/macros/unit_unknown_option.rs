use sea_session::{Error, prelude::*};

async fn work(db: Db) -> Result<(), Error> {
    unit!(db, isolaton = "serializable", { s.flush().await })
}

fn main() {}
