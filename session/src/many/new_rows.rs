//! New rows that may meet rows which are there: their hooks and stamps, and the INSERT that says what becomes of those that do.
//!
//! A new row reaches its object only by what the database returned for that very row (D3): by its unique values where they are
//! stored as they were sent, else by a look-up. Where no answer may be asked for, rows go one by one, and are counted.

use std::sync::Arc;

use chrono::{SubsecRound, Utc};
use rustc_hash::FxHashMap;
use sea_orm::{QueryResult, Value};

use super::{
    source::{Source, pieces, together},
    statement::{Answer, held_object, next_version, wants_xid, write},
};
use crate::{
    connection::{Fetch, lent::FlushConnection},
    error::Error,
    objects::{
        AnyObject, Object,
        entity::{TrackedEntity, table_of},
        identity::Key,
        row::{Carried, Returned, RowKind, Stamp},
    },
    table::{
        facts::{Stored, TableFacts},
        meta::TableMeta,
    },
    unit::{core::Core, session::Session},
};

/// What the statement does about a row that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It stays as it is.
    Keeps,
    /// It takes over what the new row has set.
    Takes,
}

/// New rows of one table, and the columns that tell them apart.
pub(super) struct NewRows<E: TrackedEntity> {
    pub(super) drafts: Vec<Object<E>>,
    pub(super) unique: Vec<usize>,
    pub(super) facts: Arc<TableFacts>,
    pub(super) meeting: Meeting,
}

/// What an INSERT has told.
#[derive(Default)]
pub(super) struct Answers {
    /// The rows of these drafts came back.
    pub(super) rows: FxHashMap<usize, QueryResult>,
    /// The rows of these drafts were written, and did not come back.
    pub(super) written: Vec<usize>,
    /// Rows with these keys were written.
    pub(super) keys: Vec<Key>,
}

/// How far an answer may be trusted (D1).
struct Trust {
    /// The statement may be asked for what it writes.
    asked: bool,
    /// An answer's row is what the table holds.
    whole: bool,
    /// A row among several is told by its unique values.
    matched: bool,
    /// Rows may be written in one statement.
    sets: bool,
}

impl<E: TrackedEntity> NewRows<E> {
    fn trust(&self) -> Trust {
        let facts = &self.facts;
        let events = match self.meeting {
            Meeting::Keeps => vec![facts.insert],
            Meeting::Takes => vec![facts.insert, facts.update],
        };
        let asked = !facts.row_security && !facts.uncounted && !events.iter().any(|event| event.instead);
        let whole = asked && !events.iter().any(|event| event.changes_afterwards);
        let kept = |column: &usize| matches!(facts.columns[*column].stored, Stored::AsSent | Stored::UnlessSpaces);
        let matched = whole
            && !events.iter().any(|event| event.rewrites)
            && self.unique.iter().all(kept)
            && !facts.folds(&self.unique);
        Trust { asked, whole, matched, sets: asked && !events.iter().any(|event| event.row_by_row) }
    }

    /// The columns that a draft has set.
    pub(super) fn shape(&self, draft: usize) -> Vec<usize> {
        let set = |column: &usize| self.drafts[draft].any().column_value(*column).is_some();
        (0..table_of::<E>().columns.len()).filter(set).collect()
    }

    /// The columns that a row which is there takes over: never what is its own (E3), but for the time of its change.
    pub(super) fn taken(&self, table: &TableMeta, shape: &[usize]) -> Vec<usize> {
        let own = |column: &usize| table.is_kept(*column) && table.updated_at != Some(*column);
        let taken = shape.iter().copied().filter(|column| !own(column) && !self.unique.contains(column));
        let taken: Vec<usize> = taken.collect();
        match taken.iter().all(|column| table.updated_at == Some(*column)) {
            true => Vec::new(),
            false => taken,
        }
    }

    fn conflict(&self, has_tenant: bool, shape: &[usize]) -> String {
        let table = table_of::<E>();
        let name = |column: &usize| table.columns[*column].quoted();
        let columns = self.unique.iter().map(name).collect::<Vec<_>>().join(", ");
        let taken = match self.meeting {
            Meeting::Keeps => Vec::new(),
            Meeting::Takes => self.taken(table, shape),
        };
        if taken.is_empty() {
            return format!("ON CONFLICT ({columns}) DO NOTHING");
        }
        let own = format!("{}.", crate::table::sql::quote(table.entity));
        let mut set: Vec<String> = taken.iter().map(|column| format!("{0} = excluded.{0}", name(column))).collect();
        if let Some(version) = table.version {
            let next = next_version(table, version, &format!("{own}{}", name(&version)));
            set.push(format!("{} = {next}", name(&version)));
        }
        // Another tenant's row is not touched (T2).
        let same_tenant = table.tenant.filter(|_| has_tenant);
        let condition = same_tenant.map(|column| format!(" WHERE {own}{0} = excluded.{0}", name(&column)));
        format!("ON CONFLICT ({columns}) DO UPDATE SET {}{}", set.join(", "), condition.unwrap_or_default())
    }
}

impl Session {
    /// New objects of which no unit knows yet, with what the flush would set in them: versions, times, tenants.
    pub(super) async fn new_rows<E: TrackedEntity>(
        &mut self,
        models: Vec<E::ActiveModel>,
        unique: Vec<usize>,
        meeting: Meeting,
    ) -> Result<NewRows<E>, Error> {
        // What is sent has to meet what the unit has done, also in a stretch without autoflush.
        self.flush().await?;
        let core = self.core();
        let drafts: Vec<Object<E>> = models.into_iter().map(|model| Object::pending(model, &core.shared)).collect();
        let facts = core.table_facts(table_of::<E>()).await?;
        if !core.dialect().on_conflict {
            tells_apart(table_of::<E>(), &facts, &unique)?;
        }
        let settings = core.settings.clone();
        let tenant = settings.tenant.as_ref().map(|(_, tenant)| tenant.as_str());
        let stamp = Stamp { now: Utc::now().trunc_subsecs(6), tenant };
        for draft in &drafts {
            let object = draft.any();
            facts.generated.iter().for_each(|column| object.leave_out(*column));
            if table_of::<E>().stamped {
                object.stamp(RowKind::Insert, &stamp)?;
            }
        }
        Ok(NewRows { drafts, unique, facts, meeting })
    }

    /// Runs SeaORM's `before_save` of these drafts (H10).
    pub(super) async fn before_new<E: TrackedEntity>(&mut self, rows: &NewRows<E>, of: &[usize]) -> Result<(), Error> {
        if !table_of::<E>().hooks || of.is_empty() {
            return Ok(());
        }
        self.core().ready().await?;
        let outcome = async {
            let db = FlushConnection::new(&mut self.core().connection);
            for draft in of {
                let _: Carried = rows.drafts[*draft].any().clone().before(&db, RowKind::Insert).await?;
            }
            Ok(())
        };
        let outcome = outcome.await;
        self.unless_refused(outcome).await
    }

    /// Runs SeaORM's `after_save` of objects whose rows were written (H10).
    pub(super) async fn after_new(&mut self, objects: Vec<Arc<AnyObject>>) -> Result<(), Error> {
        if objects.first().is_none_or(|object| !object.table().hooks) {
            return Ok(());
        }
        let outcome = async {
            let db = FlushConnection::new(&mut self.core().connection);
            for object in objects {
                object.after(&db, RowKind::Insert, None).await?;
            }
            Ok(())
        };
        let outcome = outcome.await;
        self.unless_refused(outcome).await
    }

    /// A hook that refuses has its block roll back, as in a flush (S8).
    async fn unless_refused(&mut self, outcome: Result<(), Error>) -> Result<(), Error> {
        match outcome {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.core().flush_failed(refused).await),
        }
    }

    /// Sends these drafts, and says what became of them as far as the answers tell. `values` are those of their unique
    /// columns.
    pub(super) async fn insert<E: TrackedEntity>(
        &mut self,
        rows: &NewRows<E>,
        of: &[usize],
        values: &[Vec<Value>],
    ) -> Result<Answers, Error> {
        if !self.dialect().on_conflict {
            return self.insert_each(rows, of, values).await;
        }
        let trust = rows.trust();
        let mut shapes: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for draft in of {
            let shape = rows.shape(*draft);
            match shapes.iter_mut().find(|(known, _)| *known == shape) {
                Some((_, drafts)) => drafts.push(*draft),
                None => shapes.push((shape, vec![*draft])),
            }
        }
        let mut answers = Answers::default();
        for (shape, mut drafts) in shapes {
            // All units take the rows in one order, so that no two wait for each other.
            drafts.sort_by_cached_key(|draft| Key::from_values(values[*draft].clone()).rank());
            self.insert_alike(rows, &trust, &shape, &drafts, values, &mut answers).await?;
        }
        Ok(answers)
    }

    async fn insert_alike<E: TrackedEntity>(
        &mut self,
        rows: &NewRows<E>,
        trust: &Trust,
        shape: &[usize],
        drafts: &[usize],
        values: &[Vec<Value>],
        answers: &mut Answers,
    ) -> Result<(), Error> {
        let (table, dialect) = (table_of::<E>(), self.dialect());
        let names = &table.names;
        let own = |draft: &usize| {
            let value = |column: &usize| rows.drafts[*draft].any().column_value(*column);
            shape.iter().map(|column| value(column).unwrap_or(table.columns[*column].kind_null())).collect()
        };
        let sent: Vec<Vec<Value>> = drafts.iter().map(own).collect();
        let written = shape.iter().map(|column| table.columns[*column].quoted()).collect::<Vec<_>>().join(", ");
        let saved = shape.iter().enumerate().map(|(at, column)| table.columns[*column].save(dialect, &names.value(at)));
        let saved = saved.collect::<Vec<_>>().join(", ");
        let conflict = rows.conflict(self.core().settings.tenant.is_some(), shape);
        let returned = table.columns.iter().map(|column| column.select(dialect)).collect::<Vec<_>>().join(", ");
        let set = trust.sets && together(table, shape);
        let most_bytes = self.core().connection.most_bytes(table);
        let pieces: Vec<&[Vec<Value>]> = match set {
            true => pieces(table, dialect, shape, &sent, most_bytes).collect(),
            false => sent.chunks(1).collect(),
        };
        let mut at = 0;
        for piece in pieces {
            let piece_of = &drafts[at..at + piece.len()];
            at += piece.len();
            let source = Source::new(table, dialect, shape, piece)?;
            let xid = trust.asked && wants_xid(self.core());
            let returning = match trust.asked {
                true => format!(" RETURNING {returned}{}", dialect.and_xid(xid)),
                false => String::new(),
            };
            let sql = format!(
                "INSERT INTO {} ({written}) {}SELECT {saved} FROM {} WHERE {} {conflict}{returning}",
                table.table,
                source.with,
                source.from,
                source.only_rows(table)
            );
            let fetch = if trust.asked { Fetch::All } else { Fetch::Nothing };
            let message = source.message(dialect, sql, true, fetch)?;
            let Answer { count, rows: rows_back } = write(self.core(), table, message, xid).await?;
            if let [draft] = piece_of {
                match rows_back.into_iter().next().filter(|_| trust.whole) {
                    Some(row) => _ = answers.rows.insert(*draft, row),
                    None if count > 0 => answers.written.push(*draft),
                    None => {}
                }
                continue;
            }
            let mut by_values: FxHashMap<&[Value], usize> = FxHashMap::default();
            for draft in piece_of.iter().filter(|_| trust.matched) {
                by_values.entry(&values[*draft][..]).or_insert(*draft);
            }
            for row in rows_back {
                let held = rows.unique.iter().map(|column| table.columns[*column].decode(&row));
                let held = held.collect::<Result<Vec<_>, Error>>()?;
                match by_values.remove(&held[..]) {
                    Some(draft) => _ = answers.rows.insert(draft, row),
                    None => answers.keys.push(Key::from_values(table.key_of_row(&row)?)),
                }
            }
        }
        Ok(())
    }
}

/// Nothing in the statement says which unique key is meant, so that the catalogue must.
///
/// # Errors
/// There is no unique key of just these columns.
fn tells_apart(table: &TableMeta, facts: &TableFacts, columns: &[usize]) -> Result<(), Error> {
    let mut names: Vec<String> = columns.iter().map(|column| table.columns[*column].name.to_lowercase()).collect();
    names.sort_unstable();
    match facts.unique.contains(&names) {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "{} has no unique key of just ({}): make one, or name the columns of one that there is",
            table.entity,
            names.join(", ")
        ))),
    }
}

/// A new row is the unit's from now on, as if a flush had written it.
pub(super) fn take_new<E: TrackedEntity>(core: &mut Core, draft: &Object<E>, row: &QueryResult) -> Result<(), Error> {
    let (holder, object) = (core.holder(), draft.any());
    let frame = core.frames[holder].id;
    // Another object of the same key: its row was gone before this one came (D7).
    let gone = held_object(core, object.table(), row)?;
    if let Some(gone) = gone.filter(|gone| gone.vanish(frame, &mut core.map)) {
        core.frames[holder].undo.touch(gone);
    }
    if object.added(frame) {
        core.frames[holder].undo.touch(object.clone());
    }
    object.written(RowKind::Insert, Some(&Returned::Row(row)), &[], frame, &mut core.map)?;
    Ok(())
}
