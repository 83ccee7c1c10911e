//! A commit that fails makes another answer of a 200.

use axum::{Router, extract::State, http::StatusCode, routing};
use sea_orm::{ConnectionTrait, Set};
use sea_session::{Error, prelude::*, testing::Backend};
use sea_session_axum::{Problem, Unit, UnitLayer, in_unit, retrying};

use super::support::{draft, note, notes, on, on_both, post, watched};

fn edited_by_nobody() -> note::ActiveModel {
    note::ActiveModel { editor_id: Set(Some(99)), ..draft("edited by nobody") }
}

#[test]
fn a_deferred_constraint_makes_an_error_of_a_200() {
    async fn as_argument(mut s: Unit<'_>) -> Result<&'static str, Problem> {
        s.add(edited_by_nobody());
        s.flush().await?;
        Ok("all is well")
    }
    async fn as_function(s: &mut Session) -> Result<&'static str, Problem> {
        s.add(edited_by_nobody());
        s.flush().await?;
        Ok("all is well")
    }
    on_both(async |db| {
        let (layer, recorder) = watched(&db);
        let app: Router = Router::new()
            .route("/argument", routing::post(as_argument))
            .route("/function", routing::post(in_unit(as_function)))
            .route("/retrying", routing::post(retrying(3, as_function)))
            .layer(layer);
        for path in ["/argument", "/function", "/retrying"] {
            let (status, kind, _) = post(&app, path).await.problem();
            assert_eq!((status, &*kind), (422, "reference"), "{path}");
            let sent = recorder.take();
            assert_eq!(sent.iter().filter(|sql| *sql == "COMMIT").count(), 1, "{path}: {sent:?}");
            assert_eq!(notes(&db).await, 0, "{path}");
        }
    });
}

#[test]
fn a_flush_that_fails_at_the_end_makes_an_error_of_a_200() {
    async fn add(mut s: Unit<'_>) -> &'static str {
        s.add(draft("taken"));
        s.add(draft("taken"));
        "all is well"
    }
    on_both(async |db| {
        let app: Router = Router::new().route("/", routing::post(add)).layer(watched(&db).0);
        let (status, kind, _) = post(&app, "/").await.problem();
        assert_eq!((status, &*kind), (409, "already-exists"));
        assert_eq!(notes(&db).await, 0);
    });
}

#[test]
fn the_service_may_answer_in_its_own_words() {
    async fn add(mut s: Unit<'_>) -> &'static str {
        s.add(edited_by_nobody());
        "all is well"
    }
    on_both(async |db| {
        let answer = |error: &Error| (StatusCode::IM_A_TEAPOT, format!("{:?}", error.class()));
        let layer = UnitLayer::new(db.clone()).error_response(answer).options(|_, unit: UnitOptions| unit.strict());
        let app: Router = Router::new().route("/", routing::post(add)).layer(layer);
        let answer = post(&app, "/").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::IM_A_TEAPOT, "Some(ForeignKey)"));
    });
}

#[test]
fn r3_a_serialization_failure_at_commit_is_503() {
    /// Two units that each read what the other writes: on PostgreSQL the second of them fails at COMMIT.
    async fn skew(State(other): State<Db>, s: Unit<'_>) -> Result<&'static str, Problem> {
        s.execute_unprepared("SELECT sum(stars) FROM note").await?;
        other
            .session()
            .isolation(IsolationLevel::Serializable)
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("SELECT sum(stars) FROM note").await?;
                s.execute_unprepared("INSERT INTO note (title, version) VALUES ('theirs', 1)").await?;
                Ok(())
            })
            .await?;
        s.execute_unprepared("INSERT INTO note (title, version) VALUES ('mine', 1)").await?;
        Ok("all is well")
    }
    on(Backend::Postgres, async |db| {
        let layer =
            UnitLayer::new(db.clone()).options(|_, unit: UnitOptions| unit.isolation(IsolationLevel::Serializable));
        let app: Router = Router::new().route("/", routing::post(skew)).layer(layer).with_state(db.clone());
        let (status, kind, _) = post(&app, "/").await.problem();
        assert_eq!((status, &*kind), (503, "busy"));
        assert_eq!(notes(&db).await, 1, "theirs alone");
    });
}
