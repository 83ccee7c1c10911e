//! An entity that is as small as one can be: a key and a value.

use sea_orm::entity::prelude::*;
use sea_session::Tracked;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "item")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub value: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
