//! Tables for the entities of a program: what they do to their rows is drawn, so that an entity has many tables.

use std::fmt::Write as _;

use fastrand::Rng;
use sea_session::testing::Backend;

use super::{
    family::{Kind, Role, Shape},
    features::Surroundings,
};

/// A table as it was drawn.
#[derive(Clone, Debug)]
pub struct Table {
    /// The entity's number.
    pub entity: usize,
    /// The statements that make it.
    pub statements: Vec<String>,
    /// Columns that may be left to the database.
    pub defaults: Vec<usize>,
    /// Whether the database takes keys that differ in case, or in spaces at the end, for one.
    pub spelling: Spelling,
    /// Whether the database says how many rows were written.
    pub counted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    Exact,
    /// `K1` is `k1`.
    Case,
    /// `k1` is `k1` with spaces behind it, as which it is read.
    Padded,
    /// `k1` is `k1` with spaces behind it, without which it is read.
    Trimmed,
}

/// What the tables need before them, and the word by which they ask for it.
const PREAMBLE: [(&str, &str); 6] = [
    ("\"mood u.\"", "CREATE TYPE \"mood u.\" AS ENUM ('it''s fine', 'Bad')"),
    ("folded", "CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"),
    (" short", "CREATE DOMAIN short AS varchar(40)"),
    ("'other'", "CREATE SEQUENCE other START 500"),
    ("(numbers)", "CREATE SEQUENCE numbers START 500"),
    ("log", "CREATE TABLE log (what text)"),
];

/// All statements that make the tables.
pub fn script(tables: &[Table], surroundings: &Surroundings) -> String {
    let statements: Vec<&str> = tables.iter().flat_map(|table| &table.statements).map(String::as_str).collect();
    let asked = |word: &str| statements.iter().any(|statement| statement.contains(word));
    let made = |word: &str| surroundings.before.iter().any(|statement| statement.contains(&format!(".{word} ")));
    let first = surroundings.before.iter().map(String::as_str);
    let before = PREAMBLE.iter().filter(|(word, _)| asked(word) && !made(word)).map(|(_, statement)| *statement);
    let after = surroundings.after.iter().map(String::as_str);
    first.chain(before).chain(statements.iter().copied()).chain(after).collect::<Vec<_>>().join(";\n")
}

pub fn draw(rng: &mut Rng, backend: Backend, entity: usize, shape: &Shape) -> Table {
    Drawing {
        rng,
        sqlite: backend == Backend::Sqlite,
        shape,
        extra: Vec::new(),
        defaults: Vec::new(),
        spelling: Spelling::Exact,
    }
    .table(entity)
}

struct Drawing<'a> {
    rng: &'a mut Rng,
    sqlite: bool,
    shape: &'a Shape,
    extra: Vec<String>,
    defaults: Vec<usize>,
    spelling: Spelling,
}

pub fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// What drawings of tables ask of chance.
pub trait Chance {
    /// One of these.
    fn pick<T: Copy>(&mut self, of: &[T]) -> T;
    /// Once in `n` times.
    fn one_in(&mut self, n: u32) -> bool;
}

impl Chance for Rng {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.usize(..of.len())]
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.u32(..n) == 0
    }
}

impl Drawing<'_> {
    fn table(mut self, entity: usize) -> Table {
        let mut columns: Vec<String> = (0..self.shape.columns.len()).map(|at| self.column(at)).collect();
        let keys: Vec<String> = self.shape.keys().map(|at| quoted(self.shape.columns[at].name)).collect();
        // A key that SQLite counts up says so itself.
        let counted = self.sqlite && self.shape.keys().any(|at| self.shape.columns[at].role == Role::Made);
        if !counted {
            columns.push(format!("PRIMARY KEY ({})", keys.join(", ")));
        }
        let table = quoted(self.shape.table);
        let without_rowid = self.sqlite && !counted && self.rng.one_in(3);
        let end = if without_rowid { " WITHOUT ROWID" } else { "" };
        let mut statements = vec![format!("CREATE TABLE {table} ({}){end}", columns.join(", "))];
        self.triggers(without_rowid);
        statements.append(&mut self.extra);
        Table { entity, statements, defaults: self.defaults, spelling: self.spelling, counted: true }
    }

    fn column(&mut self, at: usize) -> String {
        let column = self.shape.columns[at];
        let mut sql = quoted(column.name);
        if column.role == Role::Made {
            self.made_key(&mut sql, column.kind);
            return sql;
        }
        let plain = matches!(column.role, Role::Plain);
        let _ = write!(sql, " {}", self.type_of(column.kind, column.role));
        if column.role == Role::Computed {
            let by = if column.name == "full" { "first || ' ' || last" } else { "part * 2" };
            let kept = if self.sqlite && self.rng.one_in(2) { "VIRTUAL" } else { "STORED" };
            let _ = write!(sql, " GENERATED ALWAYS AS ({by}) {kept}");
            return sql;
        }
        if !column.null {
            sql += " NOT NULL";
        }
        if plain
            && self.rng.one_in(3)
            && let Some(default) = self.default_of(column.kind)
        {
            let _ = write!(sql, " DEFAULT {default}");
            self.defaults.push(at);
        } else if column.null || column.role == Role::Version {
            self.defaults.extend(column.null.then_some(at));
        }
        if column.role == Role::Unique {
            sql += " UNIQUE";
        }
        if let Role::Parent(table, of) = column.role {
            let deletes: &[&str] = match column.null {
                // The default is NULL.
                true => &["NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"],
                false => &["NO ACTION", "CASCADE"],
            };
            let updates: &[&str] = if of == "id" { &["NO ACTION"] } else { &["NO ACTION", "CASCADE"] };
            let (deletes, updates) = (self.rng.pick(deletes), self.rng.pick(updates));
            let _ =
                write!(sql, " REFERENCES {} ({}) ON DELETE {deletes} ON UPDATE {updates}", quoted(table), quoted(of));
            if deletes != "RESTRICT" && self.rng.one_in(6) {
                sql += " DEFERRABLE INITIALLY DEFERRED";
            }
        }
        sql
    }

    fn made_key(&mut self, sql: &mut String, kind: Kind) {
        let table = self.shape.table;
        if self.sqlite {
            let counted = self.rng.one_in(2);
            sql.push_str(if counted { " INTEGER PRIMARY KEY AUTOINCREMENT" } else { " INTEGER PRIMARY KEY" });
            let whole = self.shape.parents().all(|(at, ..)| self.shape.columns[at].null);
            if kind == Kind::Big && whole && !counted && self.rng.one_in(3) {
                // After the largest number SQLite draws at random.
                let last = self.last_row();
                self.extra.push(last);
            }
            return;
        }
        let (serial, number) = if kind == Kind::Int { ("serial", "integer") } else { ("bigserial", "bigint") };
        match self.rng.u8(..6) {
            0 => drop(write!(sql, " {number} NOT NULL GENERATED ALWAYS AS IDENTITY")),
            1 => drop(write!(sql, " {number} NOT NULL GENERATED BY DEFAULT AS IDENTITY (START 100 INCREMENT 3)")),
            2 => drop(write!(sql, " {number} NOT NULL DEFAULT nextval('other')")),
            3 => {
                let _ = write!(sql, " {serial}");
                let key = sql.split(' ').next().unwrap_or_default().to_owned();
                let name = key.trim_matches('"');
                self.extra.push(format!(
                    "ALTER TABLE \"{table}\" ALTER {key} SET DEFAULT nextval('\"{table}_{name}_seq\"') * 10"
                ));
            }
            _ => drop(write!(sql, " {serial}")),
        }
    }

    /// A row under the largest key there is; both worlds have it.
    fn last_row(&mut self) -> String {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for column in self.shape.columns {
            let value = match (column.role, column.kind) {
                (Role::Made, _) => "9223372036854775807",
                (Role::Tag, _) => "-1",
                (Role::Version, _) => "1",
                (Role::Computed | Role::Parent(..), _) => continue,
                _ if column.null => continue,
                (_, Kind::Text) => "'last'",
                (_, Kind::Utc) => "'2024-01-01T00:00:00+00:00'",
                (_, Kind::Double) => "0.5",
                _ => "1",
            };
            names.push(quoted(column.name));
            values.push(value);
        }
        format!("INSERT INTO {} ({}) VALUES ({})", quoted(self.shape.table), names.join(", "), values.join(", "))
    }

    fn type_of(&mut self, kind: Kind, role: Role) -> String {
        // The two ends of a foreign key agree.
        let key = matches!(role, Role::Key | Role::Parent(..));
        let shared = matches!(role, Role::Parent(..)) || (role == Role::Key && self.shape.table == "keyed");
        let unique = role == Role::Unique;
        if self.sqlite {
            return match kind {
                Kind::Small => "smallint",
                Kind::Int => "integer",
                Kind::Big => "bigint",
                Kind::Double => "double",
                Kind::Text if role == Role::Key && self.rng.one_in(3) => {
                    self.spelling = Spelling::Case;
                    "text COLLATE NOCASE"
                }
                Kind::Text if !key && !unique => self.rng.pick(&["text", "varchar(40)", "text COLLATE NOCASE"]),
                Kind::Text => "text",
                Kind::Bool => "boolean",
                Kind::Utc => "timestamp_with_timezone_text",
                Kind::Naive => "datetime_text",
                Kind::Day => "date_text",
                Kind::Id => "uuid_text",
                Kind::Document => "jsonb_text",
                Kind::Bytes => "blob",
                Kind::Mood => "text",
                kind => panic!("{kind:?} is MariaDB's alone"),
            }
            .to_owned();
        }
        match kind {
            Kind::Small => "smallint",
            Kind::Int => "integer",
            Kind::Big => "bigint",
            Kind::Double => "double precision",
            Kind::Text if role == Role::Key && !shared && self.rng.one_in(2) => {
                self.spelling = self.rng.pick(&[Spelling::Case, Spelling::Padded]);
                if self.spelling == Spelling::Case { "text COLLATE folded" } else { "char(12)" }
            }
            Kind::Text if key || unique => "text",
            Kind::Text => self.rng.pick(&["text", "varchar(40)", "char(16)", "short", "text COLLATE folded"]),
            Kind::Bool => "boolean",
            Kind::Utc => self.rng.pick(&["timestamptz", "timestamptz(0)", "timestamptz(3)"]),
            Kind::Naive => self.rng.pick(&["timestamp", "timestamp(0)"]),
            Kind::Day => "date",
            Kind::Id => "uuid",
            Kind::Document => self.rng.pick(&["jsonb", "json"]),
            Kind::Bytes => "bytea",
            Kind::Mood => "\"mood u.\"",
            kind => panic!("{kind:?} is MariaDB's alone"),
        }
        .to_owned()
    }

    fn default_of(&mut self, kind: Kind) -> Option<&'static str> {
        Some(match kind {
            Kind::Small | Kind::Int | Kind::Big => "7",
            Kind::Double => "2.5",
            Kind::Text if !self.sqlite => self.rng.pick(&["'made'", "upper('made')"]),
            Kind::Text => "'made'",
            Kind::Bool => "true",
            Kind::Utc => "'2024-03-01T10:00:00.654321+00:00'",
            Kind::Day => "'2024-03-01'",
            Kind::Mood => "'Bad'",
            Kind::Document => "'{\"made\": [1, 2]}'",
            _ => return None,
        })
    }

    /// Triggers that change what is written. On SQLite only one that comes afterwards can.
    fn triggers(&mut self, without_rowid: bool) {
        let (table, shape) = (self.shape.table, self.shape);
        let text = shape.columns.iter().find(|column| column.role == Role::Plain && column.kind == Kind::Text);
        let number = shape.columns.iter().find(|c| c.role == Role::Plain && c.kind == Kind::Int);
        let made = shape.columns.iter().find(|column| column.role == Role::Made);
        let refers = shape.parents().next().is_some();
        if self.sqlite {
            if let Some(text) = text.filter(|_| !without_rowid).filter(|_| self.rng.one_in(5)) {
                for (name, event) in [("i", "INSERT".to_owned()), ("c", format!("UPDATE OF \"{}\"", text.name))] {
                    self.extra.push(format!(
                        "CREATE TRIGGER {table}_{name} AFTER {event} ON \"{table}\" BEGIN UPDATE \"{table}\" SET \"{0}\" = upper(NEW.\"{0}\") \
                         WHERE rowid = NEW.rowid AND \"{0}\" <> upper(NEW.\"{0}\") COLLATE BINARY; END",
                        text.name
                    ));
                }
            }
            if self.rng.one_in(6) {
                self.extra.push(format!(
                    "CREATE TRIGGER {table}_log AFTER INSERT ON \"{table}\" BEGIN INSERT INTO log VALUES ('{table}'); END"
                ));
            }
            return;
        }
        let mut body = Vec::new();
        if let Some(text) = text.filter(|_| self.rng.one_in(5)) {
            body.push(("INSERT OR UPDATE", format!("NEW.\"{0}\" := upper(NEW.\"{0}\")", text.name)));
        }
        if let Some(made) = made.filter(|_| self.rng.one_in(6)) {
            body.push(("INSERT", format!("NEW.\"{0}\" := NEW.\"{0}\" + 1000", made.name)));
        }
        if let Some(number) = number.filter(|_| !refers).filter(|_| self.rng.one_in(6)) {
            body.push(("UPDATE", format!("NEW.\"{0}\" := COALESCE(NEW.\"{0}\", 0) + 1", number.name)));
        }
        for (at, (event, change)) in body.into_iter().enumerate() {
            self.extra.push(format!(
                "CREATE FUNCTION {table}_{at}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {change}; RETURN NEW; END $$; \
                 CREATE TRIGGER {table}_{at} BEFORE {event} ON \"{table}\" FOR EACH ROW EXECUTE FUNCTION {table}_{at}()"
            ));
        }
        if self.rng.one_in(8) {
            self.extra.push(format!(
                "CREATE FUNCTION {table}_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES ('{table}'); RETURN NULL; END $$; \
                 CREATE TRIGGER {table}_log AFTER INSERT ON \"{table}\" FOR EACH ROW EXECUTE FUNCTION {table}_log()"
            ));
        }
    }
}
