use sea_session::{Error, prelude::*};

async fn work(db: Db) -> Result<(), Error> {
    unit!({ Ok(()) })
}

fn main() {}
