//! The inside of a session: connection, open blocks, identity map, and the order in which they are brought to agree.
//!
//! Memory follows the database (INV4): every path that rolls back SQL rolls back objects first, by value and without a
//! query. The first cause of a failure is never replaced (INV6). What a session does is in the files beside this one:
//! statements, rows that come one at a time, rounds of flushes, blocks, and the end of the unit.

mod blocks;
mod cascades;
mod end;
mod rounds;
pub(crate) mod row_source;
mod statements;

use std::{sync::Arc, time::Instant};

use sea_orm::IsolationLevel;

use super::{
    block_table::{BlockKind, BlockState},
    filters::Filters,
    frame::{Flag, Frame},
    hooks::{DueHook, Hooks},
    observer::Observers,
    settings::Settings,
};
use crate::{
    connection::Connection,
    dialect::Dialect,
    error::Error,
    objects::{AnyObject, identity::IdentityMap, loaded::LoadedRelations, shared::Shared},
};
use rounds::Restored;

/// Lazy loads of one relation before they are reported as N+1 (I8).
pub(crate) const LAZY_LOADS_REPORTED: usize = 10;

/// Where a unit stands (B2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnitState {
    /// Nothing was sent.
    New,
    /// BEGIN was sent.
    Started,
    /// It was committed; the session cannot be used again.
    Committed,
    /// It was rolled back; the session cannot be used again.
    RolledBack,
    /// Its end failed or is not known; the session cannot be used again.
    Failed,
}

type FlushHook = Arc<dyn Fn() -> Result<(), Error> + Send + Sync>;

pub(crate) struct Core {
    pub(crate) connection: Connection,
    pub(crate) frames: Vec<Frame>,
    pub(crate) map: IdentityMap,
    /// Relations that graphs have loaded (U1).
    pub(crate) loaded: LoadedRelations,
    pub(crate) shared: Arc<Shared>,
    pub(crate) hooks: Hooks,
    /// What every read of objects asks besides (U5).
    pub(crate) filters: Filters,
    pub(crate) settings: Arc<Settings>,
    pub(crate) state: UnitState,
    pub(crate) autoflush: bool,
    pub(crate) flush_hooks: (Vec<FlushHook>, Vec<FlushHook>),
    /// Lazy loads by relation, for the N+1 report.
    pub(crate) lazy: rustc_hash::FxHashMap<&'static str, usize>,
    /// An error that `add` could not return; the next flush does (I2).
    pub(crate) refused_add: Option<Error>,
    /// The first error that says the unit should be repeated, whatever the caller made of it (R5).
    pub(crate) reported: Option<Error>,
    /// Look-ups that the map answered, counted here because a shared counter would cost more than the look-up.
    pub(crate) hits: u64,
    /// The transaction's id, once a write has told it (R9).
    pub(crate) xid: Option<String>,
    /// When BEGIN was sent: a server that crashed since may have given the transaction's id away again (R9).
    pub(crate) began: Option<Instant>,
    /// The token that rides with COMMIT, for servers that cannot tell by the id (R9).
    pub(crate) token: Option<crate::unit::tokens::Token>,
    /// Objects whose rows a flush found to be gone (D7).
    pub(crate) gone: Vec<Arc<AnyObject>>,
    /// Who observes the flushes of this pool's units (U7).
    pub(crate) observers: Option<Arc<Observers>>,
    /// Whether the unit keeps what its flushes do.
    pub(crate) keeps_changes: bool,
    /// An observed flush is under way. Found set afterwards, it was dropped half-way.
    observing: bool,
    /// Cursors that a stream may have left open; the number names the next one.
    pub(crate) cursors_left: usize,
    next_frame: u64,
    /// The first savepoint of a message whose answer has not come yet: it may not have been made (C2).
    opening: Option<u64>,
    /// Savepoints whose RELEASE rides with the next message, oldest first.
    riding: Vec<u64>,
    /// Savepoints that must be rolled back to before anything else is sent, oldest first.
    owed: Vec<(u64, Restored)>,
    /// `on_rollback` hooks of blocks that were dropped.
    due: Vec<DueHook>,
    warned_of_savepoints: bool,
}

impl Core {
    pub(crate) fn new(connection: Connection, settings: Arc<Settings>) -> Self {
        // A serializable transaction is told by the database itself (P3).
        let optimistic = settings.optimistic && settings.isolation != Some(IsolationLevel::Serializable);
        let shared = Shared::new(connection.dialect(), settings.strict, optimistic, settings.show_values);
        let hooks = Hooks::default();
        let observers = connection.db().kept();
        Self {
            connection,
            frames: vec![Frame::new(0, BlockKind::Unit, false)],
            map: IdentityMap::default(),
            loaded: LoadedRelations::default(),
            shared,
            hooks,
            filters: Filters::new(settings.unfiltered),
            settings,
            state: UnitState::New,
            autoflush: true,
            flush_hooks: (Vec::new(), Vec::new()),
            lazy: rustc_hash::FxHashMap::default(),
            refused_add: None,
            reported: None,
            hits: 0,
            xid: None,
            began: None,
            token: None,
            gone: Vec::new(),
            observers,
            keeps_changes: false,
            observing: false,
            cursors_left: 0,
            next_frame: 1,
            opening: None,
            riding: Vec::new(),
            owed: Vec::new(),
            due: Vec::new(),
            warned_of_savepoints: false,
        }
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.connection.dialect()
    }

    pub(crate) fn usable(&self) -> Result<(), Error> {
        match self.state {
            UnitState::New | UnitState::Started => Ok(()),
            UnitState::Committed => Err(Error::usage("this unit of work was committed; open a new one")),
            UnitState::RolledBack => Err(Error::usage("this unit of work was rolled back; open a new one")),
            UnitState::Failed => Err(Error::usage("this unit of work has failed; open a new one")),
        }
    }

    /// The innermost open block. The unit's is always there.
    pub(crate) fn top(&mut self) -> &mut Frame {
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    /// The flag that a statement sent now would meet: the innermost block's, or that of one around it.
    pub(crate) fn flag_around(&self) -> Option<&Flag> {
        self.frames.iter().rev().find_map(|frame| frame.flag.as_ref())
    }

    /// The flag that keeps the block at `index` from ending well: its own, or that of one left open inside it.
    fn flag_inside(&self, index: usize) -> Option<&Flag> {
        self.frames[index..].iter().find_map(|frame| frame.flag.as_ref())
    }

    /// Where the block at `index` stands, as the table of blocks has it.
    pub(crate) fn standing(&self, index: usize, flagged: bool) -> BlockState {
        // A merged block has no SQL of its own: it is as live as the block that its statements run in.
        let holder = self.frames[..=index].iter().rev().find(|frame| frame.kind != BlockKind::Merged);
        BlockState::of(self.lost(), flagged, holder.is_some_and(|frame| frame.live))
    }

    /// The innermost block that can be rolled back by itself: what happens to objects belongs to it.
    pub(crate) fn holder(&self) -> usize {
        self.frames.iter().rposition(|frame| frame.kind != BlockKind::Merged).unwrap_or(0)
    }

    fn lost(&self) -> bool {
        self.connection.lost().is_some()
    }
}
