//! What tables may be beside what [`super::tables`] draws: rules, views, partitions, policies and privileges, STRICT, files of
//! their own, columns that are not seen. Drawn from a seed of its own, so that the programs of older seeds stay what they were.

use fastrand::Rng;
use sea_session::testing::Backend;

use super::{
    family::{self, Kind, Role, Shape},
    tables::{Spelling, Table},
};

/// The role that programs run as, where they do not run as the owner of the tables.
const ROLE: &str = "sea_session_plain";

/// What holds for all tables of a program.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The statements before all tables.
    pub before: Vec<String>,
    /// The statements after them.
    pub after: Vec<String>,
}

/// Draws what the tables are beside.
pub fn draw(rng: &mut Rng, backend: Backend, tables: &mut [Table]) -> Surroundings {
    let shapes: Vec<&'static Shape> = tables.iter().map(|table| family::all(backend)[table.entity].shape()).collect();
    let refers = |at: usize| shapes[at].parents().next().is_some();
    let alone = |at: usize| {
        let name = shapes[at].table;
        !refers(at) && shapes.iter().all(|other| other.parents().all(|(_, table, _)| table != name))
    };
    let alone: Vec<bool> = (0..tables.len()).map(alone).collect();
    for (at, table) in tables.iter_mut().enumerate() {
        if rng.bool() {
            continue;
        }
        match backend {
            Backend::Sqlite if alone[at] && rng.u8(..3) == 0 && may_be_seen_through(table, shapes[at]) => {
                triggered_view(table, shapes[at]);
            }
            Backend::Sqlite => strict(table),
            Backend::MariaDb => on_mariadb(rng, table, shapes[at], alone[at]),
            _ => on_postgres(rng, table, shapes[at], alone[at]),
        }
    }
    let surroundings = match backend {
        Backend::Sqlite if rng.u8(..2) == 0 => attached(tables),
        Backend::Postgres if rng.u8(..3) == 0 => as_plain_role(rng, tables, &shapes),
        // As on one of three nodes of a cluster.
        Backend::MariaDb if rng.bool() => Surroundings {
            before: vec!["SET auto_increment_increment = 3, auto_increment_offset = 2".to_owned()],
            after: Vec::new(),
        },
        _ => Surroundings::default(),
    };
    if backend == Backend::Postgres && rng.bool() {
        tables.iter_mut().zip(&shapes).for_each(|(table, shape)| falling(table, shape));
    }
    surroundings
}

/// A sequence that counts down: the order of keys is not that of rows.
fn falling(table: &mut Table, shape: &Shape) {
    let has = |word: &str| table.statements.iter().any(|statement| statement.contains(word));
    if let Some(key) = shape.columns.iter().find(|column| column.role == Role::Made)
        && has("serial")
        && !has("VIEW")
    {
        let (table_name, key) = (shape.table, key.name);
        let falls = format!(
            "ALTER SEQUENCE \"{table_name}_{key}_seq\" MINVALUE -1000000 MAXVALUE 1000000 START 999 RESTART 999 INCREMENT -1"
        );
        table.statements.push(falls);
    }
}

fn on_postgres(rng: &mut Rng, table: &mut Table, shape: &'static Shape, alone: bool) {
    let made = shape.columns.iter().any(|column| column.role == Role::Made);
    match rng.u8(..8) {
        0 | 1 => also(rng, table, shape),
        2 if alone => instead_nothing(rng, table, shape, made),
        3 | 4 => partitioned(rng, table, shape),
        5 | 6 if alone => view(table, shape),
        7 if alone && may_be_seen_through(table, shape) => instead_of(table, shape),
        _ => also(rng, table, shape),
    }
}

fn on_mariadb(rng: &mut Rng, table: &mut Table, shape: &Shape, alone: bool) {
    let name = shape.table;
    // Keys in partitions refer to nothing, and are referred to by nothing; what is unique holds the key of the partitions.
    let unique = shape.columns.iter().any(|column| column.role == Role::Unique);
    match rng.u8(..4) {
        0 if alone && !unique => table.statements[0] += " PARTITION BY KEY () PARTITIONS 3",
        1 if alone => view(table, shape),
        2 => table.statements.push(format!("ALTER TABLE \"{name}\" ADD \"not seen\" int INVISIBLE DEFAULT 5 FIRST")),
        _ => table.statements.push(format!("ALTER TABLE \"{name}\" ADD CHECK (tag % 61 <> 60)")),
    }
}

/// A rule that does something else as well.
fn also(rng: &mut Rng, table: &mut Table, shape: &Shape) {
    let event = ["INSERT", "UPDATE", "DELETE"][rng.usize(..3)];
    let name = shape.table;
    table
        .statements
        .push(format!("CREATE RULE also AS ON {event} TO \"{name}\" DO ALSO INSERT INTO log VALUES ('{name}')"));
}

/// A rule that drops some rows. Keys that the database makes are known by RETURNING alone, which such a table refuses.
fn instead_nothing(rng: &mut Rng, table: &mut Table, shape: &Shape, made: bool) {
    let events: &[&str] = if made { &["UPDATE", "DELETE"] } else { &["INSERT", "UPDATE", "DELETE"] };
    let event = events[rng.usize(..events.len())];
    let row = if event == "DELETE" { "OLD" } else { "NEW" };
    let (name, dropped) = (shape.table, if event == "INSERT" { "61 = 60" } else { "29 = 11" });
    table.statements.push(format!(
        "CREATE RULE dropped AS ON {event} TO \"{name}\" WHERE {row}.tag % {dropped} DO INSTEAD NOTHING"
    ));
}

fn partitioned(rng: &mut Rng, table: &mut Table, shape: &Shape) {
    let has = |word: &str| table.statements.iter().any(|statement| statement.contains(word));
    // What is unique must hold the key of the partitions; a trigger may not move a row to another.
    let unique = shape.columns.iter().any(|column| column.role == Role::Unique);
    if unique || has("IDENTITY") || has("+ 1000") || table.spelling != Spelling::Exact {
        return;
    }
    let Some(key) = shape.keys().next().map(|at| shape.columns[at]) else { return };
    let (name, key_name) = (shape.table, key.name);
    let part = |which: &str, values: &str| format!("CREATE TABLE \"{name} {which}\" PARTITION OF \"{name}\" {values}");
    let (by, parts) = match (rng.u8(..3), key.kind) {
        (0, Kind::Int | Kind::Big) => (
            "RANGE",
            vec![
                part("low", "FOR VALUES FROM (MINVALUE) TO (5)"),
                part("middle", "FOR VALUES FROM (5) TO (30)"),
                part("rest", "DEFAULT"),
            ],
        ),
        (1, Kind::Text) => {
            ("LIST", vec![part("some", "FOR VALUES IN ('k1', 'k2', 'k3', 'k5')"), part("rest", "DEFAULT")])
        }
        _ => (
            "HASH",
            (0..3).map(|at| part(&at.to_string(), &format!("FOR VALUES WITH (MODULUS 3, REMAINDER {at})"))).collect(),
        ),
    };
    table.statements[0] += &format!(" PARTITION BY {by} (\"{key_name}\")");
    table.statements.splice(1..1, parts);
}

/// Whether a view's triggers can write what rows of the view are sent with: no key, default or column is left to the database.
fn may_be_seen_through(table: &Table, shape: &Shape) -> bool {
    let has = |word: &str| table.statements.iter().any(|statement| statement.contains(word));
    !shape.columns.iter().any(|column| column.role == Role::Made) && !has(" DEFAULT ") && !has(" GENERATED ")
}

/// A view whose triggers write (SQLite).
fn triggered_view(table: &mut Table, shape: &Shape) {
    view(table, shape);
    table.counted = false;
    let name = shape.table;
    let quoted = |column: &family::Column| format!("\"{}\"", column.name);
    let list = |each: &dyn Fn(String) -> String| {
        shape.columns.iter().map(|column| each(quoted(column))).collect::<Vec<_>>().join(", ")
    };
    let same = shape.keys().map(|at| format!("{0} = OLD.{0}", quoted(&shape.columns[at])));
    let same = same.collect::<Vec<_>>().join(" AND ");
    let (columns, new) = (list(&|column| column), list(&|column| format!("NEW.{column}")));
    let set = list(&|column| format!("{column} = NEW.{column}"));
    for (event, does) in [
        ("INSERT", format!("INSERT INTO \"{name} base\" ({columns}) VALUES ({new})")),
        ("UPDATE", format!("UPDATE \"{name} base\" SET {set} WHERE {same}")),
        ("DELETE", format!("DELETE FROM \"{name} base\" WHERE {same}")),
    ] {
        table
            .statements
            .push(format!("CREATE TRIGGER {name}_io_{event} INSTEAD OF {event} ON \"{name}\" BEGIN {does}; END"));
    }
}

/// A view that the database itself (PostgreSQL, MariaDB), or triggers, can write to.
fn view(table: &mut Table, shape: &Shape) {
    let name = shape.table;
    table.statements.push(format!("ALTER TABLE \"{name}\" RENAME TO \"{name} base\""));
    table.statements.push(format!("CREATE VIEW \"{name}\" AS SELECT * FROM \"{name} base\""));
}

/// A view whose triggers write.
fn instead_of(table: &mut Table, shape: &Shape) {
    view(table, shape);
    let name = shape.table;
    let same = shape.keys().map(|at| format!("\"{0}\" = OLD.\"{0}\"", shape.columns[at].name));
    let same = same.collect::<Vec<_>>().join(" AND ");
    let columns = shape.columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ");
    table.statements.push(format!(
        "CREATE FUNCTION {name}_io() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF TG_OP = 'INSERT' THEN INSERT INTO \"{name} base\" SELECT NEW.* RETURNING * INTO NEW; RETURN NEW; END IF; \
         IF TG_OP = 'UPDATE' THEN UPDATE \"{name} base\" SET ({columns}) = (SELECT NEW.*) WHERE {same} RETURNING * INTO NEW; RETURN NEW; END IF; \
         DELETE FROM \"{name} base\" WHERE {same}; RETURN OLD; END $$; \
         CREATE TRIGGER {name}_io INSTEAD OF INSERT OR UPDATE OR DELETE ON \"{name}\" FOR EACH ROW EXECUTE FUNCTION {name}_io()"
    ));
}

/// A role that does not own the tables: under policies, or with privileges on some columns only.
fn as_plain_role(rng: &mut Rng, tables: &[Table], shapes: &[&'static Shape]) -> Surroundings {
    let before = format!(
        "DO $$ BEGIN CREATE ROLE {ROLE}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    );
    let grants = ["USAGE ON SCHEMA %1$I", "ALL ON ALL TABLES IN SCHEMA %1$I", "ALL ON ALL SEQUENCES IN SCHEMA %1$I"];
    let grant = |what: &&str| format!("EXECUTE format('GRANT {what} TO {ROLE}', current_schema());");
    let mut after = vec![format!("DO $$ BEGIN {} END $$", grants.iter().map(grant).collect::<String>())];
    for (table, shape) in tables.iter().zip(shapes) {
        let name = shape.table;
        let is_view = table.statements.iter().any(|statement| statement.starts_with("CREATE VIEW"));
        if !is_view && rng.bool() {
            after.push(format!("ALTER TABLE \"{name}\" ENABLE ROW LEVEL SECURITY"));
            match rng.bool() {
                true => after.push(format!("CREATE POLICY every ON \"{name}\" USING (true)")),
                false => {
                    for (policy, says) in [
                        ("seen", "FOR SELECT USING (true)"),
                        ("added", "FOR INSERT WITH CHECK (tag % 61 <> 60)"),
                        ("changed", "FOR UPDATE USING (true) WITH CHECK (true)"),
                        ("gone", "FOR DELETE USING (tag > 0)"),
                    ] {
                        after.push(format!("CREATE POLICY {policy} ON \"{name}\" {says}"));
                    }
                }
            }
        }
        if rng.bool() {
            let may = |inserted: bool| {
                let columns = shape.columns.iter().filter(|column| match column.role {
                    Role::Made | Role::Computed => false,
                    Role::Tag => inserted,
                    _ => true,
                });
                columns.map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
            };
            after.push(format!("REVOKE INSERT, UPDATE ON \"{name}\" FROM {ROLE}"));
            after.push(format!("GRANT INSERT ({}), UPDATE ({}) ON \"{name}\" TO {ROLE}", may(true), may(false)));
        }
    }
    after.push(format!("SET ROLE {ROLE}"));
    Surroundings { before: vec![before], after }
}

/// A table that takes values of its types only.
fn strict(table: &mut Table) {
    let types = [
        (" smallint", " INTEGER"),
        (" bigint", " INTEGER"),
        (" integer", " INTEGER"),
        (" boolean", " INTEGER"),
        (" double", " REAL"),
        (" varchar(40)", " TEXT"),
        (" timestamp_with_timezone_text", " TEXT"),
        (" datetime_text", " TEXT"),
        (" date_text", " TEXT"),
        (" jsonb_text", " TEXT"),
        (" uuid_text", " BLOB"),
    ];
    let first = &mut table.statements[0];
    types.iter().for_each(|(from, to)| *first = first.replace(from, to));
    *first += if first.ends_with("WITHOUT ROWID") { ", STRICT" } else { " STRICT" };
}

/// All tables in a file of their own, which their names do not tell.
fn attached(tables: &mut [Table]) -> Surroundings {
    for statement in tables.iter_mut().flat_map(|table| &mut table.statements) {
        for what in ["CREATE TABLE ", "CREATE VIEW ", "CREATE TRIGGER "] {
            let (from, to) = (what, format!("{what}beside."));
            if let Some(rest) = statement.strip_prefix(from) {
                *statement = format!("{to}{rest}");
            }
        }
    }
    let log = "CREATE TABLE beside.log (what text)".to_owned();
    Surroundings { before: vec!["ATTACH ':memory:' AS beside".to_owned(), log], after: Vec::new() }
}
