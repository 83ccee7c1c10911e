//! The flush: from dirty objects to set-based statements, and back into the objects (F).
//!
//! Four phases, apart: hooks and stamps on the objects, the [`plan`] (pure), the statements, and what came back. It looks
//! at dirty objects only (INV7). It never touches a savepoint but its own around a large set of changes, which it ends itself;
//! a failure is handed to the session, which rolls back.

mod copy;
mod delete;
mod direct;
mod insert;
pub(crate) mod plan;
mod rows;
mod statement;
mod update;
pub(crate) mod value;
pub(crate) mod wire;

use std::sync::Arc;

use chrono::{SubsecRound, Utc};
use rustc_hash::FxHashMap;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, Value,
    sqlx::{Column, Row, postgres::PgArguments},
};
use smallvec::{SmallVec, smallvec};
use tokio::sync::Mutex;

use crate::{
    connection::{Connection, Fetch, Message, Reply},
    error::Error,
    identity::IdentityMap,
    meta::{ChangeForm, TableMeta},
    tracked::{AnyObject, Carried, Returned, Stamp},
    undo::UndoLog,
};
use plan::{Cell, Kind, Op};
pub(crate) use statement::Text;
pub(crate) use value::show_key;

use rows::{Place, Rows};
use statement::{Write, sqlite_chunks, sqlite_sizes};
use update::Columns;

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
        executed(self.send(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        executed(self.send(Message::Unprepared(sql)).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        Ok(self.send(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        Ok(self.send(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}

pub(crate) fn executed(reply: Reply) -> Result<ExecResult, DbErr> {
    match reply {
        Reply::Done(done) => Ok(done),
        _ => Err(DbErr::Custom("the statement answered with rows".to_owned())),
    }
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
}

/// Up to so many changed rows answer one by one.
const FEW_ROWS: usize = 32;

/// From this many changed rows on the server's own count is worth the two short messages around it.
const MANY_ROWS: usize = 1_000;

/// The transaction's id, as the last column of an answer (R9).
pub(crate) const XID: &str = "pg_current_xact_id()::text AS sea_session_xid";
const XID_NAME: &str = "sea_session_xid";

/// The savepoint around a set of changes; those of blocks have numbers.
const SET: &str = "sea_session_set";

/// How many rows a write has changed, and the first that it has not, where that is known.
pub(crate) struct Changed {
    pub(crate) rows: u64,
    pub(crate) missing: Option<usize>,
}

impl From<u64> for Changed {
    fn from(rows: u64) -> Self {
        Self { rows, missing: None }
    }
}

/// An object of this flush.
pub(crate) type Member = (Arc<dyn AnyObject>, RowKind);

/// The objects behind one row: one, or the deleted and the added one of a row switch.
type Behind = SmallVec<[Member; 1]>;

impl Flush<'_> {
    /// Writes `due` to the database, in order, and brings the objects up to date.
    pub(crate) async fn run(mut self, due: &[Member]) -> Result<(), Error> {
        let carried = self.before(due).await?;
        due.iter().for_each(|(object, _)| object.hold());
        self.write(due).await?;
        self.after(due, carried).await
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
            return self.write_sets(&sets).await;
        }
        // Boxed: most flushes go the straight way, and need no room for this one.
        Box::pin(self.write_planned(due)).await
    }

    async fn write_planned(&mut self, due: &[Member]) -> Result<(), Error> {
        let (tables, members, mut ops) = collect(due)?;
        if self.connection.backend() == DbBackend::Sqlite {
            // SQLite keeps moments as text that may be written in many ways, so equal ones need not compare equal; and
            // nobody can have changed them, because a unit that writes holds the only write lock.
            ops.iter_mut().for_each(|op| op.checks.retain(|(c, _)| !tables[op.table].columns[*c].is_moment()));
        }
        let plan = plan::plan(&tables, &ops).map_err(|cycle| Error::Cycle { cycle: cycle.0.into() })?;
        for step in &plan.steps {
            let table = tables[step.table];
            let rows = Rows::take(table, step, &plan, &mut ops, &members)?;
            match step.kind {
                Kind::Insert | Kind::Switch => self.insert(table, step, rows, &members).await?,
                Kind::Update => self.update(table, step, rows, &members).await?,
                Kind::Delete => self.delete(table, step, rows, &members).await?,
            }
        }
        Ok(())
    }

    /// Sends one flush statement and says which rows it was about if it fails.
    async fn send(&mut self, table: &TableMeta, rows: &dyn Place, message: Message<'_>) -> Result<Reply, Error> {
        if !table.secret.is_empty() {
            self.connection.hush();
        }
        self.connection.send(message).await.map_err(|e| e.at(|| rows.place(table)))
    }

    /// Sends a write and says how many rows it changed. The first one of a transaction also tells the transaction's id,
    /// which a lost answer to COMMIT is settled by, at no further round trip (R9).
    async fn send_counted(&mut self, table: &TableMeta, rows: &dyn Place, write: Write) -> Result<u64, Error> {
        if self.xid.is_some() || self.connection.backend() != DbBackend::Postgres {
            return Ok(self.send(table, rows, write.message(Fetch::Nothing)).await?.affected());
        }
        if rows.count() == 1 {
            let sql = telling_xid(write.sql().to_owned(), true);
            return self.send_telling(table, rows, write.with_sql(sql).message(Fetch::One)).await;
        }
        let sql = format!(
            "WITH written AS ({} RETURNING 1) SELECT count(*) AS sea_session_rows{} FROM written",
            write.sql(),
            self.returning_xid()
        );
        let answer = self.send(table, rows, write.with_sql(sql).message(Fetch::One)).await?.rows();
        self.learn_xid(&answer);
        let Some(row) = answer.first() else { return Ok(0) };
        let count: i64 = row.try_get_by_index(0)?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Sends the write of one row. If it is to tell the transaction's id, one row or none answers, and says the rest by being
    /// there.
    async fn send_telling(&mut self, table: &TableMeta, row: &dyn Place, message: Message<'_>) -> Result<u64, Error> {
        let reply = self.send(table, row, message).await?;
        let written = reply.affected();
        self.learn_xid(&reply.rows());
        Ok(written)
    }

    /// Sends a change of several rows (PostgreSQL), each of which must be there, and says which is not.
    async fn send_matched(
        &mut self,
        columns: &Columns<'_>,
        rows: &dyn Place,
        arguments: impl Fn() -> Result<Box<PgArguments>, Error>,
    ) -> Result<Changed, Error> {
        if rows.count() >= MANY_ROWS && self.changed_all(columns, rows, arguments()?).await? {
            return Ok(Changed::from(rows.count() as u64));
        }
        let (arguments, few) = (arguments()?, rows.count() <= FEW_ROWS);
        let (form, fetch) = if few { (ChangeForm::Few, Fetch::All) } else { (ChangeForm::Many, Fetch::One) };
        let sql = columns.text(form, self.xid.is_none());
        let message = Message::Arrays { sql, arguments, fetch };
        let answer = self.send(columns.table, rows, message).await?.rows();
        self.learn_xid(&answer);
        if few { by_place(&answer, rows.count()) } else { by_count(&answer) }
    }

    /// Sends a change of many rows that only counts them, which the server does for nothing. Where rows are missing the
    /// change is undone: the statement that names one has to find them as this one did.
    async fn changed_all(
        &mut self,
        columns: &Columns<'_>,
        rows: &dyn Place,
        arguments: Box<PgArguments>,
    ) -> Result<bool, Error> {
        let savepoint = match self.xid {
            Some(_) => format!("SAVEPOINT {SET}"),
            None => format!("SAVEPOINT {SET}; SELECT {XID}"),
        };
        let answer = self.send(columns.table, rows, Message::Control(&savepoint)).await?.rows();
        self.learn_xid(&answer);
        let sql = columns.text(ChangeForm::Bare, false);
        let change = Message::Arrays { sql, arguments, fetch: Fetch::Nothing };
        let all = self.send(columns.table, rows, change).await?.affected() == rows.count() as u64;
        let end = match all {
            true => format!("RELEASE SAVEPOINT {SET}"),
            false => format!("ROLLBACK TO SAVEPOINT {SET}; RELEASE SAVEPOINT {SET}"),
        };
        self.send(columns.table, rows, Message::Control(&end)).await?;
        Ok(all)
    }

    /// Takes the transaction's id from an answer, if it is not known yet.
    fn learn_xid(&mut self, answer: &[QueryResult]) {
        if self.xid.is_none() {
            *self.xid = xid_in(answer);
        }
    }

    /// What to add to RETURNING so that the transaction's id comes back; nothing once it is known.
    fn returning_xid(&self) -> String {
        let known = self.xid.is_some() || self.connection.backend() != DbBackend::Postgres;
        and_xid(!known)
    }

    fn done(&mut self, op: usize, members: &[Behind], returned: Option<&Returned<'_>>) -> Result<(), Error> {
        members[op].iter().try_for_each(|(object, kind)| self.object_written(object, *kind, returned))
    }

    fn object_written(
        &mut self,
        object: &Arc<dyn AnyObject>,
        kind: RowKind,
        returned: Option<&Returned<'_>>,
    ) -> Result<(), Error> {
        if object.written(kind, returned, self.frame, self.map)? {
            self.undo.touch(object.clone());
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

/// What rows say that each answer with their place.
fn by_place(answer: &[QueryResult], rows: usize) -> Result<Changed, Error> {
    let mut there = vec![false; rows];
    for row in answer {
        let place: i64 = row.try_get_by_index(0)?;
        if let Some(place) = usize::try_from(place - 1).ok().and_then(|place| there.get_mut(place)) {
            *place = true;
        }
    }
    Ok(Changed { rows: answer.len() as u64, missing: there.iter().position(|there| !there) })
}

/// What the database says of rows that it has counted.
fn by_count(answer: &[QueryResult]) -> Result<Changed, Error> {
    let Some(row) = answer.first() else { return Ok(Changed { rows: 0, missing: None }) };
    let count: i64 = row.try_get_by_index(0)?;
    let missing: Option<i64> = row.try_get_by_index(1)?;
    let missing = missing.and_then(|ord| usize::try_from(ord - 1).ok());
    Ok(Changed { rows: u64::try_from(count).unwrap_or_default(), missing })
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
    let mut ops = pending
        .into_iter()
        .map(|(table, kind, change)| {
            let cells = change.cells.into_iter().map(|(column, source)| match source {
                Source::Value(value) => Ok((column, Cell::Value(value))),
                Source::KeyOf(parent, of) => match number.get(&Arc::as_ptr(&parent).cast::<()>()) {
                    Some(op) => Ok((column, Cell::KeyOf { op: *op, column: of })),
                    None => Err(not_in_unit(tables[table], column, parent.table())),
                },
            });
            let cells = cells.collect::<Result<Vec<_>, Error>>()?;
            let RowChange { key, version, checks, leaves, frees, takes, .. } = change;
            Ok(Op { table, kind, key, version, cells, checks, leaves, frees, takes })
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
        let next = value::integer(&meta.columns[column].kind, loaded + 1);
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
