use sea_session::{Error, prelude::*};

async fn keep(db: &Db) {
    let kept = db.run(async |s: &mut Session| -> Result<&mut Session, Error> { Ok(s) }).await;
    drop(kept);
}

fn main() {}
