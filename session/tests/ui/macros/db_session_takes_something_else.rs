use sea_session::{Error, prelude::*};

#[db_session]
async fn work(id: i64) -> Result<(), Error> {
    Ok(())
}

fn main() {}
