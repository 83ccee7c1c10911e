//! Compares the schema in a database with what it should be.
//!
//! What it is for: an operator who was called at night asks whether the schema is what the program expects. Two
//! comparisons: with the entities (tables, columns, types, nullability, keys), and with a clean schema that the same
//! migrations make elsewhere (indexes, constraints, triggers, policies, row-level security). What it must never do:
//! change the database. On PostgreSQL the clean schema is made in a transaction that is rolled back.

use std::{collections::BTreeMap, fmt};

use sea_orm::{
    ColumnTrait, ColumnType, ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr, EntityTrait, IdenStatic,
    Iterable, PrimaryKeyToColumn, TransactionTrait,
};
use sea_orm_migration::{MigratorTrait, SchemaManager};
use sea_session::Db;
use serde::Serialize;

use crate::{
    catalogue::catalogue,
    error::Error,
    shown::shortened,
    sql::{self, send},
};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "complaint", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Complaint {
    /// A table is not there.
    MissingTable {
        /// Which.
        table: String,
    },
    /// A column is not there.
    MissingColumn {
        /// Of which table.
        table: String,
        /// Which.
        column: String,
    },
    /// A column has another type.
    WrongType {
        /// Of which table.
        table: String,
        /// Which.
        column: String,
        /// What the entity needs.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A column may be null and should not, or the other way round.
    WrongNullability {
        /// Of which table.
        table: String,
        /// Which.
        column: String,
        /// What the entity needs.
        nullable: bool,
    },
    /// The primary key has other columns.
    WrongKey {
        /// Of which table.
        table: String,
        /// What the entity needs.
        expected: Vec<String>,
        /// What is there.
        found: Vec<String>,
    },
    /// A clean schema has this, and the database does not.
    Missing {
        /// Kind, name and definition.
        what: String,
    },
    /// The database has this on one of our tables, and a clean schema does not.
    Unexpected {
        /// Kind, name and definition.
        what: String,
    },
    /// A comparison could not be made.
    NotCompared {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTable { table } => write!(f, "table {table} is missing"),
            Self::MissingColumn { table, column } => write!(f, "column {table}.{column} is missing"),
            Self::WrongType { table, column, expected, found } => {
                write!(f, "column {table}.{column} is {found}, expected {expected}")
            }
            Self::WrongNullability { table, column, nullable } => {
                write!(f, "column {table}.{column} must {}be nullable", if *nullable { "" } else { "not " })
            }
            Self::WrongKey { table, expected, found } => {
                write!(f, "table {table} has the key ({}), expected ({})", found.join(", "), expected.join(", "))
            }
            Self::Missing { what } => write!(f, "missing: {}", shortened(what)),
            Self::Unexpected { what } => write!(f, "unexpected: {}", shortened(what)),
            Self::NotCompared { reason } => write!(f, "not compared: {reason}"),
        }
    }
}

/// Examines the schema that the migrations of `M` make for these entities.
///
/// # Errors
/// Those of the database.
///
/// # Cancel safety
/// Safe: nothing is changed.
pub async fn examine<M: MigratorTrait>(db: impl Into<Db>, entities: &Entities) -> Result<Vec<Complaint>, Error> {
    let db = db.into();
    let db = db.connection();
    let mut complaints = Vec::new();
    for expected in &entities.tables {
        complaints.extend(expected.compare(db).await?);
    }
    // A table that is missing is said once, not once for each of its indexes.
    let absent: Vec<String> = complaints
        .iter()
        .filter_map(|complaint| match complaint {
            Complaint::MissingTable { table } => Some(table.clone()),
            _ => None,
        })
        .collect();
    match clean::<M>(db).await {
        Ok(reference) => {
            let table = M::migration_table_name().to_string();
            let found = catalogue(db, &table).await?;
            complaints.extend(differences(&reference, &found, &absent));
        }
        Err(error) => complaints.push(Complaint::NotCompared {
            reason: format!("indexes, constraints and policies: a clean schema could not be made here: {error}"),
        }),
    }
    Ok(complaints)
}

/// Entities, each of which asks something of its table.
#[derive(Clone, Debug, Default)]
pub struct Entities {
    tables: Vec<Expected>,
}

impl Entities {
    /// With one more.
    #[must_use]
    pub fn and<E: EntityTrait>(mut self) -> Self {
        self.tables.push(Expected {
            table: E::default().table_name().to_owned(),
            columns: E::Column::iter()
                .map(|column| {
                    let definition = column.def();
                    (column.as_str().to_owned(), definition.get_column_type().clone(), definition.is_null())
                })
                .collect(),
            key: E::PrimaryKey::iter().map(|key| key.into_column().as_str().to_owned()).collect(),
        });
        self
    }
}

/// What an entity asks of its table.
#[derive(Clone, Debug)]
struct Expected {
    table: String,
    columns: Vec<(String, ColumnType, bool)>,
    key: Vec<String>,
}

/// A column as the database has it.
struct Found {
    kind: String,
    nullable: bool,
}

impl Expected {
    async fn compare(&self, db: &DatabaseConnection) -> Result<Vec<Complaint>, DbErr> {
        let table = &self.table;
        let (columns, key) = found(db, table).await?;
        if columns.is_empty() {
            return Ok(vec![Complaint::MissingTable { table: table.clone() }]);
        }
        let mut complaints = Vec::new();
        for (column, kind, nullable) in &self.columns {
            let (table, column) = (table.clone(), column.clone());
            let Some(found) = columns.get(&column) else {
                complaints.push(Complaint::MissingColumn { table, column });
                continue;
            };
            let expected = type_names(kind, db.get_database_backend());
            let kind = without_length(&found.kind);
            if let Some(first) = expected.first()
                && !expected.iter().any(|name| name.eq_ignore_ascii_case(&kind))
            {
                let (expected, found) = ((*first).to_owned(), found.kind.clone());
                complaints.push(Complaint::WrongType { table: table.clone(), column: column.clone(), expected, found });
            }
            if found.nullable != *nullable {
                complaints.push(Complaint::WrongNullability { table, column, nullable: *nullable });
            }
        }
        if key != self.key {
            complaints.push(Complaint::WrongKey { table: table.clone(), expected: self.key.clone(), found: key });
        }
        Ok(complaints)
    }
}

/// The columns by name, and the primary key in its order.
async fn found(db: &DatabaseConnection, table: &str) -> Result<(BTreeMap<String, Found>, Vec<String>), DbErr> {
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => format!(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
                coalesce(array_position(i.indkey::int2[], a.attnum), -1)::bigint \
             FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
             WHERE a.attrelid = to_regclass('{table}') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        ),
        _ => format!(
            r#"SELECT name, type, "notnull" <> 0, CASE WHEN pk = 0 THEN -1 ELSE pk END FROM pragma_table_xinfo('{table}')"#
        ),
    };
    let (mut columns, mut key) = (BTreeMap::new(), Vec::new());
    for row in sql::all(db, &sql).await? {
        let name: String = row.try_get_by_index(0)?;
        let place: i64 = row.try_get_by_index(3)?;
        if place >= 0 {
            key.push((place, name.clone()));
        }
        columns.insert(name, Found { kind: row.try_get_by_index(1)?, nullable: !row.try_get_by_index::<bool>(2)? });
    }
    key.sort();
    Ok((columns, key.into_iter().map(|(_, name)| name).collect()))
}

/// `varchar(20)` as `varchar`.
fn without_length(kind: &str) -> String {
    let (name, rest) = kind.split_once('(').unwrap_or((kind, ""));
    format!("{}{}", name.trim_end(), rest.split_once(')').map_or("", |(_, rest)| rest))
}

/// What a type that entities use is called in a database; empty for one that is not compared.
fn type_names(kind: &ColumnType, backend: DbBackend) -> &'static [&'static str] {
    let (postgres, sqlite): (&[&str], &[&str]) = match kind {
        ColumnType::Uuid => (&["uuid"], &["BLOB", "uuid_text"]),
        ColumnType::JsonBinary => (&["jsonb"], &["TEXT", "jsonb_text"]),
        ColumnType::Json => (&["jsonb", "json"], &["TEXT", "json_text"]),
        ColumnType::TimestampWithTimeZone => (&["timestamp with time zone"], &["TEXT", "timestamp_with_timezone_text"]),
        ColumnType::BigInteger => (&["bigint"], &["INTEGER", "bigint"]),
        ColumnType::Integer => (&["integer"], &["INTEGER"]),
        ColumnType::SmallInteger => (&["smallint"], &["INTEGER", "smallint"]),
        ColumnType::Double => (&["double precision"], &["REAL", "double"]),
        ColumnType::Boolean => (&["boolean"], &["INTEGER", "boolean"]),
        ColumnType::Text | ColumnType::String(_) | ColumnType::Char(_) => {
            (&["text", "character varying", "character"], &["TEXT", "varchar", "char"])
        }
        _ => (&[], &[]),
    };
    if backend == DbBackend::Postgres { postgres } else { sqlite }
}

/// The catalogue of a schema that has had every migration, and nothing else.
async fn clean<M: MigratorTrait>(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let table = M::migration_table_name().to_string();
    if db.get_database_backend() == DbBackend::Sqlite {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).sqlx_logging(false);
        let memory = Database::connect(options).await?;
        M::up(&memory, None).await?;
        return catalogue(&memory, &table).await;
    }
    let transaction = db.begin().await?;
    let schema = format!("doctor_{}", std::process::id());
    send(&transaction, &format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}")).await?;
    for migration in M::migrations() {
        migration.up(&SchemaManager::new(&transaction)).await?;
    }
    let lines = catalogue(&transaction, &table).await;
    transaction.rollback().await?;
    lines
}

fn differences(reference: &[String], found: &[String], absent: &[String]) -> Vec<Complaint> {
    let ours: Vec<&str> = reference.iter().filter_map(|line| line.strip_prefix("table ")).map(subject).collect();
    let mut complaints = Vec::new();
    for line in reference.iter().filter(|line| !found.contains(line)) {
        if !absent.iter().any(|table| table == table_of(line)) {
            complaints.push(Complaint::Missing { what: line.clone() });
        }
    }
    for line in found.iter().filter(|line| !reference.contains(line)) {
        if ours.contains(&table_of(line)) {
            complaints.push(Complaint::Unexpected { what: line.clone() });
        }
    }
    complaints
}

fn subject(line: &str) -> &str {
    line.split(['.', ':']).next().unwrap_or_default()
}

fn table_of(line: &str) -> &str {
    line.split_once(' ').map_or("", |(_, rest)| subject(rest))
}
