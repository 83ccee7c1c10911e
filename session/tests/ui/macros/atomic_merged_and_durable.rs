use sea_session::{Error, prelude::*};

#[atomic(merged, durable)]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
