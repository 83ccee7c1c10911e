use sea_session::prelude::*;

#[db_session(on_primary)]
async fn work(s: &mut Session) -> Result<(), sea_session::Error> {
    s.flush().await
}

fn main() {}
