use sea_session::Tracked;

#[derive(Tracked)]
pub struct Note {
    pub id: i64,
}

fn main() {}
