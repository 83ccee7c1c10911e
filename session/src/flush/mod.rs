//! The flush: from dirty objects to set-based statements, and back into the objects (F).
//!
//! Four phases, apart: hooks and stamps on the objects, the [`plan`] (pure), the statements, and what came back. It looks
//! at dirty objects only (INV7). It never touches a savepoint but its own around a large set of changes, which it ends itself;
//! a failure is handed to the session, which rolls back.

mod actions;
mod back;
mod change;
mod change_texts;
mod copy;
mod direct;
mod expressions;
mod insert;
mod known;
mod pieces;
pub(crate) mod plan;
mod recognized;
mod rows;
mod set;

use std::sync::Arc;

use chrono::{SubsecRound, Utc};
use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{QueryResult, Value, sea_query::ArrayType};
use smallvec::{SmallVec, smallvec};

use crate::{
    connection::{Connection, Fetch, Message, Reply, lent::FlushConnection, text::Text},
    error::Error,
    objects::{
        AnyObject,
        changes::{Change, RowImage},
        identity::IdentityMap,
        row::{Carried, Put, Returned, RowChange, RowKind, Stamp, WrittenValue, not_in_unit},
        undo::UndoLog,
    },
    table::{
        columns::ColumnMeta,
        facts::{Identity, TableFacts},
        meta::TableMeta,
        value,
    },
};
use plan::{Kind, Known, Op, PlannedValue};
use rows::{NamedRows, StepRows};
use set::{RowSet, Window};

/// Refuses changes of rows whose version cannot be raised any more, before anything is sent (E7).
pub(crate) fn refuse_last_versions(due: &[Member]) -> Result<(), Error> {
    // A deleted row whose key is added again is a change too (I2).
    let is_switched = |deleted: &Arc<AnyObject>| {
        let same = |object: &Arc<AnyObject>| std::ptr::eq(object.table(), deleted.table());
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
    /// Whether columns may be set by expressions.
    pub(crate) expresses: bool,
    /// Objects whose rows were found to be gone (D7).
    pub(crate) gone: &'a mut Vec<Arc<AnyObject>>,
    /// Whether this flush has found that a row is gone: in most none is, and no object is asked about it.
    pub(crate) found_gone: bool,
    /// Whether what is done to each row is wanted, or only to rows of observed tables, or to none (U7).
    pub(crate) watch: Watch,
    /// Tables whose rows the database may have deleted because of rows that this flush has deleted (D6).
    pub(crate) cascaded: FxHashSet<Identity>,
}

/// Which changes somebody wants to see (U7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Nothing,
    /// Those of tables that are audited, or whose changes are events.
    Observed,
    All,
}

/// An object of this flush.
pub(crate) type Member = (Arc<AnyObject>, RowKind);

/// The objects behind one row: one, or the deleted and the added one of a row switch.
type Behind = SmallVec<[Member; 1]>;

impl Flush<'_> {
    /// Writes `due` to the database, in order, and brings the objects up to date. Gives the changes that are wanted.
    pub(crate) async fn run(mut self, due: &[Member]) -> Result<Vec<Change>, Error> {
        let outcome = self.run_all(due).await;
        if outcome.as_ref().is_err_and(Error::doubts_facts) {
            due.iter().for_each(|(object, _)| self.connection.doubt_facts(object.table()));
        }
        outcome
    }

    /// Writes new rows that no object stands for: nothing of them is read, so that whoever may only INSERT there may do it.
    pub(crate) async fn append(
        mut self,
        table: &'static TableMeta,
        columns: &[usize],
        rows: Vec<Vec<Value>>,
    ) -> Result<(), Error> {
        let facts = self.connection.table_facts(table).await.map_err(|e| e.at(|| table.entity.to_owned()))?;
        let outcome = self.write_set(RowSet::appended(table, facts, columns.iter().copied().collect(), rows)).await;
        if outcome.as_ref().is_err_and(Error::doubts_facts) {
            self.connection.doubt_facts(table);
        }
        outcome
    }

    async fn run_all(&mut self, due: &[Member]) -> Result<Vec<Change>, Error> {
        let carried = self.before(due).await?;
        due.iter().for_each(|(object, _)| object.hold());
        self.ask_about_tables(due).await?;
        let images = self.images(due);
        match self.expresses {
            false => self.write(due).await?,
            // Boxed: few flushes send an expression.
            true => Box::pin(self.write_with_expressions(due)).await?,
        }
        let changes = changes_since(due, images);
        self.after(due, carried).await?;
        Ok(changes)
    }

    /// What the database holds of the rows whose changes are wanted, before they are written.
    fn images(&self, due: &[Member]) -> Vec<(usize, Option<RowImage>)> {
        if self.watch == Watch::Nothing {
            return Vec::new();
        }
        let wanted = |object: &Arc<AnyObject>| self.watch == Watch::All || object.table().is_observed();
        let members = due.iter().enumerate().filter(|(_, (object, _))| wanted(object));
        members.map(|(at, (object, _))| (at, object.image())).collect()
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
        let (tables, changes) = changes(due)?;
        let known = self.known(&tables, &changes).await?;
        let (members, mut ops) = collect(&tables, changes, &known)?;
        if !self.connection.dialect().compares_every_kind {
            // Equal ones need not compare equal; and nobody can have changed them, because there a unit that writes holds the
            // only write lock.
            let told = |table: &TableMeta, c: usize| table.columns[c].is_simple() && !table.columns[c].is_moment();
            ops.iter_mut().for_each(|op| op.checks.retain(|(c, _)| told(tables[op.table], *c)));
        }
        let plan = plan::plan(&tables, &ops, &known).map_err(|cycle| Error::Cycle { cycle: cycle.0.into() })?;
        for step in &plan.steps {
            let table = tables[step.table];
            let rows = StepRows::take(table, step, &plan, &mut ops, &members)?;
            let facts = self.connection.table_facts(table).await?;
            self.write_set(RowSet::planned(table, facts, step, rows, &members)).await?;
        }
        Ok(())
    }

    async fn write_set(&mut self, set: RowSet<'_>) -> Result<(), Error> {
        if self.wants_xid() && !set.may_answer() {
            let question = Text::new(self.connection.dialect(), &format!("SELECT {}", self.connection.dialect().xid()));
            let answer = self.send(set.table, &set.window(0, set.len()), question.message(Fetch::One)).await?.rows();
            self.learn_xid(&answer, true);
        }
        let referred = self.referred(&set);
        if matches!(set.kind, Kind::Insert | Kind::Switch) {
            self.insert(set).await?;
        } else {
            self.change(&set).await?;
            if set.kind == Kind::Delete {
                self.cascaded.extend(set.facts.deletes_below().cloned());
            }
        }
        match referred {
            // Boxed: few tables have foreign keys that act.
            Some(referred) => Box::pin(self.act(referred)).await,
            None => Ok(()),
        }
    }

    /// Sends one flush statement and says which rows it was about if it fails.
    async fn send(&mut self, table: &TableMeta, rows: &dyn NamedRows, message: Message<'_>) -> Result<Reply, Error> {
        if !table.secret.is_empty() {
            self.connection.hide_values();
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
        let (set, row, dialect) = (window.set, window.from, self.connection.dialect());
        let metas = || places.iter().map(|put| &set.table.columns[put.column()]);
        // Values are shown as they were bound; and a type that has no form of ours is bound as SeaORM does it.
        let lent = |meta: &ColumnMeta| meta.is_simple() && (dialect.binds)(&meta.kind);
        let message = if self.show_values || !metas().all(lent) {
            let mut text = Text::new(dialect, &sql);
            text.values = set.values(row, places)?;
            text.message(fetch)
        } else {
            let kinds: SmallVec<[&ArrayType; 8]> = metas().map(|meta| &meta.kind).collect();
            let mut arguments = (dialect.row)(&kinds);
            set.put(row, places, arguments.sink())?;
            Message::Bound { sql, arguments: arguments.finish()?, fetch }
        };
        self.send(set.table, &window, message).await
    }

    /// Whether the next write is to tell the transaction's id, which a lost answer to COMMIT is settled by, at no further round
    /// trip (R9).
    fn wants_xid(&self) -> bool {
        self.xid.is_none() && self.connection.dialect().transaction_ids.is_some()
    }

    /// Takes the transaction's id from an answer that was asked for it.
    fn learn_xid(&mut self, answer: &[QueryResult], asked: bool) {
        if asked && self.xid.is_none() {
            *self.xid = self.connection.dialect().xid_in(answer);
        }
    }

    /// An object's row is gone: the map forgets it, and its key may be added again (D7).
    fn vanished(&mut self, object: &Arc<AnyObject>) {
        self.found_gone = true;
        if object.vanish(self.frame, self.map) {
            self.undo.touch(object.clone());
        }
    }

    fn object_written(
        &mut self,
        object: &Arc<AnyObject>,
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

/// What was written of the members of these numbers, as far as it differs from what they held.
fn changes_since(due: &[Member], images: Vec<(usize, Option<RowImage>)>) -> Vec<Change> {
    let changes = images.into_iter().filter_map(|(at, image)| {
        let (object, kind) = &due[at];
        object.change_since_image(*kind, image.as_ref())
    });
    changes.collect()
}

/// One object's change, in the table of this number.
struct Due<'a> {
    table: usize,
    object: &'a Arc<AnyObject>,
    kind: RowKind,
    change: RowChange,
}

/// Numbers the tables by their first change, as the straight way does, and takes the changes out of the objects, in order.
fn changes(due: &[Member]) -> Result<(Vec<&'static TableMeta>, Vec<Due<'_>>), Error> {
    let mut tables: Vec<&'static TableMeta> = Vec::new();
    let mut table_of: FxHashMap<*const TableMeta, usize> = FxHashMap::default();
    for (object, _) in due {
        table_of.entry(object.table()).or_insert_with(|| {
            tables.push(object.table());
            tables.len() - 1
        });
    }
    // Deletes first, so that an insert finds the one it replaces. Rows that are there in the order in which all units lock them; new
    // ones as they were added.
    let mut ordered: Vec<&Member> = due.iter().collect();
    ordered.sort_by_cached_key(|(object, kind)| {
        let place = || (table_of[&std::ptr::from_ref(object.table())], object.rank());
        match kind {
            RowKind::Delete => (0, place()),
            RowKind::Update => (1, place()),
            RowKind::Insert => (2, (0, 0)),
        }
    });
    let mut changes = Vec::with_capacity(ordered.len());
    for (object, kind) in ordered {
        let Some(change) = object.change(*kind)? else { continue };
        let table = table_of[&std::ptr::from_ref(object.table())];
        changes.push(Due { table, object, kind: *kind, change });
    }
    Ok((tables, changes))
}

/// Numbers the rows, folds a delete and an add of the same key into a row switch, and turns references between objects into
/// references between rows.
fn collect(
    tables: &[&'static TableMeta],
    changes: Vec<Due<'_>>,
    known: &Known,
) -> Result<(Vec<Behind>, Vec<Op>), Error> {
    let mut members: Vec<Behind> = Vec::with_capacity(changes.len());
    let mut pending: Vec<(usize, Kind, RowChange)> = Vec::with_capacity(changes.len());
    let mut deleted: FxHashMap<(usize, Vec<Value>), usize> = FxHashMap::default();
    let has = |wanted: RowKind| changes.iter().any(|due| due.kind == wanted);
    let may_switch = has(RowKind::Delete) && has(RowKind::Insert);
    let same_key = |table: usize, key: &[Value]| known.all_same(table, &tables[table].keys, key).into_owned();
    for Due { table, object, kind, change } in changes {
        let kind_of_op = match kind {
            RowKind::Insert => Kind::Insert,
            RowKind::Update => Kind::Update,
            RowKind::Delete => Kind::Delete,
        };
        if may_switch && kind == RowKind::Delete {
            deleted.insert((table, same_key(table, &change.key)), pending.len());
        } else if may_switch
            && kind == RowKind::Insert
            && !change.key.is_empty()
            && let Some(op) = deleted.remove(&(table, same_key(table, &change.key)))
        {
            pending[op] = (table, Kind::Switch, switched(&mut pending[op].2, change, object)?);
            members[op].push((object.clone(), kind));
            continue;
        }
        members.push(smallvec![(object.clone(), kind)]);
        pending.push((table, kind_of_op, change));
    }

    // Only a key that is still to be generated is referred to by number.
    let refers = |change: &RowChange| change.cells.iter().any(|(_, source)| matches!(source, WrittenValue::KeyOf(..)));
    let mut number: FxHashMap<*const (), usize> = FxHashMap::default();
    if pending.iter().any(|(_, _, change)| refers(change)) {
        let rows = members.iter().enumerate();
        number.extend(rows.flat_map(|(op, list)| list.iter().map(move |(o, _)| (Arc::as_ptr(o).cast::<()>(), op))));
    }
    let mut deletes = vec![false; tables.len()];
    pending.iter().filter(|(_, kind, _)| *kind == Kind::Delete).for_each(|(table, ..)| deletes[*table] = true);
    let joined = plan::joined_columns(tables, &deletes);
    let mut ops = pending
        .into_iter()
        .zip(&members)
        .map(|((table, kind, change), members)| {
            let held = |c: &usize| Some((*c, members[0].0.held_value(*c).filter(|_| kind != Kind::Insert)?));
            let before = joined[table].iter().filter_map(held).collect();
            let cells = change.cells.into_iter().map(|(column, source)| match source {
                WrittenValue::Value(value) => Ok((column, PlannedValue::Value(value))),
                WrittenValue::KeyOf(parent, of) => match number.get(&Arc::as_ptr(&parent).cast::<()>()) {
                    Some(op) => Ok((column, PlannedValue::KeyOf { op: *op, column: of })),
                    None => Err(not_in_unit(tables[table], column, parent.table())),
                },
            });
            let cells = cells.collect::<Result<Vec<_>, Error>>()?;
            let RowChange { key, version, checks, leaves, frees, takes, .. } = change;
            Ok(Op { table, kind, key, version, cells, checks, leaves, before, frees, takes })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    plan::claim_values(tables, &mut ops, known);
    Ok((members, ops))
}

/// A delete and an add of the same key as one change: what the add writes, where the delete's row is as it was loaded.
///
/// The version goes on from the row's: starting again at 1 it would come back to one that somebody still holds (O1).
fn switched(delete: &mut RowChange, mut add: RowChange, object: &Arc<AnyObject>) -> Result<RowChange, Error> {
    let meta = object.table();
    if let Some(column) = meta.version
        && let Some(loaded) = delete.version.as_ref().and_then(value::as_integer)
    {
        let next = value::next_version(&meta.columns[column].kind, loaded);
        let next = next.ok_or_else(|| object.version_exhausted(loaded))?;
        object.set_stamped(column, next.clone())?;
        add.cells.retain(|(c, _)| *c != column);
        let at = add.cells.iter().position(|(c, _)| *c > column).unwrap_or(add.cells.len());
        add.cells.insert(at, (column, WrittenValue::Value(next)));
    }
    let leaves = delete.cells.drain(..).filter_map(|(column, source)| match source {
        WrittenValue::Value(value) => Some((column, value)),
        WrittenValue::KeyOf(..) => None,
    });
    Ok(RowChange {
        leaves: leaves.collect(),
        version: delete.version.take(),
        checks: std::mem::take(&mut delete.checks),
        frees: std::mem::take(&mut delete.frees),
        ..add
    })
}
