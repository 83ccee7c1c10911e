//! Row-level security on every tenant table: PostgreSQL's own answer to a forgotten filter (T3).
//!
//! Enabled *and forced*, so it binds the owner of the tables too; only a superuser or a role with `BYPASSRLS` passes it,
//! and the runner's role check reports an application that is one. SQLite has nothing of the kind: there the migration is
//! empty, and the store's own filters stand alone.
//!
//! Three settings, all bound to a transaction (T1):
//!
//! - `app.account_id`: the tenant. A row is visible, and may be written, only if it equals its `account_id`. The setting
//!   reads as `''` once a transaction that set it has ended (Z20), and as NULL before; `nullif` makes both mean "no
//!   tenant", which no row has.
//! - `app.owner_spaces`: the owner spaces that may be read, separated by commas (a space's name holds none: `,` is
//!   percent-encoded in a URI). Where it is set, rows of other spaces do not exist for the transaction, nor do edges with
//!   an end in one. Unset or `''`:
//!   the whole account, for administrators and for maintenance.
//! - `app.dispatcher` = `on`: the dispatcher, which serves every tenant, sees all rows of the tables it works on. Like
//!   the tenant itself it is the application's word; a service that must not have that right gets a role of its own and
//!   never sets it.
//!
//! `(SELECT …)` around the settings: evaluated once a statement, not once a row.

use sea_orm_migration::prelude::*;

use super::Statements;

/// Enables and forces row-level security, and creates the policies. PostgreSQL only.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

macro_rules! secure {
    ($table:literal) => {
        concat!("ALTER TABLE ", $table, " ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    };
}

macro_rules! tenant {
    ($table:literal) => {
        concat!(
            "CREATE POLICY ",
            $table,
            "_tenant ON ",
            $table,
            " USING (account_id = (SELECT nullif(current_setting('app.account_id', true), ''))",
            " OR (SELECT current_setting('app.dispatcher', true) = 'on'))",
            " WITH CHECK (account_id = (SELECT nullif(current_setting('app.account_id', true), ''))",
            " OR (SELECT current_setting('app.dispatcher', true) = 'on'))"
        )
    };
}

macro_rules! owner_space {
    ($table:literal) => {
        concat!(
            "CREATE POLICY ",
            $table,
            "_owner_space ON ",
            $table,
            " AS RESTRICTIVE USING ((SELECT coalesce(current_setting('app.owner_spaces', true), '') = '')",
            " OR owner_space = ANY ((SELECT string_to_array(current_setting('app.owner_spaces', true), ','))::text[]))"
        )
    };
}

macro_rules! release {
    ($table:literal) => {
        concat!("ALTER TABLE ", $table, " NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY")
    };
}

macro_rules! drop_policy {
    ($policy:literal, $table:literal) => {
        concat!("DROP POLICY ", $table, "_", $policy, " ON ", $table)
    };
}

const UP: Statements = Statements {
    postgres: &[
        secure!("nodes"),
        secure!("node_versions"),
        secure!("edges"),
        secure!("session_archives"),
        secure!("outbox_events"),
        secure!("inbox"),
        secure!("index_records"),
        tenant!("nodes"),
        tenant!("node_versions"),
        tenant!("edges"),
        tenant!("session_archives"),
        tenant!("outbox_events"),
        tenant!("inbox"),
        tenant!("index_records"),
        owner_space!("nodes"),
        owner_space!("node_versions"),
        owner_space!("session_archives"),
        owner_space!("index_records"),
        // The sub-selects see `nodes` through its own policies: an edge is there when both its ends are.
        r#"CREATE POLICY edges_owner_space ON edges AS RESTRICTIVE
    USING ((SELECT coalesce(current_setting('app.owner_spaces', true), '') = '')
        OR (EXISTS (SELECT 1 FROM nodes WHERE nodes.id = edges.from_id)
            AND EXISTS (SELECT 1 FROM nodes WHERE nodes.id = edges.to_id)))"#,
    ],
    sqlite: &[],
    mariadb: &[],
};

const DOWN: Statements = Statements {
    postgres: &[
        drop_policy!("owner_space", "edges"),
        drop_policy!("owner_space", "index_records"),
        drop_policy!("owner_space", "session_archives"),
        drop_policy!("owner_space", "node_versions"),
        drop_policy!("owner_space", "nodes"),
        drop_policy!("tenant", "index_records"),
        drop_policy!("tenant", "inbox"),
        drop_policy!("tenant", "outbox_events"),
        drop_policy!("tenant", "session_archives"),
        drop_policy!("tenant", "edges"),
        drop_policy!("tenant", "node_versions"),
        drop_policy!("tenant", "nodes"),
        release!("index_records"),
        release!("inbox"),
        release!("outbox_events"),
        release!("session_archives"),
        release!("edges"),
        release!("node_versions"),
        release!("nodes"),
    ],
    sqlite: &[],
    mariadb: &[],
};

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        UP.send(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        DOWN.send(manager).await
    }
}
