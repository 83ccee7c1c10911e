//! The settings of a unit of work: which of them make no sense together, and how BEGIN carries them.

use std::{any::Any, time::Duration};

use sea_orm::IsolationLevel;

use super::{fate::FateCell, predicate::Predicate, retry::Retry};
use crate::{
    connection::replicas::Reading,
    dialect::{Begin, Dialect, Position},
    error::Error,
    stats::Recorder,
};

/// The settings of a unit of work, shared by its attempts.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) isolation: Option<IsolationLevel>,
    pub(crate) read_only: bool,
    /// The unit stays on the primary, though it only reads (U9).
    pub(crate) on_primary: bool,
    /// What the unit must see of another process (U9).
    pub(crate) reads_after: Option<Position>,
    pub(crate) deferrable: bool,
    pub(crate) immediate: bool,
    pub(crate) set_local: Vec<(String, String)>,
    pub(crate) tenant: Option<(String, String)>,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) lock_timeout: Option<Duration>,
    /// The unit must see what other nodes of its cluster had committed (Y3).
    pub(crate) causal: bool,
    /// Settings that are always the same, as text: a SET costs the server a third of a SELECT of `set_config`, but each
    /// text that is new is one more entry of `pg_stat_statements`, which a tenant's must not be.
    pub(crate) fixed: &'static str,
    pub(crate) optimistic: bool,
    pub(crate) strict: bool,
    pub(crate) sql_debug: bool,
    pub(crate) show_values: bool,
    pub(crate) settle: bool,
    pub(crate) settle_by_token: bool,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) retry: Retry,
    pub(crate) retry_on: Option<Predicate>,
    pub(crate) allow: Option<Predicate>,
    /// The name that the transaction will be prepared under, where it must know that when it begins (M2).
    pub(crate) name: Option<String>,
    /// Where the unit leaves word of its COMMIT, if somebody asks (B6).
    pub(crate) fate: Option<FateCell>,
    /// Reads give soft-deleted rows too (U5).
    pub(crate) unfiltered: bool,
    /// The unit is one statement that reads, and is sent without BEGIN and COMMIT.
    pub(crate) alone: bool,
}

impl Settings {
    /// Refuses questions about the body's error that cannot mean what they say, before anything is sent: without a number of
    /// attempts, or with an error of the database's that is both allowed and retried (X3).
    pub(crate) fn check_predicates(&self, convert: &dyn Fn(Error) -> Box<dyn Any + Send>) -> Result<(), Error> {
        let retried = self.retry.attempts() > 1;
        if self.retry_on.is_some() && !retried {
            return Err(Error::usage(
                "`retry_on` adds errors to those that are retried: say how often with `.retry(5)`",
            ));
        }
        let Some(allow) = &self.allow else { return Ok(()) };
        if !retried {
            return Ok(());
        }
        let both = Error::one_of_each_kind().into_iter().find(|error| {
            let theirs = convert(error.clone());
            let repeated = self.retry.wants(error) || self.retry_on.as_ref().is_some_and(|own| own.says(&*theirs));
            repeated && allow.says(&*theirs)
        });
        match both {
            Some(error) => Err(Error::usage(format!(
                "an error is both allowed (commit) and retried, `{}` for one: `allow` and the retry must not overlap",
                error.text()
            ))),
            None => Ok(()),
        }
    }

    /// Refuses combinations that make no sense, and what the backend cannot do, before anything is sent.
    pub(crate) fn check(&self, dialect: &Dialect) -> Result<(), Error> {
        if self.deferrable && !(self.read_only && self.isolation == Some(IsolationLevel::Serializable)) {
            return Err(Error::usage("`deferrable` needs `isolation(Serializable)` and `read_only`"));
        }
        if self.immediate && self.read_only {
            return Err(Error::usage("`immediate` takes the write lock, which a `read_only` unit has no use for"));
        }
        let asked = [
            (self.deferrable, dialect.deferrable),
            (!self.set_local.is_empty(), dialect.set_local),
            (self.statement_timeout.is_some(), dialect.statement_timeout),
            (self.lock_timeout.is_some(), dialect.lock_timeout),
            (self.causal, dialect.cluster.map(|_| ())),
            (self.settle || self.settle_by_token, dialect.settle),
            (self.immediate, dialect.immediate),
            (self.reads_after.is_some(), dialect.replicas.map(|_| ())),
        ];
        asked.into_iter().filter(|(asked, _)| *asked).try_for_each(|(_, can)| dialect.need(can))?;
        let keys = self.set_local.iter().map(|(k, v)| (k, v)).chain(self.tenant.iter().map(|(k, v)| (k, v)));
        for (key, value) in keys {
            let named = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            if !named {
                return Err(Error::usage(format!("`{key}` is no parameter name: letters, digits, `_` and `.` only")));
            }
            if value.contains('\0') {
                return Err(Error::usage(format!("the value for `{key}` holds a NUL character")));
            }
        }
        Ok(())
    }

    /// What a replica must have for this unit; none if it stays on the primary (U9). A standby knows no serializable transactions.
    pub(crate) fn reading(&self) -> Option<Reading> {
        let primary = !self.read_only
            || self.on_primary
            || self.settle_by_token
            || self.isolation == Some(IsolationLevel::Serializable);
        (!primary).then_some(Reading { after: self.reads_after, isolated: self.isolation.is_some() })
    }

    /// See [`crate::Session::require_isolation`].
    pub(crate) fn require_isolation(&self, level: IsolationLevel) -> Result<(), Error> {
        match self.isolation {
            Some(has) if has == level => Ok(()),
            Some(has) => Err(Error::usage(format!(
                "{level} is asked for inside a unit of work that is {has}: a transaction has one isolation level"
            ))),
            None => Err(Error::usage(format!(
                "{level} is asked for inside a unit of work that was opened without: open it with `.isolation(…)`"
            ))),
        }
    }

    /// See [`crate::Session::require_read_only`].
    pub(crate) fn require_read_only(&self) -> Result<(), Error> {
        self.read_only.then_some(()).ok_or_else(|| {
            Error::usage("a read-only unit of work is asked for inside one that may write: open it with `.read_only()`")
        })
    }

    /// Writes the message that begins the transaction.
    pub(crate) fn write_begin(&self, dialect: &Dialect, sql: &mut String) {
        let begin = Begin {
            isolation: self.isolation,
            read_only: self.read_only,
            deferrable: self.deferrable,
            statement_timeout: self.statement_timeout,
            lock_timeout: self.lock_timeout,
            causal: self.causal,
            fixed: self.fixed,
            set_local: &self.set_local,
            tenant: self.tenant.as_ref(),
            // A unit that reads has no fate that could be asked about, and a replica gives out no ids.
            tell_id: self.settle && !self.read_only,
            name: self.name.as_deref(),
        };
        (dialect.begin)(&begin, sql);
    }

    /// COMMIT or ROLLBACK, which also puts back what BEGIN changed on the connection.
    pub(crate) fn end_text(&self, dialect: &Dialect, commit: bool) -> &'static str {
        (dialect.end)(commit, self.read_only)
    }
}
