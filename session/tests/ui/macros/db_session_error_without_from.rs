use sea_session::prelude::*;

#[derive(Debug)]
struct Mine;

#[db_session]
async fn work(_: &mut Session) -> Result<(), Mine> {
    Err(Mine)
}

fn main() {}
