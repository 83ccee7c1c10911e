use sea_session::prelude::*;

async fn work(db: Db) -> Result<(), Error> {
    unit!(db, isolaton = "serializable", { s.flush().await })
}

fn main() {}
