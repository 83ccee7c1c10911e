//! Records what a migration sends, by running it against a connection that answers without a database.
//!
//! What it is for: `plan` (the SQL, without a database too), the checksums (a migration that was changed after it was
//! applied sends something else), and the resumption of migrations without a transaction (a recorded list can be taken
//! up at its third statement). What it must never do: send anything anywhere.
//!
//! The answers are those of an empty database in which what the migration has created so far exists: `has_table`,
//! `has_column` and `has_index` look at the recorded DDL, `RETURNING` gives back what was inserted, every other query
//! has no rows. A migration that cannot live with such answers is *not recorded*, and the reason is kept: it runs all
//! the same, only its checksum and its plan are missing.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex},
};

use sea_orm::{
    DatabaseConnection, DatabaseConnectionType, DbErr, ExecResult, MockDatabase, MockDatabaseConnection,
    MockDatabaseTrait, MockExecResult, QueryResult, Statement, Transaction, TransactionTrait, Value,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};
use sha2::{Digest, Sha256};

use crate::{
    dialect::{self, Dialect, SeaBackend},
    direction::Direction,
    shown::hexadecimal,
    words::Words,
};

/// One thing that a migration sent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sent {
    /// A statement.
    Statement(Statement),
    /// The migration began a transaction, or a savepoint, of its own.
    Begin,
    /// It committed that.
    Commit,
    /// It rolled that back.
    Rollback,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(statement) => write!(f, "{statement}"),
            Self::Begin => f.write_str("BEGIN"),
            Self::Commit => f.write_str("COMMIT"),
            Self::Rollback => f.write_str("ROLLBACK"),
        }
    }
}

/// What one direction of one migration sends.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    sent: Vec<Sent>,
    asked: bool,
}

impl Recording {
    /// In the order of sending.
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// The statements as a plain list, if the migration is one: it asked nothing of the database and began no
    /// transaction of its own, so that sending the list is the same as running it.
    pub fn as_list(&self) -> Option<Vec<&Statement>> {
        if self.asked {
            return None;
        }
        let statements: Vec<&Statement> = self.statements().collect();
        (statements.len() == self.sent.len()).then_some(statements)
    }

    /// All statements, also those of transactions of its own.
    pub(crate) fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.sent.iter().filter_map(|sent| match sent {
            Sent::Statement(statement) => Some(statement),
            Sent::Begin | Sent::Commit | Sent::Rollback => None,
        })
    }

    /// With each statement of a text that holds several as one of its own.
    pub(crate) fn one_by_one(&self, split: fn(&str) -> Vec<String>) -> Self {
        let mut sent = Vec::with_capacity(self.sent.len());
        for one in &self.sent {
            match one {
                Sent::Statement(Statement { sql, values: None, db_backend }) => {
                    sent.extend(
                        split(sql).into_iter().map(|sql| Sent::Statement(Statement::from_string(*db_backend, sql))),
                    );
                }
                other => sent.push(other.clone()),
            }
        }
        Self { sent, asked: self.asked }
    }

    /// SHA-256 of everything sent, in hexadecimal. Bound values count, but for instants and UUIDs, which a migration
    /// makes up anew each time.
    pub fn checksum(&self) -> String {
        self.checksum_of_first(u64::MAX)
    }

    /// The checksum of the first `n` things sent: what a run that stopped there has done.
    pub(crate) fn checksum_of_first(&self, n: u64) -> String {
        let mut hash = Sha256::new();
        for sent in self.sent.iter().take(usize::try_from(n).unwrap_or(usize::MAX)) {
            match sent {
                Sent::Statement(statement) => {
                    hash.update(statement.sql.as_bytes());
                    for value in statement.values.iter().flat_map(|values| &values.0) {
                        hash.update([0]);
                        hash.update(stable(value).as_bytes());
                    }
                }
                other => hash.update(other.to_string().as_bytes()),
            }
            hash.update([1]);
        }
        hexadecimal(&hash.finalize())
    }
}

fn stable(value: &Value) -> String {
    match value {
        Value::ChronoDate(_)
        | Value::ChronoTime(_)
        | Value::ChronoDateTime(_)
        | Value::ChronoDateTimeUtc(_)
        | Value::ChronoDateTimeLocal(_)
        | Value::ChronoDateTimeWithTimeZone(_)
        | Value::Uuid(_) => "made up".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What a migration sends, or why that cannot be known without running it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// The migration's name.
    pub name: String,
    /// What it sends, or the reason why it was not recorded.
    pub recording: Result<Recording, String>,
}

impl Recorded {
    /// The checksum, if it was recorded.
    pub fn checksum(&self) -> Option<String> {
        self.recording.as_ref().ok().map(Recording::checksum)
    }
}

/// Records all migrations of `M`, oldest first, in one direction, for a backend. Needs no database.
///
/// Every migration is recorded twice: one that sends something else the second time has no checksum, and says so.
///
/// # Cancel safety
/// Safe: there is nothing to leave behind.
pub async fn record<M: MigratorTrait>(backend: SeaBackend, direction: Direction) -> Vec<Recorded> {
    let first = record_once::<M>(backend, direction).await;
    let second = record_once::<M>(backend, direction).await;
    first
        .into_iter()
        .zip(second)
        .map(|(first, second)| match (first.checksum(), second.checksum()) {
            (Some(one), Some(other)) if one != other => {
                Recorded { name: first.name, recording: Err("it sends something else each time it is run".to_owned()) }
            }
            _ => first,
        })
        .collect()
}

async fn record_once<M: MigratorTrait>(backend: SeaBackend, direction: Direction) -> Vec<Recorded> {
    let dialect = match dialect::of(backend) {
        Ok(dialect) => dialect,
        Err(error) => {
            let unknown = |name: &str| Recorded { name: name.to_owned(), recording: Err(error.to_string()) };
            return M::migrations().iter().map(|migration| unknown(migration.name())).collect();
        }
    };
    let tape = Tape::new(dialect);
    let mut recorded = Vec::new();
    for migration in M::migrations() {
        recorded.push(record_one(&tape, migration, Direction::Up).await);
    }
    if direction == Direction::Down {
        recorded.clear();
        for migration in M::migrations().into_iter().rev() {
            recorded.push(record_one(&tape, migration, Direction::Down).await);
        }
        recorded.reverse();
    }
    recorded
}

/// In a task of its own, because a migration that unwraps an answer it did not get must not take the caller with it.
async fn record_one(tape: &Tape, migration: Box<dyn MigrationTrait>, direction: Direction) -> Recorded {
    let name = migration.name().to_owned();
    let connection = tape.connection();
    tape.with(|reel| (reel.sent, reel.asked) = (Vec::new(), false));
    let dialect = tape.dialect;
    let run = tokio::spawn(async move {
        if wants_transaction(migration.as_ref(), dialect) {
            let transaction = connection.begin().await?;
            direction.run(migration.as_ref(), &SchemaManager::new(&transaction)).await?;
            transaction.commit().await
        } else {
            direction.run(migration.as_ref(), &SchemaManager::new(&connection)).await
        }
    });
    let outcome = match run.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("it failed where nothing answers: {error}")),
        Err(_) => Err("it panicked where nothing answers".to_owned()),
    };
    let recording = outcome.map(|()| tape.with(|reel| Recording { sent: unwrapped(&reel.sent), asked: reel.asked }));
    Recorded { name, recording }
}

/// Without the transaction that the runner itself opens around a migration.
fn unwrapped(sent: &[Sent]) -> Vec<Sent> {
    match sent {
        [Sent::Begin, inner @ .., Sent::Commit] if balanced(inner) => inner.to_vec(),
        other => other.to_vec(),
    }
}

fn balanced(sent: &[Sent]) -> bool {
    let mut depth = 0_i64;
    for one in sent {
        match one {
            Sent::Begin => depth += 1,
            Sent::Commit | Sent::Rollback => depth -= 1,
            Sent::Statement(_) => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// The recording connection's memory, shared between the migrations of one recording.
#[derive(Clone, Debug)]
struct Tape {
    dialect: &'static dyn Dialect,
    reel: Arc<Mutex<Reel>>,
}

#[derive(Debug, Default)]
struct Reel {
    sent: Vec<Sent>,
    asked: bool,
    schema: Schema,
}

impl Tape {
    fn new(dialect: &'static dyn Dialect) -> Self {
        Self { dialect, reel: Arc::default() }
    }

    fn with<R>(&self, look: impl FnOnce(&mut Reel) -> R) -> R {
        // A poisoned tape belongs to a migration that panicked; what it holds is overwritten by the next.
        look(&mut self.reel.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn connection(&self) -> DatabaseConnection {
        DatabaseConnectionType::MockDatabaseConnection(Arc::new(MockDatabaseConnection::new(self.clone()))).into()
    }

    fn note(&self, sent: Sent) {
        self.with(|reel| {
            if let Sent::Statement(statement) = &sent {
                reel.schema.learn(&statement.sql);
            }
            reel.sent.push(sent);
        });
    }

    /// A row for the questions that SeaORM's own tools ask.
    fn answer(&self, statement: &Statement) -> Option<Row> {
        let names: Vec<String> = statement
            .values
            .iter()
            .flat_map(|values| &values.0)
            .filter_map(|value| match value {
                Value::String(Some(text)) => Some(text.to_string()),
                _ => None,
            })
            .collect();
        for kind in ["has_table", "has_column", "has_index"] {
            if Words::of(&statement.sql).any(|word| word == kind) {
                let there = self.with(|reel| match kind {
                    "has_table" => names.last().is_some_and(|name| reel.schema.tables.contains(name)),
                    "has_index" => names.last().is_some_and(|name| reel.schema.indexes.contains(name)),
                    _ => match names.as_slice() {
                        [.., table, column] => reel.schema.columns.contains(&(table.clone(), column.clone())),
                        _ => false,
                    },
                });
                return Some(Row::from([(kind.to_owned(), Value::Bool(Some(there)))]));
            }
        }
        returning(statement)
    }
}

type Row = BTreeMap<String, Value>;

/// The values of `INSERT INTO t (a, b) VALUES ($1, $2) RETURNING a`, by name.
fn returning(statement: &Statement) -> Option<Row> {
    let words: Vec<String> = Words::of(&statement.sql).collect();
    if !words.first()?.eq_ignore_ascii_case("INSERT") {
        return None;
    }
    let position = words.iter().rposition(|word| word.eq_ignore_ascii_case("RETURNING"))?;
    let values_at = words.iter().position(|word| word.eq_ignore_ascii_case("VALUES"))?;
    let columns: Vec<&String> =
        words.get(3..values_at)?.iter().filter(|word| word.len() > 1 || is_name(word)).collect();
    let values = &statement.values.as_ref()?.0;
    words[position + 1..]
        .iter()
        .filter(|word| is_name(word))
        .map(|name| {
            let at = columns.iter().position(|column| *column == name)?;
            Some((name.clone(), values.get(at)?.clone()))
        })
        .collect()
}

fn is_name(word: &str) -> bool {
    word.chars().next().is_some_and(|first| first.is_alphanumeric() || first == '_')
}

impl MockDatabaseTrait for Tape {
    fn execute(&mut self, _: usize, statement: Statement) -> Result<ExecResult, DbErr> {
        self.note(Sent::Statement(statement.clone()));
        // SeaORM's own mock is asked for the answer, because nobody else can make one.
        MockDatabase::new(self.dialect.backend()).append_exec_results([MockExecResult::default()]).execute(0, statement)
    }

    fn query(&mut self, _: usize, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let rows: Vec<Row> = self.answer(&statement).into_iter().collect();
        self.with(|reel| reel.asked = true);
        // A query that only reads is not part of what is sent: it changes nothing, and a plan would only repeat it.
        if !Words::of(&statement.sql).next().is_some_and(|word| word.eq_ignore_ascii_case("SELECT")) {
            self.note(Sent::Statement(statement.clone()));
        }
        MockDatabase::new(self.dialect.backend()).append_query_results([rows]).query(0, statement)
    }

    fn begin(&mut self) {
        self.note(Sent::Begin);
    }

    fn commit(&mut self) {
        self.note(Sent::Commit);
    }

    fn rollback(&mut self) {
        self.note(Sent::Rollback);
    }

    fn drain_transaction_log(&mut self) -> Vec<Transaction> {
        Vec::new()
    }

    fn get_database_backend(&self) -> SeaBackend {
        self.dialect.backend()
    }

    fn ping(&self) -> Result<(), DbErr> {
        Ok(())
    }
}

/// What the recorded DDL has created so far, as far as SeaORM's probes ask.
#[derive(Debug, Default)]
struct Schema {
    tables: HashSet<String>,
    columns: HashSet<(String, String)>,
    indexes: HashSet<String>,
}

impl Schema {
    fn learn(&mut self, sql: &str) {
        let words: Vec<String> = Words::of(sql).collect();
        let noise =
            ["IF", "NOT", "EXISTS", "ONLY", "UNIQUE", "CONCURRENTLY", "TEMPORARY", "TEMP", "UNLOGGED", "COLUMN"];
        let plain: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|word| !noise.iter().any(|noise| noise.eq_ignore_ascii_case(word)))
            .collect();
        let upper: Vec<String> = plain.iter().take(5).map(|word| word.to_ascii_uppercase()).collect();
        let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
        match upper.as_slice() {
            ["CREATE", "TABLE", _, ..] => {
                let table = plain[2];
                self.tables.insert(table.to_owned());
                for column in defined_columns(&plain[3..]) {
                    self.columns.insert((table.to_owned(), column.to_owned()));
                }
            }
            ["CREATE", "INDEX", _, ..] => drop(self.indexes.insert(plain[2].to_owned())),
            ["DROP", "TABLE", _, ..] => drop(self.tables.remove(plain[2])),
            ["DROP", "INDEX", _, ..] => drop(self.indexes.remove(plain[2])),
            ["ALTER", "TABLE", _, "ADD", _] => drop(self.columns.insert((plain[2].to_owned(), plain[4].to_owned()))),
            ["ALTER", "TABLE", _, "DROP", _] => drop(self.columns.remove(&(plain[2].to_owned(), plain[4].to_owned()))),
            ["ALTER", "TABLE", _, "RENAME", "TO"] => {
                self.tables.remove(plain[2]);
                self.tables.extend(plain.get(5).map(|&name| name.to_owned()));
            }
            _ => {}
        }
    }
}

/// The first word of each part between the commas of the outermost parentheses.
fn defined_columns<'w>(words: &[&'w str]) -> Vec<&'w str> {
    let mut columns = Vec::new();
    let (mut depth, mut expected) = (0_usize, false);
    for &word in words {
        match word {
            "(" => {
                depth += 1;
                expected = depth == 1;
            }
            ")" => depth = depth.saturating_sub(1),
            "," if depth == 1 => expected = true,
            name if depth == 1 && expected => {
                columns.push(name);
                expected = false;
            }
            _ => {}
        }
    }
    columns
}

/// A transaction where the schema changes in one, unless the migration says otherwise. (SeaORM takes none on SQLite by default.)
pub(crate) fn wants_transaction(migration: &dyn MigrationTrait, dialect: &dyn Dialect) -> bool {
    migration.use_transaction().unwrap_or(dialect.commits().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g6_the_recorded_schema_answers_the_probes() {
        let mut schema = Schema::default();
        schema.learn(r#"CREATE TABLE IF NOT EXISTS "cake" ("id" integer PRIMARY KEY, "name" varchar(20) NOT NULL, CHECK (id > 0))"#);
        schema.learn("ALTER TABLE cake ADD COLUMN price numeric(10, 2)");
        schema.learn("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS idx ON cake (name)");
        assert!(schema.tables.contains("cake") && schema.indexes.contains("idx"));
        for column in ["id", "name", "price"] {
            assert!(schema.columns.contains(&("cake".into(), column.into())), "{column}");
        }
        schema.learn("DROP INDEX IF EXISTS idx");
        schema.learn("ALTER TABLE cake RENAME TO pie");
        assert!(schema.tables.contains("pie") && !schema.tables.contains("cake") && schema.indexes.is_empty());
    }
}
