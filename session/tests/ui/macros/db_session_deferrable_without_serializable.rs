use sea_session::{Error, prelude::*};

#[db_session(isolation = "repeatable_read", read_only, deferrable)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
