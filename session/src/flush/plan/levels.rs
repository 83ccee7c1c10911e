//! How deep rows stand that need each other, and where their cycles can be cut. Knows no tables.

use rustc_hash::FxHashMap;

/// One row that needs another row written first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) parent: usize,
    /// The column that could be NULL for a while, if there is one.
    pub(super) column: Option<usize>,
    /// Whether the parent must be in an earlier statement, not only earlier in the same: its key is generated, or it
    /// goes into another one anyway.
    pub(super) apart: bool,
}

/// How deep a row stands: over all its needs, and over those that need an earlier statement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Level {
    pub(super) all: usize,
    pub(super) apart: usize,
}

/// Needs that were cut to open cycles, with the rows that had them.
pub(super) type Cut = Vec<(usize, Need)>;

/// Longest paths. A cycle is cut at its first need that can wait; one without such a need is returned, as its rows.
pub(super) fn levels(
    among: &[usize],
    needs: &mut FxHashMap<usize, Vec<Need>>,
) -> Result<(FxHashMap<usize, Level>, Cut), Vec<usize>> {
    let mut done: FxHashMap<usize, Level> = FxHashMap::default();
    let mut cut = Cut::new();
    if needs.is_empty() {
        return Ok((done, cut));
    }
    for &root in among {
        if done.contains_key(&root) || !needs.contains_key(&root) {
            continue;
        }
        // An explicit stack: a chain of rows may be as long as the flush.
        let mut path: Vec<(usize, usize)> = vec![(root, 0)];
        let mut on_path: FxHashMap<usize, usize> = FxHashMap::default();
        on_path.insert(root, 0);
        while let Some((op, next)) = path.last_mut() {
            let op = *op;
            let list = needs.get(&op).map_or(&[][..], |n| n);
            let Some(need) = list.get(*next).copied() else {
                done.insert(op, level_of(list, &done));
                on_path.remove(&op);
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(start) = on_path.get(&need.parent).copied() {
                cut.push(open_cycle(&mut path, start, needs, &mut on_path)?);
            } else if !done.contains_key(&need.parent) && needs.contains_key(&need.parent) {
                on_path.insert(need.parent, path.len());
                path.push((need.parent, 0));
            }
        }
    }
    Ok((done, cut))
}

fn level_of(needs: &[Need], done: &FxHashMap<usize, Level>) -> Level {
    needs.iter().fold(Level::default(), |level, need| {
        let parent = done.get(&need.parent).copied().unwrap_or_default();
        Level { all: level.all.max(parent.all + 1), apart: level.apart.max(parent.apart + usize::from(need.apart)) }
    })
}

/// Cuts the cycle that the path from `start` is, and goes back to the row that no longer needs the next.
fn open_cycle(
    path: &mut Vec<(usize, usize)>,
    start: usize,
    needs: &mut FxHashMap<usize, Vec<Need>>,
    on_path: &mut FxHashMap<usize, usize>,
) -> Result<(usize, Need), Vec<usize>> {
    let cycle = || path[start..].iter().map(|(op, _)| *op).collect::<Vec<_>>();
    let can_wait = |at: &usize| {
        let (op, next) = path[*at];
        needs.get(&op).is_some_and(|list| list[next - 1].column.is_some())
    };
    let at = (start..path.len()).find(can_wait).ok_or_else(cycle)?;
    for (left, _) in path.drain(at + 1..) {
        on_path.remove(&left);
    }
    let (op, next) = &mut path[at];
    *next -= 1;
    let list = needs.get_mut(op).ok_or_else(Vec::new)?;
    Ok((*op, list.remove(*next)))
}
