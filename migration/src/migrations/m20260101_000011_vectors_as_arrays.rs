//! On PostgreSQL `index_vectors.vector` becomes an array of 32-bit floats, from which pgvector makes its own type in a query (W5):
//! where the extension is there, nodes are found by their vectors too. No table of ours depends on it, so it may come and go.

use sea_orm_migration::prelude::*;

use crate::dialect::Statements;

/// Changes the type of `index_vectors.vector`.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

const UP: Statements = Statements {
    postgres: &[
        "ALTER TABLE index_vectors DROP CONSTRAINT index_vectors_vector_check",
        "ALTER TABLE index_vectors ADD COLUMN numbers real[]",
        // Four bytes, the least significant first, are sign, exponent and fraction of a float.
        r#"UPDATE index_vectors SET numbers = (
    SELECT array_agg((CASE WHEN bits >> 31 = 1 THEN -1 ELSE 1 END * CASE WHEN (bits >> 23) & 255 = 0
        THEN (bits & 8388607) * power(2::float8, -149)
        ELSE (8388608 + (bits & 8388607)) * power(2::float8, ((bits >> 23) & 255) - 150) END)::real ORDER BY at)
    FROM (
        SELECT at, get_byte(vector, 4 * at)::bigint | (get_byte(vector, 4 * at + 1)::bigint << 8)
            | (get_byte(vector, 4 * at + 2)::bigint << 16) | (get_byte(vector, 4 * at + 3)::bigint << 24) AS bits
        FROM generate_series(0, dimensions - 1) AS at
    ) AS number
)"#,
        "ALTER TABLE index_vectors DROP COLUMN vector",
        "ALTER TABLE index_vectors RENAME COLUMN numbers TO vector",
        r#"ALTER TABLE index_vectors ALTER COLUMN vector SET NOT NULL,
    ADD CONSTRAINT index_vectors_vector_check CHECK (dimensions > 0 AND cardinality(vector) = dimensions)"#,
    ],
    sqlite: &[],
    mariadb: &[],
};

const DOWN: Statements = Statements {
    postgres: &[
        "ALTER TABLE index_vectors DROP CONSTRAINT index_vectors_vector_check",
        "ALTER TABLE index_vectors ADD COLUMN bytes bytea",
        r#"UPDATE index_vectors SET bytes = (
    SELECT string_agg(substring(sent FROM 4 FOR 1) || substring(sent FROM 3 FOR 1) || substring(sent FROM 2 FOR 1)
        || substring(sent FROM 1 FOR 1), ''::bytea ORDER BY at)
    FROM (SELECT at, float4send(number) AS sent FROM unnest(vector) WITH ORDINALITY AS numbers (number, at)) AS sent
)"#,
        "ALTER TABLE index_vectors DROP COLUMN vector",
        "ALTER TABLE index_vectors RENAME COLUMN bytes TO vector",
        r#"ALTER TABLE index_vectors ALTER COLUMN vector SET NOT NULL,
    ADD CONSTRAINT index_vectors_vector_check CHECK (dimensions > 0 AND octet_length(vector) = 4 * dimensions)"#,
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
