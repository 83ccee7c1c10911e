use sea_session::{Error, prelude::*};

#[atomic(savepoint)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
