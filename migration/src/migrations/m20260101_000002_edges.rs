//! `edges`: typed, weighted relations between nodes, the only place where a relation is kept (V9).
//!
//! | Column | Why |
//! |---|---|
//! | `id` | A key of its own, so that an edge is one tracked object and an upsert keeps its identity. |
//! | `account_id`, `from_id`, `to_id` | Foreign keys over `(account_id, id)`: an edge cannot join two tenants, and cannot be used to ask whether another tenant's id exists. They cascade: a deleted node leaves no dangling edge. A self-edge is allowed. |
//! | `edge_type` | Not empty. `(from_id, to_id, edge_type)` is unique: what `link` upserts on. |
//! | `weight` | 0..1. On PostgreSQL NaN is greater than every number, so the check refuses it; SQLite stores NaN as NULL, which NOT NULL refuses. |
//! | `reason`, `metadata` | Free text; a JSON object. |
//!
//! Indexes: the unique one serves outgoing edges and traversal; `(to_id, edge_type)` incoming edges and the cascade.

use sea_orm_migration::prelude::*;

use super::Statements;

/// Creates `edges`.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const UP: Statements = Statements {
    postgres: &[
        r#"CREATE TABLE edges (
    id uuid PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL,
    from_id uuid NOT NULL,
    to_id uuid NOT NULL,
    edge_type text COLLATE "C" NOT NULL CONSTRAINT edges_edge_type_check CHECK (edge_type <> ''),
    weight double precision NOT NULL DEFAULT 1 CONSTRAINT edges_weight_check CHECK (weight >= 0 AND weight <= 1),
    reason text NOT NULL DEFAULT '',
    metadata jsonb NOT NULL DEFAULT '{}' CONSTRAINT edges_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT edges_from_fkey FOREIGN KEY (account_id, from_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE,
    CONSTRAINT edges_to_fkey FOREIGN KEY (account_id, to_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE
)"#,
        "CREATE UNIQUE INDEX edges_from_id_to_id_edge_type_key ON edges (from_id, to_id, edge_type)",
        "CREATE INDEX edges_to_id_edge_type_idx ON edges (to_id, edge_type)",
    ],
    sqlite: &[
        r#"CREATE TABLE edges (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT edges_id_check CHECK (length(id) = 16),
    account_id TEXT NOT NULL,
    from_id BLOB NOT NULL,
    to_id BLOB NOT NULL,
    edge_type TEXT NOT NULL CONSTRAINT edges_edge_type_check CHECK (edge_type <> ''),
    weight REAL NOT NULL DEFAULT 1 CONSTRAINT edges_weight_check CHECK (weight >= 0 AND weight <= 1),
    reason TEXT NOT NULL DEFAULT '',
    metadata TEXT NOT NULL DEFAULT '{}' CONSTRAINT edges_metadata_check CHECK (json_valid(metadata) AND json_type(metadata) = 'object'),
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    CONSTRAINT edges_from_fkey FOREIGN KEY (account_id, from_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE,
    CONSTRAINT edges_to_fkey FOREIGN KEY (account_id, to_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE
) STRICT"#,
        "CREATE UNIQUE INDEX edges_from_id_to_id_edge_type_key ON edges (from_id, to_id, edge_type)",
        "CREATE INDEX edges_to_id_edge_type_idx ON edges (to_id, edge_type)",
    ],
    mariadb: &[r#"CREATE TABLE edges (
    id binary(16) NOT NULL PRIMARY KEY,
    account_id varchar(240) NOT NULL,
    from_id binary(16) NOT NULL,
    to_id binary(16) NOT NULL,
    edge_type varchar(255) NOT NULL,
    weight double NOT NULL DEFAULT 1,
    reason longtext NOT NULL DEFAULT '',
    metadata json NOT NULL DEFAULT '{}',
    created_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    updated_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    UNIQUE KEY edges_from_id_to_id_edge_type_key (from_id, to_id, edge_type),
    KEY edges_to_id_edge_type_idx (to_id, edge_type),
    KEY edges_from_idx (account_id, from_id),
    KEY edges_to_idx (account_id, to_id),
    CONSTRAINT edges_edge_type_check CHECK (edge_type <> ''),
    CONSTRAINT edges_weight_check CHECK (weight >= 0 AND weight <= 1),
    CONSTRAINT edges_metadata_check CHECK (json_type(metadata) = 'OBJECT'),
    CONSTRAINT edges_from_fkey FOREIGN KEY (account_id, from_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE,
    CONSTRAINT edges_to_fkey FOREIGN KEY (account_id, to_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"#],
};

const DOWN: Statements =
    Statements { postgres: &["DROP TABLE edges"], sqlite: &["DROP TABLE edges"], mariadb: &["DROP TABLE edges"] };

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        UP.send(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        DOWN.send(manager).await
    }
}
