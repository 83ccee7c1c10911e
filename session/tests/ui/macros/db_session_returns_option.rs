use sea_session::prelude::*;

#[db_session(retry = 3)]
async fn work(s: &mut Session) -> Option<i64> {
    s.flush().await.ok().map(|()| 1)
}

fn main() {}
