//! `outbox_events`: what a commit owes to the world.

use sea_orm::entity::prelude::*;
use sea_session::Tracked;

/// Where an event is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum State {
    /// Waits to be claimed, at the earliest at `available_at`.
    #[sea_orm(string_value = "pending")]
    Pending,
    /// Claimed, under a lease.
    #[sea_orm(string_value = "processing")]
    Processing,
    /// Delivered.
    #[sea_orm(string_value = "done")]
    Done,
    /// Given up: a dead letter.
    #[sea_orm(string_value = "dead")]
    Dead,
}

/// An event.
#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "outbox_events")]
#[tracked(no_hooks)]
pub struct Model {
    /// Position of insertion; not the order of commits.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The tenant.
    #[tracked(tenant)]
    pub account_id: String,
    /// The stream, `context` for the context store.
    pub topic: String,
    /// What order is kept for: the node's id.
    pub event_key: String,
    /// The order within the key: the version that the change gave the node.
    pub sequence: i64,
    /// What happened.
    pub event_type: String,
    /// The particulars.
    #[sea_orm(column_type = "JsonBinary")]
    pub payload: Json,
    /// Where it is on its way.
    pub state: State,
    /// How often it was tried.
    pub attempts: i32,
    /// Not before this instant.
    pub available_at: DateTimeUtc,
    /// The fencing token: raised by each claim, matched by each acknowledgement.
    pub fence: i64,
    /// The worker that holds it; set exactly while it is being processed.
    pub claimed_by: Option<String>,
    /// Until when; set exactly while it is being processed.
    pub lease_until: Option<DateTimeUtc>,
    /// Why the last attempt failed.
    #[sea_orm(column_type = "Text", nullable)]
    pub last_error: Option<String>,
    /// When it was written.
    #[tracked(created_at)]
    pub created_at: DateTimeUtc,
    /// When it was done or given up; set exactly then.
    pub finished_at: Option<DateTimeUtc>,
}

/// None: an event outlives what it speaks of.
#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}
