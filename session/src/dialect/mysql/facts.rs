//! The catalogue of MySQL and MariaDB: the question, in one statement, and what its answer means.

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{DbBackend, Statement, Value};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::table::{
    columns::ColumnMeta,
    facts::{Action, ColumnFacts, Deed, DocumentColumn, Equality, EventFacts, Identity, Stored, TableFacts},
    kinds::{ColumnKind, Form},
    meta::TableMeta,
    texts::KeptTexts,
};

/// A document. `{s}` stands for the schema and `{n}` for the table; each is a parameter.
const QUESTION: &str = r"
SELECT CAST(JSON_OBJECT(
  'version', VERSION(),
  'packet', @@max_allowed_packet,
  'foreign_keys', IF(@@foreign_key_checks, 1, 0),
  'schema', t.TABLE_SCHEMA,
  'name', t.TABLE_NAME,
  'kind', t.TABLE_TYPE,
  'columns', (SELECT JSON_ARRAYAGG(JSON_OBJECT('name', COLUMN_NAME, 'type', DATA_TYPE, 'declared', COLUMN_TYPE, 'scale', NUMERIC_SCALE,
      'precision', DATETIME_PRECISION, 'length', CHARACTER_MAXIMUM_LENGTH, 'charset', CHARACTER_SET_NAME, 'collation', COLLATION_NAME,
      'extra', EXTRA, 'key', COLUMN_KEY))
    FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {s} AND TABLE_NAME = {n}),
  'triggers', (SELECT JSON_ARRAYAGG(EVENT_MANIPULATION) FROM information_schema.TRIGGERS
    WHERE EVENT_OBJECT_SCHEMA = {s} AND EVENT_OBJECT_TABLE = {n}),
  'unique', (SELECT JSON_ARRAYAGG(JSON_OBJECT('key', INDEX_NAME, 'column', COLUMN_NAME, 'part', SUB_PART)) FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = {s} AND TABLE_NAME = {n} AND NON_UNIQUE = 0),
  'sees_triggers', IF(EXISTS (SELECT 1 FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER')
    OR EXISTS (SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER' AND {s} LIKE TABLE_SCHEMA)
    OR EXISTS (SELECT 1 FROM information_schema.TABLE_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER' AND TABLE_SCHEMA = {s} AND TABLE_NAME = {n}), 1, 0),
  'actions', (SELECT JSON_ARRAYAGG(JSON_OBJECT('key', k.CONSTRAINT_NAME, 'child', k.TABLE_NAME, 'at', k.ORDINAL_POSITION, 'from', k.COLUMN_NAME,
      'to', k.REFERENCED_COLUMN_NAME, 'on_delete', r.DELETE_RULE, 'on_update', r.UPDATE_RULE))
    FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
      ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
    WHERE k.TABLE_SCHEMA = {s} AND r.CONSTRAINT_SCHEMA = {s} AND k.REFERENCED_TABLE_SCHEMA = {s} AND k.REFERENCED_TABLE_NAME = {n}),
  'acting', (SELECT JSON_ARRAYAGG(JSON_ARRAY(TABLE_NAME, REFERENCED_TABLE_NAME)) FROM information_schema.REFERENTIAL_CONSTRAINTS
    WHERE CONSTRAINT_SCHEMA = {s} AND NOT (DELETE_RULE IN ('RESTRICT', 'NO ACTION') AND UPDATE_RULE IN ('RESTRICT', 'NO ACTION')))
) AS char) FROM information_schema.TABLES t WHERE t.TABLE_SCHEMA = {s} AND t.TABLE_NAME = {n}";

#[derive(Deserialize)]
struct Answer {
    version: String,
    packet: usize,
    foreign_keys: i64,
    schema: String,
    name: String,
    kind: String,
    #[serde(deserialize_with = "nested")]
    columns: Vec<AnsweredColumn>,
    #[serde(deserialize_with = "nested")]
    triggers: Vec<String>,
    #[serde(deserialize_with = "nested")]
    unique: Vec<AnsweredKey>,
    sees_triggers: i64,
    #[serde(deserialize_with = "nested")]
    actions: Vec<AnsweredAction>,
    /// Referring and referred table of each foreign key that acts.
    #[serde(deserialize_with = "nested")]
    acting: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct AnsweredColumn {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    declared: String,
    scale: Option<i64>,
    precision: Option<i64>,
    length: Option<i64>,
    charset: Option<String>,
    collation: Option<String>,
    extra: String,
    key: String,
}

/// A column of a unique key; none where it is an expression, and perhaps only its beginning.
#[derive(Deserialize)]
struct AnsweredKey {
    key: String,
    column: Option<String>,
    part: Option<i64>,
}

#[derive(Deserialize)]
struct AnsweredAction {
    key: String,
    child: String,
    at: i64,
    from: String,
    to: String,
    on_delete: String,
    on_update: String,
}

/// A list in the document; MariaDB puts the lists of its subqueries into texts. None is an empty one.
fn nested<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let list = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => Ok(Vec::new()),
        serde_json::Value::String(text) => serde_json::from_str(&text),
        list => serde_json::from_value(list),
    };
    list.map_err(serde::de::Error::custom)
}

pub(super) fn question(table: &TableMeta) -> Statement {
    let (mut sql, mut values) = (String::with_capacity(QUESTION.len() + 128), Vec::new());
    let mut parts = QUESTION.split('{');
    sql += parts.next().unwrap_or_default();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or_default();
        let schema = name == "s";
        sql += if schema { "COALESCE(?, DATABASE())" } else { "?" };
        sql += rest;
        values.push(match schema {
            true => Value::from(table.schema.clone()),
            false => table.entity.into(),
        });
    }
    Statement::from_sql_and_values(DbBackend::MySql, sql, values)
}

pub(super) fn facts(table: &TableMeta, answer: &str) -> Result<TableFacts, serde_json::Error> {
    let answer: Answer = serde_json::from_str(answer)?;
    let plain = answer.kind == "BASE TABLE";
    let server = Server::of(&answer.version);
    // No trigger can write to the table whose rows fire it, but each may change the row that is on its way. Whoever may not see
    // them does not know whether there are any.
    let hidden = answer.sees_triggers == 0;
    let event = |of: &str, answers: bool| {
        let seen = hidden || answer.triggers.iter().any(|event| event == of);
        EventFacts {
            row_by_row: !plain || seen,
            rewrites: seen,
            changes_afterwards: false,
            instead: false,
            mute: !answers,
        }
    };
    let known: FxHashMap<String, &AnsweredColumn> =
        answer.columns.iter().map(|column| (column.name.to_lowercase(), column)).collect();
    let facts_of = |meta: &ColumnMeta| {
        known.get(&meta.name.to_lowercase()).map_or_else(ColumnFacts::default, |column| {
            let extra = column.extra.to_lowercase();
            ColumnFacts {
                stored: stored(meta, column),
                generated: extra.contains("generated") && !extra.contains("default_generated"),
                touched: extra.contains("on update"),
                counted: extra.contains("auto_increment"),
                document: server.documents.then(|| document(meta, column)).flatten(),
                equality: equality(meta, column),
                ..ColumnFacts::default()
            }
        })
    };
    let primary = answer.columns.iter().filter(|column| column.key == "PRI").map(|column| column.name.to_lowercase());
    let mut primary: Vec<String> = primary.collect();
    let mut own: Vec<String> = table.keys.iter().map(|key| table.columns[*key].name.to_lowercase()).collect();
    primary.sort_unstable();
    own.sort_unstable();
    let columns: Vec<ColumnFacts> = table.columns.iter().map(facts_of).collect();
    let named = |table: &str| Identity::Named { schema: answer.schema.clone(), table: table.to_owned() };
    let (actions, far, itself) = match answer.foreign_keys {
        0 => (Vec::new(), Vec::new(), false),
        _ => {
            let itself = answer.actions.iter().any(|action| action.child == answer.name);
            (foreign_keys(&answer), far(&answer).iter().map(|table| named(table)).collect(), itself)
        }
    };
    let (actions, refusing) = actions.into_iter().partition(Action::acts);
    // A small table would be read from its start, and each of its rows locked.
    let lookup = if plain && primary == own { " FORCE INDEX (PRIMARY)" } else { "" };
    Ok(TableFacts {
        identity: Some(named(&answer.name)),
        columns,
        insert: event("INSERT", server.returns),
        update: event("UPDATE", false),
        delete: event("DELETE", server.returns),
        copy: false,
        row_security: false,
        uncounted: false,
        tree: Vec::new(),
        micros: Vec::new(),
        generated: Vec::new(),
        unique: unique(&answer),
        // The rest is for the text, and for how values are wrapped up.
        most_bytes: Some(answer.packet / 4 * 3),
        rowid: None,
        lookup,
        names_rows: server.chooses && !lookup.is_empty(),
        actions,
        refusing,
        far,
        // Every foreign key is checked row by row.
        restricts_itself: itself,
        texts: KeptTexts::default(),
    })
}

/// What the server can do, by its version: `10.11.6-MariaDB-…`, or `8.0.36`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Server {
    /// INSERT and DELETE answer with RETURNING.
    returns: bool,
    /// A document is read as a table.
    documents: bool,
    /// CASE takes parameters as they come: MySQL decides when it prepares what kind they are.
    chooses: bool,
}

impl Server {
    fn of(version: &str) -> Self {
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0_u32));
        let mut next = || numbers.next().unwrap_or(0);
        let version_number = (next(), next(), next());
        match version.contains("MariaDB") {
            true => {
                Server { returns: version_number >= (10, 5, 0), documents: version_number >= (10, 6, 0), chooses: true }
            }
            false => Server { returns: false, documents: version_number >= (8, 0, 4), chooses: false },
        }
    }
}

/// The unique keys of whole columns.
fn unique(answer: &Answer) -> Vec<Vec<String>> {
    let mut keys: FxHashMap<&str, Option<Vec<String>>> = FxHashMap::default();
    for row in &answer.unique {
        let columns = keys.entry(&row.key).or_insert_with(|| Some(Vec::new()));
        match (&row.column, row.part) {
            (Some(column), None) => columns.iter_mut().for_each(|columns| columns.push(column.to_lowercase())),
            _ => *columns = None,
        }
    }
    let mut keys: Vec<Vec<String>> = keys.into_values().flatten().collect();
    keys.iter_mut().for_each(|columns| columns.sort_unstable());
    keys
}

fn foreign_keys(answer: &Answer) -> Vec<Action> {
    let mut rows: Vec<&AnsweredAction> = answer.actions.iter().collect();
    rows.sort_by_key(|row| (&row.child, &row.key, row.at));
    let mut actions: Vec<(&str, &str, Action)> = Vec::new();
    for row in rows {
        if !actions.last().is_some_and(|(child, key, _)| *child == row.child && *key == row.key) {
            let child = Identity::Named { schema: answer.schema.clone(), table: row.child.clone() };
            // A change of a key never reaches other rows of the same table: it is refused instead.
            let on_update = if row.child == answer.name { Deed::None } else { deed(&row.on_update) };
            let on_delete = deed(&row.on_delete);
            let action = Action { child, from: Vec::new(), to: Vec::new(), on_delete, on_update };
            actions.push((&row.child, &row.key, action));
        }
        let Some((_, _, action)) = actions.last_mut() else { continue };
        action.from.push(row.from.clone());
        action.to.push(row.to.clone());
    }
    actions.into_iter().map(|(_, _, action)| action).collect()
}

/// The tables that foreign keys which act reach by way of others.
fn far(answer: &Answer) -> Vec<&str> {
    let children = |of: &str| -> Vec<&str> {
        let refer = |(_, parent): &&(String, String)| parent == of;
        answer.acting.iter().filter(refer).map(|(child, _)| child.as_str()).collect()
    };
    let (mut seen, mut open) = (FxHashSet::default(), Vec::new());
    for near in children(&answer.name) {
        open.extend(children(near));
    }
    while let Some(table) = open.pop() {
        if seen.insert(table) {
            open.extend(children(table));
        }
    }
    let mut far: Vec<&str> = seen.into_iter().collect();
    far.sort_unstable();
    far
}

fn deed(name: &str) -> Deed {
    match name {
        "CASCADE" => Deed::Cascade,
        "SET NULL" => Deed::SetNull,
        "SET DEFAULT" => Deed::SetDefault,
        _ => Deed::None,
    }
}

/// A value is stored as it is only if the column's type is one that the driver sends it as, and reads it from.
fn stored(meta: &ColumnMeta, column: &AnsweredColumn) -> Stored {
    let extra = column.extra.to_lowercase();
    if extra.contains("generated") && !extra.contains("default_generated") || !meta.is_simple() {
        return Stored::Unknown;
    }
    if meta.is_cast(&super::MYSQL) {
        return Stored::Unknown;
    }
    let kind = column.kind.as_str();
    let of = |types: &[&str]| if types.contains(&kind) { Stored::AsSent } else { Stored::Unknown };
    let moment = |types: &[&str]| match types.contains(&kind) && column.precision == Some(6) {
        true => Stored::UnlessFiner,
        false => Stored::Unknown,
    };
    let integer = || of(&["tinyint", "smallint", "mediumint", "int", "bigint"]);
    match ColumnKind::of(&meta.kind) {
        ColumnKind::Bool => of(&["tinyint"]),
        ColumnKind::TinyInt
        | ColumnKind::SmallInt
        | ColumnKind::Int
        | ColumnKind::BigInt
        | ColumnKind::TinyUnsigned
        | ColumnKind::SmallUnsigned
        | ColumnKind::Unsigned
        | ColumnKind::BigUnsigned => integer(),
        // `float(7,4)` rounds.
        ColumnKind::Float if kind == "float" && column.scale.is_none() => Stored::UnlessOddFloat,
        ColumnKind::Double if kind == "double" && column.scale.is_none() => Stored::UnlessOddFloat,
        ColumnKind::Float | ColumnKind::Double => Stored::Unknown,
        ColumnKind::String | ColumnKind::Char => match kind {
            "varchar" => Stored::UnlessSpaces,
            "tinytext" | "text" | "mediumtext" | "longtext" => Stored::AsSent,
            _ => Stored::Unknown,
        },
        // A value is stored as it was declared, in whatever spelling it comes.
        ColumnKind::Enum => Stored::Unknown,
        ColumnKind::Bytes => of(&["varbinary", "tinyblob", "blob", "mediumblob", "longblob"]),
        // MariaDB keeps the text, MySQL the document.
        ColumnKind::Json => of(&["json", "longtext"]),
        ColumnKind::ChronoDate => of(&["date"]),
        ColumnKind::ChronoTime => moment(&["time"]),
        ColumnKind::ChronoDateTime
        | ColumnKind::ChronoDateTimeUtc
        | ColumnKind::ChronoDateTimeLocal
        | ColumnKind::ChronoDateTimeWithTimeZone => moment(&["datetime", "timestamp"]),
        ColumnKind::Uuid if kind == "binary" && column.length == Some(16) => Stored::AsSent,
        ColumnKind::Uuid | ColumnKind::Foreign => Stored::Unknown,
    }
}

/// How a column's values stand in a document that is read as a table. Texts are as long as they come, so that it is the column
/// that refuses those that do not fit.
fn document(meta: &ColumnMeta, column: &AnsweredColumn) -> Option<DocumentColumn> {
    let kind = column.kind.as_str();
    let plain = |declared: &str| Some(DocumentColumn { declared: declared.to_owned(), hexadecimal: false });
    let text = || {
        let collation = column.collation.as_deref().filter(|name| name.starts_with("utf8mb4"));
        let collate = collation.map_or(String::new(), |name| format!(" COLLATE {name}"));
        plain(&format!("longtext CHARACTER SET utf8mb4{collate}"))
    };
    if meta.array {
        return None;
    }
    match ColumnKind::of(&meta.kind).form()? {
        Form::Bool | Form::Small | Form::Int | Form::Big => match column.declared.contains("unsigned") {
            true => plain("bigint unsigned"),
            false => plain("bigint"),
        },
        Form::Float | Form::Double => plain("double"),
        Form::Text | Form::Char => text(),
        Form::Json => plain("longtext CHARACTER SET utf8mb4"),
        Form::Bytes | Form::Uuid if kind == "uuid" => None,
        Form::Bytes | Form::Uuid => {
            Some(DocumentColumn { declared: "longtext CHARACTER SET ascii".to_owned(), hexadecimal: true })
        }
        Form::Date => plain("date"),
        Form::Time => plain("time(6)"),
        Form::Naive | Form::Utc | Form::Offset => plain("datetime(6)"),
    }
}

/// How texts compare: every collation but those of bytes folds, if only the spaces at the end.
fn equality(meta: &ColumnMeta, column: &AnsweredColumn) -> Option<Equality> {
    let text = matches!(ColumnKind::of(&meta.kind), ColumnKind::String | ColumnKind::Char);
    let (charset, collation) = (column.charset.as_deref()?, column.collation.as_deref()?);
    let cast = (charset != "utf8mb4").then(|| format!("CHAR CHARACTER SET {charset}"));
    let of_bytes = cast.is_none() && ["utf8mb4_0900_bin", "utf8mb4_nopad_bin"].contains(&collation);
    text.then(|| Equality { cast, collate: Some(collation.to_owned()), of_bytes })
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn y2_what_a_server_can_do_is_told_by_its_version() {
        let server = |returns, documents, chooses| Server { returns, documents, chooses };
        for (version, can) in [
            ("10.11.6-MariaDB-0+deb12u1", server(true, true, true)),
            ("11.4.2-MariaDB", server(true, true, true)),
            ("10.5.9-MariaDB-log", server(true, false, true)),
            ("10.3.39-MariaDB", server(false, false, true)),
            ("8.0.36", server(false, true, false)),
            ("8.0.3-rc-log", server(false, false, false)),
            ("5.7.44", server(false, false, false)),
            ("9.1.0", server(false, true, false)),
            ("", server(false, false, false)),
        ] {
            assert_eq!(Server::of(version), can, "{version}");
        }
    }
}
