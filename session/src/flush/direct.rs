//! The straight way: rows of one table and one shape go from their objects to the wire, without becoming values first.
//!
//! Most flushes need no plan: no row takes what another gives up, no table refers to itself, parents come before children.
//! Whatever is not plain goes the planner's way; this module must never decide what the planner would decide otherwise,
//! and sends the same statements.

use std::sync::Arc;

use futures_util::future::join;
use sea_orm::{DbBackend, Value, sqlx::sqlite::SqliteArguments};
use smallvec::{SmallVec, smallvec};

use super::{
    Behind, Changed, Flush, Member, RowKind, Rows, Source, Write,
    insert::{DRAWN_ROWS, POSTGRES_ROWS as INSERTED_ROWS, Shape, expect_rows},
    plan::{Kind, Part, Ranks, Step, table_ranks},
    sqlite_sizes,
    update::Columns,
    wire::{ArrayRows, FlatRows, RowSink, SingleRow},
};
use crate::{
    connection::{Fetch, Message},
    error::Error,
    meta::{ChangeForm, ColumnSet, ForeignKey, TableMeta},
    tracked::{AnyObject, Put, Returned},
};

/// The values of a row, in the order in which they are sent.
type Places = SmallVec<[Put; 8]>;

/// Rows that go the same way.
pub(super) struct Set<'a> {
    table: &'static TableMeta,
    kind: RowKind,
    /// The columns written; none for deletes.
    columns: SmallVec<[usize; 8]>,
    objects: Vec<&'a Arc<dyn AnyObject>>,
    /// The last object's rank; `None` once one stands before another of a higher rank.
    highest: Option<i64>,
}

/// Most flushes are one set.
type Sets<'a> = SmallVec<[Set<'a>; 1]>;

/// The sets of a flush, in the order in which they are sent; `None` if it needs a plan.
pub(super) fn sets(due: &[Member]) -> Option<Sets<'_>> {
    let mut tables: SmallVec<[&'static TableMeta; 1]> = SmallVec::new();
    let mut found: SmallVec<[(usize, ColumnSet, Set<'_>); 1]> = SmallVec::new();
    let mut last = 0;
    for (object, kind) in due {
        let table = object.table();
        let columns = object.straight(*kind)?;
        let fits = |(_, shape, set): &(usize, ColumnSet, Set<'_>)| {
            *shape == columns && set.kind == *kind && std::ptr::eq(set.table, table)
        };
        if !found.get(last).is_some_and(fits) {
            last = match found.iter().position(fits) {
                Some(at) => at,
                None => {
                    let at = number_of(table, &mut tables)?;
                    let columns_in_order = columns.columns(table.columns.len()).collect();
                    let objects = Vec::with_capacity(if found.is_empty() { due.len() } else { 0 });
                    let highest = Some(i64::MIN);
                    let set = Set { table, kind: *kind, columns: columns_in_order, objects, highest };
                    found.push((at, columns, set));
                    found.len() - 1
                }
            };
        }
        found[last].2.push(object);
    }
    if found.len() > 1 {
        let ranks = table_ranks(&tables);
        if ranks.rank.contains(&ranks.cyclic) || replaces(&tables, &found) || moves_what_is_joined(&tables, &found) {
            return None;
        }
        found.sort_by(|(a, _, set_a), (b, _, set_b)| {
            turn(*a, set_a, &ranks).cmp(&turn(*b, set_b, &ranks)).then_with(|| set_a.columns.cmp(&set_b.columns))
        });
    }
    found.iter_mut().for_each(|(_, _, set)| set.put_in_order());
    Some(found.into_iter().map(|(_, _, set)| set).collect())
}

/// Where a table stands among those of this flush; `None` if only the planner can order its rows.
fn number_of(table: &'static TableMeta, tables: &mut SmallVec<[&'static TableMeta; 1]>) -> Option<usize> {
    if let Some(at) = tables.iter().position(|known| std::ptr::eq(*known, table)) {
        return Some(at);
    }
    let plain = ColumnSet::tells_apart(table.columns.len())
        && table.parents.iter().all(|fk| fk.to_table != table.entity)
        && tables.iter().all(|other| other.entity != table.entity);
    plain.then(|| {
        tables.push(table);
        tables.len() - 1
    })
}

/// Whether rows of a table are both deleted and added: one may take the other's place.
fn replaces(tables: &[&'static TableMeta], found: &[(usize, ColumnSet, Set<'_>)]) -> bool {
    let has = |table: usize, kind: RowKind| found.iter().any(|(at, _, set)| *at == table && set.kind == kind);
    (0..tables.len()).any(|table| has(table, RowKind::Insert) && has(table, RowKind::Delete))
}

/// Whether a row changes what foreign keys of another table may join, which is written before what refers to it and after
/// what leaves it (E1).
fn moves_what_is_joined(tables: &[&'static TableMeta], found: &[(usize, ColumnSet, Set<'_>)]) -> bool {
    let changed = |at: &usize, name: &String| {
        let column = tables[*at].column(name);
        let mut sets = found.iter().filter(|(table, _, set)| table == at && set.kind == RowKind::Update);
        column.is_some_and(|column| sets.any(|(_, columns, _)| columns.contains(column)))
    };
    let joined = |fk: &ForeignKey| {
        let at = tables.iter().position(|table| table.entity == fk.to_table);
        at.is_some_and(|at| fk.to_columns.iter().any(|name| changed(&at, name)))
    };
    tables.iter().flat_map(|table| &table.parents).any(joined)
}

/// Inserts parents first, then updates, then deletes children first (F1).
fn turn(table: usize, set: &Set<'_>, ranks: &Ranks) -> (u8, usize) {
    let rank = ranks.rank[table];
    match set.kind {
        RowKind::Insert => (0, rank),
        RowKind::Update => (1, rank),
        RowKind::Delete => (2, usize::MAX - rank),
    }
}

/// The rows of a set in chunks, each encoded while SQLite's own thread works on the one before.
struct Chunks<'a, 'o> {
    rest: &'a [&'o Arc<dyn AnyObject>],
    sizes: std::vec::IntoIter<usize>,
    places: &'a [Put],
    next: Option<Result<SqliteArguments, Error>>,
}

/// Rows, and the arguments that they make.
type Chunk<'a, 'o> = (&'a [&'o Arc<dyn AnyObject>], SqliteArguments);

impl<'a, 'o> Chunks<'a, 'o> {
    fn new(objects: &'a [&'o Arc<dyn AnyObject>], sizes: Vec<usize>, places: &'a [Put]) -> Self {
        Self { rest: objects, sizes: sizes.into_iter(), places, next: None }
    }

    /// The next chunk.
    fn take(&mut self) -> Result<Option<Chunk<'a, 'o>>, Error> {
        self.encode();
        let (Some(size), Some(arguments)) = (self.sizes.next(), self.next.take()) else { return Ok(None) };
        let (chunk, rest) = self.rest.split_at(size);
        self.rest = rest;
        Ok(Some((chunk, arguments?)))
    }

    /// Encodes the chunk after the one that was taken, while that is on its way.
    async fn encode_while<T>(&mut self, sent: impl Future<Output = T>) -> T {
        join(sent, async { self.encode() }).await.0
    }

    fn encode(&mut self) {
        if let (None, Some(size)) = (&self.next, self.sizes.as_slice().first()) {
            let mut sink = FlatRows::with_capacity(size * self.places.len());
            let put = self.rest[..*size].iter().try_for_each(|object| object.put_row(self.places, &mut sink));
            self.next = Some(put.map(|()| sink.arguments));
        }
    }
}

/// Whether a row of these columns can be sent by itself as it stands: its statement has the planner's text, and a prepared
/// statement keeps the types with which it was sent first.
fn goes_alone(table: &TableMeta, mut columns: impl Iterator<Item = usize>, backend: DbBackend) -> bool {
    backend == DbBackend::Sqlite || columns.all(|c| SingleRow::takes(&table.columns[c].kind))
}

impl<'a> Set<'a> {
    fn push(&mut self, object: &'a Arc<dyn AnyObject>) {
        if self.kind != RowKind::Insert {
            let rank = object.rank();
            self.highest = self.highest.filter(|highest| *highest <= rank).map(|_| rank);
        }
        self.objects.push(object);
    }

    /// Rows that are there already are locked in one order, whoever changes them: two units that did it each in its own
    /// would wait for each other. New rows keep theirs, which their keys may follow.
    fn put_in_order(&mut self) {
        if self.highest.is_none() {
            self.objects.sort_by_cached_key(|object| object.rank());
        }
    }
}

impl Set<'_> {
    fn columns_to_match(&self, backend: DbBackend) -> Columns<'_> {
        Columns { table: self.table, backend, version: self.table.version, checks: &[], written: &self.columns }
    }

    /// The same rows as the planner would hand them on, for statements of single rows and for finding out what went wrong.
    fn planned(&self, objects: &[&Arc<dyn AnyObject>]) -> Result<(Step, Rows, Vec<Behind>), Error> {
        let (kind, table) = (self.kind, self.table);
        let mut rows = Rows {
            ops: (0..objects.len()).collect(),
            keys: Vec::with_capacity(objects.len()),
            versions: Vec::new(),
            values: Vec::with_capacity(objects.len()),
            checks: vec![Vec::new(); objects.len()],
            drawn: None,
        };
        for object in objects {
            let gone = || Error::usage(format!("{} changed while it was flushed", object.key_text()));
            let mut change = object.change(kind)?.ok_or_else(gone)?;
            let mut value = |column: &usize| -> Result<Value, Error> {
                let at = change.cells.iter().position(|(c, _)| c == column).ok_or_else(gone)?;
                match change.cells.swap_remove(at).1 {
                    Source::Value(value) => Ok(value),
                    Source::KeyOf(parent, _) => Err(super::not_in_unit(table, *column, parent.table())),
                }
            };
            rows.values.push(self.columns.iter().map(&mut value).collect::<Result<_, _>>()?);
            rows.keys.push(change.key);
            rows.versions.extend(change.version);
        }
        let kind_of_step = match kind {
            RowKind::Insert => Kind::Insert,
            RowKind::Update => Kind::Update,
            RowKind::Delete => Kind::Delete,
        };
        let step = Step {
            table: 0,
            kind: kind_of_step,
            columns: self.columns.to_vec(),
            checks: Vec::new(),
            ops: rows.ops.clone(),
            part: Part::Whole,
        };
        Ok((step, rows, objects.iter().map(|object| smallvec![((*object).clone(), kind)]).collect()))
    }
}

impl Flush<'_> {
    pub(super) async fn write_sets(&mut self, sets: &[Set<'_>]) -> Result<(), Error> {
        for set in sets {
            match set.kind {
                RowKind::Insert => self.insert_set(set).await?,
                RowKind::Update | RowKind::Delete => self.change_set(set).await?,
            }
        }
        Ok(())
    }

    /// Sends rows of a set the planner's way; boxed, so that the straight way has no room for it.
    async fn write_as_planned(&mut self, set: &Set<'_>, objects: &[&Arc<dyn AnyObject>]) -> Result<(), Error> {
        let (step, rows, members) = set.planned(objects)?;
        match set.kind {
            RowKind::Insert => Box::pin(self.insert(set.table, &step, rows, &members)).await,
            RowKind::Update => Box::pin(self.update(set.table, &step, rows, &members)).await,
            RowKind::Delete => Box::pin(self.delete(set.table, &step, rows, &members)).await,
        }
    }

    // ---- inserts ---------------------------------------------------------------------------------------------------

    async fn insert_set(&mut self, set: &Set<'_>) -> Result<(), Error> {
        let (table, backend) = (set.table, self.connection.backend());
        let wanted: Vec<usize> = (0..table.columns.len()).filter(|c| !set.columns.contains(c)).collect();
        let counted = table.auto_key.filter(|key| wanted == [*key]);
        let shape = Shape { table, columns: &set.columns, wanted, kind: Kind::Insert, backend };
        let plain = shape.is_set_based();
        if let [object] = set.objects[..] {
            if !plain || !shape.wanted.is_empty() || !goes_alone(table, set.columns.iter().copied(), backend) {
                return self.write_as_planned(set, &set.objects).await;
            }
            let places: Places = set.columns.iter().map(|c| Put::New(*c)).collect();
            let inserted = self.send_alone(table, |xid| shape.insert_alone(xid), &places, object).await?;
            expect_rows(table, &&set.objects[..], 1, inserted)?;
            return self.all_written(set, &set.objects);
        }
        match (backend, counted) {
            (DbBackend::Sqlite, Some(key)) if plain => self.insert_flat(&shape, set, Some(key)).await,
            (DbBackend::Sqlite, None) if plain && shape.wanted.is_empty() => self.insert_flat(&shape, set, None).await,
            (DbBackend::Postgres, None) if plain && shape.wanted.is_empty() => {
                self.insert_known(&shape, set, None).await
            }
            (DbBackend::Postgres, Some(key)) if plain && set.objects.len() >= DRAWN_ROWS => {
                match self.drawn(table, key, &set.objects.as_slice(), set.objects.len()).await? {
                    Some(drawn) => {
                        let columns: Vec<usize> = set.columns.iter().copied().chain([key]).collect();
                        let shape = Shape { columns: &columns, wanted: Vec::new(), ..shape };
                        self.insert_known(&shape, set, Some(&drawn)).await
                    }
                    None => self.write_as_planned(set, &set.objects).await,
                }
            }
            _ => self.write_as_planned(set, &set.objects).await,
        }
    }

    /// Rows whose keys are known, or were drawn for them just now (PostgreSQL).
    async fn insert_known(&mut self, shape: &Shape<'_>, set: &Set<'_>, drawn: Option<&[Value]>) -> Result<(), Error> {
        let (table, objects) = (set.table, &set.objects[..]);
        let places: Places = set.columns.iter().map(|c| Put::New(*c)).collect();
        let put = |row: usize, sink: &mut dyn RowSink| {
            objects[row].put_row(&places, sink)?;
            drawn.map_or(Ok(()), |drawn| sink.put(places.len(), &(&drawn[row]).into()))
        };
        if let Some(form) = self.copy_form(table, shape.columns, &objects).await? {
            self.copy_in(&form, objects.len(), &objects, put).await?;
            return self.inserted(set, objects, drawn);
        }
        for (chunk, at) in objects.chunks(INSERTED_ROWS).zip((0..).step_by(INSERTED_ROWS)) {
            let mut sink = ArrayRows::new(chunk.len(), shape.columns.iter().map(|c| &table.columns[*c].kind))?;
            (at..at + chunk.len()).try_for_each(|row| put(row, &mut sink))?;
            let sql = shape.insert_arrays(drawn.is_some());
            let write = Write::Arrays { sql: sql.into(), arguments: sink.arguments()? };
            let inserted = self.send_counted(table, &chunk, write).await?;
            expect_rows(table, &chunk, chunk.len() as u64, inserted)?;
            self.inserted(set, chunk, drawn.map(|drawn| &drawn[at..]))?;
        }
        Ok(())
    }

    /// Many rows in one text of VALUES (SQLite).
    async fn insert_flat(&mut self, shape: &Shape<'_>, set: &Set<'_>, counted: Option<usize>) -> Result<(), Error> {
        let table = set.table;
        let places: Places = set.columns.iter().map(|c| Put::New(*c)).collect();
        let mut chunks = Chunks::new(&set.objects, sqlite_sizes(set.objects.len(), set.columns.len()), &places);
        while let Some((chunk, arguments)) = chunks.take()? {
            let sql = shape.insert_values(chunk.len());
            let fetch = if counted.is_some() { Fetch::All } else { Fetch::Nothing };
            let sent = self.send(table, &chunk, Message::Flat { sql: sql.into(), arguments, fetch });
            let reply = chunks.encode_while(sent).await?;
            expect_rows(table, &chunk, chunk.len() as u64, reply.affected())?;
            let Some(key) = counted else {
                self.inserted(set, chunk, None)?;
                continue;
            };
            // SQLite counts up as it goes through VALUES; sorting undoes whatever RETURNING did to the order.
            let meta = &table.columns[key];
            let read = |row| super::value::decode(row, meta.name, &meta.kind);
            let mut keys = reply.rows().iter().map(read).collect::<Result<Vec<_>, Error>>()?;
            keys.sort_by_key(super::value::as_integer);
            self.inserted(set, chunk, Some(&keys))?;
        }
        Ok(())
    }

    /// Brings inserted objects up to date; `keys` are those that the database made.
    fn inserted(
        &mut self,
        set: &Set<'_>,
        objects: &[&Arc<dyn AnyObject>],
        keys: Option<&[Value]>,
    ) -> Result<(), Error> {
        let (Some(keys), Some(column)) = (keys, set.table.auto_key) else { return self.all_written(set, objects) };
        for (object, key) in objects.iter().zip(keys) {
            let made = [(column, key.clone())];
            self.object_written(object, set.kind, Some(&Returned::Values(&made)))?;
        }
        Ok(())
    }

    // ---- updates and deletes ---------------------------------------------------------------------------------------

    /// Rows that are found by key and version.
    async fn change_set(&mut self, set: &Set<'_>) -> Result<(), Error> {
        let (table, backend) = (set.table, self.connection.backend());
        let columns = set.columns_to_match(backend);
        if !columns.is_simple() {
            return self.write_as_planned(set, &set.objects).await;
        }
        let held = || table.keys.iter().chain(&table.version).map(|c| Put::Held(*c));
        let new = || set.columns.iter().map(|c| Put::New(*c));
        let places: Places = held().chain(new()).collect();
        let one = |xid| columns.text(ChangeForm::One, xid);
        let alone = || new().chain(held()).collect::<Places>();
        if backend == DbBackend::Sqlite && set.objects.len() > 1 {
            return self.change_flat(set, &columns, &places, &alone()).await;
        }
        let mut rest = &set.objects[..];
        for size in columns.sizes(set.objects.len()) {
            let (chunk, after) = rest.split_at(size);
            rest = after;
            let changed = match chunk {
                [_] if !goes_alone(table, columns.all(), backend) => {
                    self.write_as_planned(set, chunk).await?;
                    continue;
                }
                [object] => self.send_alone(table, one, &alone(), object).await?.into(),
                _ => self.change_arrays(&columns, &places, chunk).await?,
            };
            self.changed(set, &columns, chunk, changed).await?;
        }
        Ok(())
    }

    /// Rows that were changed, if all of them were.
    async fn changed(
        &mut self,
        set: &Set<'_>,
        columns: &Columns<'_>,
        chunk: &[&Arc<dyn AnyObject>],
        changed: Changed,
    ) -> Result<(), Error> {
        if changed.rows != chunk.len() as u64 {
            let (_, rows, members) = set.planned(chunk)?;
            let blamed = Some(&members[..]).filter(|_| set.kind == RowKind::Update);
            Box::pin(self.expect_all(columns, &rows, changed, blamed)).await?;
        }
        self.all_written(set, chunk)
    }

    async fn change_arrays(
        &mut self,
        columns: &Columns<'_>,
        places: &[Put],
        chunk: &[&Arc<dyn AnyObject>],
    ) -> Result<Changed, Error> {
        let arguments = || {
            let mut sink = ArrayRows::new(chunk.len(), columns.kinds())?;
            chunk.iter().try_for_each(|object| object.put_row(places, &mut sink))?;
            sink.arguments()
        };
        self.send_matched(columns, &chunk, arguments).await
    }

    /// Many rows in one text of VALUES (SQLite).
    async fn change_flat(
        &mut self,
        set: &Set<'_>,
        columns: &Columns<'_>,
        places: &[Put],
        alone: &[Put],
    ) -> Result<(), Error> {
        let mut chunks = Chunks::new(&set.objects, columns.sizes(set.objects.len()), places);
        while let Some((chunk, arguments)) = chunks.take()? {
            let changed = match chunk {
                [object] => self.send_alone(set.table, |xid| columns.text(ChangeForm::One, xid), alone, object).await?,
                _ => {
                    let sql = columns.values(chunk.len());
                    let message = Message::Flat { sql: sql.into(), arguments, fetch: Fetch::Nothing };
                    chunks.encode_while(self.send(set.table, &chunk, message)).await?.affected()
                }
            };
            self.changed(set, columns, chunk, changed.into()).await?;
        }
        Ok(())
    }

    // ---- a row alone -----------------------------------------------------------------------------------------------

    /// Sends the write of one row, whose values are put in this order, and says how many rows it changed; `text` writes it,
    /// so that it tells the transaction's id or not.
    async fn send_alone(
        &mut self,
        table: &TableMeta,
        text: impl Fn(bool) -> Arc<str>,
        places: &[Put],
        object: &Arc<dyn AnyObject>,
    ) -> Result<u64, Error> {
        let place = [object];
        let place = &&place[..];
        if self.connection.backend() == DbBackend::Sqlite {
            let mut sink = FlatRows::with_capacity(places.len());
            object.put_row(places, &mut sink)?;
            let message = Message::Flat { sql: text(false), arguments: sink.arguments, fetch: Fetch::Nothing };
            return Ok(self.send(table, place, message).await?.affected());
        }
        let mut sink = SingleRow::new(places.iter().map(|put| &table.columns[put.column()].kind));
        object.put_row(places, &mut sink)?;
        let (xid, arguments) = (self.xid.is_none(), Box::new(sink.arguments));
        let fetch = if xid { Fetch::One } else { Fetch::Nothing };
        self.send_telling(table, place, Message::Arrays { sql: text(xid), arguments, fetch }).await
    }

    // ---- what came back --------------------------------------------------------------------------------------------

    fn all_written(&mut self, set: &Set<'_>, objects: &[&Arc<dyn AnyObject>]) -> Result<(), Error> {
        objects.iter().try_for_each(|object| self.object_written(object, set.kind, None))
    }
}
