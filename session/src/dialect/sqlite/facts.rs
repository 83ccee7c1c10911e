//! SQLite's catalogue: the question, in one statement, and what its answer means.

use rustc_hash::FxHashMap;
use sea_orm::{DbBackend, Statement};
use serde::Deserialize;

use crate::table::{
    columns::ColumnMeta,
    facts::{Action, ColumnFacts, Deed, Equality, EventFacts, Identity, Rowid, Stored, TableFacts},
    kinds::ColumnKind,
    meta::TableMeta,
    sql::quote,
    texts::KeptTexts,
};

/// A document. `{master}` stands for the schema's table of contents: its name cannot be a parameter.
const QUESTION: &str = r#"
WITH RECURSIVE acting(child, parent) AS MATERIALIZED (
  SELECT DISTINCT lower(m.name), lower(f."table") FROM {master} m, pragma_foreign_key_list(m.name{of_schema}) f
  WHERE m.type = 'table' AND (f.on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT') OR f.on_update IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))
),
far(name) AS (
  SELECT b.child FROM acting a JOIN acting b ON b.parent = a.child WHERE a.parent = lower(?1)
  UNION SELECT b.child FROM far JOIN acting b ON b.parent = far.name
)
SELECT json_object(
  'far', (SELECT json_group_array(name) FROM far),
  'schema', l.schema,
  'name', l.name,
  'kind', l.type,
  'without_rowid', l.wr,
  'sql', (SELECT sql FROM {master} WHERE type = 'table' AND name = l.name),
  'foreign_keys', (SELECT foreign_keys FROM pragma_foreign_keys),
  'sequence', EXISTS (SELECT 1 FROM {master} WHERE name = 'sqlite_sequence'),
  'columns', (SELECT json_group_array(json_object('name', x.name, 'type', x.type, 'key', x.pk, 'hidden', x.hidden))
              FROM pragma_table_xinfo(l.name, l.schema) x),
  'triggers', (SELECT json_group_array(sql) FROM (SELECT sql, type, tbl_name FROM {master} UNION ALL SELECT sql, type, tbl_name FROM sqlite_temp_master)
               WHERE type = 'trigger' AND tbl_name = l.name COLLATE NOCASE),
  'key_index', EXISTS (SELECT 1 FROM pragma_index_list(l.name, l.schema) WHERE origin = 'pk'),
  'collations', (SELECT json_group_array(json_array(c.name, c.coll)) FROM pragma_index_list(l.name, l.schema) i, pragma_index_xinfo(i.name, l.schema) c
                 WHERE c.key = 1 AND c.name IS NOT NULL AND i.origin <> 'c'),
  'actions', (SELECT json_group_array(json_array(m.name, f.id, f.seq, f."from", f."to", f.on_delete, f.on_update))
              FROM {master} m, pragma_foreign_key_list(m.name, l.schema) f
              WHERE m.type = 'table' AND f."table" = l.name COLLATE NOCASE)
) FROM pragma_table_list l
WHERE l.name = ?1 COLLATE NOCASE AND ({schema})
ORDER BY CASE l.schema WHEN 'temp' THEN 0 WHEN 'main' THEN 1 ELSE 2 END LIMIT 1"#;

#[derive(Deserialize)]
struct Answer {
    schema: String,
    name: String,
    kind: String,
    far: Vec<String>,
    without_rowid: i64,
    sql: Option<String>,
    foreign_keys: i64,
    sequence: i64,
    columns: Vec<AnsweredColumn>,
    triggers: Vec<String>,
    key_index: i64,
    collations: Vec<(String, String)>,
    actions: Vec<AnsweredAction>,
}

/// One column of a foreign key: the referring table, the key's number, the column's place, both columns, what is done when
/// the row referred to is deleted, and when it changes.
type AnsweredAction = (String, i64, i64, Option<String>, Option<String>, String, String);

#[derive(Deserialize)]
struct AnsweredColumn {
    name: String,
    #[serde(rename = "type")]
    declared: String,
    key: i64,
    hidden: i64,
}

/// What `PRAGMA table_xinfo` calls generated columns, virtual and stored.
const GENERATED: [i64; 2] = [2, 3];

pub(super) fn question(table: &TableMeta, schema: Option<&str>) -> Statement {
    let of_schema = schema.map_or(String::new(), |schema| format!(", '{}'", schema.replace('\'', "''")));
    let (schema, master) = match schema {
        // Without a schema SQLite looks among temporary tables, then in the main file, then in those attached.
        None => ("1".to_owned(), "sqlite_master".to_owned()),
        Some(schema) => (
            format!("l.schema = '{}' COLLATE NOCASE", schema.replace('\'', "''")),
            format!("{}.sqlite_master", quote(schema)),
        ),
    };
    let sql = QUESTION.replace("{schema}", &schema).replace("{of_schema}", &of_schema).replace("{master}", &master);
    Statement::from_sql_and_values(DbBackend::Sqlite, sql, [table.entity.into()])
}

/// The question once more where the table was found in a file that its name does not tell: only there stands all of what is to be
/// known.
pub(super) fn second_question(table: &TableMeta, facts: &TableFacts) -> Option<Statement> {
    match &facts.identity {
        Some(Identity::Named { schema, .. }) if table.schema.is_none() && schema != "main" => {
            Some(question(table, Some(schema)))
        }
        _ => None,
    }
}

pub(super) fn facts(table: &TableMeta, answer: &str) -> Result<TableFacts, serde_json::Error> {
    let answer: Answer = serde_json::from_str(answer)?;
    let plain = answer.kind == "table";
    let triggers: Vec<TriggerEvent> =
        answer.triggers.iter().filter(|sql| !only_checks(sql)).map(|sql| event_of(sql)).collect();
    // No trigger of SQLite can change the row that is on its way, but each may write by itself, this row too.
    let event = |of: TriggerEvent| {
        let seen = triggers.iter().any(|event| *event == of || *event == TriggerEvent::Unknown);
        EventFacts { row_by_row: !plain || seen, rewrites: seen, changes_afterwards: seen, instead: false, mute: false }
    };
    let known: FxHashMap<String, &AnsweredColumn> =
        answer.columns.iter().map(|column| (column.name.to_lowercase(), column)).collect();
    let collations: FxHashMap<String, &String> =
        answer.collations.iter().map(|(name, collation)| (name.to_lowercase(), collation)).collect();
    let facts_of = |meta: &ColumnMeta| {
        let name = meta.name.to_lowercase();
        known.get(&name).map_or_else(ColumnFacts::default, |column| ColumnFacts {
            stored: stored(meta, column),
            generated: GENERATED.contains(&column.hidden),
            always: false,
            draw: None,
            equality: equality(meta, collations.get(&name).map_or("BINARY", |name| name)),
            ..ColumnFacts::default()
        })
    };
    let columns: Vec<ColumnFacts> = table.columns.iter().map(facts_of).collect();
    // The key of one column that needs no index is the row's own number, whatever its type is called.
    let keys: Vec<&AnsweredColumn> = answer.columns.iter().filter(|column| column.key > 0).collect();
    let rowid = match (&keys[..], &table.keys[..]) {
        ([key], [own])
            if plain
                && answer.without_rowid == 0
                && answer.key_index == 0
                && table.columns[*own].name.eq_ignore_ascii_case(&key.name) =>
        {
            let written = answer.sql.as_deref().is_some_and(|sql| sql.to_ascii_uppercase().contains("AUTOINCREMENT"));
            Some(Rowid { column: *own, autoincrement: written && answer.sequence != 0 })
        }
        _ => None,
    };
    let restricts = |(child, .., on_delete, on_update): &AnsweredAction| {
        child.eq_ignore_ascii_case(&answer.name) && (on_delete == "RESTRICT" || on_update == "RESTRICT")
    };
    let restricts_itself = answer.foreign_keys != 0 && answer.actions.iter().any(restricts);
    let (foreign_keys, far) = match answer.foreign_keys {
        0 => (Vec::new(), Vec::new()),
        _ => {
            let named =
                |table: &String| Identity::Named { schema: answer.schema.to_lowercase(), table: table.to_lowercase() };
            (foreign_keys(table, &answer), answer.far.iter().map(named).collect())
        }
    };
    let (actions, refusing) = foreign_keys.into_iter().partition(Action::acts);
    Ok(TableFacts {
        identity: Some(Identity::Named { schema: answer.schema.to_lowercase(), table: answer.name.to_lowercase() }),
        columns,
        insert: event(TriggerEvent::Insert),
        update: event(TriggerEvent::Update),
        delete: event(TriggerEvent::Delete),
        copy: false,
        row_security: false,
        uncounted: answer.kind == "view",
        tree: Vec::new(),
        micros: Vec::new(),
        generated: Vec::new(),
        rowid,
        unique: Vec::new(),
        most_bytes: None,
        lookup: "",
        names_rows: false,
        actions,
        refusing,
        far,
        restricts_itself,
        texts: KeptTexts::default(),
    })
}

fn foreign_keys(table: &TableMeta, answer: &Answer) -> Vec<Action> {
    let mut actions: Vec<(&str, i64, Action)> = Vec::new();
    // Without columns of their own foreign keys refer to the key.
    let keys: Vec<&str> = table.keys.iter().map(|key| table.columns[*key].name).collect();
    let mut rows: Vec<_> = answer.actions.iter().collect();
    rows.sort_by_key(|(child, id, at, ..)| (child, *id, *at));
    for (child, id, at, from, to, on_delete, on_update) in rows {
        if !actions.last().is_some_and(|(name, number, _)| name == child && number == id) {
            let child_table = Identity::Named { schema: answer.schema.to_lowercase(), table: child.to_lowercase() };
            let (on_delete, on_update) = (deed(on_delete), deed(on_update));
            actions.push((child, *id, Action { child: child_table, from: vec![], to: vec![], on_delete, on_update }));
        }
        let Some((_, _, action)) = actions.last_mut() else { continue };
        let implied = usize::try_from(*at).ok().and_then(|at| keys.get(at)).map(|name| (*name).to_owned());
        action.from.extend(from.clone());
        action.to.extend(to.clone().or(implied));
    }
    actions.into_iter().map(|(_, _, action)| action).collect()
}

fn deed(name: &str) -> Deed {
    match name {
        "CASCADE" => Deed::Cascade,
        "SET NULL" => Deed::SetNull,
        "SET DEFAULT" => Deed::SetDefault,
        _ => Deed::None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TriggerEvent {
    Insert,
    Update,
    Delete,
    /// Any of them.
    Unknown,
}

/// The event of a trigger, from its own text: `CREATE TRIGGER name [BEFORE | AFTER | INSTEAD OF] event [OF …] ON …`. A text
/// that is not read with certainty counts as every event.
fn event_of(sql: &str) -> TriggerEvent {
    let Some(head) = words(sql) else { return TriggerEvent::Unknown };
    // The first word that is an event, before ON; names that are quoted are not among the words, a bare name may be one.
    let events = head.iter().filter_map(|word| match word.as_str() {
        "INSERT" => Some(TriggerEvent::Insert),
        "UPDATE" => Some(TriggerEvent::Update),
        "DELETE" => Some(TriggerEvent::Delete),
        _ => None,
    });
    match events.collect::<Vec<_>>()[..] {
        [event] => event,
        _ => TriggerEvent::Unknown,
    }
}

/// Whether a trigger changes nothing: there is no word in its body that writes. Such a one can only refuse rows.
fn only_checks(sql: &str) -> bool {
    const WRITING: [&str; 4] = ["INSERT", "UPDATE", "DELETE", "REPLACE"];
    let upper = sql.to_uppercase();
    let Some((_, body)) = upper.split_once("BEGIN") else { return false };
    !WRITING.iter().any(|word| body.contains(word))
}

/// The bare words of a text up to the first ON, in capitals; `None` if there is none, or a comment stands before it.
fn words(sql: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = sql;
    loop {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        if rest.starts_with("--") || rest.starts_with("/*") {
            return None;
        }
        if let Some(close) = closing(first) {
            let end = rest[1..].find(close)?;
            rest = &rest[end + 2..];
            continue;
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()).max(first.len_utf8());
        let word = rest[..length].to_uppercase();
        if word == "ON" {
            return Some(words);
        }
        words.push(word);
        rest = &rest[length..];
    }
}

fn closing(open: char) -> Option<char> {
    match open {
        '"' | '`' | '\'' => Some(open),
        '[' => Some(']'),
        _ => None,
    }
}

/// SQLite's rules for what a declared type prefers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

fn affinity(declared: &str) -> Affinity {
    let declared = declared.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    match () {
        () if has(&["INT"]) => Affinity::Integer,
        () if has(&["CHAR", "CLOB", "TEXT"]) => Affinity::Text,
        () if has(&["BLOB"]) || declared.is_empty() => Affinity::Blob,
        () if has(&["REAL", "FLOA", "DOUB"]) => Affinity::Real,
        () => Affinity::Numeric,
    }
}

/// A value is stored as it is unless the column prefers another class that it can be turned into.
fn stored(meta: &ColumnMeta, column: &AnsweredColumn) -> Stored {
    if GENERATED.contains(&column.hidden) || !meta.is_simple() || meta.is_cast(&super::SQLITE) {
        return Stored::Unknown;
    }
    let affinity = affinity(&column.declared);
    let within = |fitting: &[Affinity]| if fitting.contains(&affinity) { Stored::AsSent } else { Stored::Unknown };
    match ColumnKind::of(&meta.kind) {
        ColumnKind::Bool
        | ColumnKind::TinyInt
        | ColumnKind::SmallInt
        | ColumnKind::Int
        | ColumnKind::BigInt
        | ColumnKind::TinyUnsigned
        | ColumnKind::SmallUnsigned
        | ColumnKind::Unsigned
        | ColumnKind::BigUnsigned => within(&[Affinity::Integer, Affinity::Numeric, Affinity::Blob]),
        ColumnKind::Float | ColumnKind::Double => match affinity {
            Affinity::Text => Stored::Unknown,
            Affinity::Integer | Affinity::Blob | Affinity::Real | Affinity::Numeric => Stored::UnlessOddFloat,
        },
        ColumnKind::String | ColumnKind::Char | ColumnKind::Enum | ColumnKind::Json => {
            within(&[Affinity::Text, Affinity::Blob])
        }
        // Not a number in any spelling, so no column takes them for one.
        ColumnKind::ChronoDate
        | ColumnKind::ChronoTime
        | ColumnKind::ChronoDateTime
        | ColumnKind::ChronoDateTimeUtc
        | ColumnKind::ChronoDateTimeLocal
        | ColumnKind::ChronoDateTimeWithTimeZone
        | ColumnKind::Bytes
        | ColumnKind::Uuid => Stored::AsSent,
        ColumnKind::Foreign => Stored::Unknown,
    }
}

fn equality(meta: &ColumnMeta, collation: &str) -> Option<Equality> {
    let text = matches!(ColumnKind::of(&meta.kind), ColumnKind::String | ColumnKind::Char | ColumnKind::Enum);
    let folds = text && !collation.eq_ignore_ascii_case("BINARY");
    folds.then(|| Equality { cast: None, collate: Some(quote(collation)), of_bytes: false })
}

#[cfg(test)]
mod tests {
    use super::{TriggerEvent, event_of, only_checks};

    #[test]
    fn d1_a_trigger_that_only_refuses_rows_changes_none() {
        let check = "CREATE TRIGGER t BEFORE UPDATE ON a BEGIN SELECT RAISE(ABORT, 'no') WHERE NEW.v <= OLD.v; END";
        assert!(only_checks(check));
        assert!(!only_checks("CREATE TRIGGER t AFTER INSERT ON a BEGIN insert into b values (1); END"));
        assert!(!only_checks("CREATE TRIGGER \"begin\" AFTER INSERT ON a BEGIN UPDATE b SET c = 1; END"));
    }

    #[test]
    fn d1_the_event_of_a_trigger_is_read_from_its_text() {
        for (sql, event) in [
            ("CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET c = 1; END", TriggerEvent::Insert),
            (
                "create temp trigger if not exists main.t before update of x, y on a begin delete from b; end",
                TriggerEvent::Update,
            ),
            ("CREATE TRIGGER \"insert on\" DELETE ON a BEGIN SELECT 1; END", TriggerEvent::Delete),
            ("CREATE TRIGGER [update] INSTEAD OF INSERT ON v BEGIN SELECT 1; END", TriggerEvent::Insert),
            // The name is an event too, or a comment may hide one.
            ("CREATE TRIGGER update AFTER INSERT ON a BEGIN SELECT 1; END", TriggerEvent::Unknown),
            ("CREATE TRIGGER t /* UPDATE ON */ AFTER INSERT ON a BEGIN SELECT 1; END", TriggerEvent::Unknown),
            ("", TriggerEvent::Unknown),
        ] {
            assert_eq!(event_of(sql), event, "{sql}");
        }
    }
}
