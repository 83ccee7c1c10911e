use sea_session::{Error, prelude::*};

#[db_session(timeout = "5 parsecs")]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
