//! What is there: children, trees, names by pattern, search, history, edges, numbers.

use axum::{Extension, Json, Router, extract::State, routing::get};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    Here,
    address::Address,
    problem::{Answer, Params},
};
use crate::{
    access::Caller,
    node::Entry,
    page::{Page, Paging},
    store::{
        Direction, Edge, HistoryEntry, Hit, Neighbour, SearchOptions, StoreStatus, Traverse, TreeOptions, VersionedNode,
    },
};

/// The routes of this file.
pub(super) fn routes() -> Router<Here> {
    Router::new()
        .route("/api/v1/children", get(children))
        .route("/api/v1/tree", get(tree))
        .route("/api/v1/glob", get(glob))
        .route("/api/v1/search", get(search))
        .route("/api/v1/nodes/history", get(history))
        .route("/api/v1/nodes/version", get(version))
        .route("/api/v1/edges/traverse", get(traverse))
        .route("/api/v1/status", get(status))
}

/// Which page; what is not given is as the store has it.
pub(super) fn paging(limit: Option<u64>, after: Option<String>) -> Paging {
    let default = Paging::default();
    Paging { limit: limit.unwrap_or(default.limit), after }
}

/// Which page of the children.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OfFolder {
    /// The folder.
    uri: Address,
    /// At most so many items.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u64>,
    /// Go on after the `next` of the page before.
    #[param(min_length = 1)]
    after: Option<String>,
}

/// How much of a tree.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OfTree {
    /// The folder.
    uri: Address,
    /// Only so many levels.
    #[param(minimum = 1)]
    depth: Option<u32>,
    /// At most so many items.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u64>,
    /// Go on after the `next` of the page before.
    #[param(min_length = 1)]
    after: Option<String>,
}

/// Which names.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OfPattern {
    /// `*` and `?` within a segment, `**` over several, `[…]` and `{a,b}`: `ctx://acme/resources/**/*.md`.
    #[param(pattern = "^[cC][tT][xX]://[^/]")]
    pattern: String,
    /// At most so many items.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u64>,
    /// Go on after the `next` of the page before.
    #[param(min_length = 1)]
    after: Option<String>,
}

/// What to search, and where. Every condition that is given holds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The question. `"in quotes"`: in this order; `-word`: without it; `begin*`: what begins so.
    #[param(min_length = 1)]
    q: String,
    /// Only at or below this folder.
    r#in: Option<Address>,
    /// Only what belongs to this owner space: `user:NAME`, `agent:NAME` or `shared`.
    #[param(
        pattern = r"^(?:shared|(?:user|agent):(?:[^\u0000-\u001f/?#%\u007f-\u009f\u2028\u2029]|%[0-9a-fA-F]{2})+)$"
    )]
    space: Option<String>,
    /// Only this category of memories.
    category: Option<String>,
    /// Only this type: `memory`, `skill`, `session` or `resource`.
    r#type: Option<String>,
    /// Only what was last changed then or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<DateTime<Utc>>,
    /// Only what was last changed before then.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<DateTime<Utc>>,
    /// By words alone, although there is an embedding model.
    #[serde(default)]
    words_only: bool,
    /// At most so many items.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u64>,
    /// Go on after the `next` of the page before.
    #[param(min_length = 1)]
    after: Option<String>,
}

/// Which version of which node.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OfVersion {
    /// The node, also a deleted one.
    uri: Address,
    /// The version.
    version: i64,
}

/// Which edges of a node.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    /// Those that leave it.
    Out,
    /// Those that arrive at it.
    In,
    /// Both.
    #[default]
    Both,
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::Out => Direction::Outgoing,
            Way::In => Direction::Incoming,
            Way::Both => Direction::Both,
        }
    }
}

/// Which edges of which node.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OfNode {
    /// The node.
    uri: Address,
    /// Those that leave it, arrive at it, or both.
    #[serde(default)]
    #[param(inline)]
    direction: Way,
    /// At most so many items.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u64>,
    /// Go on after the `next` of the page before.
    #[param(min_length = 1)]
    after: Option<String>,
}

/// How far to walk along edges.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Walk {
    /// The node.
    uri: Address,
    /// How many edges away at most.
    #[param(minimum = 1)]
    depth: Option<u32>,
    /// Along which edges.
    #[serde(default)]
    #[param(inline)]
    direction: Way,
    /// Only edges of at least this weight.
    #[serde(default)]
    #[param(minimum = 0, maximum = 1)]
    min_weight: f64,
    /// At most so many items.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<u64>,
    /// Go on after the `next` of the page before.
    #[param(min_length = 1)]
    after: Option<String>,
}

/// Lists the children of a folder, by name.
#[utoipa::path(get, path = "/api/v1/children", tag = "listings", params(OfFolder), responses((status = 200, body = Page<Entry>)))]
pub(super) async fn children(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(OfFolder { uri, limit, after }): Params<OfFolder>,
) -> Answer<Page<Entry>> {
    let uri = uri.uri()?;
    Ok(Json(here.store.list_children(&caller, &uri, &paging(limit, after)).await?))
}

/// Lists everything below a folder, each folder before what lies in it.
#[utoipa::path(get, path = "/api/v1/tree", tag = "listings", params(OfTree), responses((status = 200, body = Page<Entry>)))]
pub(super) async fn tree(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(OfTree { uri, depth, limit, after }): Params<OfTree>,
) -> Answer<Page<Entry>> {
    let uri = uri.uri()?;
    let options = TreeOptions { depth, paging: paging(limit, after) };
    Ok(Json(here.store.tree(&caller, &uri, &options).await?))
}

/// Lists the nodes whose address matches a pattern of readable names.
#[utoipa::path(get, path = "/api/v1/glob", tag = "listings", params(OfPattern), responses((status = 200, body = Page<Entry>)))]
pub(super) async fn glob(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(OfPattern { pattern, limit, after }): Params<OfPattern>,
) -> Answer<Page<Entry>> {
    Ok(Json(here.store.glob(&caller, &pattern, &paging(limit, after)).await?))
}

/// Finds the nodes that answer a question best: any of its words may match.
#[utoipa::path(get, path = "/api/v1/search", tag = "search", params(Question), responses((status = 200, body = Page<Hit>)))]
pub(super) async fn search(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(question): Params<Question>,
) -> Answer<Page<Hit>> {
    let options = SearchOptions {
        within: question.r#in.map(Address::uri).transpose()?,
        owner_space: question.space,
        category: question.category,
        node_type: question.r#type,
        metadata: Vec::new(),
        since: question.since,
        until: question.until,
        words_only: question.words_only,
        paging: paging(question.limit, question.after),
    };
    Ok(Json(here.store.search(&caller, &question.q, &options).await?))
}

/// Lists the versions of a node, newest first; of a deleted one, those that are kept.
#[utoipa::path(
    get, path = "/api/v1/nodes/history", tag = "nodes", params(OfFolder), responses((status = 200, body = Page<HistoryEntry>))
)]
pub(super) async fn history(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(OfFolder { uri, limit, after }): Params<OfFolder>,
) -> Answer<Page<HistoryEntry>> {
    let uri = uri.uri()?;
    Ok(Json(here.store.history(&caller, &uri, &paging(limit, after)).await?))
}

/// Reads a version of a node.
#[utoipa::path(
    get, path = "/api/v1/nodes/version", tag = "nodes", params(OfVersion), responses((status = 200, body = VersionedNode))
)]
pub(super) async fn version(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(OfVersion { uri, version }): Params<OfVersion>,
) -> Answer<VersionedNode> {
    let uri = uri.uri()?;
    Ok(Json(here.store.read_version(&caller, &uri, version).await?))
}

/// Lists the edges of a node, strongest first.
#[utoipa::path(get, path = "/api/v1/edges", tag = "edges", params(OfNode), responses((status = 200, body = Page<Edge>)))]
pub(super) async fn edges(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(OfNode { uri, direction, limit, after }): Params<OfNode>,
) -> Answer<Page<Edge>> {
    let uri = uri.uri()?;
    Ok(Json(here.store.edges(&caller, &uri, direction.into(), &paging(limit, after)).await?))
}

/// Lists the nodes that can be reached along edges, nearer ones first.
#[utoipa::path(
    get, path = "/api/v1/edges/traverse", tag = "edges", params(Walk), responses((status = 200, body = Page<Neighbour>))
)]
pub(super) async fn traverse(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(Walk { uri, depth, direction, min_weight, limit, after }): Params<Walk>,
) -> Answer<Page<Neighbour>> {
    let uri = uri.uri()?;
    let default = Traverse::default();
    let options = Traverse {
        depth: depth.unwrap_or(default.depth),
        direction: direction.into(),
        min_weight,
        paging: paging(limit, after),
        ..default
    };
    Ok(Json(here.store.traverse(&caller, &uri, &options).await?))
}

/// Counts what the caller may see of the account.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", responses((status = 200, body = StoreStatus)))]
pub(super) async fn status(State(here): State<Here>, Extension(caller): Extension<Caller>) -> Answer<StoreStatus> {
    Ok(Json(here.store.status(&caller).await?))
}
