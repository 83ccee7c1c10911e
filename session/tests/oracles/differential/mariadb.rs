//! Tables in MariaDB's own manner: unsigned numbers, collations that fold, moments that an update touches, AUTO_INCREMENT,
//! enums and sets, columns that the database computes, triggers, foreign keys with their actions.
//!
//! Not drawn: `ON UPDATE SET NULL`, since a child that was linked follows its parent's key (D6), which the oracle does not know;
//! `SET DEFAULT` and keys that are checked later, which InnoDB does not have.

use std::fmt::Write as _;

use fastrand::Rng;

use super::{
    family::{Kind, Role, Shape},
    tables::{Chance, Spelling, Table, quoted},
};

/// Both connections are in the modes of a unit, and their clock stands still, so that both worlds are touched at the same moment.
pub const CONNECTION: &str = "SET sql_mode = CONCAT(@@sql_mode, \
    ',ANSI_QUOTES,STRICT_TRANS_TABLES,STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'), timestamp = 1717171717.123456";

/// The collation of what foreign keys refer to: both ends must have the same.
pub fn collation(rng: &mut Rng) -> &'static str {
    let collations =
        ["utf8mb4_bin", "utf8mb4_nopad_bin", "utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_general_nopad_ci"];
    collations[rng.usize(..collations.len())]
}

pub fn draw(rng: &mut Rng, entity: usize, shape: &Shape, collation: &'static str) -> Table {
    let (extra, defaults, spelling) = (Vec::new(), Vec::new(), Spelling::Exact);
    Drawing { rng, shape, collation, extra, defaults, spelling }.table(entity)
}

struct Drawing<'a> {
    rng: &'a mut Rng,
    shape: &'a Shape,
    collation: &'static str,
    extra: Vec<String>,
    defaults: Vec<usize>,
    spelling: Spelling,
}

fn spelling_of(collation: &str) -> Spelling {
    match collation {
        "utf8mb4_nopad_bin" => Spelling::Exact,
        "utf8mb4_bin" => Spelling::Trimmed,
        _ => Spelling::Case,
    }
}

impl Drawing<'_> {
    fn table(mut self, entity: usize) -> Table {
        let mut columns: Vec<String> = (0..self.shape.columns.len()).map(|at| self.column(at)).collect();
        let keys: Vec<String> = self.shape.keys().map(|at| quoted(self.shape.columns[at].name)).collect();
        columns.push(format!("PRIMARY KEY ({})", keys.join(", ")));
        for (at, table, of) in self.shape.parents() {
            columns.push(self.foreign_key(at, table, of));
        }
        let end = if self.rng.one_in(4) { " AUTO_INCREMENT = 100" } else { "" };
        let mut statements = vec![format!("CREATE TABLE {} ({}){end}", quoted(self.shape.table), columns.join(", "))];
        self.triggers();
        statements.append(&mut self.extra);
        Table { entity, statements, defaults: self.defaults, spelling: self.spelling, counted: true }
    }

    fn column(&mut self, at: usize) -> String {
        let column = self.shape.columns[at];
        let mut sql = quoted(column.name);
        if column.role == Role::Made {
            sql += &self.made_key(column.kind);
            return sql;
        }
        if column.role == Role::Computed {
            let by = if column.name == "full" { "first || ' ' || last" } else { "part * 2" };
            let (of, kept) = (self.type_of(column.kind, Role::Plain), self.rng.pick(&["VIRTUAL", "STORED"]));
            let _ = write!(sql, " {of} AS ({by}) {kept}");
            return sql;
        }
        if matches!(column.kind, Kind::Utc | Kind::Stamp) && column.role == Role::Plain {
            sql += &self.moment(at);
            return sql;
        }
        let _ = write!(sql, " {}", self.type_of(column.kind, column.role));
        if !column.null {
            sql += " NOT NULL";
        }
        if column.role == Role::Plain
            && self.rng.one_in(3)
            && let Some(default) = self.default_of(column.kind)
        {
            let _ = write!(sql, " DEFAULT {default}");
            self.defaults.push(at);
        } else if column.null {
            self.defaults.push(at);
        }
        if column.role == Role::Unique {
            sql += " UNIQUE";
        }
        sql
    }

    fn foreign_key(&mut self, at: usize, table: &str, of: &str) -> String {
        let column = self.shape.columns[at];
        let deletes: &[&str] = match column.null {
            true => &["NO ACTION", "RESTRICT", "CASCADE", "SET NULL"],
            false => &["NO ACTION", "CASCADE"],
        };
        let updates: &[&str] = if of == "id" { &["NO ACTION"] } else { &["NO ACTION", "CASCADE"] };
        let (deletes, updates) = (self.rng.pick(deletes), self.rng.pick(updates));
        let (from, table, to) = (quoted(column.name), quoted(table), quoted(of));
        format!("FOREIGN KEY ({from}) REFERENCES {table} ({to}) ON DELETE {deletes} ON UPDATE {updates}")
    }

    fn made_key(&mut self, kind: Kind) -> String {
        let number = match kind {
            Kind::Int => "int",
            Kind::BigUnsigned => "bigint unsigned",
            _ => "bigint",
        };
        match self.rng.one_in(5) {
            true => format!(" {number} NOT NULL DEFAULT nextval(numbers)"),
            false => format!(" {number} NOT NULL AUTO_INCREMENT"),
        }
    }

    /// A moment, which an update of its row may touch.
    fn moment(&mut self, at: usize) -> String {
        let column = self.shape.columns[at];
        let digits = self.rng.pick(&[0, 3, 6]);
        let of = if column.kind == Kind::Stamp { self.rng.pick(&["timestamp", "datetime"]) } else { "datetime" };
        let mut sql = format!(" {of}({digits}) {}", if column.null { "NULL" } else { "NOT NULL" });
        let now = format!("CURRENT_TIMESTAMP({digits})");
        match self.rng.u8(..4) {
            0 => drop(write!(sql, " DEFAULT {now}")),
            1 => sql += " DEFAULT '2024-03-01 10:00:00.654321'",
            _ if column.null => sql += " DEFAULT NULL",
            _ => {}
        }
        if sql.contains("DEFAULT") {
            self.defaults.push(at);
        }
        if self.rng.one_in(2) {
            let _ = write!(sql, " ON UPDATE {now}");
        }
        sql
    }

    fn type_of(&mut self, kind: Kind, role: Role) -> String {
        // The two ends of a foreign key agree.
        let shared =
            matches!(role, Role::Parent(..) | Role::Unique) || self.shape.table == "keyed" && role == Role::Key;
        match kind {
            Kind::Small => "smallint",
            Kind::Int if shared || role == Role::Key => "int",
            Kind::Int => self.rng.pick(&["int", "bigint"]),
            Kind::Big => "bigint",
            Kind::Double => "double",
            Kind::Text if shared || role == Role::Key => {
                let collation = if shared { self.collation } else { collation(self.rng) };
                if role == Role::Key {
                    self.spelling = spelling_of(collation);
                }
                let of = if !shared && self.rng.one_in(3) { "char(12)" } else { "varchar(40)" };
                return format!("{of} COLLATE {collation}");
            }
            Kind::Text | Kind::Word => {
                // What is joined has one collation.
                let computed = self.shape.table == "computed";
                let collation = if computed { self.collation } else { collation(self.rng) };
                // What is computed of a CHAR hangs on a mode of the server, so a column that stores it is refused.
                let types = ["varchar(90)", "tinytext", "longtext", "char(90)"];
                let of = self.rng.pick(&types[..if computed { 3 } else { 4 }]);
                return format!("{of} COLLATE {collation}");
            }
            Kind::Bool => self.rng.pick(&["boolean", "bit(1)"]),
            Kind::Utc | Kind::Naive => self.rng.pick(&["datetime", "datetime(3)", "datetime(6)"]),
            Kind::Stamp => "timestamp(6)",
            Kind::Hour => self.rng.pick(&["time", "time(3)", "time(6)"]),
            Kind::Day => "date",
            Kind::Id => "binary(16)",
            Kind::Document => self.rng.pick(&["json", "longtext"]),
            Kind::Bytes => self.rng.pick(&["blob", "varbinary(8)", "binary(4)"]),
            Kind::Mood => self.rng.pick(&["enum('it''s fine', 'Bad')", "varchar(20)"]),
            Kind::TinyUnsigned => "tinyint unsigned",
            Kind::SmallUnsigned => "smallint unsigned",
            Kind::Unsigned => "int unsigned",
            Kind::BigUnsigned => "bigint unsigned",
            Kind::Number => self.rng.pick(&["decimal(10, 2)", "decimal(20, 6)"]),
            Kind::Marks => "set('a', 'b', 'c')",
        }
        .to_owned()
    }

    fn default_of(&mut self, kind: Kind) -> Option<&'static str> {
        Some(match kind {
            Kind::Small | Kind::Int | Kind::Big => "7",
            Kind::TinyUnsigned | Kind::SmallUnsigned | Kind::Unsigned | Kind::BigUnsigned => "7",
            Kind::Double | Kind::Number => "2.5",
            Kind::Text => self.rng.pick(&["'made'", "(upper('made'))"]),
            Kind::Word => "'made '",
            Kind::Bool => "1",
            Kind::Day => "'2024-03-01'",
            Kind::Naive => "'2024-03-01 10:00:00.654321'",
            Kind::Hour => "'10:00:00.654321'",
            Kind::Mood => "'Bad'",
            Kind::Marks => "'c,a'",
            Kind::Document => "'{\"made\": [1, 2]}'",
            Kind::Utc | Kind::Stamp | Kind::Id | Kind::Bytes => return None,
        })
    }

    /// Triggers that change what is written, or write elsewhere.
    fn triggers(&mut self) {
        let (table, shape) = (self.shape.table, self.shape);
        let text = shape.columns.iter().find(|column| column.role == Role::Plain && column.kind == Kind::Text);
        let number = shape.columns.iter().find(|c| c.role == Role::Plain && c.kind == Kind::Int);
        let made = shape.columns.iter().find(|column| column.role == Role::Made);
        let mut before = Vec::new();
        if let Some(text) = text.filter(|_| self.rng.one_in(5)) {
            let upper = format!("SET NEW.\"{0}\" = upper(NEW.\"{0}\")", text.name);
            before.extend([("INSERT", upper.clone()), ("UPDATE", upper)]);
        }
        if let Some(made) = made.filter(|_| self.rng.one_in(6)) {
            before.push(("INSERT", format!("SET NEW.\"{}\" = 10000 + nextval(numbers)", made.name)));
        }
        if let Some(number) = number.filter(|_| self.rng.one_in(6)) {
            before.push(("UPDATE", format!("SET NEW.\"{0}\" = COALESCE(NEW.\"{0}\", 0) + 1", number.name)));
        }
        for (at, (event, change)) in before.into_iter().enumerate() {
            self.extra
                .push(format!("CREATE TRIGGER \"{table}_{at}\" BEFORE {event} ON \"{table}\" FOR EACH ROW {change}"));
        }
        if self.rng.one_in(8) {
            let event = self.rng.pick(&["INSERT", "UPDATE", "DELETE"]);
            self.extra.push(format!(
                "CREATE TRIGGER \"{table}_log\" AFTER {event} ON \"{table}\" FOR EACH ROW INSERT INTO log VALUES ('{table}')"
            ));
        }
    }
}
