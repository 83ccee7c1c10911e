//! What a commit owes to the index: the store's events in the outbox of [`sea_session::outbox`], and the [`Indexer`] that
//! takes them to an [`IndexSink`].
//!
//! Events are written in the transaction of their change (Q1, V4). An event says *that* a node changed; what the index
//! should hold is read from the node when the event is delivered. A redelivery, and an event whose change was overtaken,
//! therefore write what is right. What is never done here: claiming, ordering and acknowledging, which are the framework's.

mod event;
mod indexer;

use std::sync::Arc;

use sea_session::{
    Db, UnitOptions,
    outbox::{Dispatcher, Outbox},
};

pub use event::{EventType, TOPIC};
pub use indexer::Indexer;

use crate::{
    dialect::{self, Dialect},
    index::IndexSink,
};

/// The table of events.
const TABLE: &str = "outbox_events";

/// What the policies of row-level security ask of one that serves every tenant.
pub(crate) const DISPATCHER: (&str, &str) = ("app.dispatcher", "on");

/// The topic whose events say which streams there are for indexes elsewhere: each done event's key is a stream's name.
pub(crate) const STREAMS: &str = "context.streams";

/// The account of those events, which are no tenant's: no account has that name, since a `*` is encoded in a URI.
pub(crate) const NOBODY: &str = "*";

/// The store's own stream of events. Under row-level security it sees those of every tenant. What is delivered from it is copied
/// to the streams of indexes elsewhere.
pub fn outbox(db: &Db) -> Outbox {
    stream(db, TOPIC).copying_to(STREAMS)
}

/// A stream of events for an index elsewhere.
pub(crate) fn stream(db: &Db, name: &str) -> Outbox {
    Outbox::new(db, TABLE, name).set_local(DISPATCHER.0, DISPATCHER.1)
}

/// A dispatcher that keeps `sink` in step with the store.
pub fn dispatcher(db: &Db, sink: Arc<dyn IndexSink>) -> Dispatcher {
    Dispatcher::new(&outbox(db), Indexer::new(db, sink)).batch(200)
}

/// A unit that sees what the store's writing units are to see.
pub(crate) fn isolated(unit: UnitOptions, dialect: &Dialect) -> UnitOptions {
    match dialect.isolation {
        Some(level) => unit.isolation(level),
        None => unit,
    }
}

/// A unit that sees every tenant.
pub(crate) fn unit(db: &Db) -> UnitOptions {
    let dialect = dialect::of(db.backend());
    let unit = isolated(db.session().retry(8), dialect);
    if dialect.policies { unit.set_local(DISPATCHER.0, DISPATCHER.1) } else { unit }
}
