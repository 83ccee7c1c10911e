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

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation, Tracked)]
pub enum Relation {
    #[sea_orm(belongs_to = "Entity", from = "Column::Id", to = "Column::Id")]
    #[tracked(version)]
    Parent,
}

impl ActiveModelBehavior for ActiveModel {}

fn main() {}
