use sea_session::prelude::*;

async fn committed() {}

fn register(s: &mut Session) {
    s.on_commit(committed());
}

fn main() {}
