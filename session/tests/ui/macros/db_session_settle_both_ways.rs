use sea_session::prelude::*;

#[db_session(settle, settle_by_token)]
async fn work(s: &mut Session) -> Result<(), sea_session::Error> {
    s.flush().await
}

fn main() {}
