//! A migration where statements that change the schema commit by themselves (G3, Y2).
//!
//! What changes rows only runs in a transaction together with its record. Anything else goes statement by statement, each
//! taken up where it stopped:
//!
//! | A statement | Its record |
//! |---|---|
//! | changes rows | in the same transaction |
//! | changes the schema | before it is sent, with what the schema is like where the statement names it, and after it was answered |
//!
//! A statement whose answer never came (its runner or the server died) is in hand in the ledger. The next run compares: the
//! schema is as it was, so the statement is sent; or it is not, so the statement was carried out, which is told. Where neither
//! can be seen, nothing is repeated: [`Error::Unsettled`].
//!
//! A migration that is no plain list (it asks the database) runs in a transaction whose first statement is its mark: the mark
//! stands only if a statement of the migration has committed.
//!
//! It must never send a statement twice of which it is not known that it was not carried out, or may be carried out twice.

use std::{sync::PoisonError, time::Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager};

use super::{Runner, Work, failure, recording_of, runs_in_transaction, send_one};
use crate::{
    catalogue,
    dialect::{Commits, Effect},
    direction::Direction,
    error::{Error, by_database},
    findings::Known,
    ledger::{Entry, Note},
    options::Event,
    record::{Recorded, Recording, Sent},
    state::State,
    workplace::{MOST, Workplace},
};

/// What is in hand of a migration that is no list.
const CODE: &str = "the migration's own code";

/// What the schema was before a statement that failed and has changed it all the same.
const PARTLY: &str = "partly";

/// A migration on its way.
struct Way<'a> {
    work: &'a Work,
    migration: &'a dyn MigrationTrait,
    recorded: &'a Recorded,
    direction: Direction,
    commits: &'static Commits,
    /// What it sends, each statement by itself.
    steps: Option<Recording>,
    since: Instant,
    runner: String,
}

impl Way<'_> {
    fn db(&self) -> &DatabaseConnection {
        &self.work.place.connection
    }

    fn name(&self) -> &str {
        &self.recorded.name
    }

    /// How far it is: so many statements are done, and this is in hand.
    fn note(&self, done: u64, in_hand: Option<String>) -> Note<'_> {
        Note {
            name: self.name(),
            state: self.direction.marker(),
            checksum: self.steps.as_ref().map(|steps| steps.checksum_of_first(done)),
            statements_done: done,
            in_hand,
            took: None,
            runner: &self.runner,
        }
    }

    /// What it sends as a plain list, if it is one.
    fn list(&self) -> Option<Vec<&Statement>> {
        self.steps.as_ref().filter(|_| !self.has_transactions()).and_then(Recording::as_list)
    }

    /// Whether it begins or ends transactions, as far as is known: inside one, they would have no savepoint left once a statement
    /// has committed.
    fn has_transactions(&self) -> bool {
        let control = |one: &Sent| match one {
            Sent::Statement(statement) => (self.commits.effect)(&statement.sql) == Effect::Control,
            Sent::Begin | Sent::Commit | Sent::Rollback => true,
        };
        self.steps.as_ref().is_none_or(|steps| steps.sent().iter().any(control))
    }

    /// Whether a statement that has failed may have carried out a part of itself.
    fn is_several(&self, statement: &Statement) -> bool {
        (self.commits.effect)(&statement.sql) == Effect::Several
    }

    fn failed(&self, statement: &Statement, done: u64, source: DbErr) -> Error {
        failure(self.name(), self.direction, Some(statement.sql.clone()), Some(done), source)
    }

    fn unsettled(&self, statement: Option<&str>, reason: impl Into<String>) -> Error {
        Error::Unsettled {
            migration: self.name().to_owned(),
            direction: self.direction,
            statement: statement.map(str::to_owned),
            reason: reason.into(),
        }
    }
}

/// A statement that was sent and not answered, as the ledger keeps it: what the schema was, and its text.
fn in_hand(before: &str, sql: &str) -> String {
    format!("{before}\n{sql}")
}

fn lost() -> DbErr {
    DbErr::Custom("the migration lock was lost: its connection has ended".to_owned())
}

impl<M: MigratorTrait> Runner<M> {
    pub(super) async fn step_that_commits(
        &self,
        work: &mut Work,
        known: &Known,
        migration: &dyn MigrationTrait,
        recorded: &Recorded,
        direction: Direction,
        commits: &'static Commits,
    ) -> Result<(), Error> {
        let recording = recording_of::<M>(self.db.get_database_backend(), recorded, direction).await;
        let stopped =
            known.entry(&recorded.name).filter(|entry| matches!(entry.state, State::Applying | State::Reverting));
        if stopped.is_none() && runs_in_transaction(migration, work.dialect, recording.as_ref()) {
            return self.step_in_transaction(work, migration, recorded, direction).await;
        }
        let steps = recording.as_ref().map(|recording| recording.one_by_one(commits.split));
        let runner = self.options.runner_name();
        let way = Way { work, migration, recorded, direction, commits, steps, since: Instant::now(), runner };
        if direction == Direction::Up && stopped.is_some_and(|entry| entry.state == State::Reverting) {
            return Err(way.unsettled(None, "it stopped on its way down, which has to be finished first"));
        }
        match way.list() {
            Some(list) => self.step_by_step(&way, stopped, &list).await,
            None => self.as_a_whole(&way, stopped).await,
        }
    }

    /// A plain list, statement by statement.
    async fn step_by_step(&self, way: &Way<'_>, stopped: Option<&Entry>, list: &[&Statement]) -> Result<(), Error> {
        let resumed = stopped.filter(|entry| entry.state == way.direction.in_progress());
        let start = match resumed {
            Some(entry) => self.taken_up_at(way, entry, list).await?,
            None => 0,
        };
        // Down from half-way up: any of what it takes back may not be there.
        let forgiving = way.direction == Direction::Down && stopped.is_some_and(|entry| entry.applied_at.is_none());
        // Its settings went with the connection that it had.
        for statement in list.iter().take(usize::try_from(start).unwrap_or(usize::MAX)) {
            if (way.commits.effect)(&statement.sql) == Effect::Setting {
                send_one(way.db(), statement).await.map_err(|source| way.failed(statement, start, source))?;
            }
        }
        for (done, statement) in (0..).zip(list).skip_while(|(at, _)| *at < start) {
            let mut attempt = 1;
            while let Err(source) = self.send_step(way, statement, done, forgiving).await {
                if way.is_several(statement) {
                    let why = format!("what has statements of its own failed ({source}), and some may stand");
                    return Err(way.unsettled(Some(&statement.sql), why));
                }
                if !self.tries_again(way.work, way.name(), &mut attempt, &source).await {
                    return Err(way.failed(statement, done, source));
                }
            }
        }
        self.arrive(way).await
    }

    /// Where a migration that stopped goes on.
    async fn taken_up_at(&self, way: &Way<'_>, entry: &Entry, list: &[&Statement]) -> Result<u64, Error> {
        let mut start = entry.statements_done;
        let unchanged = way.steps.as_ref().map(|steps| steps.checksum_of_first(start));
        if start > 0 && entry.checksum != unchanged {
            let why = format!("its first {start} statements are no longer those that were carried out");
            return Err(way.unsettled(None, why));
        }
        let next = usize::try_from(start).ok().and_then(|at| list.get(at));
        if let Some((before, sent)) = entry.in_hand.as_deref().and_then(|hand| hand.split_once('\n')) {
            let same = next.is_some_and(|next| next.sql == sent);
            if self.was_carried_out(way, before, sent, same).await? {
                start += 1;
                self.ledger.note(way.db(), &way.note(start, None)).await?;
                (self.tell)(&Event::FoundDone { name: way.name().to_owned(), statement: sent.to_owned() });
            }
        }
        (self.tell)(&Event::Resumed { name: way.name().to_owned(), done: start });
        Ok(start)
    }

    /// Whether the statement that was in hand has to be counted as done. `same`: it is what would be sent now.
    async fn was_carried_out(&self, way: &Way<'_>, before: &str, sent: &str, same: bool) -> Result<bool, Error> {
        let changed = match (way.commits.effect)(sent) {
            _ if before == CODE => {
                return Err(way.unsettled(None, "it was no plain list of statements when it stopped"));
            }
            _ if before == PARTLY => {
                return Err(way.unsettled(Some(sent), "a statement failed, and has changed the schema all the same"));
            }
            Effect::Rows | Effect::Repeatable | Effect::Setting => false,
            Effect::Schema => catalogue::named_in(way.db(), &self.ledger.table, sent).await? != before,
            Effect::Unseen | Effect::Several | Effect::Control => {
                let why = "the answer to a statement was lost, or it has failed half-way, and nobody can see what was carried out";
                return Err(way.unsettled(Some(sent), why));
            }
        };
        if changed && !same {
            let why =
                "the answer to a statement was lost; it was carried out, and the migration no longer has it there";
            return Err(way.unsettled(Some(sent), why));
        }
        Ok(changed)
    }

    /// One statement with its record; `done` stand before it.
    async fn send_step(&self, way: &Way<'_>, statement: &Statement, done: u64, forgiving: bool) -> Result<(), DbErr> {
        match (way.commits.effect)(&statement.sql) {
            Effect::Rows => return self.under_the_lock(way, Some(statement), &way.note(done + 1, None)).await,
            Effect::Setting => {
                send_one(way.db(), statement).await?;
                return self.ledger.note(way.db(), &way.note(done + 1, None)).await;
            }
            Effect::Schema | Effect::Repeatable | Effect::Unseen | Effect::Several | Effect::Control => {}
        }
        let before = catalogue::named_in(way.db(), &self.ledger.table, &statement.sql).await?;
        let hand = in_hand(&before, &statement.sql);
        self.under_the_lock(way, None, &way.note(done, Some(hand))).await?;
        match send_one(way.db(), statement).await {
            Err(error) if !(forgiving && way.work.dialect.was_done_already(&error)) => {
                if by_database(&error).is_some() && !way.is_several(statement) {
                    // What cannot be noted stays in hand, and is compared by the next run.
                    let _ = self.note_failed(way, statement, done, &before).await;
                }
                Err(error)
            }
            _ => self.ledger.note(way.db(), &way.note(done + 1, None)).await,
        }
    }

    /// The server has refused a statement: it is in hand no more, unless it has left something.
    async fn note_failed(&self, way: &Way<'_>, statement: &Statement, done: u64, before: &str) -> Result<(), DbErr> {
        let after = catalogue::named_in(way.db(), &self.ledger.table, &statement.sql).await?;
        let hand = (after != before).then(|| in_hand(PARTLY, &statement.sql));
        self.ledger.note(way.db(), &way.note(done, hand)).await
    }

    /// A note, and a statement that changes rows before it, in one transaction that has the lock.
    async fn under_the_lock(&self, way: &Way<'_>, statement: Option<&Statement>, note: &Note<'_>) -> Result<(), DbErr> {
        let transaction = way.work.dialect.begin(way.db()).await?;
        if let Some(statement) = statement {
            send_one(&transaction, statement).await?;
        }
        self.ledger.note(&transaction, note).await?;
        if !way.work.lock.is_held(&transaction).await? {
            return Err(lost());
        }
        transaction.commit().await
    }

    /// The records of a migration that is done.
    async fn arrive(&self, way: &Way<'_>) -> Result<(), Error> {
        let transaction = way.work.dialect.begin(way.db()).await?;
        if !way.work.lock.is_held(&transaction).await? {
            return Err(Error::LockLost { migration: way.name().to_owned() });
        }
        self.record_arrival(way, &transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn record_arrival<C: ConnectionTrait>(&self, way: &Way<'_>, db: &C) -> Result<(), DbErr> {
        match way.direction {
            Direction::Up => self.ledger.applied(db, way.recorded, Some(way.since.elapsed()), &way.runner).await,
            Direction::Down => self.ledger.reverted(db, way.name()).await,
        }
    }

    /// A migration that is no plain list: its own code.
    async fn as_a_whole(&self, way: &Way<'_>, stopped: Option<&Entry>) -> Result<(), Error> {
        if stopped.is_some_and(|entry| entry.state == way.direction.in_progress()) {
            return Err(way.unsettled(None, "it is no plain list of statements, and some of it was committed"));
        }
        let mut attempt = 1;
        loop {
            let Err(source) = self.run_code(way).await? else { return Ok(()) };
            let statement = way.work.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            if self.has_mark(way).await.unwrap_or(true) {
                return Err(
                    way.unsettled(statement.as_deref(), format!("it failed ({source}), and some of it was committed"))
                );
            }
            if !self.tries_again(way.work, way.name(), &mut attempt, &source).await {
                return Err(failure(way.name(), way.direction, statement, None, source));
            }
        }
    }

    /// Runs the code behind its mark: in a transaction with it, so that the mark goes if nothing else commits.
    async fn run_code(&self, way: &Way<'_>) -> Result<Result<(), DbErr>, Error> {
        *way.work.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mark = way.note(0, Some(in_hand(CODE, "")));
        if way.has_transactions() {
            return self.run_code_alone(way, &mark).await;
        }
        let transaction = way.work.dialect.begin(way.db()).await?;
        if !way.work.lock.is_held(&transaction).await? {
            return Err(Error::LockLost { migration: way.name().to_owned() });
        }
        self.ledger.note(&transaction, &mark).await?;
        if let Err(source) = way.direction.run(way.migration, &SchemaManager::new(&transaction)).await {
            // The migration's error is the one to tell of; a rollback that fails ends with the connection.
            let _ = transaction.rollback().await;
            return Ok(Err(source));
        }
        if !way.work.lock.is_held(&transaction).await? {
            // The loss is the error to tell of.
            let _ = transaction.rollback().await;
            return Ok(Err(lost()));
        }
        self.record_arrival(way, &transaction).await?;
        Ok(Ok(transaction.commit().await?))
    }

    /// Runs code that has transactions of its own, on connections of its own; its mark stands before anything is sent.
    async fn run_code_alone(&self, way: &Way<'_>, mark: &Note<'_>) -> Result<Result<(), DbErr>, Error> {
        self.under_the_lock(way, None, mark).await?;
        let (work, options) = (way.work, &self.options);
        let place = Workplace::open(work.dialect, way.db(), options, work.lock.guard(), MOST).await?;
        let outcome = way.direction.run(way.migration, &SchemaManager::new(&place.connection)).await;
        place.close().await?;
        match outcome {
            Ok(()) => self.arrive(way).await.map(Ok),
            Err(source) => Ok(Err(source)),
        }
    }

    async fn has_mark(&self, way: &Way<'_>) -> Result<bool, DbErr> {
        let entries = self.ledger.entries(way.db()).await?;
        let code = |entry: &Entry| entry.in_hand.as_deref().is_some_and(|hand| hand.starts_with(CODE));
        Ok(entries.iter().any(|entry| entry.name == way.name() && code(entry)))
    }
}
