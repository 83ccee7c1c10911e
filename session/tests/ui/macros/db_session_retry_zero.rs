use sea_session::{Error, prelude::*};

#[db_session(retry = 0)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
