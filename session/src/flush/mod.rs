//! The flush: from dirty objects to set-based statements, and back into the objects (F).
//!
//! Four phases, apart: hooks and stamps on the objects, the [`plan`] (pure), the statements, and what came back. It looks
//! at dirty objects only (INV7). It never touches a savepoint but its own around a large set of changes, which it ends itself;
//! a failure is handed to the session, which rolls back.

mod actions;
mod back;
mod change;
mod copy;
mod direct;
mod insert;
mod pieces;
pub(crate) mod plan;
mod rows;
mod set;
mod statement;
pub(crate) mod value;
pub(crate) mod wire;

use std::sync::Arc;

use chrono::{SubsecRound, Utc};
use rustc_hash::FxHashMap;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, Value,
    sqlx::{Column, Row},
};
use smallvec::{SmallVec, smallvec};
use tokio::sync::Mutex;

use crate::{
    connection::{Connection, Fetch, Message, Reply},
    error::Error,
    facts::TableFacts,
    identity::IdentityMap,
    meta::{ColumnMeta, TableMeta},
    raw::refuse_control,
    tracked::{AnyObject, Carried, Put, Returned, Stamp},
    undo::UndoLog,
};
use plan::{Cell, Kind, Op};
pub(crate) use statement::Text;
pub(crate) use statement::cut_by_bytes;
pub(crate) use value::{is_null, show_key};

use rows::{Place, Rows};
use set::{RowSet, Window};
use wire::{FlatRows, SingleRow};

/// What is due about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKind {
    Insert,
    Update,
    Delete,
}

/// A value to write, as an object knows it.
pub(crate) enum Source {
    Value(Value),
    KeyOf(Arc<dyn AnyObject>, usize),
}

/// One object's change; becomes an [`Op`] when the objects it refers to have their numbers.
pub(crate) struct RowChange {
    pub(crate) key: Vec<Value>,
    pub(crate) version: Option<Value>,
    pub(crate) cells: Vec<(usize, Source)>,
    pub(crate) checks: Vec<(usize, Value)>,
    pub(crate) leaves: Vec<(usize, Value)>,
    pub(crate) frees: Vec<Option<Vec<Value>>>,
    pub(crate) takes: Vec<Option<Vec<Value>>>,
}

/// The session's connection, lent to the hooks of `ActiveModelBehavior` while a flush runs.
pub(crate) struct FlushConnection<'a> {
    backend: DbBackend,
    connection: Mutex<&'a mut Connection>,
}

impl<'a> FlushConnection<'a> {
    fn new(connection: &'a mut Connection) -> Self {
        Self { backend: connection.backend(), connection: Mutex::new(connection) }
    }

    async fn send(&self, message: Message<'_>) -> Result<Reply, DbErr> {
        Ok(self.connection.lock().await.send(message).await?)
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for FlushConnection<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        refuse_control(&statement.sql, self.backend)?;
        executed(self.send(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        refuse_control(sql, self.backend)?;
        executed(self.send(Message::Unprepared(sql)).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        refuse_control(&statement.sql, self.backend)?;
        Ok(self.send(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        refuse_control(&statement.sql, self.backend)?;
        Ok(self.send(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}

pub(crate) fn executed(reply: Reply) -> Result<ExecResult, DbErr> {
    match reply {
        Reply::Done(done) => Ok(done),
        _ => Err(DbErr::Custom("the statement answered with rows".to_owned())),
    }
}

/// Refuses changes of rows whose version cannot be raised any more, before anything is sent (E7).
pub(crate) fn refuse_last_versions(due: &[Member]) -> Result<(), Error> {
    // A deleted row whose key is added again is a change too (I2).
    let is_switched = |deleted: &Arc<dyn AnyObject>| {
        let same = |object: &Arc<dyn AnyObject>| std::ptr::eq(object.table(), deleted.table());
        let added = due.iter().filter(|(object, kind)| *kind == RowKind::Insert && same(object));
        added.into_iter().any(|(object, _)| object.held_key() == deleted.held_key())
    };
    let refused =
        due.iter().filter(|(object, _)| object.table().version.is_some()).find_map(|(object, kind)| match kind {
            RowKind::Insert => None,
            RowKind::Update => object.last_version(),
            RowKind::Delete => object.last_version().filter(|_| is_switched(object)),
        });
    refused.map_or(Ok(()), Err)
}

/// What a flush works on.
pub(crate) struct Flush<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) map: &'a mut IdentityMap,
    pub(crate) undo: &'a mut UndoLog,
    pub(crate) frame: u64,
    pub(crate) tenant: Option<&'a str>,
    /// The transaction's id, learned from the first write (R9).
    pub(crate) xid: &'a mut Option<String>,
    pub(crate) show_values: bool,
    /// Objects whose rows were found to be gone (D7).
    pub(crate) gone: &'a mut Vec<Arc<dyn AnyObject>>,
}

/// The transaction's id, as the last column of an answer (R9).
pub(crate) const XID: &str = "pg_current_xact_id()::text AS sea_session_xid";
const XID_NAME: &str = "sea_session_xid";

/// An object of this flush.
pub(crate) type Member = (Arc<dyn AnyObject>, RowKind);

/// The objects behind one row: one, or the deleted and the added one of a row switch.
type Behind = SmallVec<[Member; 1]>;

impl Flush<'_> {
    /// Writes `due` to the database, in order, and brings the objects up to date.
    pub(crate) async fn run(mut self, due: &[Member]) -> Result<(), Error> {
        let outcome = self.run_all(due).await;
        if outcome.as_ref().is_err_and(Error::doubts_facts) {
            due.iter().for_each(|(object, _)| self.connection.doubt_facts(object.table()));
        }
        outcome
    }

    async fn run_all(&mut self, due: &[Member]) -> Result<(), Error> {
        let carried = self.before(due).await?;
        due.iter().for_each(|(object, _)| object.hold());
        self.ask_about_tables(due).await?;
        self.write(due).await?;
        self.after(due, carried).await
    }

    /// Asks for the facts of tables that are not known yet (D1), and takes back what was set in columns that the database
    /// computes: they are never written (D4).
    async fn ask_about_tables(&mut self, due: &[Member]) -> Result<(), Error> {
        let mut known: Option<(&'static TableMeta, Arc<TableFacts>)> = None;
        for (object, _) in due {
            let table = object.table();
            let facts = match &known {
                Some((last, facts)) if std::ptr::eq(*last, table) => facts,
                _ => {
                    let facts = self.connection.table_facts(table).await;
                    &known.insert((table, facts.map_err(|e| e.at(|| table.entity.to_owned()))?)).1
                }
            };
            facts.generated.iter().for_each(|column| object.leave_out(*column));
        }
        Ok(())
    }

    /// Hooks and stamps; what the hooks of each object that has them hand to the ones after the write.
    async fn before(&mut self, due: &[Member]) -> Result<Vec<Carried>, Error> {
        let db = FlushConnection::new(self.connection);
        let (mut carried, mut stamp) = (Vec::new(), None);
        for (object, kind) in due {
            if object.table().hooks {
                carried.push(object.clone().before(&db, *kind).await?);
            }
            if object.table().stamped {
                // To the microsecond, which every backend keeps: the same moment is the same value on all of them.
                let now = || Utc::now().trunc_subsecs(6);
                let stamp = stamp.get_or_insert_with(|| Stamp { now: now(), tenant: self.tenant });
                object.stamp(*kind, stamp)?;
            }
        }
        Ok(carried)
    }

    async fn after(&mut self, due: &[Member], carried: Vec<Carried>) -> Result<(), Error> {
        let db = FlushConnection::new(self.connection);
        let hooked = due.iter().filter(|(object, _)| object.table().hooks);
        for ((object, kind), carried) in hooked.zip(carried) {
            object.clone().after(&db, *kind, carried).await?;
        }
        Ok(())
    }

    async fn write(&mut self, due: &[Member]) -> Result<(), Error> {
        // Values are shown as they were bound, which the straight way never does.
        if !self.show_values
            && let Some(sets) = direct::sets(due)
        {
            for set in sets {
                let facts = self.connection.table_facts(set.table).await?;
                self.write_set(set.with_facts(facts)).await?;
            }
            return Ok(());
        }
        // Boxed: most flushes go the straight way, and need no room for this one.
        Box::pin(self.write_planned(due)).await
    }

    async fn write_planned(&mut self, due: &[Member]) -> Result<(), Error> {
        let (tables, members, mut ops) = collect(due)?;
        if self.connection.backend() == DbBackend::Sqlite {
            // SQLite keeps moments as text that may be written in many ways, and decimals as numbers, so equal ones need not
            // compare equal; and nobody can have changed them, because a unit that writes holds the only write lock.
            let told = |table: &TableMeta, c: usize| table.columns[c].is_simple() && !table.columns[c].is_moment();
            ops.iter_mut().for_each(|op| op.checks.retain(|(c, _)| told(tables[op.table], *c)));
        }
        let plan = plan::plan(&tables, &ops).map_err(|cycle| Error::Cycle { cycle: cycle.0.into() })?;
        for step in &plan.steps {
            let table = tables[step.table];
            let rows = Rows::take(table, step, &plan, &mut ops, &members)?;
            let facts = self.connection.table_facts(table).await?;
            self.write_set(RowSet::planned(table, facts, step, rows, &members)).await?;
        }
        Ok(())
    }

    async fn write_set(&mut self, set: RowSet<'_>) -> Result<(), Error> {
        if matches!(set.kind, Kind::Insert | Kind::Switch) {
            return self.insert(set).await;
        }
        let referred = self.referred(&set);
        self.change(&set).await?;
        match referred {
            // Boxed: few tables have foreign keys that act.
            Some(referred) => Box::pin(self.act(&set, referred)).await,
            None => Ok(()),
        }
    }

    /// Sends one flush statement and says which rows it was about if it fails.
    async fn send(&mut self, table: &TableMeta, rows: &dyn Place, message: Message<'_>) -> Result<Reply, Error> {
        if !table.secret.is_empty() {
            self.connection.hush();
        }
        self.connection.send(message).await.map_err(|e| e.at(|| rows.place(table)))
    }

    /// Sends the write of one row, whose values are put in this order.
    async fn send_row(
        &mut self,
        window: Window<'_, '_>,
        sql: Arc<str>,
        places: &[Put],
        fetch: Fetch,
    ) -> Result<Reply, Error> {
        let (set, row, backend) = (window.set, window.from, self.connection.backend());
        let metas = || places.iter().map(|put| &set.table.columns[put.column()]);
        // Values are shown as they were bound; and a type that has no form of ours is bound as SeaORM does it.
        let lent = |meta: &ColumnMeta| match backend {
            DbBackend::Sqlite => meta.is_simple(),
            _ => meta.is_simple() && SingleRow::takes(&meta.kind),
        };
        let message = if self.show_values || !metas().all(lent) {
            let mut text = Text::new(backend, &sql);
            text.values = set.values(row, places)?;
            text.message(fetch)
        } else if backend == DbBackend::Sqlite {
            let mut sink = FlatRows::with_capacity(places.len());
            set.put(row, places, &mut sink)?;
            Message::Flat { sql, arguments: sink.arguments, fetch }
        } else {
            let mut sink = SingleRow::new(metas().map(|meta| &meta.kind));
            set.put(row, places, &mut sink)?;
            Message::Arrays { sql, arguments: Box::new(sink.arguments), fetch }
        };
        self.send(set.table, &window, message).await
    }

    /// Whether the next write is to tell the transaction's id, which a lost answer to COMMIT is settled by, at no further round
    /// trip (R9).
    fn wants_xid(&self) -> bool {
        self.xid.is_none() && self.connection.backend() == DbBackend::Postgres
    }

    /// Takes the transaction's id from an answer that was asked for it.
    fn learn_xid(&mut self, answer: &[QueryResult], asked: bool) {
        if asked && self.xid.is_none() {
            *self.xid = xid_in(answer);
        }
    }

    /// An object's row is gone: the map forgets it, and its key may be added again (D7).
    fn vanished(&mut self, object: &Arc<dyn AnyObject>) {
        if object.vanish(self.frame, self.map) {
            self.undo.touch(object.clone());
        }
    }

    fn object_written(
        &mut self,
        object: &Arc<dyn AnyObject>,
        kind: RowKind,
        returned: Option<&Returned<'_>>,
        micros: &[usize],
    ) -> Result<(), Error> {
        if object.written(kind, returned, micros, self.frame, self.map)? {
            self.undo.touch(object.clone());
        }
        // A new row has the key of an expired object: that one's row is gone (D7).
        if kind == RowKind::Insert {
            for gone in self.map.take_displaced() {
                self.vanished(&gone);
            }
        }
        Ok(())
    }
}

/// The transaction's id, if an answer tells it.
pub(crate) fn xid_in(answer: &[QueryResult]) -> Option<String> {
    let row = answer.first()?;
    // By place: by name, each column is looked up. That it is the id is never taken for granted.
    let last = row.try_as_pg_row()?.columns().last().filter(|column| column.name() == XID_NAME)?;
    row.try_get_by_index(last.ordinal()).ok()
}

/// The write of one row, which answers with the transaction's id if that is wanted.
fn telling_xid(write: String, wanted: bool) -> String {
    if wanted { write + " RETURNING " + XID } else { write }
}

/// The transaction's id as one more column of an answer, if it is asked for.
fn and_xid(wanted: bool) -> String {
    if wanted { format!(", {XID}") } else { String::new() }
}

/// Numbers tables and rows, folds a delete and an add of the same key into a row switch, and turns references between
/// objects into references between rows.
#[expect(clippy::type_complexity, reason = "tables, the objects behind each row, and the rows")]
fn collect(due: &[Member]) -> Result<(Vec<&'static TableMeta>, Vec<Behind>, Vec<Op>), Error> {
    let mut tables: Vec<&'static TableMeta> = Vec::new();
    let mut table_of: FxHashMap<*const TableMeta, usize> = FxHashMap::default();
    let mut members: Vec<Behind> = Vec::with_capacity(due.len());
    let mut pending: Vec<(usize, Kind, RowChange)> = Vec::with_capacity(due.len());
    let mut deleted: FxHashMap<(usize, Vec<Value>), usize> = FxHashMap::default();
    let has = |wanted: RowKind| due.iter().any(|(_, kind)| *kind == wanted);
    let may_switch = has(RowKind::Delete) && has(RowKind::Insert);

    // Deletes first, so that an insert finds the one it replaces.
    let of = |deletes: bool| due.iter().filter(move |(_, kind)| (*kind == RowKind::Delete) == deletes);
    let mut ordered: Vec<&Member> = of(true).chain(of(false)).collect();
    for (object, _) in &ordered {
        table_of.entry(object.table()).or_insert_with(|| {
            tables.push(object.table());
            tables.len() - 1
        });
    }
    // Rows that are there in the order in which all units lock them; new ones as they were added.
    ordered.sort_by_cached_key(|(object, kind)| {
        let place = || (table_of[&std::ptr::from_ref(object.table())], object.rank());
        match kind {
            RowKind::Delete => (0, place()),
            RowKind::Update => (1, place()),
            RowKind::Insert => (2, (0, 0)),
        }
    });
    for (object, kind) in ordered {
        let Some(change) = object.change(*kind)? else { continue };
        let table = table_of[&std::ptr::from_ref(object.table())];
        let kind_of_op = match kind {
            RowKind::Insert => Kind::Insert,
            RowKind::Update => Kind::Update,
            RowKind::Delete => Kind::Delete,
        };
        if may_switch && *kind == RowKind::Delete {
            deleted.insert((table, change.key.clone()), pending.len());
        } else if may_switch
            && *kind == RowKind::Insert
            && !change.key.is_empty()
            && let Some(op) = deleted.remove(&(table, change.key.clone()))
        {
            pending[op] = (table, Kind::Switch, switched(&mut pending[op].2, change, object)?);
            members[op].push((object.clone(), *kind));
            continue;
        }
        members.push(smallvec![(object.clone(), *kind)]);
        pending.push((table, kind_of_op, change));
    }

    // Only a key that is still to be generated is referred to by number.
    let refers = |change: &RowChange| change.cells.iter().any(|(_, source)| matches!(source, Source::KeyOf(..)));
    let mut number: FxHashMap<*const (), usize> = FxHashMap::default();
    if pending.iter().any(|(_, _, change)| refers(change)) {
        let rows = members.iter().enumerate();
        number.extend(rows.flat_map(|(op, list)| list.iter().map(move |(o, _)| (Arc::as_ptr(o).cast::<()>(), op))));
    }
    let joined = plan::joined_columns(&tables);
    let mut ops = pending
        .into_iter()
        .zip(&members)
        .map(|((table, kind, change), members)| {
            let held = |c: &usize| Some((*c, members[0].0.held_value(*c).filter(|_| kind != Kind::Insert)?));
            let before = joined[table].iter().filter_map(held).collect();
            let cells = change.cells.into_iter().map(|(column, source)| match source {
                Source::Value(value) => Ok((column, Cell::Value(value))),
                Source::KeyOf(parent, of) => match number.get(&Arc::as_ptr(&parent).cast::<()>()) {
                    Some(op) => Ok((column, Cell::KeyOf { op: *op, column: of })),
                    None => Err(not_in_unit(tables[table], column, parent.table())),
                },
            });
            let cells = cells.collect::<Result<Vec<_>, Error>>()?;
            let RowChange { key, version, checks, leaves, frees, takes, .. } = change;
            Ok(Op { table, kind, key, version, cells, checks, leaves, before, frees, takes })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    plan::claim_keys(&tables, &mut ops);
    Ok((tables, members, ops))
}

pub(crate) fn not_in_unit(table: &TableMeta, column: usize, parent: &TableMeta) -> Error {
    Error::usage(format!(
        "{}.{} follows the key of a {} that is not part of this unit of work: add it first",
        table.entity, table.columns[column].name, parent.entity
    ))
}

/// A delete and an add of the same key as one change: what the add writes, where the delete's row is as it was loaded.
///
/// The version goes on from the row's: starting again at 1 it would come back to one that somebody still holds (O1).
fn switched(delete: &mut RowChange, mut add: RowChange, object: &Arc<dyn AnyObject>) -> Result<RowChange, Error> {
    let meta = object.table();
    if let Some(column) = meta.version
        && let Some(loaded) = delete.version.as_ref().and_then(value::as_integer)
    {
        let next = value::next_version(&meta.columns[column].kind, loaded);
        let next = next.ok_or_else(|| object.version_exhausted(loaded))?;
        object.set_before_insert(column, next.clone())?;
        add.cells.retain(|(c, _)| *c != column);
        let at = add.cells.iter().position(|(c, _)| *c > column).unwrap_or(add.cells.len());
        add.cells.insert(at, (column, Source::Value(next)));
    }
    let leaves = delete.cells.drain(..).filter_map(|(column, source)| match source {
        Source::Value(value) => Some((column, value)),
        Source::KeyOf(..) => None,
    });
    Ok(RowChange {
        leaves: leaves.collect(),
        version: delete.version.take(),
        checks: std::mem::take(&mut delete.checks),
        frees: std::mem::take(&mut delete.frees),
        ..add
    })
}
