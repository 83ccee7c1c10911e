#![doc = include_str!("../docs/crate.md")]
#![cfg_attr(feature = "document-features", doc = "# Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]
#![cfg_attr(
    not(all(feature = "sqlite", feature = "postgres")),
    allow(dead_code, reason = "what only another driver needs: the rooms know capabilities, not drivers")
)]

extern crate self as sea_session;

mod connection;
mod derived;
mod dialect;
mod error;
mod flush;
mod load;
mod many;
mod objects;
pub mod outbox;
#[cfg(test)]
mod rooms;
mod run;
mod stats;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod unit;

pub use connection::{
    db::Db,
    replicas::{ReplicaStats, Replicas},
};
pub use dialect::Position;
pub use error::{Class, DatabaseError, Error, class_of_sqlstate};
pub use load::{
    graph::Graph,
    joined::LoadJoined,
    page::{Cursor, Page, Pages},
    query::{LoadExt, Loader},
    relation::{
        Junction,
        path::{By, Link, Path, SelfVia, Then, ThenExt, linked, self_via},
    },
    stream::Rows,
};
pub use many::UniqueColumns;
pub use objects::{
    Object, Tracked,
    changes::{Change, ChangeKind, ChangeSet, ColumnChange},
    entity::{EntitySpec, Shape, TrackedEntity},
    states::State,
};
pub use run::{
    batches::{BatchError, Batches, Progress},
    options::UnitOptions,
    several::{Recovered, Sessions, Several},
};
/// `sea_session::atomic!(s, { … })`: a nested block in place. The attribute `#[atomic]` is in the prelude: one module cannot
/// hold two macros of one name.
pub use sea_session_macros::atomic_block as atomic;
pub use sea_session_macros::*;
pub use stats::{Paths, Recorder, Routing, Stats};
pub use unit::audit;
pub use unit::{
    block_table::{BlockKind, BlockState},
    body::{BatchBody, Block, BlockOnce},
    core::UnitState,
    fate::Fate,
    filters::Filtering,
    hooks::{HookBody, HookOutcome, Hooks, Registered},
    observer::{FlushObserver, Flushing},
    predicate::{About, AboutAny, Accepts},
    retry::Retry,
    session::{NestedBlock, NestedTransaction, NoAutoflush, Savepoint, Session},
};

/// What an application needs in scope.
pub mod prelude {
    pub use crate::{
        Db, Error as SessionError, LoadExt, LoadJoined, Retry, Session, State, ThenExt, Tracked, TrackedEntity,
        UnitOptions,
    };
    pub use sea_orm::IsolationLevel;
    pub use sea_session_macros::*;
}

/// What a crate that is built on sessions needs beside SeaORM's own traits; the outbox and `sea-session-axum` use nothing else.
pub mod extend {
    pub use crate::{
        connection::{
            channel::{Channel, Listener},
            db::Queues,
            text::Text,
        },
        error::without_page,
        run::held::HeldUnit,
        table::{sql::quote, value::number_array},
    };
}

/// The declared tables of blocks and of objects as data, for tools and tests that walk them: `docs/book/src/blocks.md` and
/// `docs/book/src/states.md` print them.
pub mod tables {
    pub use crate::{
        objects::states::{Operation, STATE_TABLE, StateCell, next_state},
        unit::block_table::{BLOCK_TABLE, BlockAction, BlockCell, BlockEvent, decide},
    };
}

/// What the macros write names of. No part of the interface: it may change with any version.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        load::graph::{Adding, JunctionRows, Node, Through, ThroughSelf},
        objects::entity::NoRelations,
        table::value_ref::*,
    };
}
