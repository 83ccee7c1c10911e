use sea_session::prelude::*;

#[session_test]
fn works(s: &mut Session) {

}

fn main() {}
