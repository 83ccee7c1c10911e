use sea_session::{Error, prelude::*};

#[db_session(set_local = "app.account_id")]
async fn work(s: &mut Session) -> Result<(), Error> {
    s.flush().await
}

fn main() {}
