//! Loading through the identity map (I): one row, one object, however it is reached.

use std::future::Future;

use sea_orm::{
    EntityTrait, QueryResult, QuerySelect, QueryTrait, Select, Statement,
    sea_query::{LockBehavior, LockType},
};

use super::{admit::admit, row_reader::RowReader, stream::Rows, tenant::refuse_without_tenant};
use crate::{
    connection::{Message, Reply},
    dialect::Dialect,
    error::Error,
    objects::{
        Tracked,
        entity::{TrackedEntity, table_of},
    },
    table::meta::TableMeta,
    unit::session::Session,
};

/// A query whose rows come in through the identity map.
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until `.load(s)` or `.load_one(s)`"]
pub struct Loader<E: EntityTrait> {
    pub(super) select: Select<E>,
    pub(super) refresh: bool,
    pub(super) lock: bool,
}

/// Loads a SeaORM query through the identity map: `note::Entity::find().filter(…).load(s).await?`.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use sea_orm::QueryOrder;
///
/// db.run(async |s: &mut Session| -> Result<(), Error> {
///     s.add(draft("second"));
///     let notes = note::Entity::find().order_by_desc(note::Column::Id).load(s).await?;
///     assert_eq!(notes.len(), 2);
///     let first = note::Entity::find().filter(note::Column::Title.eq("first")).for_update().load_one(s).await?;
///     assert!(Tracked::ptr_eq(&first.expect("it is there"), &notes[1]));
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
pub trait LoadExt<E: TrackedEntity>: Sized {
    /// The query as a loader, to ask for locks or fresh values first.
    fn tracked(self) -> Loader<E>;

    /// All rows, as objects of the session.
    ///
    /// # Errors
    /// What the database says; [`Error::UnrepeatableRead`] in an optimistic unit (P5).
    fn load(self, s: &mut Session) -> impl Future<Output = Result<Vec<Tracked<E>>, Error>> + Send {
        self.tracked().load(s)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    fn load_one(self, s: &mut Session) -> impl Future<Output = Result<Option<Tracked<E>>, Error>> + Send {
        self.tracked().load_one(s)
    }

    /// The rows one at a time, untracked, with memory flat (I6). Pending changes are flushed first; the session can be used
    /// again when the rows are dropped. (Not `stream`: SeaORM's feature of that name gives `Select` a method of its own.)
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let mut rows = note::Entity::find().rows(s).await?;
    ///     while let Some(note) = rows.next().await? {
    ///         assert_eq!(note.title, "first");             // a plain model
    ///     }
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says; the flush fails.
    ///
    /// # Cancel safety
    /// As any statement: dropped half-way it flags its block (C1). See [`Rows::next`] for the rows.
    fn rows(self, s: &mut Session) -> impl Future<Output = Result<Rows<'_, E>, Error>> + Send;

    /// Overwrites objects that are in the map already, changes included (I3).
    fn refresh(self) -> Loader<E> {
        self.tracked().refresh()
    }

    /// `FOR UPDATE`; what is loaded under a lock is fresh (I3). On SQLite the writing unit holds the only write lock.
    fn for_update(self) -> Loader<E> {
        self.tracked().for_update()
    }

    /// `FOR UPDATE SKIP LOCKED`. On SQLite nothing is ever locked by somebody else, so nothing is skipped.
    fn skip_locked(self) -> Loader<E> {
        self.tracked().skip_locked()
    }

    /// `FOR UPDATE NOWAIT`. On SQLite there is nothing to wait for.
    fn nowait(self) -> Loader<E> {
        self.tracked().nowait()
    }
}

impl<E: TrackedEntity> LoadExt<E> for Select<E> {
    fn rows(self, s: &mut Session) -> impl Future<Output = Result<Rows<'_, E>, Error>> + Send {
        Rows::open(self, s)
    }

    fn tracked(self) -> Loader<E> {
        Loader { select: self, refresh: false, lock: false }
    }
}

impl<E: TrackedEntity> Loader<E> {
    /// See [`LoadExt::refresh`].
    pub fn refresh(mut self) -> Self {
        self.refresh = true;
        self
    }

    /// See [`LoadExt::for_update`].
    pub fn for_update(mut self) -> Self {
        self.select = self.select.lock(LockType::Update);
        self.lock = true;
        self
    }

    /// See [`LoadExt::skip_locked`].
    pub fn skip_locked(mut self) -> Self {
        self.select = self.select.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        self.lock = true;
        self
    }

    /// See [`LoadExt::nowait`].
    pub fn nowait(mut self) -> Self {
        self.select = self.select.lock_with_behavior(LockType::Update, LockBehavior::Nowait);
        self.lock = true;
        self
    }

    /// See [`LoadExt::load`].
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    pub async fn load(self, s: &mut Session) -> Result<Vec<Tracked<E>>, Error> {
        let statement = self.select.build(s.backend());
        let lock = self.lock || self.asks_for_lock(s.dialect(), &statement);
        read::<E>(s, statement, self.refresh, lock).await
    }

    /// A lock that SeaORM's own builder asked for counts as well; the query does not say so but by its text.
    fn asks_for_lock(&self, dialect: &Dialect, statement: &Statement) -> bool {
        let locks = |sql: &str| {
            let tail = sql.rfind(" FOR ").map_or("", |at| &sql[at..]);
            tail.starts_with(" FOR UPDATE") || tail.starts_with(" FOR NO KEY UPDATE")
        };
        match dialect.shows_locks_as == dialect.backend {
            true => locks(&statement.sql),
            false => locks(&self.select.build(dialect.shows_locks_as).sql),
        }
    }

    /// See [`LoadExt::load_one`].
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    pub async fn load_one(mut self, s: &mut Session) -> Result<Option<Tracked<E>>, Error> {
        self.select = self.select.limit(1);
        Ok(self.load(s).await?.pop())
    }
}

/// Sends a question about rows of this table.
pub(super) async fn ask(s: &mut Session, table: &TableMeta, message: Message<'_>) -> Result<Reply, Error> {
    refuse_without_tenant(table, &s.core().settings)?;
    s.core().statement_about(message, !table.secret.is_empty()).await
}

/// Reads rows through the map.
async fn read<E: TrackedEntity>(
    s: &mut Session,
    statement: Statement,
    refresh: bool,
    lock: bool,
) -> Result<Vec<Tracked<E>>, Error> {
    let (mut reader, mut models) = (RowReader::<E>::new(), Vec::new());
    let mut failed = None;
    let mut take = |row: QueryResult| match reader.read(&row) {
        Ok(model) if failed.is_none() => models.push(model),
        Ok(_) => {}
        Err(e) => _ = failed.get_or_insert(e),
    };
    ask(s, table_of::<E>(), Message::Read(statement, &mut take)).await?;
    let core = s.core();
    core.map.reserve::<E>(models.len());
    let objects = models.into_iter().map(|model| admit::<E>(core, model, refresh, lock));
    let objects = objects.collect::<Result<_, Error>>()?;
    failed.map_or(Ok(objects), |e| Err(e.into()))
}
