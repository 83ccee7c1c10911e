//! SQLite: one unit writes at a time, and identifiers are bytes.

use sea_orm::{DbBackend, Value, sea_query::LockType};

use super::{AS_BYTES, Dialect, FROM_BYTES, Packed, Terms, Vectors, Walks};
use crate::sql::Sql;

pub(super) static SQLITE: Dialect = Dialect {
    backend: DbBackend::Sqlite,
    policies: false,
    // The unit holds the only write lock.
    advisory_locks: false,
    isolation: None,
    walks: Walks::Limited,
    lateral: false,
    correlated_tables: true,
    values_are_rows: true,
    packed: Some(Packed { around: [PACKED, ")"] }),
    vectors: Vectors { kept_as: "blob", value: AS_BYTES, numbers: FROM_BYTES, nearest: None },
    vector_extension: None,
    end_lock: LockType::KeyShare,
    numbered_parameters: false,
    tables: "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    lock_events: None,
    for_update: "",
    order_held: "",
    no: "0",
    yes: "1",
    separator: "char(1)",
    after_separator: "char(2)",
    greatest: "max",
    position: "instr",
    object: "json_object",
    big: "bigint",
    integer: "integer",
    real: "double precision",
    text: ["CAST(", " AS text)"],
    key: ["", ""],
    backslash: r"'\'",
    materialized: "MATERIALIZED ",
    walk: "",
    // It would rather go through all of an account than look a few rows up.
    not_by: "+",
    one_of: [" IN (", ")"],
    list: "VALUES ",
    some_of: ["", ""],
    insert_new: ["INSERT INTO ", " ON CONFLICT DO NOTHING"],
    and_terms: " AND ",
    // It has no LATERAL.
    last_state: " JOIN node_versions h ON h.node_id = n.id AND h.version = (SELECT max(v.version) FROM node_versions v \
                 WHERE v.node_id = n.id)",
    or_update: super::on_conflict,
    uuid_text: |column| format!("lower({})", super::hex_parts(column).join(" || '-' || ")),
    has_uuid_text: super::has_bytes_of,
    bytes_of: |column| format!("octet_length({column})"),
    member: |column, key| format!("{column} ->> '{key}'"),
    count: Value::from,
    first_segment: |sql, length| {
        let rest = "substr(uri, ? + 2)";
        let first = format!("substr({rest}, 1, instr({rest} || '/', '/') - 1)");
        sql.with(&first, [length.into(), length.into()]);
    },
    segments,
    has_metadata,
    kept_terms: |terms| terms,
    terms_of: |kept| kept,
    terms,
};

/// The rows of a page as one: the driver hands each row to another thread, which costs more than to find it. What it aggregates
/// comes in the order of the rows, which is that of the page.
const PACKED: &str = "SELECT json_group_array(json_array(tree, is_folder, CASE WHEN id IS NOT NULL THEN hex(id) END, node_type, \
                      version, abstract, content_bytes, updated_at)) FROM (";

fn segments(sql: &mut Sql, key: &str, skip: i64, depth: i64) {
    if depth == 1 {
        let rest = format!("substr({key}, ? + 1)");
        let first = format!("substr({rest}, 1, instr({rest} || char(1), char(1)) - 1)");
        sql.with(&first, [skip.into(), skip.into()]);
        return;
    }
    // A key has only characters that mean nothing in JSON.
    let list = format!("'[\"' || replace(substr({key}, ? + 1), char(1), '\",\"') || '\"]'");
    let segments = format!("SELECT group_concat(j.value, char(1)) FROM json_each({list}) j WHERE j.key < ?");
    sql.with(&format!("({segments})"), [skip.into(), depth.into()]);
}

fn has_metadata(sql: &mut Sql, key: &str, value: &serde_json::Value) {
    let (kinds, value): (&str, Option<Value>) = match value {
        serde_json::Value::Bool(true) => ("'true'", None),
        serde_json::Value::Bool(false) => ("'false'", None),
        serde_json::Value::Number(number) => {
            let value = number.as_i64().map_or_else(|| number.as_f64().into(), Value::from);
            ("'integer', 'real'", Some(value))
        }
        serde_json::Value::String(text) => ("'text'", Some(text.as_str().into())),
        _ => ("'null'", None),
    };
    let is = |sql: &mut Sql, row: &str| {
        sql.push(&format!("{row}.type IN ({kinds})"));
        if let Some(value) = &value {
            sql.push(&format!(" AND {row}.value = ")).bind(value.clone());
        }
    };
    sql.push(" AND EXISTS (SELECT 1 FROM json_each(n.metadata) m WHERE m.key = ").bind(key).push(" AND ((");
    is(sql, "m");
    sql.push(") OR (m.type = 'array' AND EXISTS (SELECT 1 FROM json_each(m.value) e WHERE ");
    is(sql, "e");
    sql.push("))))");
}

/// It keeps the order of a CROSS JOIN. Space by space: where a record is given too, it would rather make an index of all words
/// for it.
fn terms(sql: &mut Sql, terms: Terms<'_>) {
    sql.push("index_spaces s CROSS JOIN index_terms t WHERE s.account_id = ").bind(terms.account);
    sql.and_owned("s.owner_space", terms.spaces);
    sql.push(&format!(" AND t.space_id = s.id AND t.term = {}.term", terms.question));
    if let Some(record) = terms.record {
        sql.push(&format!(" AND t.record = {record}"));
    }
}
