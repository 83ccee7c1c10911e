//! Objects that go with others, before a flush (U3): children of deleted parents along relations marked `cascade`, and rows that
//! have lost the parent without which they are not to be. Only objects of the map, and without a question: of other rows the
//! database's own foreign keys decide (D6).

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::Core;
use crate::{
    objects::{AnyObject, identity::Key},
    table::meta::Cascade,
};

impl Core {
    /// Adds to the dirty objects those that are to be deleted along with one of them.
    pub(super) fn take_along(&mut self, dirty: &mut Vec<Arc<AnyObject>>) {
        for object in dirty.iter().filter(|object| !object.table().orphans.is_empty() && object.is_orphan()) {
            object.mark_deleted(&mut self.map);
        }
        let mut done: FxHashSet<*const ()> = FxHashSet::default();
        loop {
            let leads = |object: &&Arc<AnyObject>| !object.table().cascades.is_empty() && object.is_deleting();
            let new = dirty.iter().filter(leads).filter(|object| done.insert(Arc::as_ptr(object).cast()));
            let mut parents: Vec<Arc<AnyObject>> = new.cloned().collect();
            if parents.is_empty() {
                return;
            }
            while let Some(table) = parents.first().map(|parent| parent.table()) {
                let (same, others) = parents.into_iter().partition(|parent| std::ptr::eq(parent.table(), table));
                parents = others;
                table.cascades.iter().for_each(|cascade| self.delete_children(&same, cascade, dirty));
            }
            dirty.extend(self.shared.take_dirty());
        }
    }

    fn delete_children(&mut self, parents: &[Arc<AnyObject>], cascade: &Cascade, dirty: &[Arc<AnyObject>]) {
        let held = |parent: &Arc<AnyObject>| {
            let values = cascade.columns.iter().map(|column| parent.held_value(*column));
            values.collect::<Option<Vec<_>>>().map(Key::from_values)
        };
        let held: FxHashSet<Key> = parents.iter().filter_map(held).collect();
        let tables = self.map.tables().into_iter().filter(|table| table.table == cascade.table);
        let in_map = tables.flat_map(|table| self.map.objects_of(table)).cloned();
        // Of new objects the map holds only those whose keys are known.
        let new = dirty.iter().filter(|object| object.table().table == cascade.table && object.is_pending()).cloned();
        for child in in_map.chain(new).collect::<Vec<_>>() {
            let columns = cascade.to.iter().map(|name| child.table().column(name));
            let values = columns.map(|column| child.column_value(column?)).collect::<Option<Vec<_>>>();
            if values.is_some_and(|values| held.contains(&Key::from_values(values))) {
                child.mark_deleted(&mut self.map);
            }
        }
    }
}
