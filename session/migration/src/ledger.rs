//! What the database remembers of its migrations.
//!
//! What it is for: two tables. SeaORM's own (`seaql_migrations`, or as the migrator names it) is adopted as it is and
//! stays the truth about what is applied, so that SeaORM's tools go on working. Beside it `…_ledger` keeps what SeaORM does
//! not: checksum, duration, who, and how far a migration without a transaction has come. What it must never do:
//! change SeaORM's table, or be needed for reading the status (a role without rights on the ledger still sees it).

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DbErr, QueryResult,
    sea_query::{Alias, Asterisk, Expr, ExprTrait, OnConflict, Query, SelectStatement},
};
use sea_orm_migration::MigratorTrait;

use crate::{
    dialect::{self, Dialect},
    record::Recorded,
    sql::{now_ms, one},
    state::State,
};

/// A row of the ledger, joined with SeaORM's table.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub name: String,
    pub state: State,
    pub applied_at: Option<i64>,
    pub checksum: Option<String>,
    pub statements_done: u64,
    /// What the schema was when the next statement was sent, if its answer has not been noted.
    pub in_hand: Option<String>,
    pub duration: Option<Duration>,
    pub known_to_ledger: bool,
}

impl Entry {
    fn new(name: String, state: State, applied_at: Option<i64>) -> Self {
        Self {
            name,
            state,
            applied_at,
            checksum: None,
            statements_done: 0,
            in_hand: None,
            duration: None,
            known_to_ledger: applied_at.is_none(),
        }
    }
}

/// The names of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub table: String,
}

impl Ledger {
    pub fn of<M: MigratorTrait>() -> Self {
        Self { table: M::migration_table_name().to_string() }
    }

    pub fn own(&self) -> String {
        format!("{}_ledger", self.table)
    }

    pub fn lock_table(&self) -> String {
        format!("{}_lock", self.table)
    }

    /// Creates what is missing. Nothing is sent for what is there, so that a role without the right to create tables can
    /// run a program whose schema is up to date.
    pub async fn install<M: MigratorTrait, C: ConnectionTrait>(&self, db: &C) -> Result<(), DbErr> {
        let dialect = dialect::of(db.get_database_backend())?;
        if !dialect.table_is_there(db, &self.table).await? {
            M::install(db).await?;
        }
        if !dialect.table_is_there(db, &self.own()).await? {
            let sql = format!("CREATE TABLE {} {}", dialect.quoted(&self.own()), dialect.ledger());
            db.execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    /// Everything that the database knows, by name. Creates nothing.
    pub async fn entries<C: ConnectionTrait>(&self, db: &C) -> Result<Vec<Entry>, DbErr> {
        let dialect = dialect::of(db.get_database_backend())?;
        let mut entries: Vec<Entry> = Vec::new();
        if dialect.table_is_there(db, &self.table).await? {
            for row in db.query_all(&rows(&self.table, &["version", "applied_at"])).await? {
                entries.push(Entry::new(row.try_get_by_index(0)?, State::Applied, Some(row.try_get_by_index(1)?)));
            }
        }
        if dialect.table_is_there(db, &self.own()).await? && self.may_read(db, dialect).await? {
            let mut columns = vec!["version", "state", "checksum", "statements_done", "duration_ms"];
            columns.extend(dialect.commits().map(|_| "in_hand"));
            for row in db.query_all(&rows(&self.own(), &columns)).await? {
                Self::merge(&mut entries, &row, dialect)?;
            }
        }
        Ok(entries)
    }

    /// Whether this role may read the ledger.
    async fn may_read<C: ConnectionTrait>(&self, db: &C, dialect: &dyn Dialect) -> Result<bool, DbErr> {
        match dialect.may_read(&self.own()) {
            Some(question) => one(db, &question, []).await?.try_get_by_index(0),
            None => Ok(true),
        }
    }

    fn merge(entries: &mut Vec<Entry>, row: &QueryResult, dialect: &dyn Dialect) -> Result<(), DbErr> {
        let name: String = row.try_get_by_index(0)?;
        let state = match row.try_get_by_index::<String>(1)?.as_str() {
            "applying" => State::Applying,
            "reverting" => State::Reverting,
            _ => State::Applied,
        };
        let at = match entries.iter().position(|entry| entry.name == name) {
            Some(at) => at,
            // `applied` in the ledger alone: SeaORM's own tool has taken it down since.
            None if state == State::Applied => return Ok(()),
            None => {
                entries.push(Entry::new(name, state, None));
                entries.len() - 1
            }
        };
        let entry = &mut entries[at];
        entry.state = if entry.applied_at.is_some() && state == State::Applying { State::Applied } else { state };
        entry.checksum = row.try_get_by_index(2)?;
        entry.statements_done = unsigned(row.try_get_by_index::<i64>(3)?);
        entry.duration = row.try_get_by_index::<Option<i64>>(4)?.map(|ms| Duration::from_millis(unsigned(ms)));
        if dialect.commits().is_some() {
            entry.in_hand = row.try_get_by_index(5)?;
        }
        entry.known_to_ledger = true;
        Ok(())
    }

    /// Whether SeaORM's table has it.
    pub async fn is_applied<C: ConnectionTrait>(&self, db: &C, name: &str) -> Result<bool, DbErr> {
        let mut query = Query::select();
        query.expr(Expr::col(Asterisk).count()).from(Alias::new(&self.table)).and_where(Expr::col("version").eq(name));
        let row = db.query_one(&query).await?;
        row.map_or(Ok(false), |row| Ok(row.try_get_by_index::<i64>(0)? > 0))
    }

    /// Writes that a migration is applied, to both tables.
    pub async fn applied<C: ConnectionTrait>(
        &self,
        db: &C,
        recorded: &Recorded,
        took: Option<Duration>,
        runner: &str,
    ) -> Result<(), DbErr> {
        let mut insert = Query::insert();
        insert.into_table(Alias::new(&self.table)).columns(["version", "applied_at"]);
        insert.values_panic([recorded.name.as_str().into(), (now_ms() / 1000).into()]);
        db.execute(&insert).await?;
        self.note(db, &Note::applied(recorded, took, runner)).await
    }

    /// Takes over what SeaORM applied before there was a ledger: with today's checksum, so that a later change shows.
    pub async fn adopt<C: ConnectionTrait>(&self, db: &C, recorded: &Recorded) -> Result<(), DbErr> {
        self.note(db, &Note::applied(recorded, None, "adopted")).await
    }

    /// Removes a migration from both tables.
    pub async fn reverted<C: ConnectionTrait>(&self, db: &C, name: &str) -> Result<(), DbErr> {
        for table in [&self.table, &self.own()] {
            let mut delete = Query::delete();
            delete.from_table(Alias::new(table)).and_where(Expr::col("version").eq(name));
            db.execute(&delete).await?;
        }
        Ok(())
    }

    /// Writes how far a migration is.
    pub async fn note<C: ConnectionTrait>(&self, db: &C, note: &Note<'_>) -> Result<(), DbErr> {
        let took = note.took.map(|took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
        let now = now_ms();
        let mut columns = vec![
            "version",
            "started_at",
            "state",
            "checksum",
            "statements_done",
            "finished_at",
            "duration_ms",
            "runner",
        ];
        let mut values: Vec<Expr> = vec![
            note.name.into(),
            (now - took.unwrap_or(0)).into(),
            note.state.into(),
            note.checksum.clone().into(),
            i64::try_from(note.statements_done).unwrap_or(i64::MAX).into(),
            (note.state == "applied").then_some(now).into(),
            took.into(),
            note.runner.into(),
        ];
        if dialect::of(db.get_database_backend())?.commits().is_some() {
            columns.push("in_hand");
            values.push(note.in_hand.clone().into());
        }
        let mut insert = Query::insert();
        insert.into_table(Alias::new(self.own())).columns(columns.iter().copied()).values_panic(values);
        insert.on_conflict(OnConflict::column("version").update_columns(columns[2..].iter().copied()).to_owned());
        db.execute(&insert).await.map(|_| ())
    }

    /// Accepts today's checksum of an applied migration.
    pub async fn accept<C: ConnectionTrait>(&self, db: &C, recorded: &Recorded) -> Result<(), DbErr> {
        let mut update = Query::update();
        update.table(Alias::new(self.own())).value("checksum", recorded.checksum());
        update.and_where(Expr::col("version").eq(recorded.name.as_str()));
        db.execute(&update).await.map(|_| ())
    }
}

/// These columns of all rows, in the order of their migrations.
fn rows(table: &str, columns: &[&'static str]) -> SelectStatement {
    let mut query = Query::select();
    query.columns(columns.iter().copied()).from(Alias::new(table)).order_by("version", sea_orm::Order::Asc);
    query
}

/// What is written about one migration.
pub(crate) struct Note<'n> {
    pub name: &'n str,
    pub state: &'n str,
    /// Of all that it sends once it is applied; until then of the statements that are done.
    pub checksum: Option<String>,
    pub statements_done: u64,
    /// See [`Entry::in_hand`]; kept where statements commit by themselves.
    pub in_hand: Option<String>,
    pub took: Option<Duration>,
    pub runner: &'n str,
}

impl<'n> Note<'n> {
    pub fn applied(recorded: &'n Recorded, took: Option<Duration>, runner: &'n str) -> Self {
        let checksum = recorded.checksum();
        Self { name: &recorded.name, state: "applied", checksum, statements_done: 0, in_hand: None, took, runner }
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
