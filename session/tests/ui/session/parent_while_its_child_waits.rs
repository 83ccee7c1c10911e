use sea_session::{Error, prelude::*};

async fn both(s: &mut Session) -> Result<(), Error> {
    let child = s.atomic(async |s: &mut Session| -> Result<(), Error> { s.flush().await });
    s.flush().await?;
    child.await
}

fn main() {}
