//! A migration that cannot run in a transaction: noted statement by statement, and taken up where it stopped (G3).
//!
//! It must never skip a statement that is not known to have been done.

use std::{sync::PoisonError, time::Instant};

use sea_orm::{DatabaseConnection, DbErr, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

use super::{Runner, Work, failure, recording_of, send_one};
use crate::{
    dialect::Dialect,
    direction::Direction,
    error::Error,
    findings::Known,
    ledger::{Entry, Note},
    options::Event,
    record::{Recorded, Recording},
    state::State,
};

impl<M: MigratorTrait> Runner<M> {
    pub(super) async fn step_without_transaction(
        &self,
        work: &mut Work,
        known: &Known,
        migration: &dyn MigrationTrait,
        recorded: &Recorded,
        direction: Direction,
    ) -> Result<(), Error> {
        let since = Instant::now();
        work.lock.keep_alive(&self.db);
        let name = &recorded.name;
        let db = work.place.connection.clone();
        let way = recording_of::<M>(self.db.get_database_backend(), recorded, direction).await;
        let course = Course::of(known.entry(name), direction, way.as_ref());
        if let Some(done) = course.resumed_at {
            (self.tell)(&Event::Resumed { name: name.clone(), done });
        }
        let runner = self.options.runner_name();
        let note = async |done: u64| {
            let checksum = way.as_ref().map(|way| way.checksum_of_first(done));
            let state = direction.marker();
            let note =
                Note { name, state, checksum, statements_done: done, in_hand: None, took: None, runner: &runner };
            self.ledger.note(&db, &note).await
        };
        let start = course.resumed_at.unwrap_or(0);
        note(start).await?;
        if let Some(statements) = way.as_ref().and_then(Recording::as_list) {
            for (index, statement) in (0_u64..).zip(&statements).skip_while(|(index, _)| *index < start) {
                if let Err(source) = send_alone(work.dialect, &db, statement, course.forgives(index)).await {
                    return Err(failure(name, direction, Some(statement.sql.clone()), Some(index), source));
                }
                note(index + 1).await?;
            }
        } else if let Err(source) = direction.run(migration, &SchemaManager::new(&db)).await {
            let statement = work.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Err(failure(name, direction, statement, Some(0), source));
        }
        let transaction = work.dialect.begin(&db).await?;
        if !work.lock.is_held(&transaction).await? {
            return Err(Error::LockLost { migration: name.clone() });
        }
        match direction {
            Direction::Up => self.ledger.applied(&transaction, recorded, Some(since.elapsed()), &runner).await?,
            Direction::Down => self.ledger.reverted(&transaction, name).await?,
        }
        Ok(transaction.commit().await?)
    }
}

/// Where a migration without a transaction is taken up, and what may be found done already.
struct Course {
    resumed_at: Option<u64>,
    /// It goes down from half-way up: any of what it takes back may not be there.
    from_half_way: bool,
}

impl Course {
    fn of(entry: Option<&Entry>, direction: Direction, way: Option<&Recording>) -> Self {
        // Taken up only if what was done then is what would be done now: the rest may have been corrected since.
        let resumed_at = entry
            .filter(|entry| entry.state == direction.in_progress())
            .filter(|entry| entry.checksum == way.map(|way| way.checksum_of_first(entry.statements_done)))
            .map(|entry| entry.statements_done);
        let from_half_way = direction == Direction::Down && entry.is_some_and(|entry| entry.state == State::Applying);
        Self { resumed_at, from_half_way }
    }

    /// The first statement of a resumed run may have been done without being noted.
    fn forgives(&self, index: u64) -> bool {
        self.from_half_way || self.resumed_at == Some(index)
    }
}

/// One statement of a migration without a transaction: what an attempt that failed has left is cleared away, before and after.
/// Where it is `forgiving`, "already there" and "not there" are what they are to be.
async fn send_alone(
    dialect: &dyn Dialect,
    db: &DatabaseConnection,
    statement: &Statement,
    forgiving: bool,
) -> Result<(), DbErr> {
    dialect.clear_left_over(db, &statement.sql).await?;
    match send_one(db, statement).await {
        Ok(()) => Ok(()),
        Err(error) if forgiving && dialect.was_done_already(&error) => Ok(()),
        Err(error) => {
            // The error of the statement is the one to tell of; the next run clears what this did not.
            let _ = dialect.clear_left_over(db, &statement.sql).await;
            Err(error)
        }
    }
}
