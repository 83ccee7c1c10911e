use sea_session::{Error, prelude::*};

async fn both(s: &mut Session) -> Result<(), Error> {
    s.atomic(async |child: &mut Session| -> Result<(), Error> {
        s.flush().await?;
        child.flush().await
    })
    .await
}

fn main() {}
