use sea_session::{Error, prelude::*};

async fn work(s: &mut Session) -> Result<(), Error> {
    let first = s.atomic(async |s| -> Result<(), Error> { s.flush().await });
    let second = s.atomic(async |s| -> Result<(), Error> { s.flush().await });
    first.await?;
    second.await
}

fn main() {}
