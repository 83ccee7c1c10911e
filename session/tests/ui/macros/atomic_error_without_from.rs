use sea_session::prelude::*;

#[derive(Debug)]
struct Mine;

#[atomic]
async fn work(_: &mut Session) -> Result<(), Mine> {
    Err(Mine)
}

fn main() {}
