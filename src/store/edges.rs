//! Edges: typed, weighted relations between nodes, kept by identity so that a move rewrites none (V9).

use std::collections::{HashMap, HashSet};

use context_entities::{edge, node};
use sea_orm::{
    ActiveValue::NotSet,
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Select, Set,
    prelude::{DateTimeUtc, Json, Uuid},
};
use sea_session::prelude::*;
use serde_json::Map;

use super::{Store, Within, Written, allow_node, read::visible};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    page::{Page, Paging},
    sql::Sql,
    uri::Uri,
};

/// What an edge says.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// What kind of relation it is; there is at most one of a kind from one node to another.
    pub edge_type: String,
    /// Strength, 0 to 1.
    pub weight: f64,
    /// Why it was made.
    pub reason: String,
    /// A JSON object of the caller's.
    pub metadata: Map<String, Json>,
}

impl Link {
    /// An edge of this type, with full weight.
    pub fn of(edge_type: impl Into<String>) -> Self {
        Self { edge_type: edge_type.into(), weight: 1.0, reason: String::new(), metadata: Map::new() }
    }

    /// With this weight.
    pub fn weighing(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// With this reason.
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.edge_type.trim().is_empty() {
            return Err(StoreError::InvalidArgument("an edge needs a type".into()));
        }
        if !(0.0..=1.0).contains(&self.weight) {
            return Err(StoreError::InvalidArgument(format!("a weight is between 0 and 1, not {}", self.weight)));
        }
        Ok(())
    }
}

/// An outgoing edge that is written together with its node ([`crate::Write::links`]).
#[derive(Clone, Debug, PartialEq)]
pub struct LinkTo {
    /// Where it arrives.
    pub to: Uri,
    /// What it says.
    pub link: Link,
}

/// An edge between two nodes that the caller may see.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Edge {
    /// Its identity.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = "uuid"))]
    pub id: Uuid,
    /// Where it leaves.
    pub from: Uri,
    /// Where it arrives.
    pub to: Uri,
    /// What kind of relation it is.
    pub edge_type: String,
    /// Strength, 0 to 1.
    pub weight: f64,
    /// Why it was made.
    pub reason: String,
    /// A JSON object of the caller's.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub metadata: Json,
    /// When it was last changed.
    #[cfg_attr(feature = "serve", schema(value_type = String, format = DateTime))]
    pub updated_at: DateTimeUtc,
}

/// A page of edges.
pub type EdgePage = Page<Edge>;

/// Which edges of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Those that leave it.
    #[default]
    Outgoing,
    /// Those that arrive at it.
    Incoming,
    /// Both.
    Both,
}

impl Store {
    /// Makes an edge, or changes the one of the same type between the two (V9).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an end, [`StoreError::Denied`] (writing is asked of `from`, reading of `to`),
    /// [`StoreError::InvalidArgument`] for a weight or type.
    pub async fn link(&self, caller: &Caller, from: &Uri, to: &Uri, link: &Link) -> Result<Edge, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).link(from, to, link).await).await
    }

    /// Removes the edge of this type between two nodes, or all edges from the one to the other; returns how many.
    ///
    /// # Errors
    /// [`StoreError::NoSuchEdge`], [`StoreError::NotFound`] for an end, [`StoreError::Denied`].
    pub async fn unlink(
        &self,
        caller: &Caller,
        from: &Uri,
        to: &Uri,
        edge_type: Option<&str>,
    ) -> Result<u64, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).unlink(from, to, edge_type).await).await
    }

    /// The edges of a node, strongest first; those whose other end the caller may not see, or which is archived, are left out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Denied`], [`StoreError::InvalidCursor`].
    pub async fn edges(
        &self,
        caller: &Caller,
        uri: &Uri,
        direction: Direction,
        paging: &Paging,
    ) -> Result<EdgePage, StoreError> {
        self.read_unit(caller)
            .run(async |s: &mut Session| self.within(s, caller).edges(uri, direction, paging).await)
            .await
    }
}

impl Within<'_> {
    /// [`Store::link`] in this unit.
    ///
    /// # Errors
    /// As [`Store::link`].
    pub async fn link(&mut self, from: &Uri, to: &Uri, link: &Link) -> Result<Edge, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        link.check()?;
        allow_node(caller, from, Access::Write, "have edges")?;
        allow_node(caller, to, Access::Read, "have edges")?;
        let ids = hold_ids(s, caller, &[from, to]).await?;
        let (from_id, to_id) = (id_at(&ids, from)?, id_at(&ids, to)?);
        let held = edge::Entity::find()
            .filter(edge::Column::FromId.eq(from_id))
            .filter(edge::Column::ToId.eq(to_id))
            .filter(edge::Column::EdgeType.eq(&link.edge_type))
            .for_update()
            .load_one(s)
            .await?;
        let edge = match held {
            Some(edge) => {
                edge.set_weight(link.weight)
                    .set_reason(link.reason.clone())
                    .set_metadata(Json::Object(link.metadata.clone()));
                edge
            }
            None => s.add(new_edge(caller.account(), from_id, to_id, link)),
        };
        s.flush().await?;
        let row = edge.model();
        Ok(Edge {
            id: row.id,
            from: from.clone(),
            to: to.clone(),
            edge_type: row.edge_type,
            weight: row.weight,
            reason: row.reason,
            metadata: row.metadata,
            updated_at: row.updated_at,
        })
    }

    /// [`Store::unlink`] in this unit.
    ///
    /// # Errors
    /// As [`Store::unlink`].
    pub async fn unlink(&mut self, from: &Uri, to: &Uri, edge_type: Option<&str>) -> Result<u64, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, from, Access::Write, "have edges")?;
        allow_node(caller, to, Access::Read, "have edges")?;
        let ids = ids_of(s, caller, &[from, to]).await?;
        let mut found = edge::Entity::find()
            .filter(edge::Column::FromId.eq(id_at(&ids, from)?))
            .filter(edge::Column::ToId.eq(id_at(&ids, to)?));
        if let Some(edge_type) = edge_type {
            found = found.filter(edge::Column::EdgeType.eq(edge_type));
        }
        let edges = found.load(s).await?;
        if edges.is_empty() {
            let edge_type = edge_type.unwrap_or("of any type").to_owned();
            return Err(StoreError::NoSuchEdge { from: from.clone(), to: to.clone(), edge_type });
        }
        for edge in &edges {
            s.delete(edge);
        }
        Ok(edges.len() as u64)
    }

    /// [`Store::edges`] in this unit.
    ///
    /// # Errors
    /// As [`Store::edges`].
    pub async fn edges(&mut self, uri: &Uri, direction: Direction, paging: &Paging) -> Result<EdgePage, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Read, "have edges")?;
        let limit = paging.checked_limit()?;
        let ids = ids_of(s, caller, &[uri]).await?;
        let filter = EdgeFilter {
            direction,
            edge_types: &[],
            min_weight: 0.0,
            after: paging.after.as_deref(),
            limit: Some(limit + 1),
        };
        let rows = filter.load(s, caller, &[id_at(&ids, uri)?]).await?;
        let page = Page::of(rows, limit, |row| format!("{}/{}", row.weight, row.id));
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(row.edge()?);
        }
        Ok(Page { items, next: page.next })
    }

    /// Gives a node exactly these outgoing edges (V3: only when they are given).
    pub(super) async fn replace_links(&mut self, from: &Written, links: &[LinkTo]) -> Result<(), StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let mut wanted = HashSet::new();
        for LinkTo { to, link } in links {
            link.check()?;
            allow_node(caller, to, Access::Read, "have edges")?;
            if !wanted.insert((to, &link.edge_type)) {
                return Err(StoreError::InvalidArgument(format!("two edges `{}` to {to}", link.edge_type)));
            }
        }
        let targets: Vec<&Uri> = links.iter().map(|link| &link.to).collect();
        let ids = hold_ids(s, caller, &targets).await?;
        let held = edge::Entity::find().filter(edge::Column::FromId.eq(from.id)).for_update().load(s).await?;
        let mut held: HashMap<(Uuid, String), Tracked<edge::Entity>> =
            held.into_iter().map(|edge| ((edge.to_id(), edge.edge_type()), edge)).collect();
        for LinkTo { to, link } in links {
            let to_id = id_at(&ids, to)?;
            match held.remove(&(to_id, link.edge_type.clone())) {
                Some(edge) => {
                    edge.set_weight(link.weight)
                        .set_reason(link.reason.clone())
                        .set_metadata(Json::Object(link.metadata.clone()));
                }
                None => {
                    s.add(new_edge(caller.account(), from.id, to_id, link));
                }
            }
        }
        held.values().for_each(|edge| s.delete(edge));
        Ok(())
    }
}

fn new_edge(account: &str, from: Uuid, to: Uuid, link: &Link) -> edge::ActiveModel {
    let now = super::write::now();
    edge::ActiveModel {
        id: Set(Uuid::now_v7()),
        account_id: Set(account.to_owned()),
        from_id: Set(from),
        to_id: Set(to),
        edge_type: Set(link.edge_type.clone()),
        weight: Set(link.weight),
        reason: Set(link.reason.clone()),
        metadata: Set(Json::Object(link.metadata.clone())),
        created_at: NotSet,
        updated_at: Set(now),
    }
}

/// The identities of the active nodes at these URIs, among those that the caller may see.
pub(super) async fn ids_of(
    s: &mut Session,
    caller: &Caller,
    uris: &[&Uri],
) -> Result<HashMap<String, Uuid>, StoreError> {
    if uris.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, Uuid)> = ends(caller, uris).into_tuple().all(s).await?;
    Ok(rows.into_iter().collect())
}

/// As [`ids_of`], held until the unit ends: nobody deletes or moves an end while its edge is made.
async fn hold_ids(s: &mut Session, caller: &Caller, uris: &[&Uri]) -> Result<HashMap<String, Uuid>, StoreError> {
    if uris.is_empty() {
        return Ok(HashMap::new());
    }
    let held = ends(caller, uris).order_by_asc(node::Column::Uri).lock(super::dialect(s).end_lock);
    let rows: Vec<(String, Uuid)> = held.into_tuple().all(s).await?;
    Ok(rows.into_iter().collect())
}

fn ends(caller: &Caller, uris: &[&Uri]) -> Select<node::Entity> {
    visible(caller)
        .filter(node::Column::Uri.is_in(uris.iter().map(|uri| uri.as_str())))
        .filter(node::Column::Status.eq(node::Status::Active))
        .select_only()
        .columns([node::Column::Uri, node::Column::Id])
}

pub(super) fn id_at(ids: &HashMap<String, Uuid>, uri: &Uri) -> Result<Uuid, StoreError> {
    ids.get(uri.as_str()).copied().ok_or_else(|| StoreError::not_found(uri))
}

/// Which edges a query returns, strongest first.
pub(super) struct EdgeFilter<'a> {
    pub(super) direction: Direction,
    pub(super) edge_types: &'a [String],
    pub(super) min_weight: f64,
    pub(super) after: Option<&'a str>,
    pub(super) limit: Option<u64>,
}

#[derive(FromQueryResult)]
pub(super) struct EdgeRow {
    pub(super) id: Uuid,
    pub(super) edge_type: String,
    pub(super) weight: f64,
    pub(super) reason: String,
    pub(super) metadata: Json,
    pub(super) updated_at: DateTimeUtc,
    pub(super) from_id: Uuid,
    pub(super) from_uri: String,
    pub(super) from_abstract: String,
    pub(super) to_id: Uuid,
    pub(super) to_uri: String,
    pub(super) to_abstract: String,
}

impl EdgeRow {
    fn edge(self) -> Result<Edge, StoreError> {
        Ok(Edge {
            id: self.id,
            from: Uri::parse(&self.from_uri)?,
            to: Uri::parse(&self.to_uri)?,
            edge_type: self.edge_type,
            weight: self.weight,
            reason: self.reason,
            metadata: self.metadata,
            updated_at: self.updated_at,
        })
    }
}

impl EdgeFilter<'_> {
    pub(super) async fn load(
        &self,
        s: &mut Session,
        caller: &Caller,
        ids: &[Uuid],
    ) -> Result<Vec<EdgeRow>, StoreError> {
        let mut sql = Sql::of(s);
        sql.push(
            "SELECT e.id, e.edge_type, e.weight, e.reason, e.metadata, e.updated_at, e.from_id, f.uri AS from_uri",
        );
        sql.push(", f.abstract AS from_abstract, e.to_id, t.uri AS to_uri, t.abstract AS to_abstract FROM edges e");
        sql.push(" JOIN nodes f ON f.id = e.from_id AND f.status = 'active' JOIN nodes t ON t.id = e.to_id AND t.status = 'active'");
        sql.push(" WHERE e.account_id = ").bind(caller.account()).push(" AND (");
        match self.direction {
            Direction::Outgoing => sql.is_in("e.from_id", ids.iter().copied()),
            Direction::Incoming => sql.is_in("e.to_id", ids.iter().copied()),
            Direction::Both => {
                sql.is_in("e.from_id", ids.iter().copied()).push(" OR ").is_in("e.to_id", ids.iter().copied())
            }
        };
        sql.push(") AND e.weight >= ").bind(self.min_weight);
        if !self.edge_types.is_empty() {
            sql.push(" AND ").is_in("e.edge_type", self.edge_types.iter().map(String::as_str));
        }
        let spaces = caller.owner_filter();
        sql.and_owned("f.owner_space", spaces.as_deref()).and_owned("t.owner_space", spaces.as_deref());
        if let Some(after) = self.after {
            let (weight, id) = edge_cursor(after)?;
            sql.with(" AND (e.weight < ? OR (e.weight = ? AND e.id > ?))", [weight.into(), weight.into(), id.into()]);
        }
        sql.push(" ORDER BY e.weight DESC, e.id");
        if let Some(limit) = self.limit {
            sql.push(" LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
        }
        Ok(EdgeRow::find_by_statement(sql.finish()).all(s).await?)
    }
}

fn edge_cursor(after: &str) -> Result<(f64, Uuid), StoreError> {
    let (weight, id) = after.split_once('/').ok_or(StoreError::InvalidCursor)?;
    let weight = weight.parse().map_err(|_| StoreError::InvalidCursor)?;
    Ok((weight, id.parse().map_err(|_| StoreError::InvalidCursor)?))
}
