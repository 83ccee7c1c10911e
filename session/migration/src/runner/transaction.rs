//! A migration in one transaction together with its record: all of it, or nothing (G3).
//!
//! It must never commit without the lock, nor let a statement's failure be hidden by that of the rollback.

use std::{sync::PoisonError, time::Instant};

use sea_orm::{DatabaseTransaction, DbErr};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

use super::{Runner, Work, failure, send_one};
use crate::{direction::Direction, error::Error, record::Recorded, sql};

impl<M: MigratorTrait> Runner<M> {
    /// Tries again where a lock could not be had within the lock timeout (G7).
    pub(super) async fn step_in_transaction(
        &self,
        work: &mut Work,
        migration: &dyn MigrationTrait,
        recorded: &Recorded,
        direction: Direction,
    ) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            let outcome = self.try_in_transaction(work, migration, recorded, direction).await;
            match &outcome {
                Err(Error::Failed { source, .. })
                    if self.tries_again(work, &recorded.name, &mut attempt, source).await => {}
                _ => return outcome,
            }
        }
    }

    async fn try_in_transaction(
        &self,
        work: &mut Work,
        migration: &dyn MigrationTrait,
        recorded: &Recorded,
        direction: Direction,
    ) -> Result<(), Error> {
        let since = Instant::now();
        let begun = work.dialect.begin(&work.place.connection).await;
        let transaction = begun.map_err(|source| failure(&recorded.name, direction, None, None, source))?;
        let connection = self.guard_transaction(work, &transaction, &recorded.name).await?;
        *work.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(source) = direction.run(migration, &SchemaManager::new(&transaction)).await {
            let statement = self.guilty_statement(work, connection).await;
            // The migration's error is the one to tell of; a rollback that fails ends with the connection.
            let _ = transaction.rollback().await;
            let statement = match statement {
                None => self.replay(work, recorded, direction, &source).await,
                known => known,
            };
            return Err(failure(&recorded.name, direction, statement, None, source));
        }
        match direction {
            Direction::Up => {
                self.ledger.applied(&transaction, recorded, Some(since.elapsed()), &self.options.runner_name()).await?;
            }
            Direction::Down => self.ledger.reverted(&transaction, &recorded.name).await?,
        }
        if !work.lock.is_held(&transaction).await? {
            return Err(Error::LockLost { migration: recorded.name.clone() });
        }
        match transaction.commit().await {
            Ok(()) => Ok(()),
            // The answer to COMMIT may have been lost on the way; the table knows.
            Err(source) => match self.ledger.is_applied(&self.db, &recorded.name).await {
                Ok(applied) if applied == (direction == Direction::Up) => Ok(()),
                _ => Err(failure(&recorded.name, direction, None, None, source)),
            },
        }
    }

    async fn guard_transaction(
        &self,
        work: &Work,
        transaction: &DatabaseTransaction,
        name: &str,
    ) -> Result<Option<i32>, Error> {
        if !work.lock.is_held(transaction).await? {
            return Err(Error::LockLost { migration: name.to_owned() });
        }
        match work.dialect.connection_number() {
            Some(question) => Ok(Some(sql::one(transaction, question, []).await?.try_get_by_index(0)?)),
            None => Ok(None),
        }
    }

    /// The statement that failed: PostgreSQL still shows it, while the transaction is open; SeaORM reports those it built.
    async fn guilty_statement(&self, work: &Work, connection: Option<i32>) -> Option<String> {
        let reported = work.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match connection {
            Some(connection) => work.lock.last_statement(connection).await.or(reported),
            None => reported,
        }
    }

    /// Where nobody says which statement failed: a recorded migration is sent once more, statement by statement, until
    /// it fails in the same way, and rolled back.
    async fn replay(&self, work: &Work, recorded: &Recorded, direction: Direction, error: &DbErr) -> Option<String> {
        if direction == Direction::Down || !work.dialect.hides_failed_statements() {
            return None;
        }
        let statements = recorded.recording.as_ref().ok()?.as_list()?;
        let transaction = work.dialect.begin(&work.place.connection).await.ok()?;
        let mut guilty = None;
        for statement in statements {
            if let Err(again) = send_one(&transaction, statement).await {
                guilty = (again.to_string() == error.to_string()).then(|| statement.sql.clone());
                break;
            }
        }
        transaction.rollback().await.ok()?;
        guilty
    }
}
