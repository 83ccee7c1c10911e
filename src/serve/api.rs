//! The operations on a node, and on edges: `/api/v1/nodes…` and `/api/v1/edges…`.
//!
//! A node is named by its address in the query (`?uri=ctx://…`) or in the body, in any spelling that the store takes, so
//! that no proxy rewrites what is percent-encoded in it.

use axum::{
    Extension, Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post, put},
};
use sea_session::Session;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    Here,
    address::Address,
    problem::{Answer, Input, Params, Refusal},
    whole::{whole, whole_or_none},
};
use crate::{
    access::Caller,
    error::StoreError,
    node::{Node, Stat},
    store::{DeleteOptions, Edge, Link, LinkTo, Moved, Removed, Within, Write, Written},
    uri::Uri,
};

/// The routes of this file.
pub(super) fn routes() -> Router<Here> {
    Router::new()
        .route("/api/v1/nodes", get(read).put(write).delete(delete))
        .route("/api/v1/nodes/stat", get(stat))
        .route("/api/v1/nodes/append", post(append))
        .route("/api/v1/nodes/move", post(move_node))
        .route("/api/v1/nodes/archive", post(archive))
        .route("/api/v1/nodes/restore", post(restore))
        .route("/api/v1/nodes/revert", post(revert))
        .route("/api/v1/edges", put(link).delete(unlink).get(super::listing::edges))
}

/// Which node.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct At {
    /// The node.
    uri: Address,
}

/// What to delete.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ToDelete {
    /// The node or folder.
    uri: Address,
    /// Also everything below; without it, a folder that has something below is refused.
    #[serde(default)]
    recursive: bool,
    /// Only if the node has this version.
    expected_version: Option<i64>,
}

/// What to write to a node. What is not given stays as it is, and is empty in a new node.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToWrite {
    /// Level 0: one sentence.
    r#abstract: Option<String>,
    /// Level 1: a paragraph or a page.
    overview: Option<String>,
    /// Level 2: all of it.
    content: Option<String>,
    /// Replaces the metadata.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    /// Update this version or fail.
    #[serde(default, deserialize_with = "whole_or_none")]
    expected_version: Option<i64>,
    /// Create the node or fail.
    #[serde(default)]
    create_only: bool,
    /// Replaces the outgoing edges.
    links: Option<Vec<ToLink>>,
}

/// An edge that goes out from the node that is written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToLink {
    /// Where it arrives.
    to: Address,
    /// What kind of relation it is.
    #[schema(pattern = r"\S")]
    edge_type: String,
    /// Strength, 0 to 1.
    #[serde(default = "full")]
    #[schema(minimum = 0, maximum = 1)]
    weight: f64,
    /// Why it is made.
    #[serde(default)]
    reason: String,
    /// Any object.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

fn full() -> f64 {
    1.0
}

/// What to add to the end of a node's content.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToAppend {
    /// The text.
    text: String,
    /// Only if the node has this version.
    #[serde(default, deserialize_with = "whole_or_none")]
    expected_version: Option<i64>,
}

/// What moves where.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToMove {
    /// What moves, with everything below it.
    from: Address,
    /// Where to; the place must be free.
    to: Address,
    /// Only if the node has this version.
    #[serde(default, deserialize_with = "whole_or_none")]
    expected_version: Option<i64>,
}

/// What to archive or to restore.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// The node or folder.
    uri: Address,
    /// Also everything below.
    #[serde(default)]
    recursive: bool,
}

/// Which version to write again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToRevert {
    /// The node.
    uri: Address,
    /// The version.
    #[serde(deserialize_with = "whole")]
    version: i64,
}

/// An edge to make or to change.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToConnect {
    /// Where it leaves.
    from: Address,
    /// Where it arrives.
    to: Address,
    /// What kind of relation it is; there is at most one of a kind from one node to another.
    #[schema(pattern = r"\S")]
    edge_type: String,
    /// Strength, 0 to 1.
    #[serde(default = "full")]
    #[schema(minimum = 0, maximum = 1)]
    weight: f64,
    /// Why it is made.
    #[serde(default)]
    reason: String,
    /// Any object.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
}

/// Which edges to remove.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ToDisconnect {
    /// Where they leave.
    from: Address,
    /// Where they arrive.
    to: Address,
    /// Only the edge of this type.
    edge_type: Option<String>,
}

/// How many edges were removed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Disconnected {
    /// So many.
    removed: u64,
}

/// Reads a node with its texts.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes", params(At), responses((status = 200, body = Node)))]
pub(super) async fn read(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(At { uri }): Params<At>,
) -> Answer<Node> {
    let uri = uri.uri()?;
    Ok(Json(here.store.read(&caller, &uri).await?))
}

/// Looks at a node without its texts, also at an archived one.
#[utoipa::path(get, path = "/api/v1/nodes/stat", tag = "nodes", params(At), responses((status = 200, body = Stat)))]
pub(super) async fn stat(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(At { uri }): Params<At>,
) -> Answer<Stat> {
    let uri = uri.uri()?;
    Ok(Json(here.store.stat(&caller, &uri).await?))
}

/// Creates or updates a node.
#[utoipa::path(
    put, path = "/api/v1/nodes", tag = "nodes", params(At), request_body = ToWrite,
    responses((status = 200, body = Written, description = "Updated"), (status = 201, body = Written, description = "Created"))
)]
pub(super) async fn write(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(At { uri }): Params<At>,
    Input(body): Input<ToWrite>,
) -> Result<(StatusCode, Json<Written>), Refusal> {
    let uri = uri.uri()?;
    let links =
        body.links.map(|links| links.into_iter().map(LinkTo::try_from).collect::<Result<_, _>>()).transpose()?;
    let write = Write {
        r#abstract: body.r#abstract,
        overview: body.overview,
        content: body.content,
        metadata: body.metadata,
        expected_version: body.expected_version,
        links,
        create_only: body.create_only,
    };
    Ok(with_status(here.store.write(&caller, &uri, &write).await?))
}

/// Adds text to the end of a node's content, or creates the node with it.
#[utoipa::path(
    post, path = "/api/v1/nodes/append", tag = "nodes", params(At), request_body = ToAppend,
    responses((status = 200, body = Written, description = "Updated"), (status = 201, body = Written, description = "Created"))
)]
pub(super) async fn append(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(At { uri }): Params<At>,
    Input(ToAppend { text, expected_version }): Input<ToAppend>,
) -> Result<(StatusCode, Json<Written>), Refusal> {
    let uri = uri.uri()?;
    let written = here
        .store
        .unit(&caller)
        .run(async |s: &mut Session| -> Result<Written, StoreError> {
            let mut within = here.store.within(s, &caller);
            expect(&mut within, &uri, expected_version).await?;
            within.append(&uri, &text).await
        })
        .await?;
    Ok(with_status(written))
}

/// Deletes a node, or a folder with everything below it. The history stays.
#[utoipa::path(delete, path = "/api/v1/nodes", tag = "nodes", params(ToDelete), responses((status = 200, body = Removed)))]
pub(super) async fn delete(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(ToDelete { uri, recursive, expected_version }): Params<ToDelete>,
) -> Answer<Removed> {
    let uri = uri.uri()?;
    let removed = here
        .store
        .unit(&caller)
        .run(async |s: &mut Session| -> Result<Removed, StoreError> {
            let mut within = here.store.within(s, &caller);
            expect(&mut within, &uri, expected_version).await?;
            within.delete(&uri, DeleteOptions { recursive }).await
        })
        .await?;
    Ok(Json(removed))
}

/// Moves a node or folder, with everything below it, to a place that is free.
#[utoipa::path(
    post, path = "/api/v1/nodes/move", tag = "nodes", request_body = ToMove, responses((status = 200, body = Moved))
)]
pub(super) async fn move_node(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Input(ToMove { from, to, expected_version }): Input<ToMove>,
) -> Answer<Moved> {
    let (from, to) = (from.uri()?, to.uri()?);
    let moved = here
        .store
        .unit(&caller)
        .run(async |s: &mut Session| -> Result<Moved, StoreError> {
            let mut within = here.store.within(s, &caller);
            expect(&mut within, &from, expected_version).await?;
            within.move_node(&from, &to).await
        })
        .await?;
    Ok(Json(moved))
}

/// Keeps a node, but out of reading, listing and search.
#[utoipa::path(
    post, path = "/api/v1/nodes/archive", tag = "nodes", request_body = Place, responses((status = 200, body = Removed))
)]
pub(super) async fn archive(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Input(Place { uri, recursive }): Input<Place>,
) -> Answer<Removed> {
    let uri = uri.uri()?;
    Ok(Json(here.store.archive(&caller, &uri, DeleteOptions { recursive }).await?))
}

/// Brings an archived node back.
#[utoipa::path(
    post, path = "/api/v1/nodes/restore", tag = "nodes", request_body = Place, responses((status = 200, body = Removed))
)]
pub(super) async fn restore(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Input(Place { uri, recursive }): Input<Place>,
) -> Answer<Removed> {
    let uri = uri.uri()?;
    Ok(Json(here.store.restore(&caller, &uri, DeleteOptions { recursive }).await?))
}

/// Writes an earlier version of a node again, as a new version.
#[utoipa::path(
    post, path = "/api/v1/nodes/revert", tag = "nodes", request_body = ToRevert, responses((status = 200, body = Written))
)]
pub(super) async fn revert(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Input(ToRevert { uri, version }): Input<ToRevert>,
) -> Answer<Written> {
    let uri = uri.uri()?;
    Ok(Json(here.store.revert(&caller, &uri, version).await?))
}

/// Makes an edge, or changes the one of the same type between the two nodes.
#[utoipa::path(
    put, path = "/api/v1/edges", tag = "edges", request_body = ToConnect, responses((status = 200, body = Edge))
)]
pub(super) async fn link(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Input(ToConnect { from, to, edge_type, weight, reason, metadata }): Input<ToConnect>,
) -> Answer<Edge> {
    let (from, to) = (from.uri()?, to.uri()?);
    let link = Link { edge_type, weight, reason, metadata };
    Ok(Json(here.store.link(&caller, &from, &to, &link).await?))
}

/// Removes the edge of a type between two nodes, or all edges from the one to the other.
#[utoipa::path(
    delete, path = "/api/v1/edges", tag = "edges", params(ToDisconnect), responses((status = 200, body = Disconnected))
)]
pub(super) async fn unlink(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    Params(ToDisconnect { from, to, edge_type }): Params<ToDisconnect>,
) -> Answer<Disconnected> {
    let (from, to) = (from.uri()?, to.uri()?);
    let removed = here.store.unlink(&caller, &from, &to, edge_type.as_deref()).await?;
    Ok(Json(Disconnected { removed }))
}

impl TryFrom<ToLink> for LinkTo {
    type Error = StoreError;

    fn try_from(link: ToLink) -> Result<Self, StoreError> {
        let ToLink { to, edge_type, weight, reason, metadata } = link;
        Ok(Self { to: to.uri()?, link: Link { edge_type, weight, reason, metadata } })
    }
}

async fn expect(within: &mut Within<'_>, uri: &Uri, version: Option<i64>) -> Result<(), StoreError> {
    match version {
        Some(version) => within.expect(uri, version).await,
        None => Ok(()),
    }
}

fn with_status(written: Written) -> (StatusCode, Json<Written>) {
    (if written.created { StatusCode::CREATED } else { StatusCode::OK }, Json(written))
}
