use sea_orm::entity::prelude::*;
use sea_session::Tracked;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "note")]
#[tracked(soft_delete)]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub deleted_at: Option<DateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn main() {}
