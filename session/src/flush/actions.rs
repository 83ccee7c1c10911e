//! What the database does to other rows by itself, because of foreign keys (D6): deletes them, or gives their keys up or
//! another value. The same is done to the objects of the map, as far as their keys tell; those whose keys do not tell are
//! expired.
//!
//! Nothing is sent but the questions about the tables of the map, once each.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::Value;

use super::{
    Flush,
    plan::{Kind, Part},
    set::RowSet,
};
use crate::{
    error::Error,
    objects::AnyObject,
    table::{
        facts::{Action, Deed, Identity, TableFacts},
        meta::TableMeta,
        value::{as_column, is_null},
    },
};

/// What a row held, by column.
type Held = Vec<(usize, Value)>;

/// What rows held in the columns that others refer to, before they were written.
pub(super) struct Referred {
    table: &'static TableMeta,
    facts: Arc<TableFacts>,
    deleted: bool,
    /// The object that stands for each row from now on, and the values by column.
    rows: Vec<(Arc<AnyObject>, Held)>,
}

/// A row that was deleted, or that changed what others refer to.
struct Cause {
    table: &'static TableMeta,
    facts: Arc<TableFacts>,
    /// What it held.
    old: Vec<(usize, Value)>,
    /// What it holds now; nothing if it is gone.
    new: Option<Vec<(usize, Value)>>,
}

/// The tables of the map, with their facts.
type MapTables = Vec<(&'static TableMeta, Arc<TableFacts>)>;

impl Flush<'_> {
    /// What a set's rows hold that others refer to and whose end, or change, has consequences.
    pub(super) fn referred(&self, set: &RowSet<'_>) -> Option<Referred> {
        let acts = |action: &&Action| match set.kind {
            Kind::Delete => action.on_delete != Deed::None,
            Kind::Update if set.part == Part::Whole => {
                let written = |name: &String| set.table.column(name).is_some_and(|c| set.columns.contains(&c));
                action.on_update != Deed::None && action.to.iter().any(written)
            }
            // Every column takes another value, but for the key, which may take another spelling.
            Kind::Switch => action.on_update != Deed::None,
            _ => false,
        };
        let columns: FxHashSet<usize> = set
            .facts
            .actions
            .iter()
            .filter(acts)
            .flat_map(|action| action.to.iter().filter_map(|name| set.table.column(name)))
            .collect();
        if columns.is_empty() {
            return None;
        }
        let held = |row: usize| {
            // An object that is to be deleted is no row any more to others, but holds what its row held.
            let before = set.object_before(row)?;
            let value = |column: &usize| Some((*column, before.held_value(*column)?));
            Some((set.object(row)?.clone(), columns.iter().map(value).collect::<Option<Vec<_>>>()?))
        };
        let rows = (0..set.len()).filter_map(held).collect();
        Some(Referred { table: set.table, facts: set.facts.clone(), deleted: set.kind == Kind::Delete, rows })
    }

    /// Does to the objects of the map what the database did because these rows were written.
    pub(super) async fn act(&mut self, referred: Referred) -> Result<(), Error> {
        let Referred { table: of, facts, deleted, rows } = referred;
        let known = self.known_tables().await?;
        let mut causes: Vec<Cause> = Vec::with_capacity(rows.len());
        for (object, old) in rows {
            let now = |object: &Arc<AnyObject>| {
                old.iter().map(|(column, _)| Some((*column, object.column_value(*column)?))).collect::<Option<Vec<_>>>()
            };
            let new = match deleted {
                true => None,
                false => now(&object).or(Some(old.clone())),
            };
            causes.push(Cause { table: of, facts: facts.clone(), old, new });
        }
        self.act_on(&known, &facts, causes)
    }

    /// Does to the objects of the map what the database did because rows that held this were deleted.
    pub(crate) async fn act_on_deleted(
        &mut self,
        table: &'static TableMeta,
        facts: &Arc<TableFacts>,
        rows: Vec<Vec<(usize, Value)>>,
    ) -> Result<(), Error> {
        let known = self.known_tables().await?;
        let causes = rows.into_iter().map(|old| Cause { table, facts: facts.clone(), old, new: None });
        self.act_on(&known, facts, causes.collect())
    }

    fn act_on(&mut self, known: &MapTables, facts: &TableFacts, mut causes: Vec<Cause>) -> Result<(), Error> {
        while !causes.is_empty() {
            causes = self.follow(known, causes)?;
        }
        self.doubt_the_rest(known, facts)
    }

    async fn known_tables(&mut self) -> Result<MapTables, Error> {
        let mut known: MapTables = Vec::new();
        for table in self.map.tables() {
            known.push((table, self.connection.table_facts(table).await?));
        }
        Ok(known)
    }

    /// The rows that refer to those of `causes`; what became of them is a cause in turn.
    fn follow(&mut self, known: &MapTables, causes: Vec<Cause>) -> Result<Vec<Cause>, Error> {
        let mut next = Vec::new();
        let Some(first) = causes.first() else { return Ok(next) };
        let (table, facts) = (first.table, first.facts.clone());
        let (same, others): (Vec<Cause>, Vec<Cause>) = causes.into_iter().partition(|c| std::ptr::eq(c.table, table));
        next.extend(others);
        for action in &facts.actions {
            let children = known.iter().filter(|(_, facts)| facts.identity.as_ref() == Some(&action.child));
            for (child, child_facts) in children {
                next.extend(self.follow_action(action, (table, &facts), (child, child_facts), &same)?);
            }
        }
        Ok(next)
    }

    fn follow_action(
        &mut self,
        action: &Action,
        (table, facts): (&'static TableMeta, &TableFacts),
        (child, child_facts): (&'static TableMeta, &Arc<TableFacts>),
        causes: &[Cause],
    ) -> Result<Vec<Cause>, Error> {
        let columns = |table: &TableMeta, names: &[String]| {
            names.iter().map(|name| table.column(name)).collect::<Option<Vec<usize>>>()
        };
        let (Some(from), Some(to)) = (columns(child, &action.from), columns(table, &action.to)) else {
            // The entity does not know the columns, so its objects cannot tell.
            self.map.objects_of(child).for_each(|object| object.doubt());
            return Ok(Vec::new());
        };
        let value_in = |values: &[(usize, Value)], column: &usize, kind: usize| {
            let value = values.iter().find(|(at, _)| at == column).map(|(_, value)| value.clone())?;
            Some(as_column(value, &child.columns[kind].kind))
        };
        let side = |values: &[(usize, Value)]| {
            to.iter().zip(&from).map(|(to, from)| value_in(values, to, *from)).collect::<Option<Vec<Value>>>()
        };
        let mut by_old: FxHashMap<Vec<Value>, &Cause> = FxHashMap::default();
        for cause in causes {
            let deed = if cause.new.is_some() { action.on_update } else { action.on_delete };
            let changed = cause.new.as_ref().is_none_or(|new| side(new) != side(&cause.old));
            if let Some(old) = side(&cause.old).filter(|_| deed != Deed::None && changed) {
                by_old.insert(old, cause);
            }
        }
        if by_old.is_empty() {
            return Ok(Vec::new());
        }
        let folds = facts.folds(&to);
        let mut next = Vec::new();
        for object in self.map.objects_of(child).cloned().collect::<Vec<_>>() {
            let held = from.iter().map(|column| object.stored_value(*column)).collect::<Option<Vec<Value>>>();
            let Some(held) = held.filter(|held| !held.iter().any(is_null)) else {
                if object.is_doubted() {
                    // It may be one of them: what was read of it before is no promise any more.
                    object.doubt();
                }
                continue;
            };
            let Some(cause) = by_old.get(&held) else {
                if folds {
                    // Another spelling of the same key looks like another key.
                    object.doubt();
                }
                continue;
            };
            let deed = if cause.new.is_some() { action.on_update } else { action.on_delete };
            let referred =
                child_facts.actions.iter().flat_map(|action| &action.to).filter_map(|name| child.column(name));
            let referred: FxHashSet<usize> = referred.collect();
            let old = referred.iter().filter_map(|column| Some((*column, object.stored_value(*column)?)));
            let old: Vec<(usize, Value)> = old.collect();
            let set: Vec<(usize, Value)> = match deed {
                Deed::None => continue,
                Deed::Cascade if cause.new.is_none() => {
                    self.vanished(&object);
                    next.push(Cause { table: child, facts: child_facts.clone(), old, new: None });
                    continue;
                }
                Deed::SetDefault => {
                    object.doubt();
                    continue;
                }
                // What the entity cannot hold only a question can tell, once it is something else.
                Deed::SetNull if from.iter().any(|column| !child.columns[*column].nullable) => {
                    object.doubt();
                    continue;
                }
                Deed::Cascade => {
                    let new = cause.new.as_deref().and_then(side).unwrap_or_default();
                    from.iter().copied().zip(new).collect()
                }
                Deed::SetNull => from.iter().map(|column| (*column, child.columns[*column].kind_null())).collect(),
            };
            if object.database_set(&set, self.frame, self.map)? {
                self.undo.touch(object.clone());
            }
            // A trigger, or a column that is computed of it, may have made more of it.
            if child_facts.update.rewrites || child_facts.update.row_by_row || !child_facts.generated.is_empty() {
                object.doubt();
            }
            let now = old.iter().map(|(column, value)| {
                let set = set.iter().find(|(at, _)| at == column).map(|(_, value)| value.clone());
                (*column, set.unwrap_or_else(|| value.clone()))
            });
            let now = now.collect();
            next.push(Cause { table: child, facts: child_facts.clone(), old, new: Some(now) });
        }
        Ok(next)
    }

    /// Objects of tables that are reached by way of rows which the map does not hold: their own keys do not tell their fate.
    fn doubt_the_rest(&mut self, known: &MapTables, facts: &TableFacts) -> Result<(), Error> {
        for (table, _) in known {
            let identity = known.iter().find(|(of, _)| std::ptr::eq(*of, *table)).and_then(|(_, f)| f.identity.clone());
            let Some(identity) = identity.filter(|identity| facts.far.contains(identity)) else { continue };
            let told = ParentsInMap::of(self, known, &identity, table);
            for object in self.map.objects_of(table) {
                if !told.tells(object) {
                    object.doubt();
                }
            }
        }
        Ok(())
    }
}

/// The rows of the map that objects of one table may refer to.
struct ParentsInMap {
    /// For each foreign key with consequences: its columns, and the values that rows of the map hold.
    keys: Vec<(Vec<usize>, FxHashSet<Vec<Value>>)>,
}

impl ParentsInMap {
    fn of(flush: &Flush<'_>, known: &MapTables, child: &Identity, child_table: &TableMeta) -> Self {
        let mut keys = Vec::new();
        for (table, facts) in known {
            for action in facts.actions.iter().filter(|action| action.child == *child) {
                let from = action.from.iter().map(|name| child_table.column(name)).collect::<Option<Vec<_>>>();
                let to = action.to.iter().map(|name| table.column(name)).collect::<Option<Vec<_>>>();
                let (Some(from), Some(to)) = (from, to) else { continue };
                let values = |object: &Arc<AnyObject>| {
                    let pairs = to.iter().zip(&from);
                    // A row that is to be deleted later in this flush is there until then.
                    let there = |column: &usize| match object.is_doubted() {
                        true => None,
                        false => object.held_value(*column),
                    };
                    let value =
                        |(to, from): (&usize, &usize)| Some(as_column(there(to)?, &child_table.columns[*from].kind));
                    pairs.map(value).collect::<Option<Vec<Value>>>()
                };
                let rows = flush.map.objects_of(table).filter_map(values).collect();
                keys.push((from, rows));
            }
        }
        Self { keys }
    }

    /// Whether each row that the object refers to is in the map, so that what became of it was seen.
    fn tells(&self, object: &Arc<AnyObject>) -> bool {
        self.keys.iter().all(|(columns, rows)| {
            let held = columns.iter().map(|column| object.stored_value(*column)).collect::<Option<Vec<Value>>>();
            held.is_none_or(|held| held.iter().any(is_null) || rows.contains(&held))
        }) && !self.keys.is_empty()
    }
}
