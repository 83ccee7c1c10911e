//! MariaDB: identifiers are bytes, URIs are ASCII texts, and others are compared by their bytes, as the columns say.
//!
//! The driver has `||` join texts, and writing units quote names as the standard does. A unit that only reads may be one statement
//! on a connection that does not: such a statement names nothing that would have to be quoted.

use sea_orm::{DbBackend, IsolationLevel, Value, sea_query::LockType};
use serde_json::Value as Json;

use super::{AS_BYTES, Dialect, FROM_BYTES, Terms, Vectors, Walks};
use crate::sql::Sql;

pub(super) static MARIADB: Dialect = Dialect {
    backend: DbBackend::MySql,
    policies: false,
    advisory_locks: true,
    // As on PostgreSQL: each statement sees what is committed, and locks rows, not the gaps between them.
    isolation: Some(IsolationLevel::ReadCommitted),
    walks: Walks::Counted,
    lateral: false,
    correlated_tables: false,
    values_are_rows: false,
    packed: None,
    vectors: Vectors { kept_as: "BINARY", value: AS_BYTES, numbers: FROM_BYTES, nearest: None },
    vector_extension: None,
    end_lock: LockType::Share,
    numbered_parameters: false,
    tables: "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()",
    // Acknowledgements hold the events that they are about.
    lock_events: Some("SELECT id FROM outbox_events WHERE finished_at IS NULL FOR UPDATE"),
    for_update: " FOR UPDATE",
    order_held: " ORDER BY n.uri FOR UPDATE",
    no: "0",
    yes: "1",
    separator: "char(1 USING ascii)",
    after_separator: "char(2 USING ascii)",
    greatest: "greatest",
    position: "instr",
    object: "json_object",
    big: "SIGNED",
    integer: "SIGNED",
    real: "DOUBLE",
    text: ["CONVERT(", " USING utf8mb4) COLLATE utf8mb4_nopad_bin"],
    // An expression of another character set than the column's is one that no index answers.
    key: ["CONVERT(", " USING ascii)"],
    backslash: r"'\\'",
    materialized: "",
    // A walk ends by itself, and not where the server thinks that it has gone on for too long.
    walk: "SET STATEMENT max_recursive_iterations = 1000000 FOR ",
    not_by: "",
    one_of: [" IN (", ")"],
    list: "",
    some_of: ["SELECT * FROM (", ") AS some"],
    insert_new: ["INSERT IGNORE INTO ", ""],
    and_terms: " AND ",
    last_state: " JOIN node_versions h ON h.node_id = n.id AND h.version = (SELECT max(v.version) FROM node_versions v \
                 WHERE v.node_id = n.id)",
    or_update: |sql, _, columns| {
        let set: Vec<String> = columns.iter().map(|column| format!("{column} = VALUES({column})")).collect();
        sql.push(" ON DUPLICATE KEY UPDATE ").push(&set.join(", "));
    },
    uuid_text: |column| format!("lower(concat_ws('-', {}))", super::hex_parts(column).join(", ")),
    has_uuid_text: super::has_bytes_of,
    bytes_of: |column| format!("octet_length({column})"),
    member: |column, key| format!("json_value({column}, '$.{key}')"),
    count: Value::from,
    first_segment: |sql, length| {
        sql.with("substring_index(substr(uri, ? + 2), '/', 1)", [length.into()]);
    },
    segments: |sql, key, skip, depth| {
        let segments = format!("substring_index(substr({key}, ? + 1), char(1 USING ascii), ?)");
        sql.with(&segments, [skip.into(), depth.into()]);
    },
    has_metadata: |sql, key, value| {
        let path = format!("$.{}", Json::from(key));
        sql.push(" AND json_contains(n.metadata, ").bind(value.to_string()).push(", ").bind(path).push(")");
    },
    kept_terms,
    terms_of,
    terms,
};

/// A list of pairs: the keys of an object are no rows there.
fn kept_terms(terms: Json) -> Json {
    match terms {
        Json::Object(terms) => {
            terms.into_iter().map(|(term, frequency)| Json::from(vec![term.into(), frequency])).collect()
        }
        other => other,
    }
}

fn terms_of(kept: Json) -> Json {
    let Json::Array(pairs) = kept else { return kept };
    let pair = |pair: Json| match pair {
        Json::Array(pair) => match <[Json; 2]>::try_from(pair) {
            Ok([Json::String(term), frequency]) => Some((term, frequency)),
            _ => None,
        },
        _ => None,
    };
    Json::Object(pairs.into_iter().filter_map(pair).collect())
}

fn terms(sql: &mut Sql, terms: Terms<'_>) {
    sql.push("index_spaces s STRAIGHT_JOIN index_terms t WHERE s.account_id = ").bind(terms.account);
    sql.and_owned("s.owner_space", terms.spaces);
    sql.push(&format!(" AND t.space_id = s.id AND t.term = {}.term", terms.question));
    if let Some(record) = terms.record {
        sql.push(&format!(" AND t.record = {record}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn w5_terms_are_kept_as_pairs_and_read_as_they_were() {
        let terms = json!({ "lake": 3, "a/b": 1 });
        let kept = kept_terms(terms.clone());
        assert_eq!(kept, json!([["a/b", 1], ["lake", 3]]));
        assert_eq!(terms_of(kept), terms);
    }
}
