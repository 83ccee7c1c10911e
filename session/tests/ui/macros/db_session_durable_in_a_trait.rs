use sea_session::{Error, prelude::*};

#[db_session(durable)]
fn work(s: &mut Session) -> impl Future<Output = Result<(), Error>> + Send {
    async move { s.flush().await }
}

fn main() {}
