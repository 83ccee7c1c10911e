use sea_session::{Error, prelude::*};

#[db_session(timeout = "0s")]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
