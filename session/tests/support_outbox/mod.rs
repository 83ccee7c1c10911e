//! An event type and an inbox as an application would declare them, for every test and benchmark of the outbox.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub mod event {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// An event.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "events")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub account_id: String,
        pub topic: String,
        pub event_key: String,
        pub sequence: i64,
        pub event_type: String,
        #[sea_orm(column_type = "JsonBinary")]
        pub payload: Json,
        pub state: String,
        pub attempts: i32,
        pub fence: i64,
        pub available_at: DateTimeUtc,
        pub created_at: DateTimeUtc,
        pub claimed_by: Option<String>,
        pub lease_until: Option<DateTimeUtc>,
        pub last_error: Option<String>,
        pub finished_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

pub mod received {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// A message that a consumer has received.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "received")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub consumer: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: String,
        pub account_id: String,
        #[sea_orm(default_expr = "Expr::current_timestamp()")]
        pub received_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

use sea_orm::{ActiveValue::Set, ConnectionTrait, DbBackend};
use sea_session::{Db, Error, testing::create_table};

/// Creates the table of events. On MariaDB texts are compared by their bytes, and moments have microseconds, as they have elsewhere.
pub async fn create_events(db: &Db) -> Result<(), Error> {
    create_table(db, event::Entity).await?;
    if db.backend() == DbBackend::MySql {
        let columns = "ALTER TABLE events CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, MODIFY available_at datetime(6) NOT NULL, \
                       MODIFY created_at datetime(6) NOT NULL, MODIFY lease_until datetime(6), MODIFY finished_at datetime(6), \
                       MODIFY last_error text";
        db.connection().execute_unprepared(columns).await?;
        db.tables_altered();
    }
    Ok(())
}

/// An event that waits, written now. What a test wants otherwise it sets.
pub fn new_event(topic: &str, key: &str, sequence: i64, kind: &str) -> event::ActiveModel {
    let now = chrono::Utc::now();
    event::ActiveModel {
        account_id: Set("acme".into()),
        topic: Set(topic.into()),
        event_key: Set(key.into()),
        sequence: Set(sequence),
        event_type: Set(kind.into()),
        payload: Set(serde_json::json!({ "key": key, "n": sequence })),
        state: Set("pending".into()),
        attempts: Set(0),
        fence: Set(0),
        available_at: Set(now),
        created_at: Set(now),
        ..Default::default()
    }
}
