use sea_session::{Error, prelude::*};

async fn work(s: &mut Session) -> Result<(), Error> {
    sea_session::atomic!(s)
}

fn main() {}
