#![deny(unused_must_use)]

use sea_session::prelude::*;

fn forget(db: &Db, s: &mut Session) {
    db.session().retry(3);
    s.block().merged();
}

fn main() {}
