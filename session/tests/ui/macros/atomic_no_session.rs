use sea_session::{Error, prelude::*};

#[atomic]
async fn work(id: i64) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
