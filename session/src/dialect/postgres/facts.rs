//! PostgreSQL's catalogue: the question, in one statement, and what its answer means.

use rustc_hash::FxHashMap;
use sea_orm::{DbBackend, Statement};
use serde::Deserialize;

use crate::table::{
    columns::ColumnMeta,
    facts::{Action, ColumnFacts, Deed, Draw, Equality, EventFacts, Identity, KnownDefault, Stored, TableFacts},
    kinds::ColumnKind,
    meta::TableMeta,
    sql::literal,
    texts::KeptTexts,
};

/// One row of one column: a document. Partitions and inheriting tables count with their triggers and rules. A default may
/// be evaluated beforehand if it calls no function that somebody has written, since such a one may look at the table.
const QUESTION: &str = r"
WITH RECURSIVE here AS (SELECT to_regclass($1) AS oid),
tree(oid) AS (
  SELECT oid::oid FROM here
  UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid
),
acting(child, parent) AS (
  SELECT k.conrelid, k.confrelid FROM pg_catalog.pg_constraint k
  WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
),
far(oid) AS (
  SELECT b.child FROM acting a JOIN acting b ON b.parent = a.child WHERE a.parent = (SELECT oid FROM here)
  UNION SELECT b.child FROM far JOIN acting b ON b.parent = far.oid
)
SELECT json_build_object(
  'oid', c.oid::int8,
  'kind', c.relkind,
  'row_security', pg_catalog.row_security_active(c.oid),
  'rules', (SELECT json_agg(DISTINCT r.ev_type) FROM pg_catalog.pg_rewrite r
            WHERE r.ev_class IN (SELECT oid FROM tree) AND r.ev_type <> '1' AND r.ev_enabled <> 'D'),
  'instead', (SELECT json_agg(DISTINCT r.ev_type) FROM pg_catalog.pg_rewrite r
              WHERE r.ev_class IN (SELECT oid FROM tree) AND r.ev_type <> '1' AND r.ev_enabled <> 'D' AND r.is_instead),
  'triggers', (SELECT json_agg(DISTINCT t.tgtype) FROM pg_catalog.pg_trigger t
               WHERE t.tgrelid IN (SELECT oid FROM tree) AND NOT t.tgisinternal AND t.tgenabled <> 'D'),
  'tree', (SELECT json_agg(oid::int8 ORDER BY oid <> c.oid) FROM tree),
  'far', (SELECT json_agg(oid::int8) FROM far),
  'columns', (
    SELECT json_agg(json_build_object(
      'name', a.attname,
      'number', a.attnum,
      'type', a.atttypid::int8,
      'modifier', a.atttypmod,
      'class', t.typtype,
      'type_text', CASE WHEN t.oid = 'pg_catalog.bpchar'::regtype THEN 'pg_catalog.bpchar'
                        ELSE pg_catalog.format_type(a.atttypid, NULL) END,
      'generated', a.attgenerated <> '',
      'identity', a.attidentity <> '',
      'always', a.attidentity = 'a',
      'may_be_inserted', pg_catalog.has_column_privilege(c.oid, a.attnum, 'INSERT'),
      'default', d.oid::int8,
      'expression', CASE WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
      'plain', NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend p WHERE p.classid = 'pg_catalog.pg_attrdef'::regclass
                           AND p.objid = d.oid AND p.refclassid = 'pg_catalog.pg_proc'::regclass),
      'sequences', (SELECT json_agg(json_build_array(s.oid::regclass::text, pg_catalog.has_sequence_privilege(s.oid, 'USAGE, UPDATE')))
                    FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class s ON s.relkind = 'S' AND (
                      (p.refclassid = 'pg_catalog.pg_class'::regclass AND s.oid = p.refobjid AND
                       p.classid = 'pg_catalog.pg_attrdef'::regclass AND p.objid = d.oid)
                      OR (p.classid = 'pg_catalog.pg_class'::regclass AND s.oid = p.objid AND p.deptype = 'i' AND a.attidentity <> ''
                          AND p.refclassid = 'pg_catalog.pg_class'::regclass AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum))),
      'collation', CASE WHEN NOT coalesce(l.collisdeterministic, true)
                        THEN pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(l.collname) END
    )) FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'actions', (
    SELECT json_agg(json_build_object(
      'child', k.conrelid::int8,
      'on_delete', k.confdeltype,
      'on_update', k.confupdtype,
      'from', (SELECT json_agg(a.attname ORDER BY o.at) FROM unnest(k.conkey) WITH ORDINALITY o(number, at)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.number),
      'to', (SELECT json_agg(a.attname ORDER BY o.at) FROM unnest(k.confkey) WITH ORDINALITY o(number, at)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = o.number)
    )) FROM pg_catalog.pg_constraint k
    WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0)
)::text FROM here JOIN pg_catalog.pg_class c ON c.oid = here.oid";

#[derive(Deserialize)]
struct Answer {
    oid: i64,
    kind: String,
    row_security: bool,
    rules: Option<Vec<String>>,
    instead: Option<Vec<String>>,
    triggers: Option<Vec<i64>>,
    tree: Vec<i64>,
    far: Option<Vec<i64>>,
    columns: Option<Vec<AnsweredColumn>>,
    actions: Option<Vec<AnsweredAction>>,
}

#[derive(Deserialize)]
struct AnsweredColumn {
    name: String,
    number: i64,
    #[serde(rename = "type")]
    type_oid: i64,
    modifier: i64,
    class: String,
    type_text: String,
    generated: bool,
    identity: bool,
    always: bool,
    may_be_inserted: bool,
    default: Option<i64>,
    expression: Option<String>,
    plain: bool,
    sequences: Option<Vec<(String, bool)>>,
    collation: Option<String>,
}

#[derive(Deserialize)]
struct AnsweredAction {
    child: i64,
    on_delete: String,
    on_update: String,
    from: Vec<String>,
    to: Vec<String>,
}

/// Bits of `pg_trigger.tgtype`.
mod bit {
    pub(super) const ROW: i64 = 1;
    pub(super) const BEFORE: i64 = 2;
    pub(super) const INSERT: i64 = 4;
    pub(super) const DELETE: i64 = 8;
    pub(super) const UPDATE: i64 = 16;
    pub(super) const INSTEAD: i64 = 64;
}

pub(super) fn question(table: &TableMeta) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, QUESTION, [table.table.as_str().into()])
}

pub(super) fn facts(table: &TableMeta, answer: &str) -> Result<TableFacts, serde_json::Error> {
    let answer: Answer = serde_json::from_str(answer)?;
    let plain = matches!(answer.kind.as_str(), "r" | "p");
    let (rules, instead) = (answer.rules.unwrap_or_default(), answer.instead.unwrap_or_default());
    let triggers = answer.triggers.unwrap_or_default();
    // 2, 3 and 4: rules on UPDATE, INSERT and DELETE.
    let event = |of: i64, rule: &str| {
        let seen = || triggers.iter().filter(|kind| *kind & of != 0);
        let before_each_row = |kind: &i64| kind & bit::ROW != 0 && kind & bit::BEFORE != 0;
        // A trigger before each row sees one row at a time in a set too, but a new row's key may become another there. Those
        // of statements, and those after the row, see how many rows came together.
        let sees_sets = seen().any(|kind| of == bit::INSERT || !before_each_row(kind));
        EventFacts {
            row_by_row: !plain || sees_sets || rules.iter().any(|known| known == rule),
            rewrites: seen().next().is_some(),
            changes_afterwards: seen().any(|kind| kind & (bit::BEFORE | bit::INSTEAD) == 0),
            instead: instead.iter().any(|known| known == rule),
            mute: false,
        }
    };
    let (insert, update, delete) = (event(bit::INSERT, "3"), event(bit::UPDATE, "2"), event(bit::DELETE, "4"));
    let known: FxHashMap<String, AnsweredColumn> =
        answer.columns.unwrap_or_default().into_iter().map(|column| (column.name.clone(), column)).collect();
    let column = |meta: &ColumnMeta| {
        known.get(meta.name).map_or_else(ColumnFacts::default, |column| ColumnFacts {
            stored: stored(meta, column),
            generated: column.generated,
            always: column.always,
            draw: (!insert.row_by_row).then(|| draw(column)).flatten(),
            equality: equality(meta, column),
            type_oid: column.type_oid,
            ..ColumnFacts::default()
        })
    };
    let actions = answer.actions.unwrap_or_default().into_iter().map(|action| Action {
        child: Identity::Oid(action.child),
        from: action.from,
        to: action.to,
        on_delete: deed(&action.on_delete),
        on_update: deed(&action.on_update),
    });
    let (actions, refusing) = actions.partition(Action::acts);
    Ok(TableFacts {
        identity: Some(Identity::Oid(answer.oid)),
        columns: table.columns.iter().map(column).collect(),
        copy: !insert.row_by_row && !answer.row_security,
        row_security: answer.row_security,
        uncounted: false,
        tree: answer.tree,
        insert,
        update,
        delete,
        micros: Vec::new(),
        generated: Vec::new(),
        rowid: None,
        unique: Vec::new(),
        most_bytes: None,
        lookup: "",
        names_rows: false,
        actions,
        refusing,
        far: answer.far.unwrap_or_default().into_iter().map(Identity::Oid).collect(),
        restricts_itself: false,
        texts: KeptTexts::default(),
    })
}

fn deed(letter: &str) -> Deed {
    match letter {
        "c" => Deed::Cascade,
        "n" => Deed::SetNull,
        "d" => Deed::SetDefault,
        _ => Deed::None,
    }
}

/// A column stores what was sent only if its type is the very one that the driver sends.
fn stored(meta: &ColumnMeta, column: &AnsweredColumn) -> Stored {
    if column.generated || !meta.is_simple() || meta.is_cast(&super::POSTGRES) && column.class != "e" {
        return Stored::Unknown;
    }
    const WHOLE_MICROSECONDS: [i64; 2] = [-1, 6];
    let of = |types: &[i64]| match types.contains(&column.type_oid) {
        true => Stored::AsSent,
        false if column.class == "d" => Stored::Unknown,
        false => Stored::Untold,
    };
    let moment = |oid: i64| match WHOLE_MICROSECONDS.contains(&column.modifier) {
        true if column.type_oid == oid => Stored::Micros,
        _ => Stored::Unknown,
    };
    let text = || match (column.type_oid, column.modifier) {
        (25, _) | (1043, -1) => Stored::AsSent,
        (1043, _) => Stored::UnlessSpaces,
        _ => Stored::Unknown,
    };
    match ColumnKind::of(&meta.kind) {
        ColumnKind::Bool => of(&[16]),
        ColumnKind::TinyInt | ColumnKind::TinyUnsigned | ColumnKind::SmallInt => of(&[21, 23, 20]),
        ColumnKind::SmallUnsigned | ColumnKind::Int => of(&[23, 20]),
        ColumnKind::Unsigned | ColumnKind::BigInt | ColumnKind::BigUnsigned => of(&[20]),
        ColumnKind::Float => of(&[700, 701]),
        ColumnKind::Double => of(&[701]),
        ColumnKind::Enum if column.class == "e" => Stored::AsSent,
        ColumnKind::String | ColumnKind::Char | ColumnKind::Enum => text(),
        ColumnKind::Bytes => of(&[17]),
        ColumnKind::Json => of(&[114, 3802]),
        ColumnKind::ChronoDate => of(&[1082]),
        ColumnKind::ChronoTime => moment(1083),
        ColumnKind::ChronoDateTime => moment(1114),
        ColumnKind::ChronoDateTimeUtc | ColumnKind::ChronoDateTimeLocal | ColumnKind::ChronoDateTimeWithTimeZone => {
            moment(1184)
        }
        ColumnKind::Uuid => of(&[2950]),
        ColumnKind::Foreign => Stored::Unknown,
    }
}

/// The condition that nothing has come between new rows and these tables since their facts were asked for; `tables` is an
/// array of their numbers.
pub(super) fn undisturbed(tables: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger WHERE tgrelid = ANY({tables}::oid[]) AND NOT tgisinternal \
         AND tgenabled <> 'D' AND tgtype & {} <> 0) AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite \
         WHERE ev_class = ANY({tables}::oid[]) AND ev_type = '3')",
        bit::INSERT
    )
}

/// The condition that a default still is what it was; `tables` as in [`undisturbed`], the first of them the table itself.
pub(super) fn still_default(default: KnownDefault, tables: &str, bind: &mut dyn FnMut(i64) -> String) -> String {
    match default {
        KnownDefault::Entry(number) => {
            let number = bind(number);
            format!("EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef WHERE oid = {number}::int8::oid)")
        }
        KnownDefault::Identity(number) => {
            let number = bind(number);
            format!(
                "EXISTS (SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = ({tables})[1]::oid AND attnum = {number}::int8 \
                 AND attidentity <> '')"
            )
        }
    }
}

/// How the default may be evaluated before the row is there, if it may.
fn draw(column: &AnsweredColumn) -> Option<Draw> {
    let sequences = column.sequences.as_deref().unwrap_or_default();
    if column.generated || !column.may_be_inserted || !sequences.iter().all(|(_, may)| *may) {
        return None;
    }
    if column.identity {
        let [(sequence, _)] = sequences else { return None };
        let expression = format!("nextval({}::regclass)", literal(sequence));
        return Some(Draw { expression, default: KnownDefault::Identity(column.number) });
    }
    let default = KnownDefault::Entry(column.default.filter(|_| column.plain)?);
    Some(Draw { expression: column.expression.clone()?, default })
}

/// How texts compare that may be equal without being the same.
fn equality(meta: &ColumnMeta, column: &AnsweredColumn) -> Option<Equality> {
    let text = matches!(ColumnKind::of(&meta.kind), ColumnKind::String | ColumnKind::Char);
    if meta.is_simple() && !text {
        return None;
    }
    let collate = column.collation.clone().filter(|_| text);
    // KeptTexts are sent as `text`, arrays and numbers as what the driver calls them: PostgreSQL would take the operators of
    // those types, or find none.
    let of_its_own = column.class == "d" || !text || !matches!(column.type_oid, 25 | 1043) && column.class == "b";
    let cast = of_its_own.then(|| column.type_text.clone());
    (collate.is_some() || cast.is_some()).then_some(Equality { cast, collate, of_bytes: false })
}
