use sea_session::prelude::*;

#[session_test]
async fn works() {

}

fn main() {}
