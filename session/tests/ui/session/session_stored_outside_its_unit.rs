use sea_session::{Error, prelude::*};

async fn keep(db: &Db) -> Result<(), Error> {
    let kept = std::sync::Mutex::new(None);
    db.run(async |s: &mut Session| -> Result<(), Error> {
        *kept.lock().unwrap() = Some(s);
        Ok(())
    })
    .await
}

fn main() {}
