use sea_session::{Error, prelude::*};

async fn keep(db: &Db) -> Result<(), Error> {
    db.run(async |s: &mut Session| -> Result<(), Error> {
        s.on_commit(async move || s.flush().await);
        Ok(())
    })
    .await
}

fn main() {}
