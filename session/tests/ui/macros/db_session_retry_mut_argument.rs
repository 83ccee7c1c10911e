use sea_session::{Error, prelude::*};

#[db_session(retry = 3)]
async fn work(s: &mut Session, seen: &mut Vec<i64>) -> Result<(), Error> {
    seen.push(1);
    s.flush().await
}

fn main() {}
