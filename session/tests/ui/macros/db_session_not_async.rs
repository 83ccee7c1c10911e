use sea_session::prelude::*;

#[db_session]
fn work(s: &mut Session) -> Result<(), Error> {
    Ok(())
}

fn main() {}
