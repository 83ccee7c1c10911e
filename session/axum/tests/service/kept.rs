//! A unit that somebody kept although the type forbids it: `Unit<'static>`, written on purpose.

use std::sync::Arc;

use axum::{Router, extract::State, routing};
use sea_orm::ConnectionTrait;
use sea_session::Error;
use sea_session_axum::{Unit, UnitLayer};
use tokio::sync::{Mutex, Notify, mpsc};

use super::support::{draft, notes, on_both, post};

#[derive(Clone)]
struct Task {
    go_on: Arc<Notify>,
    told: mpsc::UnboundedSender<Result<(), Error>>,
    ended: Arc<Mutex<Option<tokio::task::JoinHandle<()>>>>,
}

/// Hands the unit to a task, which goes on writing when the request has its answer.
async fn keep(State(task): State<Task>, mut unit: Unit<'static>) -> &'static str {
    unit.add(draft("by the request"));
    let Task { go_on, told, ended } = task;
    *ended.lock().await = Some(tokio::spawn(async move {
        go_on.notified().await;
        let written = unit.execute_unprepared("UPDATE note SET stars = 1").await.map(drop).map_err(Error::from);
        told.send(written).unwrap();
        told.send(unit.commit().await).unwrap();
    }));
    "all is well"
}

#[test]
fn what_was_kept_is_never_committed() {
    on_both(async |db| {
        let (told, mut hear) = mpsc::unbounded_channel();
        let task = Task { go_on: Arc::default(), told, ended: Arc::default() };
        let app: Router =
            Router::new().route("/", routing::post(keep)).layer(UnitLayer::new(db.clone())).with_state(task.clone());
        assert_eq!(post(&app, "/").await.problem().1, "internal", "the answer does not say that all is well");

        task.go_on.notify_one();
        hear.recv().await.unwrap().unwrap();
        let refused = hear.recv().await.unwrap().unwrap_err();
        assert!(refused.to_string().starts_with("`commit` inside a block"), "{refused}");
        task.ended.lock().await.take().unwrap().await.unwrap();
        assert_eq!(notes(&db).await, 0);
        // The connection is free again.
        db.connection().execute_unprepared("DELETE FROM note").await.unwrap();
    });
}
