use sea_session::prelude::*;

fn register(s: &mut Session) {
    s.on_commit(async { println!("committed") });
}

fn main() {}
