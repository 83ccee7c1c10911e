//! `nodes.tree_key`: the order in which a tree is walked.
//!
//! In byte order of `uri`, `a`, `a-b`, `a/x` is the order of a folder `a` with a child `x` and a neighbour `a-b`: the
//! neighbour lies between the folder and its child, because `-`, `.` and `%` come before `/`. So a listing that is sorted
//! by name cannot be read from an index on `uri`, nor can a walk of the tree be paged on it, nor can a scan skip from
//! one implied folder to the next by name.
//!
//! `tree_key` is `uri` with U+0001 for `/`, which no URI holds and which comes before everything that a URI holds:
//! a folder, then all that lies below it, then the next name (V6, V11). The database computes it, so that there is no
//! second truth; it is a plain column rather than an expression of the index, because under row-level security only
//! comparisons of plain columns may become conditions of an index (`replace` is not leakproof).

use sea_orm_migration::prelude::*;

use super::Statements;

/// Adds `nodes.tree_key` and its index.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const UP: Statements = Statements {
    postgres: &[
        r#"ALTER TABLE nodes ADD COLUMN tree_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (replace(uri, '/', E'\x01')) STORED"#,
        "CREATE INDEX nodes_active_tree_idx ON nodes (account_id, tree_key) WHERE status = 'active'",
    ],
    sqlite: &[
        "ALTER TABLE nodes ADD COLUMN tree_key TEXT GENERATED ALWAYS AS (replace(uri, '/', char(1))) VIRTUAL",
        "CREATE INDEX nodes_active_tree_idx ON nodes (account_id, tree_key) WHERE status = 'active'",
    ],
    mariadb: &[
        "ALTER TABLE nodes ADD COLUMN tree_key varchar(1024) CHARACTER SET ascii COLLATE ascii_nopad_bin GENERATED ALWAYS AS (replace(uri, '/', char(1 USING ascii))) STORED",
        "CREATE INDEX nodes_active_tree_idx ON nodes (account_id, status, tree_key)",
    ],
};

const DOWN: Statements = Statements {
    postgres: &["DROP INDEX nodes_active_tree_idx", "ALTER TABLE nodes DROP COLUMN tree_key"],
    sqlite: &["DROP INDEX nodes_active_tree_idx", "ALTER TABLE nodes DROP COLUMN tree_key"],
    mariadb: &["DROP INDEX nodes_active_tree_idx ON nodes", "ALTER TABLE nodes DROP COLUMN tree_key"],
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
