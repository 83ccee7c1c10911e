use std::time::Duration;

use sea_session::{Error, prelude::*};

async fn run(db: &Db) {
    let mut batches = db.batches(0..10, 4, Duration::ZERO);
    let done = batches.run(async |s: &mut Session| -> Result<(), Error> { s.flush().await }).await;
    drop(done);
}

fn main() {}
