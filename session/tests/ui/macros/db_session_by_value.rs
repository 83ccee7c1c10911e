use sea_session::prelude::*;

#[db_session]
async fn work(s: Session) -> Result<(), Error> {
    Ok(())
}

fn main() {}
