use std::rc::Rc;

use sea_session::{Error, prelude::*};

async fn run(db: &Db) -> Result<(), Error> {
    db.run(async |s: &mut Session| -> Result<(), Error> {
        let shared = Rc::new(1);
        s.flush().await?;
        drop(shared);
        Ok(())
    })
    .await
}

fn main() {}
