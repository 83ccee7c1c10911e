//! Which rows share a statement, and which statement is next, where each row has an order of its own.

use std::collections::BTreeSet;

use super::{Kind, Part};

/// What rows of one statement have in common, in the order in which statements come where nothing else says it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StatementGroup {
    pub(super) turn: u8,
    pub(super) rank: usize,
    pub(super) table: usize,
    pub(super) kind: Kind,
    pub(super) part: Part,
    pub(super) columns: Vec<usize>,
    pub(super) checks: Vec<usize>,
}

/// Nodes that wait for others, by the statement that they may share.
pub(super) struct Queue<'g> {
    group: &'g [usize],
    /// The nodes that each goes before, and whether in the same statement at the earliest.
    before: Vec<Vec<(usize, bool)>>,
    /// How many nodes each waits for: in earlier statements, and in its own at the latest.
    waits: Vec<(usize, usize)>,
    ready: Vec<BTreeSet<usize>>,
    /// By group: nodes that are left, and those among them that wait for an earlier statement.
    left: Vec<(usize, usize)>,
    /// The first group of deletes, which come after all others.
    deletes: usize,
}

impl<'g> Queue<'g> {
    pub(super) fn new(
        edges: &[Vec<(usize, Option<usize>)>],
        group: &'g [usize],
        groups: usize,
        deletes: usize,
        together: impl Fn(usize) -> bool,
    ) -> Self {
        let mut waits = vec![(0, 0); edges.len()];
        let mut before = vec![Vec::new(); edges.len()];
        for (node, list) in edges.iter().enumerate() {
            for (then, need) in list {
                let shared = group[node] == group[*then] && need.is_some_and(&together);
                before[node].push((*then, shared));
                if shared { waits[*then].1 += 1 } else { waits[*then].0 += 1 }
            }
        }
        let (mut ready, mut left) = (vec![BTreeSet::new(); groups], vec![(0, 0); groups]);
        for (node, at) in group.iter().enumerate() {
            left[*at].0 += 1;
            left[*at].1 += usize::from(waits[node].0 > 0);
            if waits[node] == (0, 0) {
                ready[*at].insert(node);
            }
        }
        Self { group, before, waits, ready, left, deletes }
    }

    /// The nodes of the next statement: of a group that has no more to wait for, or else of the first that has any.
    pub(super) fn next_statement(&mut self) -> Option<Vec<usize>> {
        let others = self.left[..self.deletes].iter().any(|(left, _)| *left > 0);
        let first = if others { self.deletes } else { self.left.len() };
        let whole = self.left[..first].iter().position(|(left, waiting)| *left > 0 && *waiting == 0);
        // A row that nobody waits for is deleted last: what the database makes of others then is no matter any more.
        let is_next = |at: usize, node: &usize| at < first || !self.before[*node].is_empty();
        let ready = || (0..self.ready.len()).find(|at| self.ready[*at].iter().any(|node| is_next(*at, node)));
        let at = whole.or_else(ready)?;
        let (taken, later): (BTreeSet<usize>, _) =
            std::mem::take(&mut self.ready[at]).into_iter().partition(|node| is_next(at, node));
        self.ready[at] = later;
        let mut taken: Vec<usize> = taken.into_iter().collect();
        let mut next = 0;
        // Those that waited for an earlier statement than this, and wait for the next now.
        let mut later = BTreeSet::new();
        while let Some(node) = taken.get(next).copied() {
            next += 1;
            for (then, shared) in std::mem::take(&mut self.before[node]) {
                if shared {
                    self.waits[then].1 -= 1;
                } else {
                    later.insert(then);
                    self.waits[then].0 -= 1;
                    self.left[self.group[then]].1 -= usize::from(self.waits[then].0 == 0);
                }
                match self.waits[then] {
                    (0, 0) if shared && !later.contains(&then) => taken.push(then),
                    (0, 0) => _ = self.ready[self.group[then]].insert(then),
                    _ => {}
                }
            }
        }
        self.left[at].0 -= taken.len();
        Some(taken)
    }
}
