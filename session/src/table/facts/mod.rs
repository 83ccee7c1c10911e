//! What a table does to its rows, asked of the database's catalogue (D1).
//!
//! The entity says what a row is for; only the catalogue says how its columns are filled in, what stands between a statement
//! and the row, and what happens to other rows. The question is asked once for each pool and table, before the first write,
//! and again after an error that a changed table may have caused. Nothing here writes, and nothing here is guessed: what
//! the catalogue does not tell counts as the slower case.

mod cache;

use super::{meta::TableMeta, texts::KeptTexts};
pub(crate) use cache::{FactsCache, alters_tables};

/// What the catalogue says of one table.
#[derive(Debug)]
pub(crate) struct TableFacts {
    /// The table itself, whatever name leads to it; `None` if the catalogue does not know it.
    pub(crate) identity: Option<Identity>,
    /// One for each column of the entity, in its order.
    pub(crate) columns: Vec<ColumnFacts>,
    pub(crate) insert: EventFacts,
    pub(crate) update: EventFacts,
    pub(crate) delete: EventFacts,
    /// Whether rows may come in by COPY.
    pub(crate) copy: bool,
    /// Whether policies say which rows may be seen: a new one need not be among them (PostgreSQL).
    pub(crate) row_security: bool,
    /// Written rows are not counted, so that only an answer tells them: a view whose triggers write (SQLite).
    pub(crate) uncounted: bool,
    /// The numbers of the table, its partitions and the tables that inherit from it (PostgreSQL).
    pub(crate) tree: Vec<i64>,
    /// Columns that keep microseconds, in UTC, of what is sent.
    pub(crate) micros: Vec<usize>,
    /// Columns that are never written.
    pub(crate) generated: Vec<usize>,
    /// The names of the columns of each unique key, in small letters and in their order, where statements do not name the key that
    /// they are about (MySQL).
    pub(crate) unique: Vec<Vec<String>>,
    /// How SQLite counts up the key that no row brings along.
    pub(crate) rowid: Option<Rowid>,
    /// What the values of a statement may come to, where the server refuses more (MySQL).
    pub(crate) most_bytes: Option<usize>,
    /// What stands behind the table in a join that looks its rows up by their keys.
    pub(crate) lookup: &'static str,
    /// A few rows are changed by one statement that names each by its key (MariaDB).
    pub(crate) names_rows: bool,
    /// What the database does to rows of other tables, or of this one, when a row is deleted or its key changes (D6).
    pub(crate) actions: Vec<Action>,
    /// The foreign keys of other tables, or of this one, because of which the database only refuses.
    pub(crate) refusing: Vec<Action>,
    /// The tables whose rows it may reach so by way of rows of others.
    pub(crate) far: Vec<Identity>,
    /// Foreign keys of the table to itself are checked row by row, in the middle of a statement (SQLite's RESTRICT).
    pub(crate) restricts_itself: bool,
    /// KeptTexts that depend on these facts.
    pub(crate) texts: KeptTexts,
}

/// A table, whatever name leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    Oid(i64),
    Named { schema: String, table: String },
}

/// What stands between a statement of one kind and the table's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventFacts {
    /// A set would not give what single rows give: a trigger or rule sees the statement, or the order of its rows.
    pub(crate) row_by_row: bool,
    /// A trigger may change each row on its way.
    pub(crate) rewrites: bool,
    /// A trigger may change the row after RETURNING has been told what it holds.
    pub(crate) changes_afterwards: bool,
    /// A rule stands in the statement's place, so that it may not ask for what it writes (PostgreSQL).
    pub(crate) instead: bool,
    /// The server has no RETURNING for this event.
    pub(crate) mute: bool,
}

/// What the database makes of a value in a column.
#[derive(Clone, Debug, Default)]
pub(crate) struct ColumnFacts {
    /// How what was sent compares with what is stored.
    pub(crate) stored: Stored,
    /// Computed by the database: never written (D4).
    pub(crate) generated: bool,
    /// Changed by the database with each change of its row, unless it is written (ON UPDATE CURRENT_TIMESTAMP).
    pub(crate) touched: bool,
    /// The server counts it up, and says what the last row got (AUTO_INCREMENT).
    pub(crate) counted: bool,
    /// How its values stand in a document that a statement reads as a table; none if they cannot.
    pub(crate) document: Option<DocumentColumn>,
    /// An identity that refuses values of a statement's own; COPY would not refuse them (PostgreSQL).
    pub(crate) always: bool,
    /// An expression that gives what the column's default would, and may be evaluated before the row is there.
    pub(crate) draw: Option<Draw>,
    /// How the database compares values, where it is not by their bytes (D5).
    pub(crate) equality: Option<Equality>,
    /// PostgreSQL's number of the column's type.
    pub(crate) type_oid: i64,
}

/// A column of a document that a statement reads as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentColumn {
    /// The type that it is read as.
    pub(crate) declared: String,
    /// Bytes, which stand there as digits.
    pub(crate) hexadecimal: bool,
}

/// How what was sent compares with what is stored (D4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is what was sent.
    AsSent,
    /// It is what was sent, but for texts that end in a space (`varchar(n)` cuts those that do not fit).
    UnlessSpaces,
    /// It is what was sent, but for numbers that are not quite numbers: not-a-number and minus zero (SQLite).
    UnlessOddFloat,
    /// It is what was sent, but for moments of a part of a microsecond, or not in UTC (MySQL).
    #[allow(dead_code, reason = "one driver alone stores so, and may be left out")]
    UnlessFiner,
    /// It is what was sent to the microsecond, in UTC: the driver sends no more (PostgreSQL).
    Micros,
    /// It cannot be told: the driver does not read the column's type as the entity's.
    Untold,
    /// It may be anything: rounded, padded, folded, computed.
    #[default]
    Unknown,
}

/// A default that may be evaluated before its row is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draw {
    /// The very default expression.
    pub(crate) expression: String,
    /// The default that it is.
    pub(crate) default: KnownDefault,
}

/// A default as the catalogue knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownDefault {
    /// This entry of `pg_attrdef`.
    Entry(i64),
    /// The identity of the column with this number.
    Identity(i64),
}

/// How the database compares values of a column where equal ones may differ in their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Equality {
    /// The type that a value is to be cast to before it is compared.
    pub(crate) cast: Option<String>,
    /// The collation, as SQL names it.
    pub(crate) collate: Option<String>,
    /// Only values of the same bytes are equal: the collation is named because statements have to.
    pub(crate) of_bytes: bool,
}

impl Equality {
    /// `sql` as the column's own values are compared.
    pub(crate) fn apply(&self, sql: &str) -> String {
        let cast = self.cast.as_ref().map_or_else(|| sql.to_owned(), |cast| format!("CAST({sql} AS {cast})"));
        self.collate.as_ref().map_or(cast.clone(), |collate| format!("({cast} COLLATE {collate})"))
    }
}

/// SQLite's key that is the row's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rowid {
    pub(crate) column: usize,
    /// AUTOINCREMENT: numbers that were given away once are not given away again.
    pub(crate) autoincrement: bool,
}

/// What a foreign key of another table (or of this one) does to its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    /// The table whose rows refer to this one.
    pub(crate) child: Identity,
    /// The referring columns, by name.
    pub(crate) from: Vec<String>,
    /// The columns of this table that they refer to, by name.
    pub(crate) to: Vec<String>,
    pub(crate) on_delete: Deed,
    pub(crate) on_update: Deed,
}

/// A referential action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// No action, or restrict.
    None,
    Cascade,
    SetNull,
    SetDefault,
}

impl Action {
    pub(crate) fn acts(&self) -> bool {
        self.on_delete != Deed::None || self.on_update != Deed::None
    }
}

impl TableFacts {
    /// A table that the catalogue does not know: the statement itself will say what is wrong with it.
    pub(crate) fn unknown(table: &TableMeta) -> Self {
        let slow = EventFacts { row_by_row: true, rewrites: true, ..EventFacts::default() };
        Self {
            identity: None,
            columns: vec![ColumnFacts::default(); table.columns.len()],
            insert: slow,
            update: slow,
            delete: slow,
            copy: false,
            row_security: false,
            uncounted: false,
            tree: Vec::new(),
            micros: Vec::new(),
            generated: Vec::new(),
            unique: Vec::new(),
            rowid: None,
            most_bytes: None,
            lookup: "",
            names_rows: false,
            actions: Vec::new(),
            refusing: Vec::new(),
            far: Vec::new(),
            restricts_itself: false,
            texts: KeptTexts::default(),
        }
    }

    /// Whether foreign keys have the database change rows of this table because of others of it, or refuse it meanwhile.
    pub(crate) fn acts_on_itself(&self) -> bool {
        let own = |identity: &Identity| Some(identity) == self.identity.as_ref();
        self.restricts_itself || self.actions.iter().any(|action| own(&action.child)) || self.far.iter().any(own)
    }

    /// The tables whose rows the database may delete because a row of this one is deleted.
    pub(crate) fn deletes_below(&self) -> impl Iterator<Item = &Identity> {
        let deletes = self.actions.iter().filter(|action| action.on_delete == Deed::Cascade);
        deletes.map(|action| &action.child).chain(&self.far)
    }

    /// Whether some column of these compares otherwise than by its bytes.
    pub(crate) fn folds(&self, columns: &[usize]) -> bool {
        columns.iter().any(|column| self.columns[*column].equality.as_ref().is_some_and(|equality| !equality.of_bytes))
    }

    /// How each of these columns compares values, where that is not by their bytes.
    pub(crate) fn equality_of(&self, columns: &[usize]) -> Vec<Option<Equality>> {
        columns.iter().map(|column| self.columns[*column].equality.clone()).collect()
    }

    /// `sql` compared as the values of a column are.
    pub(crate) fn compared(&self, column: usize, sql: &str) -> String {
        self.columns[column].equality.as_ref().map_or_else(|| sql.to_owned(), |equality| equality.apply(sql))
    }
}
