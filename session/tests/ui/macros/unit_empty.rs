use sea_session::prelude::*;

async fn work(db: Db) -> Result<(), Error> {
    unit!()
}

fn main() {}
