use sea_session::{Error, prelude::*};

#[db_session]
async fn work(id: i64, s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
