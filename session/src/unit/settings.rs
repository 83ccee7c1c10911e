//! The settings of a unit of work: which of them make no sense together, and how BEGIN carries them.

use std::{fmt::Write as _, time::Duration};

use sea_orm::{DbBackend, IsolationLevel};

use super::{fate::Word, predicate::Predicate, retry::Retry};
use crate::{connection::xid::XID, error::Error, stats::Recorder, table::sql::literal};

/// The settings of a unit of work, shared by its attempts.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) isolation: Option<IsolationLevel>,
    pub(crate) read_only: bool,
    pub(crate) deferrable: bool,
    pub(crate) immediate: bool,
    pub(crate) set_local: Vec<(String, String)>,
    pub(crate) tenant: Option<(String, String)>,
    pub(crate) statement_timeout: Option<Duration>,
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
    /// Where the unit leaves word of its COMMIT, if somebody asks (B6).
    pub(crate) word: Option<Word>,
}

impl Settings {
    /// Refuses questions about the body's error that cannot mean what they say, before anything is sent: about another
    /// type, without a number of attempts, or with an error of the database's that is both allowed and retried (X3).
    pub(crate) fn check_predicates<E: From<Error> + 'static>(&self) -> Result<(), Error> {
        let retried = self.retry.attempts() > 1;
        if let Some(retry_on) = &self.retry_on {
            retry_on.check::<E>("retry_on")?;
            if !retried {
                return Err(Error::usage(
                    "`retry_on` adds errors to those that are retried: say how often with `.retry(5)`",
                ));
            }
        }
        let Some(allow) = &self.allow else { return Ok(()) };
        allow.check::<E>("allow")?;
        if !retried {
            return Ok(());
        }
        let both = Error::one_of_each_kind().into_iter().find(|error| {
            let theirs = E::from(error.clone());
            let repeated = self.retry.wants(error) || self.retry_on.as_ref().is_some_and(|own| own.says(&theirs));
            repeated && allow.says(&theirs)
        });
        match both {
            Some(error) => Err(Error::usage(format!(
                "an error is both allowed (commit) and retried, `{error}` for one: `allow` and the retry must not overlap"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses combinations that make no sense, and what the backend cannot do, before anything is sent.
    pub(crate) fn check(&self, backend: DbBackend) -> Result<(), Error> {
        if self.deferrable && !(self.read_only && self.isolation == Some(IsolationLevel::Serializable)) {
            return Err(Error::usage("`deferrable` needs `isolation(Serializable)` and `read_only`"));
        }
        if self.immediate && self.read_only {
            return Err(Error::usage("`immediate` takes the write lock, which a `read_only` unit has no use for"));
        }
        if backend == DbBackend::Sqlite {
            if self.deferrable {
                return Err(Error::unsupported(backend, "`deferrable`; a read-only unit there never fails a conflict"));
            }
            if !self.set_local.is_empty() {
                return Err(Error::unsupported(
                    backend,
                    "`set_local`; there are no transaction settings, use `tenant` for tenants",
                ));
            }
            if self.statement_timeout.is_some() {
                return Err(Error::unsupported(
                    backend,
                    "`statement_timeout`; bound the future with `tokio::time::timeout`",
                ));
            }
            if self.settle || self.settle_by_token {
                return Err(Error::unsupported(backend, "`settle`; there is no server whose answer could be lost"));
            }
        } else if self.immediate {
            return Err(Error::unsupported(backend, "`immediate`; it is SQLite's way to take the write lock at BEGIN"));
        }
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

    /// Writes the message that begins the transaction: BEGIN, its modes and the local settings in one (section 5).
    pub(crate) fn write_begin(&self, backend: DbBackend, sql: &mut String) {
        if backend == DbBackend::Sqlite {
            *sql += if self.read_only { "BEGIN; PRAGMA query_only = 1" } else { "BEGIN IMMEDIATE" };
            return;
        }
        *sql += "BEGIN";
        if let Some(level) = self.isolation {
            _ = write!(sql, " ISOLATION LEVEL {level}");
        }
        if self.read_only {
            *sql += " READ ONLY";
        }
        if self.deferrable {
            *sql += " DEFERRABLE";
        }
        if let Some(timeout) = self.statement_timeout {
            _ = write!(sql, "; SET LOCAL statement_timeout = {}", timeout.as_millis().max(1));
        }
        *sql += self.fixed;
        // One statement, whatever is asked for: each is parsed, planned and answered.
        let settings = self.set_local.iter().chain(&self.tenant);
        let settings = settings.map(|(key, value)| format!("set_config('{key}', {}, true)", literal(value)));
        let asked = settings.chain(self.settle.then(|| XID.to_owned()));
        for (at, asked) in asked.enumerate() {
            *sql += if at == 0 { "; SELECT " } else { ", " };
            *sql += &asked;
        }
    }

    /// COMMIT or ROLLBACK, which also puts back what BEGIN changed on the connection.
    pub(crate) fn end_text(&self, backend: DbBackend, commit: bool) -> &'static str {
        match (commit, backend == DbBackend::Sqlite && self.read_only) {
            (true, false) => "COMMIT",
            (true, true) => "COMMIT; PRAGMA query_only = 0",
            (false, false) => "ROLLBACK",
            (false, true) => "ROLLBACK; PRAGMA query_only = 0",
        }
    }
}
