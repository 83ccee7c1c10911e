use sea_session::Tracked;

#[derive(Tracked)]
pub union Model {
    id: i64,
}

fn main() {}
