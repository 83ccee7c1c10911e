//! Nodes of a cluster (Y3): servers that hold one database together, each of which takes writes. A unit whose own node is gone, or
//! has no part in its cluster, runs on another one, and so is a lost COMMIT settled.
//!
//! A unit stays on the node that it has begun on. One that can be had is never passed over for one that is left out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::timeout;

use super::{acquire, alone::alone, boxed::boxed, db::Db};
use crate::{
    connection::{Connection, Fetch, Message},
    dialect::Driver,
    error::Error,
};

/// How soon a node must give a connection, while others may.
const REACH_WITHIN: Duration = Duration::from_secs(1);

/// How long a node that could not be had is left out; the first unit after that tries it.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The other nodes of a pool's cluster.
pub(crate) struct NodeSet {
    others: Vec<Db>,
    /// Until when each is left out, the pool's own first.
    left_out: Mutex<Vec<Option<Instant>>>,
}

impl Db {
    /// Names the other nodes of the cluster that this database is a node of (Galera), for all handles of this pool: servers that hold
    /// the same database and each take writes (Y3).
    ///
    /// Units run on this pool's own node. While that cannot be had (it is gone, gives no connection within a second, or says that
    /// it has no part in its cluster), units that open run on the next node that can, in the order in which they are given here; a
    /// node that could not be had is tried again after a second. With `retry`, a unit that loses its node runs again on another.
    /// A lost answer to COMMIT is settled by its token ([`settle_by_token`](crate::UnitOptions::settle_by_token)) on any node, since
    /// a token that one of them takes no other gives away again.
    ///
    /// What one node has committed another shows a moment later: a unit that must see it asks for
    /// [`causal`](crate::UnitOptions::causal).
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sea_session::Error> {
    /// use sea_session::Db;
    ///
    /// let [two, three] = ["mysql://app@node-2/shop", "mysql://app@node-3/shop"];
    /// let others = [Db::connect(two).await?, Db::connect(three).await?];
    /// let db = Db::connect("mysql://app@node-1/shop").await?.nodes(others)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Connect them lazily (SeaORM's `connect_lazy`) if this process must start while one is down. For work that is to be spread
    /// over all nodes, open a `Db` for each, and name the others to each.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on SQLite and PostgreSQL. [`Error::Usage`]: no node was given, one is of another backend, is this pool
    /// itself or knows its own nodes; or this pool has some already.
    pub fn nodes(self, others: impl IntoIterator<Item = impl Into<Db>>) -> Result<Self, Error> {
        self.dialect().need(self.dialect().cluster)?;
        let others: Vec<Db> = others.into_iter().map(Into::into).collect();
        if others.is_empty() {
            return Err(Error::usage("no node was given: name one pool for each, or leave `nodes` out"));
        }
        for (at, other) in others.iter().enumerate() {
            let why = if other.dialect().name != self.dialect().name {
                "is of another backend than this one"
            } else if other.identity() == self.identity() {
                "is this node's own pool: open one at the other node's address"
            } else if other.node_set().is_some() {
                "has nodes itself: give a pool that has none"
            } else {
                continue;
            };
            return Err(Error::usage(format!("node {at} {why}")));
        }
        let left_out = Mutex::new(vec![None; others.len() + 1]);
        match self.keep_nodes(NodeSet { others, left_out }) {
            true => Ok(self),
            false => Err(Error::usage("this pool has nodes already: give all of them at once")),
        }
    }
}

impl NodeSet {
    pub(super) fn len(&self) -> usize {
        self.others.len() + 1
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        for other in &self.others {
            other.connection().close_by_ref().await?;
        }
        Ok(())
    }

    fn node<'a>(&'a self, own: &'a Db, number: usize) -> &'a Db {
        number.checked_sub(1).map_or(own, |at| &self.others[at])
    }

    /// The nodes that may be had, then those that are left out: the last resort.
    fn in_order(&self) -> Vec<usize> {
        let now = Instant::now();
        let mut left_out = self.left_out.lock();
        let (mut first, mut last) = (Vec::with_capacity(self.len()), Vec::new());
        for (number, until) in left_out.iter_mut().enumerate() {
            match until {
                Some(at) if *at > now => last.push(number),
                // This unit tries it, and no other one meanwhile.
                Some(at) => {
                    *at = now + RETRY_AFTER;
                    first.push(number);
                }
                None => first.push(number),
            }
        }
        first.append(&mut last);
        first
    }

    /// A node could not be had, was lost, or has no part in its cluster.
    pub(super) fn leave_out(&self, number: usize, why: &dyn std::fmt::Display) {
        let mut left_out = self.left_out.lock();
        let Some(until) = left_out.get_mut(number) else { return };
        if until.replace(Instant::now() + RETRY_AFTER).is_none() {
            // By its number: its address may hold a password.
            tracing::warn!(node = number, %why, "a node of the cluster is left out");
        }
    }

    /// A unit has begun on it.
    pub(super) fn take_back(&self, number: usize) {
        let mut left_out = self.left_out.lock();
        let Some(until) = left_out.get_mut(number) else { return };
        if until.take().is_some() {
            tracing::info!(node = number, "a node of the cluster is taken back");
        }
    }

    /// A connection of the first node that gives one, and the node's number.
    ///
    /// # Errors
    /// None can be had. What a node that can be reached says (of the password, for example) is not asked of another.
    pub(super) async fn acquire(&self, own: &Db) -> Result<(Box<dyn Driver>, usize), Error> {
        for number in self.in_order() {
            match timeout(REACH_WITHIN, acquire(self.node(own, number))).await {
                Ok(Ok(driver)) => return Ok((driver, number)),
                Ok(Err(e)) if !e.is_connection_lost() => return Err(e),
                Ok(Err(e)) => self.leave_out(number, &e),
                Err(_) => self.leave_out(number, &"it gave no connection within a second"),
            }
        }
        // Each may have been busy rather than gone: the pool's own patience decides.
        Ok((acquire(own).await?, 0))
    }
}

impl Connection {
    /// Whether the server is a node of a cluster: asked once a pool. A server that joins one is not asked again.
    pub(crate) async fn is_clustered(&mut self) -> Result<bool, Error> {
        let Ok(cluster) = self.dialect().cluster else { return Ok(false) };
        if let Some(known) = self.db.clustered() {
            return Ok(known);
        }
        let rows = match self.is_held() {
            true => {
                let question = sea_orm::Statement::from_string(self.dialect().backend, cluster.question);
                self.send(Message::Facts(question)).await?.rows()
            }
            // Boxed, as all that happens once a pool.
            false => boxed(|| alone(&self.db, cluster.question, Fetch::All)).await?.rows(),
        };
        Ok(self.db.note_clustered(!rows.is_empty()))
    }
}

/// The nodes of a pool, kept as long as it lives.
pub(super) type Nodes = std::sync::OnceLock<Arc<NodeSet>>;
