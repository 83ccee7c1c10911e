use sea_orm::entity::prelude::*;
use sea_session::Tracked;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "note")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    #[tracked(read_only)]
    pub slug: String,
    #[tracked(version)]
    pub version: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn rename(note: &Tracked<Entity>) {
    note.set_slug("other");
}

fn main() {}
