//! `inbox`: what a consumer has already done, for exactly-once effects (Q8).

use sea_orm::entity::prelude::*;
use sea_session::Tracked;

/// A message that a consumer has taken effect of.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "inbox")]
#[tracked(no_hooks)]
pub struct Model {
    /// Who.
    #[sea_orm(primary_key, auto_increment = false)]
    pub consumer: String,
    /// What.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: String,
    /// The tenant.
    #[tracked(tenant)]
    pub account_id: String,
    /// When; retention goes by it.
    #[tracked(created_at)]
    pub received_at: DateTimeUtc,
}

/// None.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
