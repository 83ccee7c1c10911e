//! Loading through the identity map (I): one row, one object, however it is reached.

use std::future::Future;

use sea_orm::{
    EntityTrait, PaginatorTrait, QueryResult, QuerySelect, QueryTrait, Select, Statement,
    sea_query::{LockBehavior, LockType},
};

use super::{admit::admit, row_reader::RowReader, stream::Rows};
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
    pub(super) unfiltered: bool,
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

    /// How many rows [`LoadExt::load`] would give: those that the filters of the unit let through (U5). SeaORM's own `count` counts
    /// all of them.
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    fn count_in(self, s: &mut Session) -> impl Future<Output = Result<u64, Error>> + Send {
        self.tracked().count_in(s)
    }

    /// The query with the conditions that every read of objects obeys in this unit (U5), for SeaORM's own ways of running it, which
    /// know nothing of them: `E::find().filtered(s)?.paginate(s, 20)`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     s.filter::<note::Entity>(note::Column::Stars.gte(3));
    ///     assert_eq!(note::Entity::find().filtered(s)?.all(s).await?.len(), 0);
    ///     assert_eq!(note::Entity::find().all(s).await?.len(), 1);       // SeaORM's own way is not filtered
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Tenant`]: a tenant's entity in a unit without a tenant (T2).
    fn filtered(self, s: &mut Session) -> Result<Select<E>, Error>;

    /// Soft-deleted rows too, and those that no filter of the unit lets through (U5). The tenant's filter holds all the same.
    fn unfiltered(self) -> Loader<E> {
        self.tracked().unfiltered()
    }

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
        self.tracked().rows(s)
    }

    fn filtered(self, s: &mut Session) -> Result<Select<E>, Error> {
        s.core().filtered(self)
    }

    fn tracked(self) -> Loader<E> {
        Loader { select: self, refresh: false, lock: false, unfiltered: false }
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

    /// See [`LoadExt::unfiltered`].
    pub fn unfiltered(mut self) -> Self {
        self.unfiltered = true;
        self
    }

    /// See [`LoadExt::rows`].
    ///
    /// # Errors
    /// As [`LoadExt::rows`].
    pub async fn rows(self, s: &mut Session) -> Result<Rows<'_, E>, Error> {
        let select = self.conditioned(s)?;
        Rows::open(select, s).await
    }

    /// See [`LoadExt::count_in`].
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    pub async fn count_in(self, s: &mut Session) -> Result<u64, Error> {
        let select = self.conditioned(s)?;
        Ok(select.count(&*s).await?)
    }

    /// The query with what this unit's reads ask besides.
    fn conditioned(self, s: &mut Session) -> Result<Select<E>, Error> {
        match self.unfiltered {
            true => s.unfiltered().core().filtered(self.select),
            false => s.core().filtered(self.select),
        }
    }

    /// See [`LoadExt::load`].
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    pub async fn load(self, s: &mut Session) -> Result<Vec<Tracked<E>>, Error> {
        match self.unfiltered {
            true => self.load_now(&mut s.unfiltered()).await,
            false => self.load_now(s).await,
        }
    }

    async fn load_now(mut self, s: &mut Session) -> Result<Vec<Tracked<E>>, Error> {
        self.select = s.core().filtered(self.select)?;
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
