use sea_session::{Error, prelude::*};

async fn run(db: &Db) -> Result<(), Error> {
    db.run(async || -> Result<(), Error> { Ok(()) }).await
}

fn main() {}
