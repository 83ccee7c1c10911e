use sea_session::{Error, prelude::*};

async fn work(outer: &mut Session) -> Result<(), Error> {
    outer
        .atomic(async |inner| -> Result<(), Error> {
            outer.flush().await?;
            inner.flush().await
        })
        .await
}

fn main() {}
