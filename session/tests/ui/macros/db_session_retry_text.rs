use sea_session::{Error, prelude::*};

#[db_session(retry = "three")]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
