use sea_session::{Error, prelude::*};

async fn keep(s: &mut Session) -> Result<(), Error> {
    let mut kept = None;
    s.atomic(async |s: &mut Session| -> Result<(), Error> {
        kept = Some(s);
        Ok(())
    })
    .await
}

fn main() {}
