//! PostgreSQL.

use sea_orm::{
    DbBackend, Value,
    sea_query::{ArrayType, LockType},
};

use super::{Dialect, Nearest, Terms, Vectors, Walks};
use crate::sql::{Sql, in_spaces};

pub(super) static POSTGRES: Dialect = Dialect {
    backend: DbBackend::Postgres,
    policies: true,
    advisory_locks: true,
    isolation: None,
    walks: Walks::AsAsked,
    lateral: true,
    correlated_tables: true,
    values_are_rows: true,
    packed: None,
    vectors: Vectors {
        kept_as: "real[]",
        value: |vector| {
            let numbers = vector.iter().map(|number| Value::Float(Some(*number))).collect();
            Value::Array(ArrayType::Float, Some(Box::new(numbers)))
        },
        numbers: |row, column| row.try_get("", column),
        // The type of pgvector, made of an array where it is compared: no table depends on the extension.
        nearest: Some(Nearest {
            can: "SELECT 1 AS can WHERE to_regtype('vector') IS NOT NULL",
            distance: ["CAST(", " AS vector) <=> CAST(CAST(", " AS real[]) AS vector)"],
        }),
    },
    vector_extension: Some(
        "SELECT installed_version AS installed, default_version AS available FROM pg_available_extensions WHERE name = 'vector'",
    ),
    end_lock: LockType::KeyShare,
    numbered_parameters: true,
    tables: "SELECT tablename AS name FROM pg_catalog.pg_tables WHERE schemaname = current_schema()",
    lock_events: Some("LOCK TABLE outbox_events IN SHARE ROW EXCLUSIVE MODE"),
    for_update: " FOR UPDATE",
    order_held: " ORDER BY n.uri FOR UPDATE",
    no: "false",
    yes: "true",
    separator: "chr(1)",
    after_separator: "chr(2)",
    greatest: "greatest",
    position: "strpos",
    object: "jsonb_build_object",
    big: "bigint",
    integer: "integer",
    real: "double precision",
    text: ["CAST(", " AS text)"],
    key: ["", ""],
    backslash: r"'\'",
    materialized: "MATERIALIZED ",
    walk: "",
    not_by: "",
    one_of: [" = ANY (ARRAY(", "))"],
    list: "VALUES ",
    some_of: ["", ""],
    insert_new: ["INSERT INTO ", " ON CONFLICT DO NOTHING"],
    and_terms: " WHERE ",
    // In one look-up.
    last_state: " CROSS JOIN LATERAL (SELECT v.uri, v.version, v.change, v.recorded_at FROM node_versions v WHERE v.node_id = n.id \
                 ORDER BY v.version DESC LIMIT 1) h",
    or_update: super::on_conflict,
    uuid_text: |column| format!("{column}::text"),
    has_uuid_text: |column, text| format!("{column}::text = {text}"),
    bytes_of: |column| format!("octet_length({column})::bigint"),
    member: |column, key| format!("{column} ->> '{key}'"),
    // A parameter of another width is another function.
    count,
    first_segment: |sql, length| {
        sql.with("split_part(substr(uri, ? + 2), '/', 1)", [count(length)]);
    },
    segments,
    has_metadata: |sql, key, value| {
        sql.push(" AND n.metadata -> CAST(")
            .bind(key)
            .push(" AS text) @> CAST(")
            .bind(value.clone())
            .push(" AS jsonb)");
    },
    kept_terms: |terms| terms,
    terms_of: |kept| kept,
    terms,
};

fn count(number: i64) -> Value {
    i32::try_from(number).unwrap_or(i32::MAX).into()
}

fn segments(sql: &mut Sql, key: &str, skip: i64, depth: i64) {
    let skip = count(skip);
    if depth == 1 {
        sql.with(&format!("split_part(substr({key}, ? + 1), chr(1), 1)"), [skip]);
        return;
    }
    let segments = format!("string_to_array(substr({key}, ? + 1), chr(1))");
    sql.with(&format!("array_to_string(({segments})[1:?], chr(1))"), [skip, count(depth)]);
}

/// As a subquery of its own, which is always asked by the key.
fn terms(sql: &mut Sql, terms: Terms<'_>) {
    sql.push("LATERAL (SELECT i.record, i.frequency, i.length FROM index_terms i WHERE ");
    in_spaces(sql, "i.space_id", terms.account, terms.spaces);
    sql.push(&format!(" AND i.term = {}.term", terms.question));
    if let Some(record) = terms.record {
        sql.push(&format!(" AND i.record = {record}"));
    }
    sql.push(" OFFSET 0) t");
}
