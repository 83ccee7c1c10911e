//! The same two endpoints as somebody writes them with SeaORM alone: no caller, no rights, no retry, no history but the row,
//! and nothing that keeps an index in step.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use context_entities::{node, node_version, outbox_event};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ColumnTrait, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, Set, TransactionTrait,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

#[derive(Clone)]
pub struct Plain {
    pub db: DatabaseConnection,
    /// SQLite has one writer; without this SeaORM's transactions fail there as soon as two meet.
    pub writer: Option<Arc<Mutex<()>>>,
}

#[derive(Deserialize)]
struct At {
    uri: String,
}

#[derive(Deserialize)]
struct Body {
    content: String,
}

/// What the service answers of a node.
#[derive(Serialize)]
struct Node {
    id: String,
    uri: String,
    r#abstract: String,
    overview: String,
    content: String,
    metadata: Value,
    version: i64,
    updated_at: String,
}

pub fn router(plain: Plain) -> Router {
    Router::new().route("/api/v1/nodes", get(read).put(write)).with_state(plain)
}

fn failed(_: DbErr) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

fn at(uri: &str) -> sea_orm::Select<node::Entity> {
    let of_account = node::Entity::find().filter(node::Column::AccountId.eq("acme"));
    of_account.filter(node::Column::Uri.eq(uri)).filter(node::Column::Status.eq(node::Status::Active))
}

async fn read(State(plain): State<Plain>, Query(At { uri }): Query<At>) -> Result<Json<Node>, StatusCode> {
    let row = at(&uri).one(&plain.db).await.map_err(failed)?.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(Node {
        id: row.id.to_string(),
        uri: row.uri,
        r#abstract: row.r#abstract,
        overview: row.overview,
        content: row.content,
        metadata: row.metadata,
        version: row.version,
        updated_at: row.updated_at.to_rfc3339(),
    }))
}

async fn write(
    State(plain): State<Plain>,
    Query(At { uri }): Query<At>,
    Json(Body { content }): Json<Body>,
) -> Result<Json<Value>, StatusCode> {
    let _alone = match &plain.writer {
        Some(writer) => Some(writer.lock().await),
        None => None,
    };
    let version = update(&plain.db, &uri, content).await.map_err(failed)?.ok_or(StatusCode::NOT_FOUND)?;
    Ok(Json(json!({ "uri": uri, "version": version })))
}

async fn update(db: &DatabaseConnection, uri: &str, content: String) -> Result<Option<i64>, DbErr> {
    let tx = db.begin().await?;
    let Some(row) = at(uri).one(&tx).await? else { return Ok(None) };
    let now = chrono::Utc::now();
    let before = node_version::ActiveModel {
        node_id: Set(row.id),
        version: Set(row.version),
        account_id: Set(row.account_id.clone()),
        uri: Set(row.uri.clone()),
        owner_space: Set(row.owner_space.clone()),
        category: Set(row.category.clone()),
        node_type: Set(row.node_type.clone()),
        status: Set(row.status),
        r#abstract: Set(row.r#abstract.clone()),
        overview: Set(row.overview.clone()),
        content: Set(row.content.clone()),
        metadata: Set(row.metadata.clone()),
        content_hash: Set(row.content_hash.clone()),
        change: Set(node_version::Change::Write),
        written_at: Set(row.updated_at),
        recorded_at: Set(now),
    };
    before.insert(&tx).await?;
    let (id, version) = (row.id, row.version + 1);
    let mut node = row.into_active_model();
    node.content_hash = Set(context_store::record::content_hash(&content));
    node.content = Set(content);
    node.version = Set(version);
    node.updated_at = Set(now);
    node.update(&tx).await?;
    let event = outbox_event::ActiveModel {
        id: NotSet,
        account_id: Set("acme".to_owned()),
        topic: Set("bench".to_owned()),
        event_key: Set(id.to_string()),
        sequence: Set(version),
        event_type: Set("node.write".to_owned()),
        payload: Set(json!({ "uri": uri })),
        ..Default::default()
    };
    event.insert(&tx).await?;
    tx.commit().await?;
    Ok(Some(version))
}
