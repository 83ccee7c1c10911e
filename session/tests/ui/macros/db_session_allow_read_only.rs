use sea_session::{Error, prelude::*};

#[db_session(read_only, allow = |_: &Error| true)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
