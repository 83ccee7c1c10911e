use sea_session::{Error, prelude::*};

async fn run(db: &Db) -> Result<(), Error> {
    db.run(|s: &mut Session| async move { s.flush().await }).await
}

fn main() {}
