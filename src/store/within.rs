//! The store inside a unit of work of the caller's: the same operations under the same names.

use sea_session::prelude::*;

use super::{
    DeleteOptions, Direction, Edge, EdgePage, HistoryEntry, Hit, Link, LogEntry, Message, Moved, Neighbour, NewEvent,
    Removed, SearchOptions, Store, StoreStatus, Summary, Traverse, TreeOptions, VersionedNode, Write, Written,
};
use crate::{
    access::Caller,
    error::StoreError,
    node::{Entry, Node, Stat},
    page::{Page, Paging},
    uri::Uri,
};
use context_entities::index_record::Level;

/// What [`Store::within`] gives: the store's operations as parts of a unit of work that is open already. All of them,
/// or none, come to be with that unit's end.
#[derive(Debug)]
pub struct Within<'u> {
    store: &'u Store,
    s: &'u mut Session,
    caller: &'u Caller,
}

impl Store {
    /// The store's operations as this caller's, inside the unit of `s`; best one that [`Store::unit`] opened, which
    /// binds account and spaces to the transaction.
    ///
    /// ```
    /// # use context_store::{Caller, Store, StoreError, Uri, Write};
    /// # use sea_session::Session;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), StoreError> {
    /// # let store = Store::open("sqlite::memory:").await?;
    /// # let alice = Caller::user("acme", "alice");
    /// # let (tea, old) = (Uri::parse("ctx://acme/users/alice/memories/likes/tea")?, Uri::parse("ctx://acme/users/alice/memories/liked/tea")?);
    /// store.unit(&alice).run(async |s: &mut Session| -> Result<(), StoreError> {
    ///     let mut here = store.within(s, &alice);
    ///     here.write(&tea, &Write::of("Green.")).await?;
    ///     here.move_node(&tea, &old).await?;
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn within<'u>(&'u self, s: &'u mut Session, caller: &'u Caller) -> Within<'u> {
        Within { store: self, s, caller }
    }
}

impl Within<'_> {
    /// [`Store::write`] in this unit.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn write(&mut self, uri: &Uri, write: &Write) -> Result<Written, StoreError> {
        self.store.write_in(self.s, self.caller, uri, write).await
    }

    /// [`Store::write_many`] in this unit.
    ///
    /// # Errors
    /// As [`Store::write_many`].
    pub async fn write_many(&mut self, writes: &[(Uri, Write)]) -> Result<Vec<Written>, StoreError> {
        self.store.write_many_in(self.s, self.caller, writes).await
    }

    /// [`Store::write_with_outbox`] in this unit.
    ///
    /// # Errors
    /// As [`Store::write_with_outbox`].
    pub async fn write_with_outbox(
        &mut self,
        uri: &Uri,
        write: &Write,
        events: &[NewEvent],
    ) -> Result<Written, StoreError> {
        self.store.write_with_outbox_in(self.s, self.caller, uri, write, events).await
    }

    /// [`Store::append`] in this unit.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append(&mut self, uri: &Uri, text: &str) -> Result<Written, StoreError> {
        self.store.append_in(self.s, self.caller, uri, text).await
    }

    /// [`Store::read`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read(&mut self, uri: &Uri) -> Result<Node, StoreError> {
        self.store.read_in(self.s, self.caller, uri).await
    }

    /// [`Store::read_many`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read_many`].
    pub async fn read_many(&mut self, uris: &[Uri]) -> Result<Vec<Node>, StoreError> {
        self.store.read_many_in(self.s, self.caller, uris).await
    }

    /// [`Store::read_level`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read_level`].
    pub async fn read_level(&mut self, uri: &Uri, level: Level) -> Result<String, StoreError> {
        self.store.read_level_in(self.s, self.caller, uri, level).await
    }

    /// [`Store::exists`] in this unit.
    ///
    /// # Errors
    /// As [`Store::exists`].
    pub async fn exists(&mut self, uri: &str) -> Result<bool, StoreError> {
        self.store.exists_in(self.s, self.caller, uri).await
    }

    /// [`Store::stat`] in this unit.
    ///
    /// # Errors
    /// As [`Store::stat`].
    pub async fn stat(&mut self, uri: &Uri) -> Result<Stat, StoreError> {
        self.store.stat_in(self.s, self.caller, uri).await
    }

    /// [`Store::status`] in this unit.
    ///
    /// # Errors
    /// As [`Store::status`].
    pub async fn status(&mut self) -> Result<StoreStatus, StoreError> {
        self.store.status_in(self.s, self.caller).await
    }

    /// [`Store::list_children`] in this unit.
    ///
    /// # Errors
    /// As [`Store::list_children`].
    pub async fn list_children(&mut self, folder: &Uri, paging: &Paging) -> Result<Page<Entry>, StoreError> {
        self.store.list_children_in(self.s, self.caller, folder, paging).await
    }

    /// [`Store::tree`] in this unit.
    ///
    /// # Errors
    /// As [`Store::tree`].
    pub async fn tree(&mut self, folder: &Uri, options: &TreeOptions) -> Result<Page<Entry>, StoreError> {
        self.store.tree_in(self.s, self.caller, folder, options).await
    }

    /// [`Store::glob`] in this unit.
    ///
    /// # Errors
    /// As [`Store::glob`].
    pub async fn glob(&mut self, pattern: &str, paging: &Paging) -> Result<Page<Entry>, StoreError> {
        self.store.glob_in(self.s, self.caller, pattern, paging).await
    }

    /// [`Store::move_node`] in this unit.
    ///
    /// # Errors
    /// As [`Store::move_node`].
    pub async fn move_node(&mut self, from: &Uri, to: &Uri) -> Result<Moved, StoreError> {
        self.store.move_node_in(self.s, self.caller, from, to).await
    }

    /// [`Store::delete`] in this unit.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub async fn delete(&mut self, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        self.store.delete_in(self.s, self.caller, uri, options).await
    }

    /// [`Store::archive`] in this unit.
    ///
    /// # Errors
    /// As [`Store::archive`].
    pub async fn archive(&mut self, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        self.store.archive_in(self.s, self.caller, uri, options).await
    }

    /// [`Store::restore`] in this unit.
    ///
    /// # Errors
    /// As [`Store::restore`].
    pub async fn restore(&mut self, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        self.store.restore_in(self.s, self.caller, uri, options).await
    }

    /// [`Store::history`] in this unit.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub async fn history(&mut self, uri: &Uri, paging: &Paging) -> Result<Page<HistoryEntry>, StoreError> {
        self.store.history_in(self.s, self.caller, uri, paging).await
    }

    /// [`Store::read_version`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read_version`].
    pub async fn read_version(&mut self, uri: &Uri, version: i64) -> Result<VersionedNode, StoreError> {
        self.store.read_version_in(self.s, self.caller, uri, version).await
    }

    /// [`Store::revert`] in this unit.
    ///
    /// # Errors
    /// As [`Store::revert`].
    pub async fn revert(&mut self, uri: &Uri, version: i64) -> Result<Written, StoreError> {
        self.store.revert_in(self.s, self.caller, uri, version).await
    }

    /// [`Store::link`] in this unit.
    ///
    /// # Errors
    /// As [`Store::link`].
    pub async fn link(&mut self, from: &Uri, to: &Uri, link: &Link) -> Result<Edge, StoreError> {
        self.store.link_in(self.s, self.caller, from, to, link).await
    }

    /// [`Store::unlink`] in this unit.
    ///
    /// # Errors
    /// As [`Store::unlink`].
    pub async fn unlink(&mut self, from: &Uri, to: &Uri, edge_type: Option<&str>) -> Result<u64, StoreError> {
        self.store.unlink_in(self.s, self.caller, from, to, edge_type).await
    }

    /// [`Store::edges`] in this unit.
    ///
    /// # Errors
    /// As [`Store::edges`].
    pub async fn edges(&mut self, uri: &Uri, direction: Direction, paging: &Paging) -> Result<EdgePage, StoreError> {
        self.store.edges_in(self.s, self.caller, uri, direction, paging).await
    }

    /// [`Store::neighbours`] in this unit.
    ///
    /// # Errors
    /// As [`Store::neighbours`].
    pub async fn neighbours(
        &mut self,
        uri: &Uri,
        direction: Direction,
        paging: &Paging,
    ) -> Result<Page<Neighbour>, StoreError> {
        self.store.neighbours_in(self.s, self.caller, uri, direction, paging).await
    }

    /// [`Store::traverse`] in this unit.
    ///
    /// # Errors
    /// As [`Store::traverse`].
    pub async fn traverse(&mut self, uri: &Uri, options: &Traverse) -> Result<Page<Neighbour>, StoreError> {
        self.store.traverse_in(self.s, self.caller, uri, options).await
    }

    /// [`Store::search`] in this unit.
    ///
    /// # Errors
    /// As [`Store::search`].
    pub async fn search(&mut self, query: &str, options: &SearchOptions) -> Result<Page<Hit>, StoreError> {
        self.store.search_in(self.s, self.caller, query, options).await
    }

    /// [`Store::append_messages`] in this unit.
    ///
    /// # Errors
    /// As [`Store::append_messages`].
    pub async fn append_messages(&mut self, uri: &Uri, messages: &[Message]) -> Result<i64, StoreError> {
        self.store.append_messages_in(self.s, self.caller, uri, messages).await
    }

    /// [`Store::archive_session`] in this unit.
    ///
    /// # Errors
    /// As [`Store::archive_session`].
    pub async fn archive_session(&mut self, uri: &Uri, summary: Option<&Summary>) -> Result<Written, StoreError> {
        self.store.archive_session_in(self.s, self.caller, uri, summary).await
    }

    /// [`Store::messages`] in this unit.
    ///
    /// # Errors
    /// As [`Store::messages`].
    pub async fn messages(&mut self, uri: &Uri) -> Result<Vec<Message>, StoreError> {
        self.store.messages_in(self.s, self.caller, uri).await
    }

    /// [`Store::session_history`] in this unit.
    ///
    /// # Errors
    /// As [`Store::session_history`].
    pub async fn session_history(&mut self, session: &Uri, paging: &Paging) -> Result<Page<LogEntry>, StoreError> {
        self.store.session_history_in(self.s, self.caller, session, paging).await
    }

    /// [`Store::expect_in`] in this unit.
    ///
    /// # Errors
    /// As [`Store::expect_in`].
    pub async fn expect(&mut self, uri: &Uri, version: i64) -> Result<(), StoreError> {
        self.store.expect_in(self.s, self.caller, uri, version).await
    }
}
