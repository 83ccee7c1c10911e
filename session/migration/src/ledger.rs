//! What the database remembers of its migrations.
//!
//! What it is for: two tables. SeaORM's own (`seaql_migrations`, or as the migrator names it) is adopted as it is and
//! stays the truth about what is applied, so that SeaORM's tools go on working. Beside it `…_ledger` keeps what SeaORM does
//! not: checksum, duration, who, and how far a migration without a transaction has come. What it must never do:
//! change SeaORM's table, or be needed for reading the status (a role without rights on the ledger still sees it).

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult};
use sea_orm_migration::MigratorTrait;

use crate::{
    record::Recorded,
    sql::{all, now_ms, one, run},
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
    pub duration: Option<Duration>,
    pub known_to_ledger: bool,
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

    /// Whether a table is there; asks only for what every role may see.
    pub async fn has_table<C: ConnectionTrait>(db: &C, table: &str) -> Result<bool, DbErr> {
        let sql = match db.get_database_backend() {
            DbBackend::Postgres => {
                "SELECT count(*) FROM pg_catalog.pg_class WHERE relname = $1 AND relkind IN ('r', 'p') AND pg_table_is_visible(oid)"
            }
            _ => "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1",
        };
        Ok(one(db, sql, [table.into()]).await?.try_get_by_index::<i64>(0)? > 0)
    }

    /// Whether this role may read the table.
    async fn may_read<C: ConnectionTrait>(db: &C, table: &str) -> Result<bool, DbErr> {
        match db.get_database_backend() {
            DbBackend::Postgres => {
                let sql = format!(r#"SELECT has_table_privilege('"{table}"', 'SELECT')"#);
                one(db, &sql, []).await?.try_get_by_index(0)
            }
            _ => Ok(true),
        }
    }

    /// Creates what is missing. Nothing is sent for what is there, so that a role without the right to create tables can
    /// run a program whose schema is up to date.
    pub async fn install<M: MigratorTrait, C: ConnectionTrait>(&self, db: &C) -> Result<(), DbErr> {
        if !Self::has_table(db, &self.table).await? {
            M::install(db).await?;
        }
        if !Self::has_table(db, &self.own()).await? {
            db.execute_unprepared(&format!(
                r#"CREATE TABLE "{}" (
    version text NOT NULL PRIMARY KEY,
    state text NOT NULL,
    checksum text,
    statements_done bigint NOT NULL DEFAULT 0,
    started_at bigint NOT NULL,
    finished_at bigint,
    duration_ms bigint,
    runner text NOT NULL
)"#,
                self.own()
            ))
            .await?;
        }
        Ok(())
    }

    /// Everything that the database knows, by name. Creates nothing.
    pub async fn entries<C: ConnectionTrait>(&self, db: &C) -> Result<Vec<Entry>, DbErr> {
        let mut entries: Vec<Entry> = Vec::new();
        if Self::has_table(db, &self.table).await? {
            let sql = format!(r#"SELECT version, applied_at FROM "{}" ORDER BY version"#, self.table);
            for row in all(db, &sql).await? {
                entries.push(Entry {
                    name: row.try_get_by_index(0)?,
                    state: State::Applied,
                    applied_at: Some(row.try_get_by_index(1)?),
                    checksum: None,
                    statements_done: 0,
                    duration: None,
                    known_to_ledger: false,
                });
            }
        }
        if Self::has_table(db, &self.own()).await? && Self::may_read(db, &self.own()).await? {
            let sql = format!(
                r#"SELECT version, state, checksum, statements_done, duration_ms FROM "{}" ORDER BY version"#,
                self.own()
            );
            for row in all(db, &sql).await? {
                Self::merge(&mut entries, &row)?;
            }
        }
        Ok(entries)
    }

    fn merge(entries: &mut Vec<Entry>, row: &QueryResult) -> Result<(), DbErr> {
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
                entries.push(Entry {
                    name,
                    state,
                    applied_at: None,
                    checksum: None,
                    statements_done: 0,
                    duration: None,
                    known_to_ledger: true,
                });
                entries.len() - 1
            }
        };
        let entry = &mut entries[at];
        entry.state = if entry.applied_at.is_some() && state == State::Applying { State::Applied } else { state };
        entry.checksum = row.try_get_by_index(2)?;
        entry.statements_done = unsigned(row.try_get_by_index::<i64>(3)?);
        entry.duration = row.try_get_by_index::<Option<i64>>(4)?.map(|ms| Duration::from_millis(unsigned(ms)));
        entry.known_to_ledger = true;
        Ok(())
    }

    /// Whether SeaORM's table has it.
    pub async fn is_applied<C: ConnectionTrait>(&self, db: &C, name: &str) -> Result<bool, DbErr> {
        let sql = format!(r#"SELECT count(*) FROM "{}" WHERE version = $1"#, self.table);
        Ok(one(db, &sql, [name.into()]).await?.try_get_by_index::<i64>(0)? > 0)
    }

    /// Writes that a migration is applied, to both tables.
    pub async fn applied<C: ConnectionTrait>(
        &self,
        db: &C,
        recorded: &Recorded,
        took: Duration,
        runner: &str,
    ) -> Result<(), DbErr> {
        let sql = format!(r#"INSERT INTO "{}" (version, applied_at) VALUES ($1, $2)"#, self.table);
        run(db, &sql, [recorded.name.as_str().into(), (now_ms() / 1000).into()]).await?;
        self.note(db, &Note::applied(recorded, Some(took), runner)).await
    }

    /// Takes over what SeaORM applied before there was a ledger: with today's checksum, so that a later change shows.
    pub async fn adopt<C: ConnectionTrait>(&self, db: &C, recorded: &Recorded) -> Result<(), DbErr> {
        self.note(db, &Note::applied(recorded, None, "adopted")).await
    }

    /// Removes a migration from both tables.
    pub async fn reverted<C: ConnectionTrait>(&self, db: &C, name: &str) -> Result<(), DbErr> {
        for table in [&self.table, &self.own()] {
            run(db, &format!(r#"DELETE FROM "{table}" WHERE version = $1"#), [name.into()]).await?;
        }
        Ok(())
    }

    /// Writes how far a migration is.
    pub async fn note<C: ConnectionTrait>(&self, db: &C, note: &Note<'_>) -> Result<(), DbErr> {
        let sql = format!(
            r#"INSERT INTO "{}" (version, state, checksum, statements_done, started_at, finished_at, duration_ms, runner)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (version) DO UPDATE SET state = excluded.state, checksum = excluded.checksum,
    statements_done = excluded.statements_done, finished_at = excluded.finished_at,
    duration_ms = excluded.duration_ms, runner = excluded.runner"#,
            self.own()
        );
        let took = note.took.map(|took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
        let now = now_ms();
        let values = [
            note.name.into(),
            note.state.into(),
            note.checksum.clone().into(),
            i64::try_from(note.statements_done).unwrap_or(i64::MAX).into(),
            (now - took.unwrap_or(0)).into(),
            (note.state == "applied").then_some(now).into(),
            took.into(),
            note.runner.into(),
        ];
        run(db, &sql, values).await
    }

    /// Accepts today's checksum of an applied migration.
    pub async fn accept<C: ConnectionTrait>(&self, db: &C, recorded: &Recorded) -> Result<(), DbErr> {
        let sql = format!(r#"UPDATE "{}" SET checksum = $2 WHERE version = $1"#, self.own());
        run(db, &sql, [recorded.name.as_str().into(), recorded.checksum().into()]).await
    }
}

/// What is written about one migration.
pub(crate) struct Note<'n> {
    pub name: &'n str,
    pub state: &'n str,
    /// Of all that it sends once it is applied; until then of the statements that are done.
    pub checksum: Option<String>,
    pub statements_done: u64,
    pub took: Option<Duration>,
    pub runner: &'n str,
}

impl<'n> Note<'n> {
    fn applied(recorded: &'n Recorded, took: Option<Duration>, runner: &'n str) -> Self {
        let checksum = recorded.checksum();
        Self { name: &recorded.name, state: "applied", checksum, statements_done: 0, took, runner }
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
