//! One unit of work over several databases (M).
//!
//! In one phase all are flushed, the primary commits, then the others: a failure before the primary's COMMIT undoes all, a
//! failure after it is said with the names of those who have what. Two phases are in [`two_phase`].

mod two_phase;

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    sync::Arc,
};

use futures_util::FutureExt;

use crate::{
    connection::db::Db,
    error::Error,
    stats::Counters,
    unit::{body::BlockOnce, session::Session, settings::Settings},
};

/// Several databases, the first of them the primary.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use sea_session::Several;
///
/// let archive = example().await?;
/// Several::new("main", &db).and("archive", &archive).run(async |all| -> Result<(), Error> {
///     let (main, archive) = all.pair("main", "archive")?;
///     let note = main.get::<note::Entity>(1).await?.expect("the example's note");
///     archive.add(draft(&note.title()));
///     main.delete(&note);
///     Ok(())
/// }).await?;
/// assert_eq!(note::Entity::find().count(archive.connection()).await?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "several databases do nothing until `.run(…)`"]
pub struct Several {
    databases: Vec<(String, Db)>,
    two_phase: bool,
}

/// The sessions of a unit over several databases.
#[derive(Debug)]
pub struct Sessions(Vec<(String, Session)>);

impl Sessions {
    /// The session of the primary.
    pub fn primary(&mut self) -> &mut Session {
        &mut self.0[0].1
    }

    /// The session of the database with this name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn on(&mut self, name: &str) -> Result<&mut Session, Error> {
        let known = || self.0.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
        match self.0.iter().position(|(n, _)| n == name) {
            Some(at) => Ok(&mut self.0[at].1),
            None => Err(Error::usage(format!("no database `{name}` in this unit; there are: {}", known()))),
        }
    }

    /// Two sessions at once, to move something from one to the other.
    ///
    /// # Errors
    /// A name that is not there, or the same twice.
    pub fn pair(&mut self, one: &str, other: &str) -> Result<(&mut Session, &mut Session), Error> {
        let at = |name: &str| self.0.iter().position(|(n, _)| n == name);
        let (Some(a), Some(b)) = (at(one), at(other)) else {
            return Err(Error::usage(format!("no databases `{one}` and `{other}` in this unit")));
        };
        match self.0.get_disjoint_mut([a, b]) {
            Ok([(_, one), (_, other)]) => Ok((one, other)),
            Err(_) => Err(Error::usage(format!("`{one}` was asked for twice"))),
        }
    }

    async fn rollback_all(&mut self) {
        for (_, session) in &mut self.0 {
            if session.core().usable().is_ok() {
                session.core().rollback().await;
            }
        }
    }
}

impl Several {
    /// A unit over one database so far: the primary, whose COMMIT decides.
    pub fn new(name: impl Into<String>, primary: &Db) -> Self {
        Self { databases: vec![(name.into(), primary.clone())], two_phase: false }
    }

    /// Another database.
    pub fn and(mut self, name: impl Into<String>, db: &Db) -> Self {
        self.databases.push((name.into(), db.clone()));
        self
    }

    /// Prepares all before committing any (M2). PostgreSQL only, with `max_prepared_transactions` above 0 and, on the
    /// primary, [`Db::create_commit_tokens`]. Call [`Several::recover`] at start-up and from time to time.
    pub fn two_phase(mut self) -> Self {
        self.two_phase = true;
        self
    }

    /// Runs one unit over all databases.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// use sea_session::Several;
    ///
    /// let archive = example().await?;
    /// Several::new("main", &db).and("archive", &archive).run(async |all| -> Result<(), Error> {
    ///     let (main, archive) = all.pair("main", "archive")?;
    ///     let note = main.get::<note::Entity>(1).await?.expect("the example's note");
    ///     archive.add(draft(&note.title()));
    ///     main.delete(&note);
    ///     Ok(())
    /// }).await?;
    /// assert_eq!(note::Entity::find().count(archive.connection()).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the body returns, or what failed before the primary committed: then nothing is committed anywhere.
    /// [`Error::PartialCommit`] after that, or if it could not be found out whether the primary has committed: it names those that
    /// have, those that have not, and those of which it is not known. In two phases a failure after the primary's commit leaves a prepared
    /// transaction that [`Several::recover`] commits; [`Error::CommitUnknown`] says that the primary could not be reached
    /// for its decision, and that all are left prepared for [`Several::recover`].
    ///
    /// # Cancel safety
    /// Dropped before the primary's COMMIT, all are rolled back. Dropped later, in one phase some may be committed and
    /// others not; in two phases [`Several::recover`] settles it.
    pub async fn run<T, E, F>(&self, body: F) -> Result<T, E>
    where
        F: for<'a> BlockOnce<&'a mut Sessions, Result<T, E>, Fut: Send>,
        E: From<Error>,
    {
        self.check()?;
        let names = if self.two_phase { self.names().await? } else { Vec::new() };
        let open = |(at, (name, db)): (usize, &(String, Db))| {
            let begun_as = names.get(at).filter(|_| db.dialect().two_phase.is_ok_and(|how| how.named_at_begin));
            let settings = Arc::new(Settings { name: begun_as.cloned(), ..Settings::default() });
            (name.clone(), db.open(&settings, &Arc::<Counters>::default()))
        };
        let mut sessions = Sessions(self.databases.iter().enumerate().map(open).collect());
        match AssertUnwindSafe(body(&mut sessions)).catch_unwind().await {
            Err(panic) => {
                sessions.rollback_all().await;
                resume_unwind(panic)
            }
            Ok(Err(error)) => {
                sessions.rollback_all().await;
                Err(error)
            }
            Ok(Ok(value)) => {
                self.commit(&mut sessions, &names).await?;
                Ok(value)
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        let mut names: Vec<&String> = self.databases.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::usage("two databases of one unit have the same name"));
        }
        let mut asked = self.databases.iter().filter(|_| self.two_phase).map(|(_, db)| db.dialect());
        asked.try_for_each(|dialect| dialect.need(dialect.two_phase).map(|_| ()))
    }

    async fn commit(&self, sessions: &mut Sessions, names: &[String]) -> Result<(), Error> {
        for at in 0..sessions.0.len() {
            match sessions.0[at].1.core().ready_to_commit().await {
                Ok(true) => {}
                Ok(false) => {
                    sessions.rollback_all().await;
                    return Ok(());
                }
                Err(e) => {
                    sessions.rollback_all().await;
                    return Err(e);
                }
            }
        }
        let outcome =
            if self.two_phase { self.in_two_phases(sessions, names).await } else { one_phase(sessions).await };
        run_hooks(sessions, outcome).await
    }
}

/// What [`Several::recover`] did: `name: transaction` of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Committed, because their primary had.
    pub committed: Vec<String>,
    /// Rolled back, because their primary had not.
    pub rolled_back: Vec<String>,
}

async fn one_phase(sessions: &mut Sessions) -> Result<(), Error> {
    let mut partial = Partial::default();
    for (at, (name, session)) in sessions.0.iter_mut().enumerate() {
        let outcome = session.core().commit_ready().await;
        if at == 0 && outcome.is_err() {
            let Err(cause) = outcome else { break };
            return primary_failed(sessions, cause).await;
        }
        partial.note(name, outcome);
    }
    partial.outcome()
}

/// The primary has not committed, so the others are rolled back; or it is not known, and they are rolled back all the same.
async fn primary_failed(sessions: &mut Sessions, cause: Error) -> Result<(), Error> {
    sessions.rollback_all().await;
    if sessions.0.len() == 1 || !matches!(cause, Error::CommitUnknown { .. }) {
        return Err(cause);
    }
    let mut partial = Partial::default();
    for (at, (name, _)) in sessions.0.iter().enumerate() {
        match at {
            0 => partial.note(name, Err(cause.clone())),
            _ => partial.failed.push(name.clone()),
        }
    }
    partial.outcome()
}

/// Who has what.
#[derive(Default)]
struct Partial {
    committed: Vec<String>,
    failed: Vec<String>,
    unknown: Vec<String>,
    cause: Option<Error>,
}

impl Partial {
    fn note(&mut self, name: &str, outcome: Result<(), Error>) {
        let names = match &outcome {
            Ok(()) => &mut self.committed,
            Err(Error::CommitUnknown { .. }) => &mut self.unknown,
            Err(_) => &mut self.failed,
        };
        names.push(name.to_owned());
        self.cause = self.cause.take().or(outcome.err());
    }

    fn outcome(self) -> Result<(), Error> {
        let Some(cause) = self.cause else { return Ok(()) };
        Err(Error::PartialCommit {
            committed: Arc::new(self.committed),
            failed: Arc::new(self.failed),
            unknown: Arc::new(self.unknown),
            cause: Arc::new(cause),
        })
    }
}

/// The hooks of those that committed; the first failure is reported, unless there is something worse to report.
async fn run_hooks(sessions: &mut Sessions, outcome: Result<(), Error>) -> Result<(), Error> {
    let mut first = outcome;
    for (_, session) in &mut sessions.0 {
        if session.unit_state() == crate::unit::core::UnitState::Committed {
            let hooks = session.core().hooks.clone();
            let ran = hooks.committed().await;
            first = first.and(ran);
        }
    }
    first
}
