//! The inside of a session, out on loan to transactions of SeaORM (U8): they borrow nothing, so the compiler does not say which of them
//! may be used. Here only the innermost may send, and what is sent through another is refused: no statement may ever run in a block
//! that is not its own.

use std::{
    future::ready,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use sea_orm::{AccessMode, DbErr, QueryResult, SqliteTransactionMode, Statement, TransactionOptions};
use tokio::sync::{self, OwnedMappedMutexGuard, OwnedMutexGuard, mpsc};

use super::{Session, Standing};
use crate::{
    connection::{
        Connection, Fetch, Message,
        boxed::boxed,
        control::{is_cursor_query, refuse_control},
    },
    dialect::Dialect,
    error::Error,
    unit::{
        block_table::BlockKind,
        core::{Core, UnitState, row_source::RowSource},
        frame::Flag,
        settings::Settings,
    },
};

/// A block that statements are sent in: its place among the open ones, and its number.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) at: usize,
    pub(super) block: u64,
}

/// The inside of a session, out on loan to transactions of SeaORM, which have no lifetime in which they could borrow it.
pub(super) struct Lending {
    /// Nothing, once the session has taken it back.
    pub(super) core: Arc<sync::Mutex<Option<Core>>>,
    pub(super) dialect: &'static Dialect,
    settings: Arc<Settings>,
    /// Blocks whose transactions were dropped and that are still to be left.
    dropped: Mutex<Vec<u64>>,
    /// A stream is open, which keeps the session to itself.
    streaming: AtomicBool,
}

type Lent = OwnedMappedMutexGuard<Option<Core>, Core>;

impl Lending {
    /// The session's inside, if a statement may be sent in this block now.
    pub(super) async fn core(&self, place: Place) -> Result<Lent, Error> {
        // It would be waited for for ever in a task that reads the stream itself.
        if self.streaming.load(Ordering::Acquire) {
            return Err(Error::usage(
                "a stream of this session is open: read it to its end, or drop it, before the next statement",
            ));
        }
        let lent = self.core.clone().lock_owned().await;
        let Ok(mut core) = OwnedMutexGuard::try_map(lent, Option::as_mut) else {
            return Err(Error::usage("this transaction is over: its session was used, or ended, while it was open"));
        };
        self.leave_dropped(&mut core);
        if core.frames.get(place.at).is_none_or(|frame| frame.id != place.block) {
            return Err(Error::usage("this transaction is over: one around it was rolled back"));
        }
        if place.at + 1 < core.frames.len() {
            return Err(Error::usage("a transaction that was begun inside is open: use that one, or end it first"));
        }
        Ok(core)
    }

    /// Leaves the blocks of transactions that were dropped: memory goes back, the server is owed its rollback (C2).
    pub(super) fn leave_dropped(&self, core: &mut Core) {
        for block in self.dropped.lock().drain(..) {
            if let Some(at) = place_of(block, core) {
                core.abandon(at);
            }
        }
    }

    /// A transaction was dropped: its block is left now, or before the next statement.
    pub(super) fn give_up(&self, block: u64) {
        self.dropped.lock().push(block);
        // What holds the session now is a statement of a transaction inside this one, which leaves both blocks when it is
        // dropped itself.
        if let Ok(mut lent) = self.core.try_lock()
            && let Some(core) = &mut *lent
        {
            self.leave_dropped(core);
        }
    }

    pub(super) fn begin(&self, place: Place, options: TransactionOptions) -> BoxFuture<'_, Result<Place, Error>> {
        boxed(move || async move {
            self.check(options)?;
            let mut core = self.core(place).await?;
            if let Some(flag) = core.flag_around() {
                return Err(Error::Refused { cause: Arc::new(flag.cause.clone()) });
            }
            let at = core.enter(BlockKind::Savepoint, false).await?;
            Ok(Place { at, block: core.frames[at].id })
        })
    }

    /// A part of a transaction has no settings of its own: only what its unit has already may be asked for (B3, B4).
    fn check(&self, options: TransactionOptions) -> Result<(), Error> {
        if let Some(level) = options.isolation_level {
            self.settings.require_isolation(level)?;
        }
        match options.access_mode {
            Some(AccessMode::ReadOnly) => self.settings.require_read_only()?,
            Some(AccessMode::ReadWrite) if self.settings.read_only => {
                return Err(Error::usage("a transaction that writes is asked for inside a read-only unit of work"));
            }
            _ => {}
        }
        match options.sqlite_transaction_mode {
            Some(SqliteTransactionMode::Immediate) if !self.settings.immediate => Err(Error::usage(
                "an immediate transaction is asked for inside a unit of work that is not: open it with `.immediate()`",
            )),
            Some(SqliteTransactionMode::Exclusive) => {
                Err(Error::usage("an exclusive transaction is asked for: a unit of work has none"))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn rows(self: Arc<Self>, place: Place, statement: Statement) -> Result<Rows, DbErr> {
        refuse_control(&statement.sql, self.dialect)?;
        let mut core = self.core(place).await?;
        if !is_cursor_query(&statement.sql, self.dialect) {
            let rows = core.statement(Message::Statement(statement, Fetch::All)).await?.rows();
            return Ok(stream::iter(rows.into_iter().map(Ok)).boxed());
        }
        core.flush_before_query().await?;
        Ok(rows_of(core, Streaming::begin(self), statement))
    }
}

impl Drop for Lending {
    /// What the session could not take back ends here, with the last that could have used it.
    fn drop(&mut self) {
        if let Ok(mut core) = self.core.try_lock()
            && let Some(mut core) = core.take()
        {
            core.dropped();
        }
    }
}

/// Where a block that was begun here is among the open ones. A merged block has its parent's number.
pub(super) fn place_of(block: u64, core: &Core) -> Option<usize> {
    core.frames.iter().rposition(|frame| frame.id == block && frame.kind == BlockKind::Savepoint)
}

pub(super) type Rows = BoxStream<'static, Result<QueryResult, DbErr>>;

/// A stream is open as long as this lives.
struct Streaming(Arc<Lending>);

impl Streaming {
    fn begin(lending: Arc<Lending>) -> Self {
        lending.streaming.store(true, Ordering::Release);
        Self(lending)
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streaming.store(false, Ordering::Release);
    }
}

/// The rows of a query, whose source borrows from the lock that is kept beside it: a future has both, and hands over row by row.
fn rows_of(mut core: Lent, streaming: Streaming, statement: Statement) -> Rows {
    let (give, mut take) = mpsc::channel(1);
    let reading = async move {
        let _streaming = streaming;
        let mut source = match RowSource::open(&mut core, statement, false).await {
            Ok(source) => source,
            Err(e) => return drop(give.send(Err(e.into())).await),
        };
        while let Some(row) = source.next().await.transpose() {
            if give.send(row.map_err(DbErr::from)).await.is_err() {
                return;
            }
        }
    };
    let rows = stream::poll_fn(move |context| take.poll_recv(context));
    stream::select(rows, stream::once(reading).filter_map(|()| ready(None))).boxed()
}

impl Session {
    /// Lends the session's inside, until the session is next used by `&mut`.
    pub(super) async fn lend(&self) -> (Arc<Lending>, Place) {
        let mut core = self.core.lock().await;
        *self.standing.lock() = Standing::of(&core);
        let mut lent = self.lent.lock();
        if let Some((lending, place)) = &*lent {
            return (lending.clone(), *place);
        }
        let at = core.frames.len() - 1;
        let place = Place { at, block: core.frames[at].id };
        let stand_in = self.without_core(&core);
        let own = mem::replace(&mut *core, stand_in);
        let lending = Arc::new(Lending {
            core: Arc::new(sync::Mutex::new(Some(own))),
            dialect: self.dialect,
            settings: self.settings.clone(),
            dropped: Mutex::default(),
            streaming: AtomicBool::new(false),
        });
        *lent = Some((lending.clone(), place));
        (lending, place)
    }

    /// What stands in for the inside while that is out: a unit that has failed, in case it never comes back.
    fn without_core(&self, core: &Core) -> Core {
        let connection = Connection::new(core.connection.db().clone(), self.counters.clone(), None, false, false);
        let mut stand_in = Core::new(connection, self.settings.clone());
        stand_in.state = UnitState::Failed;
        stand_in
    }

    /// Takes the session's inside back. A transaction that is still open is given up: what it did is not to be continued by
    /// statements of the session, so its block refuses them and must roll back.
    #[cold]
    pub(super) fn take_back(&mut self) {
        let Some((lending, place)) = self.lent.get_mut().take() else { return };
        // A statement that is under way in another task keeps it, and the unit is lost.
        let Ok(mut lent) = lending.core.try_lock() else { return };
        let Some(mut core) = lent.take() else { return };
        lending.leave_dropped(&mut core);
        if core.frames.len() > place.at + 1 {
            let cause = Error::usage(
                "the session was used while a transaction that was begun on it was open: use the transaction, or end it first",
            );
            // A unit that was begun by hand can then be ended: they are no blocks of anybody's any more.
            core.frames[place.at + 1..].iter_mut().for_each(|frame| frame.manual = true);
            core.top().set_flag(Flag { cause, by_caller: false, aborted: false });
            core.shared.set_doomed(true);
        }
        *self.core.get_mut() = core;
    }
}
