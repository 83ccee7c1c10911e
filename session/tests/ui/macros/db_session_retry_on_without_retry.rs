use sea_session::{Error, prelude::*};

#[db_session(retry_on = |_: &Error| true)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
