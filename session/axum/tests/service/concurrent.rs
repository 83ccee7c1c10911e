//! Requests side by side have units of their own.

use axum::{Router, extract::Path, routing};
use futures_util::future::join_all;
use sea_orm::{PaginatorTrait, entity::prelude::*};
use sea_session::{Error, Retry, prelude::*};
use sea_session_axum::{OrNotFound, Problem, Unit, UnitLayer, retrying};
use tokio::sync::Barrier;

use super::support::{draft, get, note, notes, on_both, post};

#[test]
fn inv1_each_request_has_a_unit_of_its_own() {
    /// On PostgreSQL both requests have written when each of them looks; on SQLite one writes at a time.
    async fn add(barrier: std::sync::Arc<Barrier>, title: String, mut s: Unit<'_>) -> Result<String, Problem> {
        s.add(draft(&title));
        if s.backend() == sea_orm::DbBackend::Postgres {
            s.flush().await?;
            barrier.wait().await;
        }
        let seen = note::Entity::find().count(&*s).await?;
        barrier.wait().await;
        Ok(seen.to_string())
    }
    on_both(async |db| {
        let together = db.backend() == sea_orm::DbBackend::Postgres;
        let barrier = std::sync::Arc::new(Barrier::new(if together { 2 } else { 1 }));
        let handler = move |Path(title): Path<String>, s: Unit<'static>| add(barrier.clone(), title, s);
        let app: Router = Router::new().route("/{title}", routing::post(handler)).layer(UnitLayer::new(db.clone()));
        let (one, two) = tokio::join!(post(&app, "/one"), post(&app, "/two"));
        let mut seen = [one.text, two.text];
        seen.sort();
        assert_eq!(seen, if together { ["1", "1"] } else { ["1", "2"] }, "nobody sees what is not committed");
        assert_eq!(notes(&db).await, 2);
    });
}

#[test]
fn r1_requests_that_change_one_row_all_succeed() {
    async fn star(s: &mut Session, Path(id): Path<i64>) -> Result<String, Problem> {
        let note = s.get::<note::Entity>(id).await?.or_not_found("the note")?;
        note.set_stars(note.stars() + 1);
        s.flush().await?;
        Ok(note.stars().to_string())
    }
    async fn show(mut s: Unit<'_>, Path(id): Path<i64>) -> Result<String, Problem> {
        Ok(s.get::<note::Entity>(id).await?.or_not_found("the note")?.stars().to_string())
    }
    on_both(async |db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft("contended"));
            Ok(())
        })
        .await
        .unwrap();
        let layer =
            UnitLayer::new(db.clone()).options(|_, unit: UnitOptions| unit.isolation(IsolationLevel::Serializable));
        let app: Router =
            Router::new().route("/{id}", routing::post(retrying(Retry::times(100), star)).get(show)).layer(layer);
        let answers = join_all((0..20).map(|_| post(&app, "/1"))).await;
        let mut stars: Vec<i64> = answers.iter().map(|answer| answer.text.parse().unwrap()).collect();
        stars.sort();
        assert_eq!(stars, (1..=20).collect::<Vec<_>>());
        assert_eq!(get(&app, "/1").await.text, "20");
    });
}
