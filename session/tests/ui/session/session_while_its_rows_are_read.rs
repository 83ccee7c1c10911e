use sea_session::{Error, prelude::*};

async fn both<E: TrackedEntity>(s: &mut Session) -> Result<(), Error> {
    let mut rows = E::find().rows(s).await?;
    while let Some(_) = rows.next().await? {
        s.flush().await?;
    }
    Ok(())
}

fn main() {}
