use sea_session::prelude::*;

#[session_test]
async fn works<T>(s: &mut Session) {
    s.flush().await.ok();
}

fn main() {}
