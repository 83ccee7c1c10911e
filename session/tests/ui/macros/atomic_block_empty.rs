use sea_session::prelude::*;

async fn work(s: &mut Session) -> Result<(), Error> {
    sea_session::atomic!()
}

fn main() {}
