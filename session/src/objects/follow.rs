//! Children that were linked to an object, and follow it when a column changes that their foreign keys join (D6).
//!
//! The parent knows its children, weakly; a child knows nothing of it, and follows as long as it still holds what the parent
//! had. So a child that was pointed elsewhere stays there, and a rollback has nothing to undo but values.

use std::sync::{Arc, Weak};

use sea_orm::Value;
use thin_vec::ThinVec;

use super::{AnyObject, Phase, any_object::Inner, inner::values_in};
use crate::{error::Error, table::value::as_column};

/// Children of one foreign key.
pub(super) struct Followers {
    /// The children's columns, and those of the parent that they join.
    columns: Vec<usize>,
    own: Vec<usize>,
    /// What the parent has held when a child was linked.
    seen: Vec<Vec<Value>>,
    children: Vec<Weak<AnyObject>>,
}

/// What some children are to follow.
struct Move {
    columns: Vec<usize>,
    from: Vec<Vec<Value>>,
    to: Vec<Value>,
    children: Vec<Arc<AnyObject>>,
}

/// The children of an object, by foreign key.
pub(super) type Family = ThinVec<Followers>;

impl Inner {
    pub(super) fn note_child(&mut self, child: Weak<AnyObject>, columns: &[usize], own: &[usize], values: Vec<Value>) {
        let known = self.family.iter().position(|group| group.columns == columns && group.own == own);
        let at = known.unwrap_or_else(|| {
            let (columns, own) = (columns.to_vec(), own.to_vec());
            self.family.push(Followers { columns, own, seen: Vec::new(), children: Vec::new() });
            self.family.len() - 1
        });
        let group = &mut self.family[at];
        if !values.is_empty() && !group.seen.contains(&values) {
            group.seen.push(values);
        }
        group.children.push(child);
    }

    /// Whether children were linked to the object.
    pub(super) fn has_children(&self) -> bool {
        !self.family.is_empty()
    }

    /// What the children are to follow, because it is another than what the database holds.
    fn moves(&mut self) -> Vec<Move> {
        let (Some(base), mut moves) = (self.base.clone(), Vec::new()) else { return Vec::new() };
        let mut family = std::mem::take(&mut self.family);
        for group in &mut family {
            let Some(now) = self.data.values(&group.own) else { continue };
            let held = values_in(&*base, &group.own);
            group.children.retain(|child| child.strong_count() > 0);
            if held == now && group.seen.iter().all(|seen| *seen == now) {
                continue;
            }
            let mut from = std::mem::replace(&mut group.seen, vec![now.clone()]);
            from.push(held);
            let children = group.children.iter().filter_map(Weak::upgrade).collect();
            moves.push(Move { columns: group.columns.clone(), from, to: now, children });
        }
        self.family = family;
        moves
    }
}

impl AnyObject {
    /// Notes that foreign keys of `child` in `columns` were set to this object's `own` columns, which held `values` then (D6).
    pub(super) fn lead_to(&self, child: Weak<AnyObject>, columns: &[usize], own: &[usize], values: Vec<Value>) {
        let mut inner = self.inner.lock();
        inner.note_child(child, columns, own, values);
        inner.unit.iter().for_each(|unit| unit.note_leader());
    }

    /// Has linked children follow what changed here since they were linked.
    pub(crate) fn lead(&self) -> Result<(), Error> {
        let moves = {
            let mut inner = self.inner.lock();
            if inner.has_children() { inner.moves() } else { Vec::new() }
        };
        // No child is looked at under the parent's lock: it may be its own.
        let children = moves.iter().flat_map(|moved| moved.children.iter().map(move |child| (child, moved)));
        children.into_iter().try_for_each(|(child, moved)| child.follow(&moved.columns, &moved.from, &moved.to))
    }

    /// Sets these columns, if they still hold one of the values that a linked parent had.
    fn follow(self: &Arc<Self>, columns: &[usize], from: &[Vec<Value>], to: &[Value]) -> Result<(), Error> {
        let inner = self.inner.lock();
        let in_key = columns.iter().any(|c| self.table.keys.contains(c));
        match inner.phase {
            Phase::Pending => {}
            // The key of a row that is there already is the database's to change, which alone can do it in time.
            Phase::Persistent if !in_key => {}
            _ => return Ok(()),
        }
        let as_own = |values: &[Value]| -> Vec<Value> {
            columns
                .iter()
                .zip(values)
                .map(|(c, value)| as_column(value.clone(), &self.table.columns[*c].kind))
                .collect()
        };
        let (held, to) = (inner.data.values(columns), as_own(to));
        if held.is_none_or(|held| held == to || !from.iter().any(|from| as_own(from) == held)) {
            return Ok(());
        }
        let led = inner.led || inner.expired && inner.touched.is_empty() && inner.links.is_empty();
        let mut inner = self.changing(inner);
        inner.led = led;
        for (column, value) in columns.iter().zip(to) {
            inner.touch(*column);
            inner.data.put(self.table, *column, value)?;
        }
        Ok(())
    }
}
