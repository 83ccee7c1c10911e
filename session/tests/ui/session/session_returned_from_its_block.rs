use sea_session::{Error, prelude::*};

async fn keep(s: &mut Session) {
    let kept = s.atomic(async |s: &mut Session| -> Result<&mut Session, Error> { Ok(s) }).await;
    drop(kept);
}

fn main() {}
