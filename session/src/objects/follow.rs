//! Children that were linked to an object, and follow it when a column changes that their foreign keys join (D6).
//!
//! The parent knows its children, weakly; a child knows nothing of it, and follows as long as it still holds what the parent
//! had. So a child that was pointed elsewhere stays there, and a rollback has nothing to undo but values.

use std::sync::{Arc, Weak};

use sea_orm::{ModelTrait, Value};
use thin_vec::ThinVec;

use super::{AnyObject, Inner, ObjectCell, Phase, entity::TrackedEntity, inner::column_at};
use crate::{error::Error, table::value::as_column};

/// Children of one foreign key.
pub(super) struct Followers {
    /// The children's columns, and those of the parent that they join.
    columns: Vec<usize>,
    own: Vec<usize>,
    /// What the parent has held when a child was linked.
    seen: Vec<Vec<Value>>,
    children: Vec<Weak<dyn AnyObject>>,
}

/// What some children are to follow.
struct Move {
    columns: Vec<usize>,
    from: Vec<Vec<Value>>,
    to: Vec<Value>,
    children: Vec<Arc<dyn AnyObject>>,
}

/// The children of an object, by foreign key.
pub(super) type Family = ThinVec<Followers>;

impl<E: TrackedEntity> Inner<E> {
    pub(super) fn note_child(
        &mut self,
        child: Weak<dyn AnyObject>,
        columns: &[usize],
        own: &[usize],
        values: Vec<Value>,
    ) {
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

    /// What the children are to follow, because it is another than what the database holds.
    fn moves(&mut self) -> Vec<Move> {
        let (Some(base), mut moves) = (self.base.clone(), Vec::new()) else { return Vec::new() };
        let mut family = std::mem::take(&mut self.family);
        for group in &mut family {
            let held: Option<Vec<Value>> = group.own.iter().map(|c| Some(base.get(column_at::<E>(*c)?))).collect();
            let now: Option<Vec<Value>> = group.own.iter().map(|c| self.value(column_at::<E>(*c)?)).collect();
            let (Some(held), Some(now)) = (held, now) else { continue };
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

impl<E: TrackedEntity> ObjectCell<E> {
    pub(super) fn lead_children(&self) -> Result<(), Error> {
        let moves = {
            let mut inner = self.inner.lock();
            if inner.family.is_empty() { Vec::new() } else { inner.moves() }
        };
        // No child is looked at under the parent's lock: it may be its own.
        let children = moves.iter().flat_map(|moved| moved.children.iter().map(move |child| (child, moved)));
        children.into_iter().try_for_each(|(child, moved)| child.follow(&moved.columns, &moved.from, &moved.to))
    }

    pub(super) fn follow_parent(&self, columns: &[usize], from: &[Vec<Value>], to: &[Value]) -> Result<(), Error> {
        let Some(object) = self.object() else { return Ok(()) };
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
        let held: Option<Vec<Value>> = columns.iter().map(|c| inner.value(column_at::<E>(*c)?)).collect();
        let to = as_own(to);
        if held.is_none_or(|held| held == to || !from.iter().any(|from| as_own(from) == held)) {
            return Ok(());
        }
        let mut inner = object.change(inner);
        for (column, value) in columns.iter().zip(to) {
            inner.touch(*column);
            inner.data.try_set_at(*column, value)?;
        }
        Ok(())
    }
}
