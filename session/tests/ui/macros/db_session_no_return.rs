use sea_session::prelude::*;

#[db_session]
async fn work(_: &mut Session) {

}

fn main() {}
