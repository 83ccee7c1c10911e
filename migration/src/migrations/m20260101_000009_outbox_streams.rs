//! `outbox_streams`: who, beside the embedded index, is to get the store's events (E4).
//!
//! One row for each index elsewhere. The acknowledgement of an event of the topic `context` copies it, in its transaction, to
//! each stream that is named here: so who drains one stream takes nothing that another waits for, and a writer knows of none of
//! them.
//!
//! | Column | Why |
//! |---|---|
//! | `name` | The topic of the stream's events in `outbox_events`. |
//! | `sink` | Where to, as it may be shown: no password. |
//! | `created_at` | Since when. |
//!
//! Only the dispatcher sees it, which serves every tenant.

use sea_orm_migration::prelude::*;

use super::Statements;

/// Creates `outbox_streams`.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const UP: Statements = Statements {
    postgres: &[
        r#"CREATE TABLE outbox_streams (
    name text COLLATE "C" PRIMARY KEY CONSTRAINT outbox_streams_name_check CHECK (name <> '' AND name <> 'context'),
    sink text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
)"#,
        "ALTER TABLE outbox_streams ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        r#"CREATE POLICY outbox_streams_dispatcher ON outbox_streams
    USING ((SELECT current_setting('app.dispatcher', true) = 'on'))
    WITH CHECK ((SELECT current_setting('app.dispatcher', true) = 'on'))"#,
    ],
    sqlite: &[r#"CREATE TABLE outbox_streams (
    name TEXT NOT NULL PRIMARY KEY CONSTRAINT outbox_streams_name_check CHECK (name <> '' AND name <> 'context'),
    sink TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
) STRICT"#],
};

const DOWN: Statements =
    Statements { postgres: &["DROP TABLE outbox_streams"], sqlite: &["DROP TABLE outbox_streams"] };

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        UP.send(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        DOWN.send(manager).await
    }
}
