//! The store: every operation of DESIGN section 7, each as a unit of work of its own and inside the caller's.
//!
//! What it is for: to keep the rules V. What it must never do: send SQL other than through a [`Session`], or change a
//! node without its history row and its outbox event in the same transaction (V4).
//!
//! # The two forms
//!
//! `store.write(&caller, …)` opens a unit of work, and runs it again when it lost against a concurrent one.
//! `store.within(s, &caller).write(…)` joins the caller's unit, which is best opened with [`Store::unit`]: that binds the
//! account and the owner spaces to the transaction (T1), retries what the store's own form would retry, and so gives
//! the database's own row-level security (T3) something to go by.
//!
//! # Cancel safety
//!
//! Dropped at any await, an operation on the store is rolled back and leaves nothing behind, unless COMMIT was sent
//! already; one inside the caller's unit leaves that unit to be rolled back.

use sea_orm::ConnectionTrait;
use sea_session::{About, prelude::*};

use crate::{
    access::{Access, Caller},
    dialect::{self, Dialect},
    error::StoreError,
    uri::Uri,
};

mod archive;
mod conversation;
mod doctor;
mod edges;
mod export;
mod git;
mod history;
mod import;
mod list;
mod moving;
mod prune;
mod rank;
mod read;
mod removal;
mod search;
mod sessions;
mod set;
mod sight;
mod status;
mod streams;
mod traverse;
mod vectors;
mod within;
mod write;

pub use archive::ExportReport;
pub use doctor::{Ailment, Diagnosis, Finding};
pub use edges::{Direction, Edge, EdgePage, Link, LinkTo};
pub use git::{GitOptions, GitProgress, GitReport};
pub use history::{HistoryEntry, VersionedNode};
pub use import::{ImportOptions, ImportProgress, ImportReport, Refusal};
pub use list::TreeOptions;
pub use moving::Moved;
pub use prune::{Pruned, Retention};
pub use removal::{DeleteOptions, Removed};
pub use search::{Hit, SearchOptions};
pub use sessions::{ConversationReport, LogEntry, Message, Summary};
#[cfg(feature = "serve")]
pub(crate) use set::change_word;
pub use status::{Backlog, StoreStatus};
pub use streams::{SinkStream, StreamInfo};
pub use traverse::{Neighbour, Traverse};
pub use within::Within;
pub use write::{NewEvent, Write, Written};

/// How often a unit that lost against a concurrent one is run again.
const RETRIES: u32 = 8;

/// How long a server may take to answer the first knock.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The context store over one database.
#[derive(Clone)]
pub struct Store {
    db: Db,
    /// The store's own stream, whose dispatchers are woken by every change (Q6).
    events: sea_session::outbox::Outbox,
    /// The model of the second stage of a search.
    embedder: Option<std::sync::Arc<dyn crate::embed::Embedder>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let model = self.embedder.as_ref().map(|embedder| embedder.model());
        f.debug_struct("Store").field("db", &self.db).field("model", &model).finish_non_exhaustive()
    }
}

impl Store {
    /// A store over a database that is migrated already.
    pub fn new(db: Db) -> Self {
        let events = crate::outbox::outbox(&db);
        Self { db, events, embedder: None }
    }

    /// Connects and migrates.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`]; [`StoreError::NotOurs`] for a database that has tables and is no context store, which is
    /// left as it is; [`StoreError::Migration`].
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let (db, _) = reach(url).await?;
        context_migration::Runner::new(db.connection().clone()).up().await?;
        Ok(Self::new(db))
    }

    /// Connects, and migrates nothing: for who may not, or wants to decide when.
    ///
    /// # Errors
    /// As [`Store::open`]; [`StoreError::NotMigrated`] where migrations are to be applied.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let (db, empty) = reach(url).await?;
        let database = crate::error::without_password(url);
        let migrations = context_migration::migrations();
        if empty {
            return Err(StoreError::NotMigrated { database, pending: migrations, empty });
        }
        let status = context_migration::Runner::new(db.connection().clone()).status().await?;
        let pending = status.iter().filter(|one| one.state != context_migration::State::Applied).count();
        match pending {
            0 => Ok(Self::new(db)),
            pending => Err(StoreError::NotMigrated { database, pending, empty }),
        }
    }

    /// Wakes the dispatchers once this unit has committed: it wrote events.
    fn ring(&self, s: &mut Session) {
        self.events.wake_after_commit(s);
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// A unit of work in which this caller's operations may run: the account is its tenant, the caller's owner spaces are
    /// bound to the transaction, and a unit that lost against a concurrent one runs again.
    pub fn unit(&self, caller: &Caller) -> UnitOptions<About<StoreError>> {
        let unit = crate::outbox::isolated(self.bound(caller), self.dialect()).retry(Retry::times(RETRIES));
        unit.retry_on(lost_a_race)
    }

    /// The same for operations that only read.
    pub fn read_unit(&self, caller: &Caller) -> UnitOptions {
        self.bound(caller).read_only().retry(Retry::times(RETRIES))
    }

    /// What the statements of the store are spelled like.
    fn dialect(&self) -> &'static Dialect {
        dialect::of(self.db.backend())
    }

    pub(crate) fn bound(&self, caller: &Caller) -> UnitOptions {
        let unit = self.db.session().tenant("app.account_id", caller.account());
        match caller.owner_filter() {
            Some(spaces) if self.dialect().policies => unit.set_local("app.owner_spaces", spaces.join(",")),
            _ => unit,
        }
    }
}

/// A connection, and whether there is nothing in the database.
async fn reach(url: &str) -> Result<(Db, bool), StoreError> {
    let refused = |message: String| StoreError::Unreachable {
        database: crate::error::without_password(url),
        // What the system or the driver says may have the whole URL in it.
        message: message.replace(url, &crate::error::without_password(url)),
    };
    context_migration::knock(url, PATIENCE).await.map_err(refused)?;
    let db = Db::connect(url).await.map_err(|e| StoreError::unreachable(url, &e))?;
    if !dialect::is_known(db.backend()) {
        return Err(refused("this build of the context store has no driver for such a database".into()));
    }
    let empty = check_ours(&db, url).await?;
    Ok((db, empty))
}

/// Nothing is migrated into a database that belongs to something else. Whether it has no table at all.
async fn check_ours(db: &Db, url: &str) -> Result<bool, StoreError> {
    let tables = dialect::of(db.backend()).tables;
    let connection = db.connection();
    let statement = sea_orm::Statement::from_string(db.backend(), tables);
    let rows = connection.query_all_raw(statement).await.map_err(|e| StoreError::unreachable(url, &e.into()))?;
    let names: Vec<String> = rows.iter().map(|row| row.try_get("", "name")).collect::<Result<_, _>>()?;
    let ours = |table: &str| names.iter().any(|name| name == table);
    // The ledger alone is a migration that was begun and not finished, which is gone on with.
    let ledger_only = names.iter().all(|name| name.starts_with("seaql_migrations"));
    if ledger_only || (ours("nodes") && ours("outbox_events") && ours("node_versions")) {
        return Ok(names.is_empty());
    }
    Err(StoreError::NotOurs { database: crate::error::without_password(url) })
}

/// Whether the unit should run again: somebody else created the same node at the same moment, or changed a row between
/// its reading and its writing.
fn lost_a_race(e: &StoreError) -> bool {
    match e {
        StoreError::Session(e) => e.is_unique_violation() || matches!(e.root(), SessionError::Stale { .. }),
        _ => false,
    }
}

/// The caller may do this here, or the true reason why not (V2).
fn allow(caller: &Caller, uri: &Uri, access: Access) -> Result<(), StoreError> {
    caller.check(uri, access).map_err(|reason| StoreError::denied(uri, reason))
}

/// As [`allow`], for an operation on a node rather than on a folder of the scheme.
fn allow_node(caller: &Caller, uri: &Uri, access: Access, what: &'static str) -> Result<(), StoreError> {
    allow(caller, uri, access)?;
    if uri.holds_nodes() {
        return Ok(());
    }
    Err(StoreError::NotANode { uri: uri.clone(), what })
}

/// What the statements of the store are spelled like in a session.
fn dialect(s: &Session) -> &'static Dialect {
    dialect::of(s.get_database_backend())
}
