use sea_session::prelude::*;

#[db_session]
async fn work() -> Result<(), Error> {
    Ok(())
}

fn main() {}
