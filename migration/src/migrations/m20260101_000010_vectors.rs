//! `index_vectors`: vectors beside the records of the index, for the second stage of a search (W5).
//!
//! | Column | Why |
//! |---|---|
//! | `record` | Whose vector it is; it goes with its record. |
//! | `model`, `dimensions` | Which model made it: vectors of two models are never compared. With `record` the model is the key, so that one model may follow another while both are kept. |
//! | `content_hash` | Of which text it is; it counts as long as the record has that text. |
//! | `vector` | 32-bit floats, the least significant byte first: the same bytes on both backends, and in any program that reads them. |
//!
//! On PostgreSQL a vector is there for whom its record is.

use sea_orm_migration::prelude::*;

use super::Statements;

/// Creates `index_vectors`.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const UP: Statements = Statements {
    postgres: &[
        r#"CREATE TABLE index_vectors (
    record bigint NOT NULL CONSTRAINT index_vectors_record_fkey REFERENCES index_records (id) ON DELETE CASCADE,
    model text COLLATE "C" NOT NULL CONSTRAINT index_vectors_model_check CHECK (model <> ''),
    dimensions integer NOT NULL,
    content_hash text COLLATE "C" NOT NULL,
    vector bytea NOT NULL,
    PRIMARY KEY (record, model),
    CONSTRAINT index_vectors_vector_check CHECK (dimensions > 0 AND octet_length(vector) = 4 * dimensions)
)"#,
        "ALTER TABLE index_vectors ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        // The sub-select sees `index_records` through its own policies.
        r#"CREATE POLICY index_vectors_record ON index_vectors
    USING (EXISTS (SELECT 1 FROM index_records r WHERE r.id = index_vectors.record))
    WITH CHECK (EXISTS (SELECT 1 FROM index_records r WHERE r.id = index_vectors.record))"#,
    ],
    sqlite: &[r#"CREATE TABLE index_vectors (
    record INTEGER NOT NULL CONSTRAINT index_vectors_record_fkey REFERENCES index_records (id) ON DELETE CASCADE,
    model TEXT NOT NULL CONSTRAINT index_vectors_model_check CHECK (model <> ''),
    dimensions INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (record, model),
    CONSTRAINT index_vectors_vector_check CHECK (dimensions > 0 AND length(vector) = 4 * dimensions)
) STRICT"#],
    mariadb: &[r#"CREATE TABLE index_vectors (
    record bigint NOT NULL,
    model varchar(255) NOT NULL,
    dimensions integer NOT NULL,
    content_hash varchar(255) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    vector longblob NOT NULL,
    PRIMARY KEY (record, model),
    CONSTRAINT index_vectors_record_fkey FOREIGN KEY (record) REFERENCES index_records (id) ON DELETE CASCADE,
    CONSTRAINT index_vectors_model_check CHECK (model <> ''),
    CONSTRAINT index_vectors_vector_check CHECK (dimensions > 0 AND octet_length(vector) = 4 * dimensions)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"#],
};

const DOWN: Statements = Statements {
    postgres: &["DROP TABLE index_vectors"],
    sqlite: &["DROP TABLE index_vectors"],
    mariadb: &["DROP TABLE index_vectors"],
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
