use sea_session::prelude::*;

#[db_session]
async fn work(s: &mut Session) {
    s.flush().await.ok();
}

fn main() {}
