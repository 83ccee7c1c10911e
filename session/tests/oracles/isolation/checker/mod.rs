//! A checker of list-append histories, after Elle: from the lists that committed transactions have read it infers which
//! must have come before which, and reports a cycle. Tested here on histories that are known to be bad, then turned on the
//! sessions of `isolation.rs`.
//!
//! Appended values are unique, so a list tells the order of the appends to its key. It must never call a bad history good;
//! histories that it cannot order (a key never read) only have fewer edges.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a transaction did, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Appended a value, unique in the history, to a key's list.
    Append(u64, u64),
    /// Read a key's list.
    Read(u64, Vec<u64>),
}

/// One transaction and whether it is known to have committed.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// What it did.
    pub ops: Vec<Op>,
    /// False when it is known to have been rolled back.
    pub committed: bool,
}

/// Why a transaction must come before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its append directly precedes the other's.
    WriteWrite,
    /// The other read its append.
    WriteRead,
    /// It did not see the other's append.
    ReadWrite,
}

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Somebody read what a rolled back transaction appended (G1a).
    AbortedRead(u64),
    /// Somebody read a value that nobody appended, or a value twice.
    Garbled(u64),
    /// Two reads of a key disagree on the order of its appends.
    IncompatibleOrder(u64),
    /// An append of a committed transaction is in no later list (lost update).
    LostAppend(u64, u64),
    /// A read of the middle of a transaction: its first append to a key without its last (G1b).
    IntermediateRead(u64),
    /// A transaction does not see its own earlier append.
    NotOwnWrite(usize),
    /// Transactions that each must come before the next, and the kinds of the edges: ww only is G0, ww and wr is G1c, one
    /// rw is G-single (read skew), more is G2 (write skew).
    Cycle(Vec<usize>, BTreeSet<Why>),
}

/// Checks a history whose last reads (`finally`) are the lists as they stand at the end.
pub fn check(history: &[Transaction], finally: &BTreeMap<u64, Vec<u64>>) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let writers = writers(history);
    for (index, transaction) in history.iter().enumerate().filter(|(_, transaction)| transaction.committed) {
        check_reads(history, &writers, transaction, &mut found);
        check_own_writes(index, transaction, &mut found);
        for op in &transaction.ops {
            match op {
                Op::Read(key, list) if !finally.get(key).is_some_and(|all| all.starts_with(list)) => {
                    found.push(Anomaly::IncompatibleOrder(*key));
                }
                Op::Append(key, value) if !finally.get(key).is_some_and(|all| all.contains(value)) => {
                    found.push(Anomaly::LostAppend(*key, *value));
                }
                _ => {}
            }
        }
    }
    let last =
        Transaction { ops: finally.iter().map(|(key, list)| Op::Read(*key, list.clone())).collect(), committed: true };
    check_reads(history, &writers, &last, &mut found);
    if found.is_empty() {
        found.extend(cycle(&edges(history, &writers, finally)));
    }
    found
}

/// Which transaction appended a value.
fn writers(history: &[Transaction]) -> HashMap<u64, usize> {
    let appended = |(index, transaction): (usize, &Transaction)| -> Vec<(u64, usize)> {
        let values = transaction.ops.iter().filter_map(|op| match op {
            Op::Append(_, value) => Some(*value),
            Op::Read(..) => None,
        });
        values.map(|value| (value, index)).collect()
    };
    history.iter().enumerate().flat_map(appended).collect()
}

fn check_reads(history: &[Transaction], writers: &HashMap<u64, usize>, reader: &Transaction, found: &mut Vec<Anomaly>) {
    for (key, list) in reader.ops.iter().filter_map(read) {
        let distinct: BTreeSet<&u64> = list.iter().collect();
        if distinct.len() != list.len() || list.iter().any(|value| !writers.contains_key(value)) {
            found.push(Anomaly::Garbled(key));
            continue;
        }
        if let Some(value) = list.iter().find(|value| !history[writers[value]].committed) {
            found.push(Anomaly::AbortedRead(*value));
        }
        // The last value read tells whether its writer was caught in the middle, unless it is the reader itself.
        if let Some(value) = list.last() {
            let writer = &history[writers[value]];
            let last = writer.ops.iter().rev().find_map(|op| match op {
                Op::Append(k, value) if *k == key => Some(*value),
                _ => None,
            });
            if !std::ptr::eq(writer, reader) && last != Some(*value) {
                found.push(Anomaly::IntermediateRead(*value));
            }
        }
    }
}

fn check_own_writes(index: usize, transaction: &Transaction, found: &mut Vec<Anomaly>) {
    for (at, op) in transaction.ops.iter().enumerate() {
        let Some((key, list)) = read(op) else { continue };
        let own = transaction.ops[..at].iter().filter_map(|op| match op {
            Op::Append(k, value) if *k == key => Some(value),
            _ => None,
        });
        if own.into_iter().any(|value| !list.contains(value)) {
            found.push(Anomaly::NotOwnWrite(index));
        }
    }
}

fn read(op: &Op) -> Option<(u64, &Vec<u64>)> {
    match op {
        Op::Read(key, list) => Some((*key, list)),
        Op::Append(..) => None,
    }
}

type Edges = BTreeMap<usize, BTreeMap<usize, Why>>;

fn edges(history: &[Transaction], writers: &HashMap<u64, usize>, finally: &BTreeMap<u64, Vec<u64>>) -> Edges {
    let mut edges = Edges::new();
    let mut edge = |from: usize, to: usize, why: Why| {
        if from != to {
            let kept = edges.entry(from).or_default().entry(to).or_insert(why);
            *kept = (*kept).min(why);
        }
    };
    for list in finally.values() {
        for pair in list.windows(2) {
            edge(writers[&pair[0]], writers[&pair[1]], Why::WriteWrite);
        }
    }
    for (index, transaction) in history.iter().enumerate().filter(|(_, transaction)| transaction.committed) {
        for (key, list) in transaction.ops.iter().filter_map(read) {
            if let Some(value) = list.last() {
                edge(writers[value], index, Why::WriteRead);
            }
            if let Some(next) = finally.get(&key).and_then(|all| all.get(list.len())) {
                edge(index, writers[next], Why::ReadWrite);
            }
        }
    }
    edges
}

/// A shortest cycle, with the kinds of its edges.
fn cycle(edges: &Edges) -> Option<Anomaly> {
    let cycles = edges.keys().filter_map(|start| path_back(edges, *start));
    let shortest = cycles.min_by_key(Vec::len)?;
    let next = shortest.iter().cycle().skip(1);
    let kinds = shortest.iter().zip(next).filter_map(|(from, to)| edges.get(from)?.get(to).copied());
    let kinds = kinds.collect();
    Some(Anomaly::Cycle(shortest, kinds))
}

/// The shortest way from a transaction back to itself.
fn path_back(edges: &Edges, start: usize) -> Option<Vec<usize>> {
    let mut came_from: HashMap<usize, usize> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        for next in edges.get(&at).into_iter().flat_map(BTreeMap::keys) {
            if *next == start {
                let mut path = vec![at];
                while let Some(before) = path.last().filter(|last| **last != start).and_then(|last| came_from.get(last))
                {
                    path.push(*before);
                }
                path.reverse();
                return Some(path);
            }
            if !came_from.contains_key(next) {
                came_from.insert(*next, at);
                queue.push_back(*next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(ops: Vec<Op>) -> Transaction {
        Transaction { ops, committed: true }
    }

    fn finally(lists: &[(u64, &[u64])]) -> BTreeMap<u64, Vec<u64>> {
        lists.iter().map(|(key, list)| (*key, list.to_vec())).collect()
    }

    fn kinds(found: &[Anomaly]) -> Vec<Why> {
        match found {
            [Anomaly::Cycle(_, kinds)] => kinds.iter().copied().collect(),
            other => panic!("no cycle: {other:?}"),
        }
    }

    use Op::{Append, Read};

    #[test]
    fn a_serial_history_is_good() {
        let history = [
            committed(vec![Read(1, vec![]), Append(1, 10), Read(1, vec![10])]),
            committed(vec![Read(1, vec![10]), Append(1, 11), Append(2, 20)]),
            committed(vec![Read(1, vec![10, 11]), Read(2, vec![20])]),
        ];
        assert_eq!(check(&history, &finally(&[(1, &[10, 11]), (2, &[20])])), []);
    }

    #[test]
    fn g0_writes_in_both_orders_are_a_cycle() {
        let history = [committed(vec![Append(1, 10), Append(2, 20)]), committed(vec![Append(1, 11), Append(2, 21)])];
        assert_eq!(kinds(&check(&history, &finally(&[(1, &[10, 11]), (2, &[21, 20])]))), [Why::WriteWrite]);
    }

    #[test]
    fn g1a_a_read_of_what_was_rolled_back() {
        let history = [Transaction { ops: vec![Append(1, 10)], committed: false }, committed(vec![Read(1, vec![10])])];
        let found = check(&history, &finally(&[(1, &[10])]));
        assert!(found.contains(&Anomaly::AbortedRead(10)), "{found:?}");
    }

    #[test]
    fn g1b_a_read_of_the_middle() {
        let history = [committed(vec![Append(1, 10), Append(1, 11)]), committed(vec![Read(1, vec![10])])];
        assert_eq!(check(&history, &finally(&[(1, &[10, 11])])), [Anomaly::IntermediateRead(10)]);
    }

    #[test]
    fn g1c_each_reads_the_other() {
        let history =
            [committed(vec![Append(1, 10), Read(2, vec![20])]), committed(vec![Append(2, 20), Read(1, vec![10])])];
        assert_eq!(kinds(&check(&history, &finally(&[(1, &[10]), (2, &[20])]))), [Why::WriteRead]);
    }

    #[test]
    fn g_single_a_skewed_read() {
        let history =
            [committed(vec![Read(1, vec![]), Read(2, vec![20])]), committed(vec![Append(1, 10), Append(2, 20)])];
        let found = kinds(&check(&history, &finally(&[(1, &[10]), (2, &[20])])));
        assert_eq!(found, [Why::WriteRead, Why::ReadWrite]);
    }

    #[test]
    fn g2_a_skewed_write() {
        let history =
            [committed(vec![Read(1, vec![]), Append(2, 20)]), committed(vec![Read(2, vec![]), Append(1, 10)])];
        assert_eq!(kinds(&check(&history, &finally(&[(1, &[10]), (2, &[20])]))), [Why::ReadWrite]);
    }

    #[test]
    fn a_longer_cycle_of_three() {
        let history = [
            committed(vec![Read(1, vec![]), Append(2, 20)]),
            committed(vec![Read(2, vec![]), Append(3, 30)]),
            committed(vec![Read(3, vec![]), Append(1, 10)]),
        ];
        let found = check(&history, &finally(&[(1, &[10]), (2, &[20]), (3, &[30])]));
        assert!(matches!(&found[..], [Anomaly::Cycle(path, _)] if path.len() == 3), "{found:?}");
    }

    #[test]
    fn a_lost_update_and_a_lost_append() {
        let history =
            [committed(vec![Read(1, vec![]), Append(1, 10)]), committed(vec![Read(1, vec![]), Append(1, 11)])];
        assert_eq!(check(&history, &finally(&[(1, &[11])])), [Anomaly::LostAppend(1, 10)]);
        // Kept, but both read the empty list: one of them should have seen the other.
        let found = kinds(&check(&history, &finally(&[(1, &[10, 11])])));
        assert_eq!(found, [Why::WriteWrite, Why::ReadWrite]);
    }

    #[test]
    fn garbled_lists_and_own_writes() {
        let doubled = [committed(vec![Append(1, 10)]), committed(vec![Read(1, vec![10, 10])])];
        assert!(check(&doubled, &finally(&[(1, &[10])])).contains(&Anomaly::Garbled(1)));
        let invented = [committed(vec![Read(1, vec![99])])];
        assert!(check(&invented, &finally(&[(1, &[99])])).contains(&Anomaly::Garbled(1)));
        let unseen = [committed(vec![Append(1, 10), Read(1, vec![])])];
        assert!(check(&unseen, &finally(&[(1, &[10])])).contains(&Anomaly::NotOwnWrite(0)));
        let reordered =
            [committed(vec![Append(1, 10)]), committed(vec![Append(1, 11)]), committed(vec![Read(1, vec![11])])];
        assert_eq!(check(&reordered, &finally(&[(1, &[10, 11])])), [Anomaly::IncompatibleOrder(1)]);
    }
}
