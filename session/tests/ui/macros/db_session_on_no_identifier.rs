use sea_session::{Error, prelude::*};

#[db_session(on = "in its own unit")]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
