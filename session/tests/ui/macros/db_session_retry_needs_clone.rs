use sea_session::{Error, prelude::*};

struct Ticket;

#[db_session(retry = 3)]
async fn work(s: &mut Session, ticket: Ticket) -> Result<(), Error> {
    let _ = ticket;
    s.flush().await
}

fn main() {}
