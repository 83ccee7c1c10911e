use sea_session::Tracked;

#[derive(Tracked)]
pub struct Model(i64);

fn main() {}
