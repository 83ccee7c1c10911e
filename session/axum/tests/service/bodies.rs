//! A body is sent after the unit has ended.

use axum::{Router, body::Body, extract::State, routing};
use futures_util::stream;
use sea_orm::{PaginatorTrait, entity::prelude::*};
use sea_session::prelude::*;
use sea_session_axum::{Problem, Unit, UnitLayer};

use super::support::{draft, note, notes, on_both, post};

/// The body looks at the database when it is asked for its part.
async fn streamed(State(db): State<Db>, mut s: Unit<'_>) -> Result<Body, Problem> {
    s.add(draft("written"));
    s.flush().await?;
    Ok(Body::from_stream(stream::once(async move {
        let seen = note::Entity::find().count(db.connection()).await.map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(format!("{seen} committed"))
    })))
}

#[test]
fn a_streamed_body_finds_the_unit_committed() {
    on_both(async |db| {
        let app: Router =
            Router::new().route("/", routing::post(streamed)).layer(UnitLayer::new(db.clone())).with_state(db.clone());
        assert_eq!(post(&app, "/").await.text, "1 committed");
        assert_eq!(notes(&db).await, 1);
    });
}

/// With one connection in all, the body would wait for ever for that of the unit.
#[test]
fn a_streamed_body_finds_the_connection_free() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Db::connect("sqlite::memory:").await.unwrap();
        sea_session::testing::create_table(&db, note::Entity).await.unwrap();
        let app: Router =
            Router::new().route("/", routing::post(streamed)).layer(UnitLayer::new(db.clone())).with_state(db.clone());
        assert_eq!(post(&app, "/").await.text, "1 committed");
    });
}
