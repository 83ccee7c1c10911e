//! Walks along edges, and what they reach (V9).

use std::collections::{HashMap, HashSet};

use sea_orm::prelude::Uuid;
use sea_session::prelude::*;

use super::{
    Store, Within, allow_node,
    edges::{Direction, EdgeFilter, EdgeRow, id_at, ids_of},
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    page::{Page, Paging},
    uri::Uri,
};

/// How to walk along edges.
#[derive(Clone, Debug, PartialEq)]
pub struct Traverse {
    /// How many edges away at most.
    pub depth: u32,
    /// Along which edges.
    pub direction: Direction,
    /// Only edges of these types; empty for all.
    pub edge_types: Vec<String>,
    /// Only edges of at least this weight.
    pub min_weight: f64,
    /// Which page of the result.
    pub paging: Paging,
}

impl Default for Traverse {
    fn default() -> Self {
        Self {
            depth: 2,
            direction: Direction::Outgoing,
            edge_types: Vec::new(),
            min_weight: 0.0,
            paging: Paging::default(),
        }
    }
}

/// A node that a walk has reached.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Neighbour {
    /// The node.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub id: Uuid,
    /// Where it is.
    pub uri: Uri,
    /// Its abstract.
    pub r#abstract: String,
    /// How many edges away.
    pub depth: u32,
    /// The product of the weights on the strongest of the shortest ways.
    pub score: f64,
    /// The type of the edge by which it was reached.
    pub via: String,
    /// The node before it on that way.
    pub from: Uri,
}

impl Store {
    /// The nodes one edge away, strongest first.
    ///
    /// # Errors
    /// As [`Store::traverse`].
    pub async fn neighbours(
        &self,
        caller: &Caller,
        uri: &Uri,
        direction: Direction,
        paging: &Paging,
    ) -> Result<Page<Neighbour>, StoreError> {
        let unit = self.read_unit(caller);
        unit.run(async |s: &mut Session| self.within(s, caller).neighbours(uri, direction, paging).await).await
    }

    /// The nodes that can be reached along edges: nearer ones first, of one distance the strongest first, each once (V9).
    /// One statement a level; cycles end where they meet a node that was reached before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Denied`], [`StoreError::InvalidArgument`], [`StoreError::InvalidCursor`].
    pub async fn traverse(
        &self,
        caller: &Caller,
        uri: &Uri,
        options: &Traverse,
    ) -> Result<Page<Neighbour>, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).traverse(uri, options).await).await
    }
}

impl Within<'_> {
    /// [`Store::neighbours`] in this unit.
    ///
    /// # Errors
    /// As [`Store::neighbours`].
    pub async fn neighbours(
        &mut self,
        uri: &Uri,
        direction: Direction,
        paging: &Paging,
    ) -> Result<Page<Neighbour>, StoreError> {
        let options = Traverse { depth: 1, direction, paging: paging.clone(), ..Traverse::default() };
        self.traverse(uri, &options).await
    }

    /// [`Store::traverse`] in this unit.
    ///
    /// # Errors
    /// As [`Store::traverse`].
    pub async fn traverse(&mut self, uri: &Uri, options: &Traverse) -> Result<Page<Neighbour>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Read, "have edges")?;
        let limit = options.paging.checked_limit()?;
        if !(1..=MAX_DEPTH).contains(&options.depth) {
            return Err(StoreError::InvalidArgument(format!(
                "a walk has 1 to {MAX_DEPTH} steps, not {}",
                options.depth
            )));
        }
        let start = id_at(&ids_of(s, caller, &[uri]).await?, uri)?;
        let mut seen = HashSet::from([start]);
        let mut reached: Vec<Neighbour> = Vec::new();
        let mut frontier = HashMap::from([(start, 1.0)]);
        let filter = EdgeFilter {
            direction: options.direction,
            edge_types: &options.edge_types,
            min_weight: options.min_weight,
            after: None,
            limit: None,
        };
        for depth in 1..=options.depth {
            let ids: Vec<Uuid> = frontier.keys().copied().collect();
            let mut level: HashMap<Uuid, Neighbour> = HashMap::new();
            for some in ids.chunks(IDS_A_STATEMENT) {
                for row in filter.load(s, caller, some).await? {
                    for (near, far) in row.steps(&frontier, options.direction) {
                        if !seen.contains(&far.id) {
                            let score = frontier.get(&near.id).copied().unwrap_or_default() * row.weight;
                            let found = row.neighbour(near, far, depth, score)?;
                            let strongest = level.entry(far.id).or_insert_with(|| found.clone());
                            if (found.score, &strongest.via) > (strongest.score, &found.via) {
                                *strongest = found;
                            }
                        }
                    }
                }
            }
            frontier = level.iter().map(|(id, found)| (*id, found.score)).collect();
            seen.extend(frontier.keys());
            let mut level: Vec<Neighbour> = level.into_values().collect();
            level.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.uri.cmp(&b.uri)));
            reached.append(&mut level);
            if frontier.is_empty() {
                break;
            }
        }
        let start = match &options.paging.after {
            None => 0,
            Some(after) => {
                let last: Uuid = after.parse().map_err(|_| StoreError::InvalidCursor)?;
                reached.iter().position(|found| found.id == last).ok_or(StoreError::InvalidCursor)? + 1
            }
        };
        Ok(Page::of(reached.split_off(start), limit, |found| found.id.to_string()))
    }
}

/// The longest walk.
const MAX_DEPTH: u32 = 32;

/// At most so many identifiers in one statement.
const IDS_A_STATEMENT: usize = 5_000;

/// One end of an edge.
#[derive(Clone, Copy)]
struct End<'a> {
    id: Uuid,
    uri: &'a str,
    summary: &'a str,
}

impl EdgeRow {
    /// The steps that this edge allows from the frontier: near end, far end.
    fn steps(&self, frontier: &HashMap<Uuid, f64>, direction: Direction) -> Vec<(End<'_>, End<'_>)> {
        let from = || End { id: self.from_id, uri: &self.from_uri, summary: &self.from_abstract };
        let to = || End { id: self.to_id, uri: &self.to_uri, summary: &self.to_abstract };
        let mut steps = Vec::new();
        if direction != Direction::Incoming && frontier.contains_key(&self.from_id) {
            steps.push((from(), to()));
        }
        if direction != Direction::Outgoing && frontier.contains_key(&self.to_id) {
            steps.push((to(), from()));
        }
        steps
    }

    fn neighbour(&self, near: End<'_>, far: End<'_>, depth: u32, score: f64) -> Result<Neighbour, StoreError> {
        Ok(Neighbour {
            id: far.id,
            uri: Uri::parse(far.uri)?,
            r#abstract: far.summary.to_owned(),
            depth,
            score,
            via: self.edge_type.clone(),
            from: Uri::parse(near.uri)?,
        })
    }
}
