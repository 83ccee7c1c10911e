//! Loading through the identity map (I): one row, one object, however it is reached.

use std::{future::Future, sync::Arc};

use sea_orm::{
    PaginatorTrait, QueryResult, QuerySelect, QueryTrait, Select, Statement,
    sea_query::{LockBehavior, LockType},
};

use super::{
    admit::admit,
    page::{Cursor, Pages},
    relation::{
        Follow,
        path::{Branch, Path},
    },
    row_reader::RowReader,
    stream::Rows,
};
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
pub struct Loader<E: TrackedEntity> {
    pub(super) select: Select<E>,
    pub(super) refresh: bool,
    pub(super) lock: bool,
    pub(super) unfiltered: bool,
    /// What is loaded along with its rows (U1).
    pub(super) graph: Vec<Arc<dyn Branch<E>>>,
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
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    fn load(self, s: &mut Session) -> impl Future<Output = Result<Vec<Tracked<E>>, Error>> + Send {
        self.tracked().load(s)
    }

    /// The first row, if there is one.
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
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
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
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

    /// Loads related objects along with the rows, one statement a step of the path, through the map (U1). Afterwards `related` and
    /// its kin cost nothing for what was loaded, until the object expires, its block is rolled back, or something changes that
    /// the relation joins on.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let notes = note::Entity::find().with(author::Entity).load(s).await?;
    ///     let sent = s.stats().statements;
    ///     assert!(notes[0].related_one::<author::Entity>(s).await?.is_none());
    ///     assert_eq!(s.stats().statements, sent);
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    fn with<P: Path<E>>(self, path: P) -> Loader<E> {
        self.tracked().with(path)
    }

    /// The first `limit` rows after a place in an order, and where the next page goes on (U6).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     s.add(draft("second"));
    ///     let first = note::Entity::find().page(None, 1).by_desc(note::Column::Stars).load(s).await?;
    ///     assert_eq!(first.objects[0].title(), "first");
    ///     let text = first.next.expect("the page was full").to_string();           // into a link, and back
    ///     let second = note::Entity::find().page(Some(&text.parse()?), 1).by_desc(note::Column::Stars).load(s).await?;
    ///     assert_eq!(second.objects[0].title(), "second");
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    fn page(self, after: Option<&Cursor>, limit: u64) -> Pages<E> {
        self.tracked().page(after, limit)
    }

    /// Overwrites objects that are in the map already, changes included (I3).
    fn refresh(self) -> Loader<E> {
        self.tracked().refresh()
    }

    /// `FOR UPDATE`; what is loaded under a lock is fresh (I3). On SQLite the writing unit holds the only write lock.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = note::Entity::find().for_update().load_one(s).await?.expect("the example's note");
    ///     note.set_stars(note.stars() + 1);                    // nobody else has changed it meanwhile
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
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
        Loader { select: self, refresh: false, lock: false, unfiltered: false, graph: Vec::new() }
    }
}

impl<E: TrackedEntity> Loader<E> {
    /// See [`LoadExt::with`]. A lock is of the query's own rows; a refresh is of the whole graph.
    pub fn with<P: Path<E>>(mut self, path: P) -> Self {
        self.graph.push(Arc::new(path));
        self
    }

    /// See [`LoadExt::page`].
    pub fn page(self, after: Option<&Cursor>, limit: u64) -> Pages<E> {
        Pages::new(self, after, limit)
    }

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
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn rows(self, s: &mut Session) -> Result<Rows<'_, E>, Error> {
        let select = self.conditioned(s)?;
        Rows::open(select, s).await
    }

    /// See [`LoadExt::count_in`].
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
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
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn load(self, s: &mut Session) -> Result<Vec<Tracked<E>>, Error> {
        let rows = self.load_graph(s, |_, _| Ok(())).await?;
        Ok(rows.into_iter().map(|(object, ())| object).collect())
    }

    /// The rows as objects with what is loaded along with them, each with what `also` makes of it.
    pub(super) async fn load_graph<X: Send>(
        mut self,
        s: &mut Session,
        also: impl FnMut(&QueryResult, &E::Model) -> Result<X, Error> + Send,
    ) -> Result<Vec<(Tracked<E>, X)>, Error> {
        let (graph, refresh) = (std::mem::take(&mut self.graph), self.refresh);
        let rows = self.load_with(s, also).await?;
        if !graph.is_empty() {
            let load = s.core().loaded.next_load();
            let objects: Vec<Tracked<E>> = rows.iter().map(|(object, _)| object.clone()).collect();
            for branch in graph {
                branch.load_branch(s, objects.clone(), Follow::Load { load, refresh, wanted: false }).await?;
            }
        }
        Ok(rows)
    }

    /// The rows as objects, each with what `also` makes of it.
    pub(super) async fn load_with<X: Send>(
        self,
        s: &mut Session,
        also: impl FnMut(&QueryResult, &E::Model) -> Result<X, Error> + Send,
    ) -> Result<Vec<(Tracked<E>, X)>, Error> {
        match self.unfiltered {
            true => self.load_filtered(&mut s.unfiltered(), also).await,
            false => self.load_filtered(s, also).await,
        }
    }

    async fn load_filtered<X: Send>(
        mut self,
        s: &mut Session,
        also: impl FnMut(&QueryResult, &E::Model) -> Result<X, Error> + Send,
    ) -> Result<Vec<(Tracked<E>, X)>, Error> {
        self.select = s.core().filtered(self.select)?;
        let statement = self.select.build(s.backend());
        let lock = self.lock || locks(&self.select, s.dialect(), &statement);
        read::<E, X>(s, statement, also, self.refresh, lock).await
    }

    /// See [`LoadExt::load_one`].
    ///
    /// # Errors
    /// As [`LoadExt::load`].
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn load_one(mut self, s: &mut Session) -> Result<Option<Tracked<E>>, Error> {
        self.select = self.select.limit(1);
        Ok(self.load(s).await?.pop())
    }
}

/// A lock that SeaORM's own builder asked for counts as well; the query does not say so but by its text.
pub(super) fn locks(query: &impl QueryTrait, dialect: &Dialect, statement: &Statement) -> bool {
    let locks = |sql: &str| {
        let tail = sql.rfind(" FOR ").map_or("", |at| &sql[at..]);
        tail.starts_with(" FOR UPDATE") || tail.starts_with(" FOR NO KEY UPDATE")
    };
    match dialect.shows_locks_as == dialect.backend {
        true => locks(&statement.sql),
        false => locks(&query.build(dialect.shows_locks_as).sql),
    }
}

/// Sends a question about rows of this table.
pub(super) async fn ask(s: &mut Session, table: &TableMeta, message: Message<'_>) -> Result<Reply, Error> {
    s.core().statement_about(message, !table.secret.is_empty()).await
}

/// Reads rows through the map.
async fn read<E: TrackedEntity, X: Send>(
    s: &mut Session,
    statement: Statement,
    mut also: impl FnMut(&QueryResult, &E::Model) -> Result<X, Error> + Send,
    refresh: bool,
    lock: bool,
) -> Result<Vec<(Tracked<E>, X)>, Error> {
    let (mut reader, mut models) = (RowReader::<E>::new(), Vec::new());
    let mut failed = None;
    let mut take = |row: QueryResult| {
        let read = reader.read(&row).map_err(Error::from);
        match read.and_then(|model| Ok((also(&row, &model)?, model))) {
            // Shared from the start: the rest of a large answer moves a pointer, and not the row.
            Ok((also, model)) if failed.is_none() => models.push((also, Arc::new(model))),
            Ok(_) => {}
            Err(e) => _ = failed.get_or_insert(e),
        }
    };
    ask(s, table_of::<E>(), Message::Read(statement, &mut take)).await?;
    let core = s.core();
    core.map.reserve(table_of::<E>(), models.len());
    let objects = models.into_iter().map(|(also, model)| Ok((admit::<E>(core, model, refresh, lock)?, also)));
    let objects = objects.collect::<Result<_, Error>>()?;
    failed.map_or(Ok(objects), Err)
}
