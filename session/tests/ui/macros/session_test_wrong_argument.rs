use sea_session::prelude::*;

#[session_test]
async fn works(id: i64) {

}

fn main() {}
