use sea_session::{Error, prelude::*};

async fn run(db: &Db, s: &mut Session) -> Result<(), Error> {
    s.atomic(async { Ok(()) }).await?;
    db.run(async { Ok(()) }).await
}

fn main() {}
