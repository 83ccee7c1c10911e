use sea_session::prelude::*;

#[session_test]
async fn works(s: &mut Session, id: i64) {
    s.flush().await.ok();
}

fn main() {}
