//! The one place that sends SQL (INV2): one pooled connection, owned by one session.
//!
//! [`Connection::send`] counts, traces, classifies and guards every message. It must never let a connection whose
//! transaction state is not known go back to the pool (INV3), and it must never log a value (L1).

pub(crate) mod alone;
pub(crate) mod boxed;
pub(crate) mod channel;
pub(crate) mod control;
pub(crate) mod db;
mod ended;
pub(crate) mod lent;
pub(crate) mod nodes;
pub(crate) mod redaction;
pub(crate) mod replicas;
pub(crate) mod span;
pub(crate) mod text;
mod turn;

use std::{borrow::Cow, fmt, sync::Arc, time::Instant};

use futures_util::{StreamExt, stream::BoxStream};
use sea_orm::{QueryResult, Statement, Value, sqlx};
use tokio::runtime::Handle;
use tracing::{Span, instrument::WithSubscriber, subscriber::NoSubscriber};

pub(crate) use crate::dialect::message::{Fetch, Message, Reply};
use crate::{
    connection::{
        boxed::boxed,
        db::Db,
        redaction::{Hide, without_literals},
        replicas::{Placed, Reading},
        span::{debug_span, in_span, record},
        turn::Turn,
    },
    dialect::{Dialect, Driver, Unfinished},
    error::{Class, Error},
    stats::{Counters, Recorder},
    table::{
        facts::{FactsCache, TableFacts, alters_tables},
        meta::TableMeta,
        value,
    },
};

/// How a connection may leave its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    /// No transaction: it may go back to the pool.
    None,
    /// BEGIN was sent: it must be rolled back first.
    Open,
}

/// A session's hold on the database. Takes a connection from the pool when the first message is sent.
pub(crate) struct Connection {
    db: Db,
    driver: Option<Box<dyn Driver>>,
    /// The unit is the one that writes, where only one can.
    turn: Option<Turn>,
    /// The unit only reads, and may run on a replica (U9).
    reading: Option<Reading>,
    /// The replica that the connection is to; none: to the primary, or there is no connection yet.
    replica: Option<usize>,
    /// The node of the cluster that the connection is to (Y3); the pool's own is 0.
    node: usize,
    transaction: Transaction,
    /// Set while an answer is awaited. Found set afterwards, the message was dropped half-way.
    in_flight: bool,
    lost: Option<Error>,
    /// Whether BEGIN is known to have worked.
    begun: bool,
    /// What the connection remembers of its statements is not valid any more: it is closed when it is given back (E5).
    outdated: bool,
    /// Where it was taken from the pool; the driver needs it when it is given back (E6).
    runtime: Option<Handle>,
    counters: Arc<Counters>,
    recorder: Option<Recorder>,
    sql_debug: bool,
    show_values: bool,
    /// Why a stream of rows failed, until the session has noted it.
    failed_stream: Option<Error>,
    /// The next message is about a table with a secret column: its values are not shown, whatever `show_values` says.
    hide_next: bool,
    /// What is known of tables: the pool's, until this transaction may have changed one.
    facts: Arc<FactsCache>,
    /// This transaction may have changed tables: what it sees is not what others see, and its end tells them.
    altered: bool,
    /// A hook of SeaORM's has sent something else than a question.
    lent: bool,
}

impl Connection {
    pub(crate) fn new(
        db: Db,
        counters: Arc<Counters>,
        recorder: Option<Recorder>,
        sql_debug: bool,
        show_values: bool,
    ) -> Self {
        let facts = db.facts().clone();
        Self {
            db,
            driver: None,
            turn: None,
            reading: None,
            replica: None,
            node: 0,
            transaction: Transaction::None,
            in_flight: false,
            lost: None,
            begun: false,
            outdated: false,
            runtime: None,
            counters,
            recorder,
            sql_debug,
            show_values,
            failed_stream: None,
            hide_next: false,
            facts,
            altered: false,
            lent: false,
        }
    }

    /// What the table does to its rows (D1): asked once for each pool and table.
    ///
    /// # Cancel safety
    /// As [`Connection::send`].
    pub(crate) async fn table_facts(&mut self, table: &'static TableMeta) -> Result<Arc<TableFacts>, Error> {
        if let Some(facts) = self.facts.get(table) {
            return Ok(facts);
        }
        boxed(|| self.ask_for_facts(table)).await
    }

    /// What is known of a table already.
    pub(crate) fn known_facts(&self, table: &'static TableMeta) -> Option<Arc<TableFacts>> {
        self.facts.get(table)
    }

    /// What the values of one statement about a table may come to (D10).
    pub(crate) fn most_bytes(&self, table: &'static TableMeta) -> usize {
        let told = self.facts.get(table).and_then(|facts| facts.most_bytes);
        told.map_or(self.dialect().most_bytes, |most| most.min(self.dialect().most_bytes))
    }

    async fn ask_for_facts(&mut self, table: &'static TableMeta) -> Result<Arc<TableFacts>, Error> {
        let dialect = self.dialect();
        let answer = self.send(Message::Facts((dialect.facts_question)(table))).await?.rows();
        let mut facts = dialect.read_facts(table, &answer)?;
        if let Some(question) = (dialect.facts_again)(table, &facts) {
            let answer = self.send(Message::Facts(question)).await?.rows();
            facts = dialect.read_facts(table, &answer)?;
        }
        let facts = Arc::new(facts);
        // A table that is not there may be made at any time.
        if facts.identity.is_some() {
            self.facts.put(table, facts.clone());
        }
        Ok(facts)
    }

    /// A write of this table failed in a way that a changed table may have caused: the next one asks again.
    pub(crate) fn doubt_facts(&self, table: &'static TableMeta) {
        self.facts.forget(table);
    }

    /// The caller sends a text that may change tables, or which table a name means.
    pub(crate) fn tables_altered(&mut self) {
        self.facts = Arc::default();
        self.altered = true;
    }

    /// Whether a hook of SeaORM's has sent something else than a question since this was last asked.
    pub(crate) fn was_lent(&mut self) -> bool {
        std::mem::take(&mut self.lent)
    }

    /// Keeps the values of the next message out of the log (`#[tracked(secret)]`).
    pub(crate) fn hide_values(&mut self) {
        self.hide_next = true;
    }

    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.db.dialect()
    }

    pub(crate) fn db(&self) -> &Db {
        &self.db
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether an earlier message was dropped before its answer.
    pub(crate) fn was_cancelled(&self) -> bool {
        self.in_flight
    }

    /// The caller has decided how to bring the transaction into a known state (by a rollback) and sends that next.
    pub(crate) fn forgive_cancelled(&mut self) {
        self.in_flight = false;
    }

    pub(crate) fn take_failed_stream(&mut self) -> Option<Error> {
        self.failed_stream.take()
    }

    pub(crate) fn lost(&self) -> Option<&Error> {
        self.lost.as_ref()
    }

    /// Whether a connection was taken from the pool and is still ours.
    pub(crate) fn is_held(&self) -> bool {
        self.driver.is_some()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.transaction == Transaction::Open
    }

    /// From now on, until [`Connection::closed`], this connection must not go back to the pool without a rollback.
    pub(crate) fn opening(&mut self) {
        self.transaction = Transaction::Open;
    }

    /// The transaction has ended in a known way.
    pub(crate) fn closed(&mut self) {
        self.transaction = Transaction::None;
        self.begun = false;
        self.turn = None;
        if std::mem::take(&mut self.altered) {
            self.db.facts().forget_all();
        }
    }

    /// From now on facts are those of a unit with these settings of its own.
    pub(crate) fn with_settings<'s>(mut self, set_local: impl Iterator<Item = &'s (String, String)>) -> Self {
        self.facts = self.facts.scope(set_local);
        self
    }

    /// The unit may run on a replica, if there are any.
    pub(crate) fn reading(mut self, reading: Option<Reading>) -> Self {
        self.reading = reading;
        self
    }

    /// The replica that the unit runs on.
    pub(crate) fn replica(&self) -> Option<usize> {
        self.replica
    }

    /// What comes next means something on the primary only: the unit runs there.
    ///
    /// # Errors
    /// It runs on a replica already.
    pub(crate) fn stay_on_primary(&mut self, what: &str) -> Result<(), Error> {
        self.reading = None;
        match self.replica {
            None => Ok(()),
            Some(number) => Err(Error::usage(format!(
                "{what} in a unit that runs on replica {number}, where it would keep nobody out: open the unit with `.on_primary()`"
            ))),
        }
    }

    /// Gives the connection back now rather than when the session is dropped.
    pub(crate) fn release(&mut self) {
        if self.in_flight || self.transaction != Transaction::None {
            return;
        }
        match self.driver.take() {
            Some(raw) if std::mem::take(&mut self.outdated) => raw.close(),
            _ => {}
        }
    }

    /// Closes the connection: its state is not known, or it is broken (C4). The server notices at once.
    pub(crate) fn discard(&mut self, cause: Error) {
        if let Some(raw) = self.driver.take() {
            raw.close();
        }
        self.transaction = Transaction::None;
        self.in_flight = false;
        self.turn = None;
        self.lost.get_or_insert(cause);
    }

    /// Sends one message and waits for its answer.
    ///
    /// Cancel safety: dropped half-way, the connection remembers that an answer is owed; see
    /// [`Connection::was_cancelled`].
    pub(crate) async fn send(&mut self, message: Message<'_>) -> Result<Reply, Error> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        if !self.dialect().unsigned {
            message.values().into_iter().flatten().try_for_each(value::fits)?;
        }
        if let (Some(writer), Message::Control(text), None) = (&self.dialect().one_writer, &message, &self.turn)
            && text.contains(writer.begins)
        {
            self.turn = boxed(|| Turn::wait(&self.db, writer.patience)).await;
        }
        let first = self.driver.is_none();
        let mut begun = None;
        if first {
            let begin = match &message {
                Message::Control(text) => Some(*text),
                _ => None,
            };
            // Boxed, as all that happens once a unit: no statement's future has room for it.
            begun = boxed(|| self.take_connection(begin)).await?;
            self.runtime = Handle::try_current().ok();
        }

        let shown = !std::mem::take(&mut self.hide_next) && self.show_values;
        let control = matches!(message, Message::Control(_));
        let facts = matches!(message, Message::Facts(_));
        if self.altered && control {
            // A savepoint that is rolled back may take changes of tables with it.
            self.facts = Arc::default();
        }
        let recorded = (!facts).then_some(|| message.recorded());
        let span = self.announce(recorded, message.logged(shown), message.values().filter(|_| shown));
        let Some(raw) = self.driver.as_mut() else { return Err(Error::connection_lost("no connection")) };

        self.in_flight = true;
        let started = begun.as_ref().map_or_else(Instant::now, |begun| begun.started);
        let outcome = match begun {
            Some(begun) => begun.answer,
            None => match &message {
                // The driver would log the values in it.
                Message::Control(text) if first && holds_values(text) => {
                    boxed(|| self.begin_afresh(text)).with_subscriber(NoSubscriber::default()).await
                }
                Message::Control(text) if first => in_span(&span, boxed(|| self.begin_afresh(text))).await,
                _ => in_span(&span, raw.dispatch(message)).await.map_err(Error::from),
            },
        };
        self.in_flight = false;
        match facts {
            true => self.counters.facts(started.elapsed()),
            false => self.counters.sent(control, started.elapsed()),
        }

        match outcome {
            Ok(reply) => {
                self.begun = self.is_open();
                if !control && !facts {
                    self.counters.rows(reply.affected());
                    record(&span, "rows", reply.affected());
                }
                Ok(reply)
            }
            Err(e) => {
                if e.class() == Some(Class::ConnectionLost) {
                    if let Some(nodes) = self.db.node_set() {
                        nodes.leave_out(self.node, &e);
                    }
                    self.discard(e.clone());
                    return Err(e);
                }
                let conflict = if e.sqlstate().is_some() { boxed(|| self.look_after(&e)).await } else { None };
                Err(conflict.unwrap_or(e))
            }
        }
    }
}

/// A text as a log may show it; written only if there is a log.
struct Logged<'a> {
    sql: &'a str,
    /// Nothing: values are shown.
    hide: Option<Hide>,
}

impl fmt::Display for Logged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hide {
            Some(hide) => f.write_str(&without_literals(self.sql, hide)),
            None => f.write_str(self.sql),
        }
    }
}

impl Connection {
    /// Says what goes out to whoever asked, and opens the span that it goes out in.
    fn announce<'t>(
        &self,
        text: Option<impl FnOnce() -> Cow<'t, str>>,
        logged: Logged<'_>,
        values: Option<&Vec<Value>>,
    ) -> Span {
        if let (Some(recorder), Some(text)) = (&self.recorder, text) {
            recorder.push(&text());
        }
        if self.sql_debug {
            let sql = &*logged.to_string();
            match values {
                Some(values) => tracing::info!(target: "sea_session::sql", sql, ?values),
                None => tracing::info!(target: "sea_session::sql", sql),
            }
        }
        debug_span!("sea_session.statement", db.statement = %logged, rows = tracing::field::Empty)
    }

    /// Sends a read whose rows are taken one at a time (I6); SQLite's, which steps the statement as they are asked for.
    ///
    /// Cancel safety: dropped half-way the statement is reset; the transaction's state is not changed by a read.
    pub(crate) fn stream(&mut self, statement: Statement) -> BoxStream<'_, Result<QueryResult, Error>> {
        let shown = !std::mem::take(&mut self.hide_next) && self.show_values;
        let values = statement.values.as_ref().map(|values| &values.0).filter(|_| shown);
        let logged = Logged { sql: &statement.sql, hide: (!shown).then_some(Hide::Strings) };
        let span = self.announce(Some(|| Cow::Borrowed(&*statement.sql)), logged, values);
        self.counters.sent(false, std::time::Duration::ZERO);
        let (counters, failed, mut read) = (self.counters.clone(), &mut self.failed_stream, 0_u64);
        let Some(raw) = self.driver.as_mut() else {
            return futures_util::stream::once(async { Err(Error::connection_lost("no connection")) }).boxed();
        };
        raw.step(statement)
            .map(move |row| match row {
                Ok(row) => {
                    read += 1;
                    counters.rows(1);
                    record(&span, "rows", read);
                    Ok(row)
                }
                Err(e) => Err(failed.insert(Error::from(e)).clone()),
            })
            .boxed()
    }
}

/// A unit was begun where its connection was found.
struct Begun {
    started: Instant,
    answer: Result<Reply, Error>,
}

impl Connection {
    /// Takes the connection that the unit runs on: a replica's (U9), which may have carried its BEGIN out already, or one of the
    /// pool.
    async fn take_connection(&mut self, begin: Option<&str>) -> Result<Option<Box<Begun>>, Error> {
        if let (Some(reading), Some(replicas)) = (self.reading, self.db.replica_set()) {
            let started = Instant::now();
            let placed = boxed(|| replicas.place(&self.db, reading, begin, &self.counters)).await?;
            if let Some(Placed { number, driver, answer }) = placed {
                (self.driver, self.replica) = (Some(driver), Some(number));
                self.facts = self.facts.on_replica();
                return Ok(answer.map(|answer| Box::new(Begun { started, answer })));
            }
        }
        self.connect().await?;
        Ok(None)
    }

    /// Takes one of the pool, or of another node of its cluster while its own cannot be had (Y3).
    async fn connect(&mut self) -> Result<(), Error> {
        let (driver, node) = match self.db.node_set() {
            None => (boxed(|| acquire(&self.db)).await?, 0),
            Some(nodes) => boxed(|| nodes.acquire(&self.db)).await?,
        };
        (self.driver, self.node) = (Some(driver), node);
        Ok(())
    }
}

/// The most connections that may turn out to be dead before one that answers.
const MOST_DEAD: usize = 64;

impl Connection {
    /// Sends a unit's first message. A pooled connection may have died while it was idle (the server was restarted):
    /// nothing was begun on it, so the next one is asked, until the server itself says no.
    async fn begin_afresh(&mut self, text: &str) -> Result<Reply, Error> {
        let mut outside = 0;
        for _ in 0..MOST_DEAD {
            let Some(raw) = self.driver.as_mut() else { break };
            let outcome = raw.dispatch(Message::Control(text)).await;
            match (&outcome, self.db.node_set()) {
                // One that has no part in its cluster says so until it has; another node may have.
                (Err(e), nodes) if self.dialect().is_outside_cluster(e) => match nodes {
                    Some(nodes) if outside < nodes.len() => {
                        outside += 1;
                        nodes.leave_out(self.node, e);
                    }
                    _ => return Ok(outcome?),
                },
                (Err(e), _) if is_dead(e) => {}
                (Ok(_), Some(nodes)) => {
                    nodes.take_back(self.node);
                    return Ok(outcome?);
                }
                _ => return Ok(outcome?),
            }
            // Closed before the next is asked for: a pool of one has no other place.
            if let Some(dead) = self.driver.take() {
                dead.close();
            }
            self.replica = None;
            self.connect().await?;
        }
        Err(Error::connection_lost("every pooled connection was dead"))
    }
}

fn is_dead(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(e) => e.code().as_deref().is_some_and(|code| code.starts_with("57P") || code == "08S01"),
        _ => false,
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(raw) = self.driver.take() else { return };
        let clean = self.transaction == Transaction::None && !self.in_flight;
        // The driver starts a task for a connection that comes back, which takes a runtime, and one that runs (E6).
        if Handle::try_current().is_err() {
            return raw.sever(self.runtime.take());
        }
        match (clean, self.outdated) {
            (true, false) => drop(raw),
            (_, true) => raw.close(),
            (false, false) => Unfinished::abandon(raw, self.in_flight),
        }
    }
}

/// The connection that a session takes from its pool.
async fn acquire(db: &Db) -> Result<Box<dyn Driver>, Error> {
    match (db.dialect().owns)(db.connection()) {
        true => Ok((db.dialect().acquire)(db.connection()).await?),
        false => Err(Error::usage("this DatabaseConnection is no pool of a backend that is built in")),
    }
}

/// Whether settings of the transaction are in a message, whose values are a tenant's.
fn holds_values(control: &str) -> bool {
    control.contains("set_config(")
}

impl Message<'_> {
    /// Whether a text of the caller's may change what is known of tables (D1).
    pub(crate) fn alters_tables(&self) -> bool {
        match self {
            Message::Unprepared(sql) => alters_tables(sql),
            Message::Statement(statement, _) => alters_tables(&statement.sql),
            _ => false,
        }
    }

    pub(crate) fn text(&self) -> &str {
        match self {
            Message::Control(sql) | Message::Unprepared(sql) | Message::Copy { sql, .. } => sql,
            Message::Built { sql, .. } | Message::Bound { sql, .. } => sql,
            Message::Statement(statement, _) | Message::Read(statement, _) | Message::Facts(statement) => {
                &statement.sql
            }
        }
    }

    /// The text as a recorder keeps it: settings without their values.
    fn recorded(&self) -> Cow<'_, str> {
        match self {
            Message::Control(sql) if holds_values(sql) => without_literals(sql, Hide::Escaped),
            other => other.text().into(),
        }
    }

    fn logged(&self, shown: bool) -> Logged<'_> {
        let hide = match self {
            Message::Control(_) => Some(Hide::Escaped),
            _ => (!shown).then_some(Hide::Strings),
        };
        Logged { sql: self.text(), hide }
    }

    fn values(&self) -> Option<&Vec<Value>> {
        match self {
            Message::Statement(statement, _) | Message::Read(statement, _) => statement.values.as_ref().map(|v| &v.0),
            Message::Built { values, .. } => Some(&values.0),
            _ => None,
        }
    }
}
