use sea_session::{Error, prelude::*};

#[db_session(strict, strict)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
