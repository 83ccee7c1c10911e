use sea_session::{Error, prelude::*};

#[db_session(immediate, read_only)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
