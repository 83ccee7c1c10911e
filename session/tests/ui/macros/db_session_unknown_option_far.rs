use sea_session::{Error, prelude::*};

#[db_session(colour = "blue")]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
