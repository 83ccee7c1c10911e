use sea_session::{Error, prelude::*};

async fn run(s: &mut Session) -> Result<(), Error> {
    s.atomic(|s: &mut Session| async move { s.flush().await }).await
}

fn main() {}
