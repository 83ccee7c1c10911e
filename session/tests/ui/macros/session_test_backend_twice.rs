use sea_session::prelude::*;

#[session_test(sqlite, sqlite)]
async fn works(s: &mut Session) {
    s.flush().await.ok();
}

fn main() {}
