//! `session_archives`: the message logs of an agent's sessions, beside the nodes that summarise them.
//!
//! | Column | Why |
//! |---|---|
//! | `id`, `account_id` | As everywhere. |
//! | `session_id`, `sequence` | The session and the place of the archive in it, from 1. Unique together: two appenders cannot both be third. |
//! | `name` | The last segment of `sessions/{id}/history/{archive}`; unique within the session. |
//! | `owner_space` | The space that created the session, the only one that may read it (V2): not the whole account. |
//! | `node_id` | The node that carries abstract and overview. Cascades: an archive does not outlive its node. Absent until it is summarised. |
//! | `state` | `open` while messages are appended, `closed` afterwards. |
//! | `messages`, `message_count` | The log, a JSON array, and its length, so that a listing reads no log. A check ties the two. |
//! | `content_hash` | What makes an import of the same log a no-op (V12). |
//! | `version` | The optimistic lock of appenders. |
//! | `started_at`, `ended_at` | Of the conversation, not of the row; absent where the log has no times. |

use sea_orm_migration::prelude::*;

use super::Statements;

/// Creates `session_archives`.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const UP: Statements = Statements {
    postgres: &[
        r#"CREATE TABLE session_archives (
    id uuid PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL CONSTRAINT session_archives_account_id_check CHECK (account_id <> ''),
    session_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL CONSTRAINT session_archives_sequence_check CHECK (sequence >= 1),
    name text COLLATE "C" NOT NULL,
    owner_space text COLLATE "C" NOT NULL,
    node_id uuid,
    state text COLLATE "C" NOT NULL DEFAULT 'open' CONSTRAINT session_archives_state_check CHECK (state IN ('open', 'closed')),
    messages jsonb NOT NULL DEFAULT '[]' CONSTRAINT session_archives_messages_check CHECK (jsonb_typeof(messages) = 'array'),
    message_count bigint NOT NULL DEFAULT 0 CONSTRAINT session_archives_message_count_check
        CHECK (message_count = jsonb_array_length(messages)),
    content_hash text COLLATE "C" NOT NULL DEFAULT '',
    version bigint NOT NULL DEFAULT 1 CONSTRAINT session_archives_version_check CHECK (version >= 1),
    started_at timestamptz,
    ended_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT session_archives_node_fkey FOREIGN KEY (account_id, node_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE
)"#,
        "CREATE UNIQUE INDEX session_archives_session_sequence_key ON session_archives (account_id, session_id, sequence)",
        "CREATE UNIQUE INDEX session_archives_session_name_key ON session_archives (account_id, session_id, name)",
        "CREATE INDEX session_archives_node_idx ON session_archives (account_id, node_id)",
    ],
    sqlite: &[
        r#"CREATE TABLE session_archives (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT session_archives_id_check CHECK (length(id) = 16),
    account_id TEXT NOT NULL CONSTRAINT session_archives_account_id_check CHECK (account_id <> ''),
    session_id TEXT NOT NULL,
    sequence INTEGER NOT NULL CONSTRAINT session_archives_sequence_check CHECK (sequence >= 1),
    name TEXT NOT NULL,
    owner_space TEXT NOT NULL,
    node_id BLOB,
    state TEXT NOT NULL DEFAULT 'open' CONSTRAINT session_archives_state_check CHECK (state IN ('open', 'closed')),
    messages TEXT NOT NULL DEFAULT '[]' CONSTRAINT session_archives_messages_check
        CHECK (json_valid(messages) AND json_type(messages) = 'array'),
    message_count INTEGER NOT NULL DEFAULT 0 CONSTRAINT session_archives_message_count_check
        CHECK (message_count = json_array_length(messages)),
    content_hash TEXT NOT NULL DEFAULT '',
    version INTEGER NOT NULL DEFAULT 1 CONSTRAINT session_archives_version_check CHECK (version >= 1),
    started_at TEXT,
    ended_at TEXT,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')),
    CONSTRAINT session_archives_node_fkey FOREIGN KEY (account_id, node_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE
) STRICT"#,
        "CREATE UNIQUE INDEX session_archives_session_sequence_key ON session_archives (account_id, session_id, sequence)",
        "CREATE UNIQUE INDEX session_archives_session_name_key ON session_archives (account_id, session_id, name)",
        "CREATE INDEX session_archives_node_idx ON session_archives (account_id, node_id)",
    ],
    mariadb: &[r#"CREATE TABLE session_archives (
    id binary(16) NOT NULL PRIMARY KEY,
    account_id varchar(240) NOT NULL,
    session_id varchar(255) NOT NULL,
    sequence bigint NOT NULL,
    name varchar(255) NOT NULL,
    owner_space varchar(510) NOT NULL,
    node_id binary(16),
    state varchar(16) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL DEFAULT 'open',
    messages json NOT NULL DEFAULT '[]',
    message_count bigint NOT NULL DEFAULT 0,
    content_hash varchar(255) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL DEFAULT '',
    version bigint NOT NULL DEFAULT 1,
    started_at datetime(6),
    ended_at datetime(6),
    created_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    updated_at datetime(6) NOT NULL DEFAULT (utc_timestamp(6)),
    UNIQUE KEY session_archives_session_sequence_key (account_id, session_id, sequence),
    UNIQUE KEY session_archives_session_name_key (account_id, session_id, name),
    KEY session_archives_node_idx (account_id, node_id),
    CONSTRAINT session_archives_account_id_check CHECK (account_id <> ''),
    CONSTRAINT session_archives_sequence_check CHECK (sequence >= 1),
    CONSTRAINT session_archives_state_check CHECK (state IN ('open', 'closed')),
    CONSTRAINT session_archives_messages_check CHECK (json_type(messages) = 'ARRAY'),
    CONSTRAINT session_archives_message_count_check CHECK (message_count = json_length(messages)),
    CONSTRAINT session_archives_version_check CHECK (version >= 1),
    CONSTRAINT session_archives_node_fkey FOREIGN KEY (account_id, node_id) REFERENCES nodes (account_id, id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"#],
};

const DOWN: Statements = Statements {
    postgres: &["DROP TABLE session_archives"],
    sqlite: &["DROP TABLE session_archives"],
    mariadb: &["DROP TABLE session_archives"],
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
