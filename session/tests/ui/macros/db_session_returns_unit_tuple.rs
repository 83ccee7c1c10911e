use sea_session::prelude::*;

#[db_session]
async fn work(s: &mut Session) -> (i64, i64) {
    (1, 2)
}

fn main() {}
