//! A unit of work that is one statement which only reads: one message to the database instead of three.
//!
//! One statement sees one state of the database and keeps nothing, so it needs no BEGIN and no COMMIT around it. What a
//! transaction would have carried besides still holds: settings are bound for the statement alone, inside the same message
//! and before the first row is looked at, and the database refuses writes. Where that cannot be had, the statement goes the
//! long way, in a transaction. It must never send anything that might write.

use sea_orm::{QueryResult, Statement};

use super::options::UnitOptions;
use crate::{
    connection::control::refuse_control,
    dialect::Dialect,
    error::Error,
    unit::{predicate::Accepts, session::Session, settings::Settings},
};

impl<Q: Accepts<Error>> UnitOptions<Q> {
    /// Sends one reading statement as a unit of its own and gives its rows.
    ///
    /// A single statement sees one state of the database whether or not a transaction is opened for it, so none is where these
    /// options ask for nothing that takes one: no BEGIN, no COMMIT, one message. Settings of the unit
    /// ([`UnitOptions::tenant`], [`UnitOptions::set_local`]) hold for the statement and for nothing after it, as
    /// they would for a transaction, so that row-level security says the same. A statement that may write (by its words), or options
    /// such as an isolation level, a timeout or a token, take a transaction as [`UnitOptions::run`] does. Retries are those of the
    /// options.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// use sea_orm::Statement;
    /// use sea_session::Recorder;
    ///
    /// let recorder = Recorder::new();
    /// let titles = Statement::from_string(db.backend(), "SELECT title FROM note");
    /// let rows = db.session().read_only().record(&recorder).query(titles).await?;
    /// assert_eq!(rows[0].try_get_by_index::<String>(0).expect("a title"), "first");
    /// assert_eq!(recorder.take(), ["SELECT title FROM note"]);        // no BEGIN, no COMMIT
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says; an option that this backend cannot carry out. SQL that controls the transaction is refused (D11).
    ///
    /// # Cancel safety
    /// Safe: nothing is left behind.
    pub async fn query(self, statement: Statement) -> Result<Vec<QueryResult>, Error> {
        refuse_control(&statement.sql, self.dialect())?;
        let Some(alone) = self.settings().alone(&statement, self.dialect()) else {
            return self.run(async |s: &mut Session| s.query_all(statement.clone()).await).await;
        };
        let answer = self.clone().alone().run(async |s: &mut Session| s.query_all(alone.clone()).await).await;
        match answer {
            // A pooled connection may have died while it was idle. A unit that begins tries the next one by itself.
            Err(e) if e.is_connection_lost() => {
                self.run(async |s: &mut Session| s.query_all(statement.clone()).await).await
            }
            answer => answer,
        }
    }
}

impl Settings {
    /// The statement in the form in which it can be sent without a transaction; none if it cannot.
    fn alone(&self, statement: &Statement, dialect: &Dialect) -> Option<Statement> {
        let plain = self.isolation.is_none()
            && !self.deferrable
            && !self.immediate
            && !self.settle
            && !self.settle_by_token
            && self.statement_timeout.is_none()
            && self.lock_timeout.is_none()
            && !self.causal
            && self.fixed.is_empty()
            && self.allow.is_none()
            && self.fate.is_none();
        if !plain || !only_reads(&statement.sql) {
            return None;
        }
        let settings = self.set_local.iter().chain(&self.tenant).map(|(key, value)| (key.as_str(), value.as_str()));
        Some((dialect.read_alone)(statement, &settings.collect::<Vec<_>>(), self.read_only))
    }
}

/// Whether a text is one SELECT that changes nothing, by its words: what has one of the others, even in a literal or a comment, may
/// write.
fn only_reads(sql: &str) -> bool {
    const WRITE: [&str; 5] = ["insert", "update", "delete", "merge", "into"];
    let is_one_of = |word: &str, all: &[&str]| all.iter().any(|one| word.eq_ignore_ascii_case(one));
    let mut words = sql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    if sql.contains(';') || !words.next().is_some_and(|first| is_one_of(first, &["select", "with"])) {
        return false;
    }
    // `replace(…)` is a function; a REPLACE that writes has INTO behind it.
    !words.any(|word| (4..=6).contains(&word.len()) && is_one_of(word, &WRITE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::DIALECTS;

    fn dialect(name: &str) -> &'static Dialect {
        DIALECTS.iter().find(|dialect| dialect.name == name).unwrap()
    }

    #[test]
    fn b4_a_text_that_may_write_is_never_sent_alone() {
        for reads in [
            "SELECT 1",
            "  select updated_at, deleted FROM inserts WHERE a = 'x'",
            "WITH RECURSIVE w(a) AS (SELECT 1) SELECT replace(a, 'b', 'c') FROM w",
            "(SELECT 1) UNION ALL (SELECT 2)",
        ] {
            assert!(only_reads(reads), "{reads}");
        }
        for writes in [
            "",
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "DELETE FROM t RETURNING a",
            "REPLACE INTO t VALUES (1)",
            "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
            "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a",
            "WITH a AS (SELECT 1) uPdAtE t SET a = 1",
            "WITH a AS (SELECT 1) REPLACE INTO t SELECT * FROM a",
            "WITH a AS (MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING) SELECT 1",
            "SELECT * INTO t FROM s",
            "SELECT a FROM t FOR UPDATE",
            "SELECT 1; DROP TABLE t",
            "PRAGMA user_version = 3",
            "EXPLAIN ANALYZE DELETE FROM t",
            "CALL p()",
        ] {
            assert!(!only_reads(writes), "{writes}");
        }
    }

    #[test]
    fn t1_settings_of_a_read_alone_are_values_and_come_before_any_row() {
        let mut settings = Settings { read_only: true, ..Settings::default() };
        settings.set_local.push(("app.spaces".into(), "a'b".into()));
        settings.tenant = Some(("app.tenant".into(), "acme".into()));
        let asked =
            Statement::from_sql_and_values(dialect("PostgreSQL").backend, "SELECT a FROM t WHERE b = $1", [7.into()]);
        let alone = settings.alone(&asked, dialect("PostgreSQL")).expect("it reads");
        assert_eq!(
            alone.sql,
            "SELECT answer.* FROM (SELECT set_config('app.spaces', $2, true) || set_config('app.tenant', $3, true) \
             || set_config('transaction_read_only', $4, true) AS bound) AS unit CROSS JOIN LATERAL (SELECT asked.* FROM \
             (SELECT a FROM t WHERE b = $1\n) AS asked OFFSET length(unit.bound) * 0) AS answer"
        );
        let values = alone.values.expect("values").0;
        assert_eq!(values, [7.into(), "a'b".into(), "acme".into(), "on".into()]);
        // SQLite has no settings, and the text says what it does.
        let plain = Statement::from_string(dialect("SQLite").backend, "SELECT a FROM t");
        let tenant = Settings { tenant: settings.tenant.clone(), read_only: true, ..Settings::default() };
        assert_eq!(tenant.alone(&plain, dialect("SQLite")), Some(plain));
    }

    #[test]
    fn b4_what_takes_a_transaction_gets_one() {
        let asked = Statement::from_string(dialect("PostgreSQL").backend, "SELECT 1");
        let alone = |settings: Settings| settings.alone(&asked, dialect("PostgreSQL")).is_some();
        assert!(alone(Settings::default()));
        assert!(!alone(Settings { isolation: Some(sea_orm::IsolationLevel::Serializable), ..Settings::default() }));
        assert!(!alone(Settings { deferrable: true, ..Settings::default() }));
        assert!(!alone(Settings { immediate: true, ..Settings::default() }));
        assert!(!alone(Settings { settle: true, ..Settings::default() }));
        assert!(!alone(Settings { settle_by_token: true, ..Settings::default() }));
        assert!(!alone(Settings { fixed: "; SET LOCAL plan_cache_mode = force_generic_plan", ..Settings::default() }));
        let timeout = Some(std::time::Duration::from_secs(1));
        assert!(!alone(Settings { statement_timeout: timeout, ..Settings::default() }));
        assert!(!alone(Settings { lock_timeout: timeout, ..Settings::default() }));
        assert!(!alone(Settings { causal: true, ..Settings::default() }));
    }
}
