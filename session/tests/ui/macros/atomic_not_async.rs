use sea_session::prelude::*;

#[atomic]
fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
