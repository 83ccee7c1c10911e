use sea_session::prelude::*;

#[session_test]
async fn works(s: &mut Session) -> Option<()> {
    s.flush().await.ok()
}

fn main() {}
