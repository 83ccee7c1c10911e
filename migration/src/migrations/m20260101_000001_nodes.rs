//! `nodes`: what an agent remembers, one row a URI; `node_versions`: what was overwritten.
//!
//! # `nodes`
//!
//! | Column | Why |
//! |---|---|
//! | `id` | Stable, made by the client (UUID v7 keeps inserts local in the index). Edges and archives point here, so a move rewrites none of them (V7, V9). |
//! | `account_id` | The tenant. First column of every index a tenant's query uses, and what row-level security compares (T3). Never empty: `''` is what an unbound setting reads as after a transaction (Z20). |
//! | `uri` | The canonical form (V1), at most 1,024 bytes, unique within its account (T4), also among archived rows: an archived node is restored, not shadowed. |
//! | `parent_uri`, `name` | The two halves of `uri`, stored so that a folder's page is read in order from an index without touching grandchildren (V6). A check ties them to `uri`: no second truth. The root has neither. |
//! | `owner_space`, `category`, `node_type` | Follow from the URI (V3); stored because access, search and listing filter on them. `category` is absent where the URI has none. |
//! | `status` | `active`, `archived`, `broken` (V5). |
//! | `abstract`, `overview`, `content` | Levels 0, 1, 2 (V13). |
//! | `metadata` | A JSON object. |
//! | `version` | The optimistic lock (O1). It only rises, which a trigger holds even against SQL that goes around the store (V3: no reset, no ABA). Whoever creates a node at a URI that had one starts above `max(version)` of `node_versions` at that URI: a client that kept an old version number of a deleted or moved node is then refused too. |
//! | `content_hash` | SHA-256, hexadecimal, of what an import compares to leave the unchanged alone (V12). Empty: not computed. |
//! | `created_at`, `updated_at` | Instants. |
//!
//! Indexes: `(account_id, uri)` unique, the point read and the subtree range of moves, deletes and exports, archived
//! rows included; the same for active rows only, on which a skip scan finds implied folders without wading through
//! archived ones; `(account_id, parent_uri, name)` of active rows, the page of a folder; `(account_id, id)` unique,
//! the target of foreign keys that cannot leave their account.
//!
//! The unique index is not deferrable, because a deferrable one cannot serve `ON CONFLICT`. Both backends check it row
//! by row, so a move of a subtree onto a place inside its own former range goes by a placeholder prefix: two
//! statements, still O(1).
//!
//! # `node_versions`
//!
//! A row is the state of a node that a change replaced, keyed by `(node_id, version)` (V10). It has no foreign key to
//! `nodes`: the history of a deleted node must survive it, for `read_version`, and for the version rule above, which is
//! why retention keeps the newest row of each `(account_id, uri)`; the index on these is what finds it.
//! `change` says what replaced the state; `recorded_at` when.

use sea_orm_migration::prelude::*;

use super::Statements;

/// Creates `nodes` and `node_versions`.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const UP: Statements = Statements {
    postgres: &[
        r#"CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL CONSTRAINT nodes_account_id_check CHECK (account_id <> ''),
    uri text COLLATE "C" NOT NULL CONSTRAINT nodes_uri_check CHECK (uri ^@ 'ctx://' AND octet_length(uri) <= 1024),
    parent_uri text COLLATE "C",
    name text COLLATE "C" NOT NULL DEFAULT '',
    owner_space text COLLATE "C" NOT NULL,
    category text COLLATE "C",
    node_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL DEFAULT 'active' CONSTRAINT nodes_status_check CHECK (status IN ('active', 'archived', 'broken')),
    abstract text NOT NULL DEFAULT '',
    overview text NOT NULL DEFAULT '',
    content text NOT NULL DEFAULT '',
    metadata jsonb NOT NULL DEFAULT '{}' CONSTRAINT nodes_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    version bigint NOT NULL DEFAULT 1 CONSTRAINT nodes_version_check CHECK (version >= 1),
    content_hash text COLLATE "C" NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT nodes_parent_check CHECK (parent_uri IS NULL OR uri = rtrim(parent_uri, '/') || '/' || name)
)"#,
        "CREATE UNIQUE INDEX nodes_account_id_uri_key ON nodes (account_id, uri)",
        "CREATE UNIQUE INDEX nodes_account_id_id_key ON nodes (account_id, id)",
        "CREATE INDEX nodes_active_uri_idx ON nodes (account_id, uri) WHERE status = 'active'",
        "CREATE INDEX nodes_active_parent_idx ON nodes (account_id, parent_uri, name) WHERE status = 'active'",
        r#"CREATE FUNCTION nodes_version_rises() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'nodes_version_rises: the version of node % would fall from % to %', OLD.id, OLD.version, NEW.version
        USING ERRCODE = 'check_violation', CONSTRAINT = 'nodes_version_rises', TABLE = 'nodes';
END
$$"#,
        // The condition is in WHEN: the function is called for a violation only.
        r#"CREATE TRIGGER nodes_version_rises BEFORE UPDATE OF version ON nodes
    FOR EACH ROW WHEN (NEW.version < OLD.version) EXECUTE FUNCTION nodes_version_rises()"#,
        r#"CREATE TABLE node_versions (
    node_id uuid NOT NULL,
    version bigint NOT NULL CONSTRAINT node_versions_version_check CHECK (version >= 1),
    account_id text COLLATE "C" NOT NULL CONSTRAINT node_versions_account_id_check CHECK (account_id <> ''),
    uri text COLLATE "C" NOT NULL,
    owner_space text COLLATE "C" NOT NULL,
    category text COLLATE "C",
    node_type text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL CONSTRAINT node_versions_status_check CHECK (status IN ('active', 'archived', 'broken')),
    abstract text NOT NULL DEFAULT '',
    overview text NOT NULL DEFAULT '',
    content text NOT NULL DEFAULT '',
    metadata jsonb NOT NULL DEFAULT '{}' CONSTRAINT node_versions_metadata_check CHECK (jsonb_typeof(metadata) = 'object'),
    content_hash text COLLATE "C" NOT NULL DEFAULT '',
    change text COLLATE "C" NOT NULL CONSTRAINT node_versions_change_check
        CHECK (change IN ('write', 'move', 'archive', 'restore', 'delete', 'revert')),
    written_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (node_id, version)
)"#,
        "CREATE INDEX node_versions_account_id_uri_version_idx ON node_versions (account_id, uri, version)",
    ],
    sqlite: &[
        r#"CREATE TABLE nodes (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT nodes_id_check CHECK (length(id) = 16),
    account_id TEXT NOT NULL CONSTRAINT nodes_account_id_check CHECK (account_id <> ''),
    uri TEXT NOT NULL CONSTRAINT nodes_uri_check CHECK (substr(uri, 1, 6) = 'ctx://' AND length(CAST(uri AS BLOB)) <= 1024),
    parent_uri TEXT,
    name TEXT NOT NULL DEFAULT '',
    owner_space TEXT NOT NULL,
    category TEXT,
    node_type TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'active' CONSTRAINT nodes_status_check CHECK (status IN ('active', 'archived', 'broken')),
    abstract TEXT NOT NULL DEFAULT '',
    overview TEXT NOT NULL DEFAULT '',
    content TEXT NOT NULL DEFAULT '',
    metadata TEXT NOT NULL DEFAULT '{}' CONSTRAINT nodes_metadata_check CHECK (json_valid(metadata) AND json_type(metadata) = 'object'),
    version INTEGER NOT NULL DEFAULT 1 CONSTRAINT nodes_version_check CHECK (version >= 1),
    content_hash TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    CONSTRAINT nodes_parent_check CHECK (parent_uri IS NULL OR uri = rtrim(parent_uri, '/') || '/' || name)
) STRICT"#,
        "CREATE UNIQUE INDEX nodes_account_id_uri_key ON nodes (account_id, uri)",
        "CREATE UNIQUE INDEX nodes_account_id_id_key ON nodes (account_id, id)",
        "CREATE INDEX nodes_active_uri_idx ON nodes (account_id, uri) WHERE status = 'active'",
        "CREATE INDEX nodes_active_parent_idx ON nodes (account_id, parent_uri, name) WHERE status = 'active'",
        r#"CREATE TRIGGER nodes_version_rises BEFORE UPDATE OF version ON nodes
    FOR EACH ROW WHEN NEW.version < OLD.version
BEGIN
    SELECT RAISE(ABORT, 'nodes_version_rises: the version of a node would fall');
END"#,
        r#"CREATE TABLE node_versions (
    node_id BLOB NOT NULL CONSTRAINT node_versions_node_id_check CHECK (length(node_id) = 16),
    version INTEGER NOT NULL CONSTRAINT node_versions_version_check CHECK (version >= 1),
    account_id TEXT NOT NULL CONSTRAINT node_versions_account_id_check CHECK (account_id <> ''),
    uri TEXT NOT NULL,
    owner_space TEXT NOT NULL,
    category TEXT,
    node_type TEXT NOT NULL,
    status TEXT NOT NULL CONSTRAINT node_versions_status_check CHECK (status IN ('active', 'archived', 'broken')),
    abstract TEXT NOT NULL DEFAULT '',
    overview TEXT NOT NULL DEFAULT '',
    content TEXT NOT NULL DEFAULT '',
    metadata TEXT NOT NULL DEFAULT '{}' CONSTRAINT node_versions_metadata_check CHECK (json_valid(metadata) AND json_type(metadata) = 'object'),
    content_hash TEXT NOT NULL DEFAULT '',
    change TEXT NOT NULL CONSTRAINT node_versions_change_check
        CHECK (change IN ('write', 'move', 'archive', 'restore', 'delete', 'revert')),
    written_at TEXT NOT NULL,
    recorded_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    PRIMARY KEY (node_id, version)
) STRICT"#,
        "CREATE INDEX node_versions_account_id_uri_version_idx ON node_versions (account_id, uri, version)",
    ],
    mariadb: &[
        r#"CREATE TABLE nodes (
    id binary(16) NOT NULL PRIMARY KEY,
    account_id varchar(240) NOT NULL,
    uri varchar(1024) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    parent_uri varchar(1024) CHARACTER SET ascii COLLATE ascii_nopad_bin,
    name varchar(1024) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL DEFAULT '',
    owner_space varchar(510) NOT NULL,
    category varchar(1024),
    node_type varchar(64) NOT NULL,
    status varchar(16) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL DEFAULT 'active',
    abstract longtext NOT NULL DEFAULT '',
    overview longtext NOT NULL DEFAULT '',
    content longtext NOT NULL DEFAULT '',
    metadata json NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 1,
    content_hash varchar(255) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL DEFAULT '',
    created_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    updated_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    UNIQUE KEY nodes_account_id_uri_key (account_id, uri),
    UNIQUE KEY nodes_account_id_id_key (account_id, id),
    KEY nodes_active_uri_idx (account_id, status, uri),
    KEY nodes_active_parent_idx (account_id, status, parent_uri, name),
    CONSTRAINT nodes_account_id_check CHECK (account_id <> ''),
    CONSTRAINT nodes_uri_check CHECK (substr(uri, 1, 6) = 'ctx://'),
    CONSTRAINT nodes_status_check CHECK (status IN ('active', 'archived', 'broken')),
    CONSTRAINT nodes_metadata_check CHECK (json_type(metadata) = 'OBJECT'),
    CONSTRAINT nodes_version_check CHECK (version >= 1),
    CONSTRAINT nodes_parent_check CHECK (parent_uri IS NULL OR uri = concat(trim(TRAILING '/' FROM parent_uri), '/', name))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"#,
        r#"CREATE TRIGGER nodes_version_rises BEFORE UPDATE ON nodes FOR EACH ROW
IF NEW.version < OLD.version THEN
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'nodes_version_rises: the version of a node would fall';
END IF"#,
        r#"CREATE TABLE node_versions (
    node_id binary(16) NOT NULL,
    version bigint NOT NULL,
    account_id varchar(240) NOT NULL,
    uri varchar(1024) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    owner_space varchar(510) NOT NULL,
    category varchar(1024),
    node_type varchar(64) NOT NULL,
    status varchar(16) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    abstract longtext NOT NULL DEFAULT '',
    overview longtext NOT NULL DEFAULT '',
    content longtext NOT NULL DEFAULT '',
    metadata json NOT NULL DEFAULT '{}',
    content_hash varchar(255) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL DEFAULT '',
    `change` varchar(16) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    written_at datetime(6) NOT NULL,
    recorded_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    PRIMARY KEY (node_id, version),
    KEY node_versions_account_id_uri_version_idx (account_id, uri, version),
    CONSTRAINT node_versions_version_check CHECK (version >= 1),
    CONSTRAINT node_versions_account_id_check CHECK (account_id <> ''),
    CONSTRAINT node_versions_status_check CHECK (status IN ('active', 'archived', 'broken')),
    CONSTRAINT node_versions_metadata_check CHECK (json_type(metadata) = 'OBJECT'),
    CONSTRAINT node_versions_change_check CHECK (`change` IN ('write', 'move', 'archive', 'restore', 'delete', 'revert'))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"#,
    ],
};

const DOWN: Statements = Statements {
    postgres: &["DROP TABLE node_versions", "DROP TABLE nodes", "DROP FUNCTION nodes_version_rises()"],
    sqlite: &["DROP TABLE node_versions", "DROP TABLE nodes"],
    mariadb: &["DROP TABLE node_versions", "DROP TABLE nodes"],
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
