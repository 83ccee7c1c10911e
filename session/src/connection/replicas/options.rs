//! Which replicas there are, and how patient units are with them.

use std::time::Duration;

use crate::{connection::db::Db, error::Error};

/// Longer than a process runs: a time that far ahead can be told.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The replicas of a database, for [`Db::replicas`]: a list of their pools, and how patient units are with them (U9).
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sea_session::Error> {
/// use std::time::Duration;
///
/// use sea_session::{Db, Replicas};
///
/// let [one, two] = ["postgres://app@replica-1/shop", "postgres://app@replica-2/shop"];
/// let replicas = Replicas::from([Db::connect(one).await?, Db::connect(two).await?])
///     .wait(Duration::from_millis(20))
///     .retry_after(Duration::from_secs(10));
/// let db = Db::connect("postgres://app@primary/shop").await?.replicas(replicas)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "replicas do nothing until they are given to `Db::replicas`"]
pub struct Replicas {
    pub(super) databases: Vec<Db>,
    pub(super) patience: Patience,
}

/// For how long units wait, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) wait: Duration,
    pub(super) reach_within: Duration,
    pub(super) retry_after: Duration,
}

impl<D: Into<Db>> From<Vec<D>> for Replicas {
    fn from(replicas: Vec<D>) -> Self {
        let patience = Patience {
            wait: Duration::from_millis(100),
            reach_within: Duration::from_secs(1),
            retry_after: Duration::from_secs(5),
        };
        Self { databases: replicas.into_iter().map(Into::into).collect(), patience }
    }
}

impl<D: Into<Db>, const N: usize> From<[D; N]> for Replicas {
    fn from(replicas: [D; N]) -> Self {
        Vec::from(replicas).into()
    }
}

impl Replicas {
    /// For how long a unit waits, if every replica that answers has still to replay what the unit must see; then it goes to the
    /// primary. 100 ms by default; zero is no wait. A replica that was waited for in vain is asked by each unit, and waited for by
    /// none, for as long as [`Replicas::retry_after`] says: one whose replay stands still does not delay every unit.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.patience.wait = wait.min(LONGEST);
        self
    }

    /// How soon a replica must give a connection and answer on it; one that does not is left out as if it were gone. A second by
    /// default. Waiting for a connection of a pool that is used up counts.
    pub fn reach_within(mut self, within: Duration) -> Self {
        self.patience.reach_within = within.min(LONGEST);
        self
    }

    /// How long after a replica was found to be gone, or to follow no primary, it is tried again. Five seconds by default. The
    /// first unit that opens after that has it tried in the background, and no unit waits for that.
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.patience.retry_after = pause.min(LONGEST);
        self
    }

    /// Refuses what cannot be a primary's replicas.
    pub(super) fn check(&self, primary: &Db) -> Result<(), Error> {
        if self.databases.is_empty() {
            return Err(Error::usage("no replica was given: name one pool for each, or leave `replicas` out"));
        }
        if self.patience.reach_within.is_zero() {
            return Err(Error::usage("`reach_within` of no time leaves every replica out: a second is the default"));
        }
        for (at, replica) in self.databases.iter().enumerate() {
            let why = if replica.dialect().name != primary.dialect().name {
                format!("is {}, and the primary is {}", replica.dialect().name, primary.dialect().name)
            } else if replica.identity() == primary.identity() {
                "is the primary's own pool: open one at the replica's address".to_owned()
            } else if replica.replica_set().is_some() {
                "has replicas itself: give those of the primary to the primary".to_owned()
            } else {
                continue;
            };
            return Err(Error::usage(format!("replica {at} {why}")));
        }
        Ok(())
    }
}
