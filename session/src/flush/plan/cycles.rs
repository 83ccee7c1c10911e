//! The cycles of a graph of needs.

use rustc_hash::FxHashMap;

/// A cycle of each knot of nodes that reach each other, as the needs that make it. Tarjan's algorithm, with a stack of its own:
/// a chain of rows may be as long as the flush.
pub(super) fn cycles(edges: &[Vec<(usize, Option<usize>)>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let mut index = vec![NEW; edges.len()];
    let mut low = vec![0; edges.len()];
    // Which knot a node belongs to, once that is known.
    let mut knot = vec![NEW; edges.len()];
    let (mut stack, mut count, mut found) = (Vec::new(), 0, Vec::new());
    for root in 0..edges.len() {
        if index[root] != NEW {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((node, next)) = path.last_mut() {
            let node = *node;
            if *next == 0 {
                (index[node], low[node]) = (count, count);
                count += 1;
                stack.push(node);
            }
            if let Some((then, _)) = edges[node].get(*next) {
                *next += 1;
                match index[*then] {
                    NEW => path.push((*then, 0)),
                    seen if knot[*then] == NEW => low[node] = low[node].min(seen),
                    _ => {}
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                low[*parent] = low[*parent].min(low[node]);
            }
            if low[node] == index[node] {
                let mut members = 0;
                while let Some(member) = stack.pop() {
                    knot[member] = node;
                    members += 1;
                    if member == node {
                        break;
                    }
                }
                if members > 1 {
                    found.push(node);
                }
            }
        }
    }
    found.into_iter().map(|node| cycle_in(edges, &knot, node)).collect()
}

/// Walks inside a knot until it meets its own way.
fn cycle_in(edges: &[Vec<(usize, Option<usize>)>], knot: &[usize], start: usize) -> Vec<usize> {
    let mut seen: FxHashMap<usize, usize> = FxHashMap::default();
    let (mut way, mut node) = (Vec::new(), start);
    while !seen.contains_key(&node) {
        seen.insert(node, way.len());
        let Some((then, need)) = edges[node].iter().find(|(then, _)| knot[*then] == knot[start]) else { break };
        way.push(*need);
        node = *then;
    }
    way.into_iter().skip(seen.get(&node).copied().unwrap_or_default()).flatten().collect()
}
