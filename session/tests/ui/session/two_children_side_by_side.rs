use sea_session::{Error, prelude::*};

async fn both(s: &mut Session) -> Result<(), Error> {
    let one = s.atomic(async |s: &mut Session| -> Result<(), Error> { s.flush().await });
    let other = s.atomic(async |s: &mut Session| -> Result<(), Error> { s.flush().await });
    let (one, other) = tokio::join!(one, other);
    one.and(other)
}

fn main() {}
