//! Compares the schema in a database with what it should be.
//!
//! What it is for: an operator who was called at night asks whether the schema is what the program expects. Two
//! comparisons: with the entities (tables, columns, types, nullability, keys), and with a clean schema that the same
//! migrations make elsewhere (indexes, constraints, triggers, policies, row-level security). What it must never do:
//! change the database. The clean schema is made elsewhere: on PostgreSQL in a transaction that is rolled back, on MySQL and
//! MariaDB in a database of its own that is dropped, on SQLite in memory.

use std::{collections::BTreeMap, fmt};

use sea_orm::{
    ColumnTrait, ColumnType, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, IdenStatic, Iterable,
    PrimaryKeyToColumn,
};
use sea_orm_migration::{MigratorTrait, SchemaManager};
use sea_session::Db;
use serde::Serialize;

use crate::{
    catalogue::{catalogue, subject, table_of},
    dialect::{self, Scratch},
    error::Error,
    shown::shortened,
    sql,
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
        let dialect = dialect::of(db.get_database_backend())?;
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
            let expected = dialect.type_names(kind);
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
    let sql = dialect::of(db.get_database_backend())?.columns_of(table);
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

/// The catalogue of a schema that has had every migration, and nothing else.
async fn clean<M: MigratorTrait>(db: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let table = M::migration_table_name().to_string();
    let scratch = dialect::of(db.get_database_backend())?.scratch(db).await?;
    let made = match &scratch {
        Scratch::Transaction(transaction) => made::<M, _>(transaction, &SchemaManager::new(transaction), &table).await,
        Scratch::Database(database, _) => made::<M, _>(database, &SchemaManager::new(database), &table).await,
    };
    let ended = scratch.end().await;
    let lines = made?;
    ended?;
    Ok(lines)
}

async fn made<M: MigratorTrait, C: ConnectionTrait>(
    db: &C,
    manager: &SchemaManager<'_>,
    table: &str,
) -> Result<Vec<String>, DbErr> {
    for migration in M::migrations() {
        migration.up(manager).await?;
    }
    catalogue(db, table).await
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
