//! The table of events of the book's chapter about the outbox, for pages that show something else.

#![allow(missing_docs, reason = "the chapter says what each column is")]

use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session::Tracked;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub account_id: String,
    pub topic: String,
    pub event_key: String,
    pub sequence: i64,
    pub event_type: String,
    pub payload: Json,
    #[sea_orm(default_value = "pending")]
    pub state: String,
    #[sea_orm(default_value = 0)]
    pub attempts: i32,
    #[sea_orm(default_value = 0)]
    pub fence: i64,
    pub available_at: DateTimeUtc,
    #[tracked(created_at)]
    pub created_at: DateTimeUtc,
    pub claimed_by: Option<String>,
    pub lease_until: Option<DateTimeUtc>,
    pub last_error: Option<String>,
    pub finished_at: Option<DateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// A new event of the key.
pub fn new(topic: &str, key: &str) -> ActiveModel {
    ActiveModel {
        account_id: Set("acme".into()),
        topic: Set(topic.into()),
        event_key: Set(key.into()),
        sequence: Set(1),
        event_type: Set("renamed".into()),
        payload: Set(serde_json::json!({})),
        available_at: Set(chrono::Utc::now()),
        ..Default::default()
    }
}
