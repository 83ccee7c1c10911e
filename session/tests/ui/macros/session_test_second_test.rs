use sea_session::prelude::*;

#[session_test]
#[tokio::test]
async fn works(s: &mut Session) {
    s.flush().await.ok();
}

fn main() {}
