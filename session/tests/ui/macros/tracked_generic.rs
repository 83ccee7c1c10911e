use sea_session::Tracked;

#[derive(Tracked)]
pub struct Model<T> {
    pub id: T,
}

fn main() {}
