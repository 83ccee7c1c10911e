//! In which order tables come: parents before children.

use crate::table::meta::TableMeta;

/// Where a table stands: parents before children. Tables of a cycle (and those behind it) share the last rank, and only
/// their rows are ordered.
pub(in crate::flush) struct Ranks {
    pub(in crate::flush) rank: Vec<usize>,
    pub(in crate::flush) cyclic: usize,
}

pub(in crate::flush) fn table_ranks(tables: &[&TableMeta]) -> Ranks {
    let parents = |t: usize| {
        tables[t]
            .parents
            .iter()
            .flat_map(move |fk| (0..tables.len()).filter(move |p| *p != t && tables[*p].table == fk.to_table))
    };
    let mut rank = vec![usize::MAX; tables.len()];
    let mut next = 0;
    loop {
        let ready: Vec<usize> = (0..tables.len())
            .filter(|t| rank[*t] == usize::MAX && parents(*t).all(|p| rank[p] != usize::MAX))
            .collect();
        if ready.is_empty() {
            break;
        }
        for table in ready {
            rank[table] = next;
            next += 1;
        }
    }
    for r in rank.iter_mut().filter(|r| **r == usize::MAX) {
        *r = next;
    }
    Ranks { rank, cyclic: next }
}
