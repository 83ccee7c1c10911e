use sea_session::{Error, prelude::*};

async fn run(db: &Db) -> Result<u32, Error> {
    let mut runs = 0;
    db.run(async |_: &mut Session| -> Result<(), Error> {
        runs += 1;
        Ok(())
    })
    .await?;
    Ok(runs)
}

fn main() {}
