use sea_session::prelude::*;

#[atomic(retry = 3)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
