use sea_session::prelude::*;

#[db_session]
struct Work;

fn main() {}
