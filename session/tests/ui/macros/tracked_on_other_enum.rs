use sea_orm::entity::prelude::*;
use sea_session::Tracked;

#[derive(Tracked)]
pub enum Colour {
    Blue,
}

fn main() {}
