use sea_session::Tracked;

#[derive(Tracked)]
pub enum Colour {
    Blue,
}

fn main() {}
