//! Which answers commit: by their status, by what they say themselves, by what the handler did.

use axum::{
    Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Redirect},
    routing,
};
use sea_session::Session;
use sea_session_axum::{Outcome, Problem, Unit, in_unit};

use super::support::{draft, get, notes, notes_titled, on_both, post, watched};

async fn add(mut s: Unit<'_>, Path((title, status)): Path<(String, u16)>) -> StatusCode {
    s.add(draft(&title));
    StatusCode::from_u16(status).unwrap()
}

async fn add_in_unit(s: &mut Session, Path((title, status)): Path<(String, u16)>) -> StatusCode {
    s.add(draft(&title));
    StatusCode::from_u16(status).unwrap()
}

#[test]
fn an_answer_of_2xx_or_3xx_commits_and_every_other_rolls_back() {
    on_both(async |db| {
        let (layer, recorder) = watched(&db);
        let app: Router = Router::new()
            .route("/unit/{title}/{status}", routing::post(add))
            .route("/function/{title}/{status}", routing::post(in_unit(add_in_unit)))
            .layer(layer);
        for way in ["unit", "function"] {
            for status in [200, 201, 204, 299, 302, 303, 304, 400, 401, 404, 409, 422, 500, 503] {
                let title = format!("{way} {status}");
                let answer = post(&app, &format!("/{way}/{way}%20{status}/{status}")).await;
                assert_eq!(answer.status, status, "the handler's own answer is handed on");
                let committed = status < 400;
                assert_eq!(notes_titled(&db, &title).await, u64::from(committed), "{title}");
                // What is pending when the unit rolls back is not sent at all.
                let sent = recorder.take();
                assert_eq!(sent.last().map(|last| last == "COMMIT"), committed.then_some(true), "{title}: {sent:?}");
            }
        }
    });
}

#[test]
fn what_was_sent_is_rolled_back_before_the_answer() {
    async fn sent(mut s: Unit<'_>) -> Result<StatusCode, Problem> {
        s.add(draft("sent"));
        s.flush().await?;
        Ok(StatusCode::BAD_REQUEST)
    }
    on_both(async |db| {
        let (layer, recorder) = watched(&db);
        let app: Router = Router::new().route("/", routing::post(sent)).layer(layer);
        assert_eq!(post(&app, "/").await.status, 400);
        let sent = recorder.take();
        assert!(sent.last().is_some_and(|last| last.starts_with("ROLLBACK")), "{sent:?}");
        assert_eq!(notes(&db).await, 0);
    });
}

#[test]
fn an_answer_may_say_itself_how_the_unit_ends() {
    async fn counted(mut s: Unit<'_>) -> impl IntoResponse + use<> {
        s.add(draft("a failed attempt"));
        (StatusCode::UNAUTHORIZED, Outcome::Commit, "wrong password")
    }
    async fn tried(mut s: Unit<'_>) -> impl IntoResponse + use<> {
        s.add(draft("only to try"));
        (Outcome::RollBack, "it would work")
    }
    async fn moved(mut s: Unit<'_>) -> Redirect {
        s.add(draft("moved"));
        Redirect::to("/elsewhere")
    }
    on_both(async |db| {
        let app: Router = Router::new()
            .route("/counted", routing::post(counted))
            .route("/tried", routing::post(tried))
            .route("/moved", routing::post(moved))
            .layer(watched(&db).0);
        let answer = post(&app, "/counted").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::UNAUTHORIZED, "wrong password"));
        assert_eq!(notes(&db).await, 1);
        let answer = post(&app, "/tried").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "it would work"));
        assert_eq!(notes(&db).await, 1);
        assert_eq!(post(&app, "/moved").await.status, StatusCode::SEE_OTHER);
        assert_eq!(notes(&db).await, 2);
    });
}

#[test]
fn a7_a_handler_that_asks_for_a_rollback_keeps_its_answer() {
    async fn tried(mut s: Unit<'_>) -> Result<&'static str, Problem> {
        s.add(draft("only to try"));
        s.flush().await?;
        s.set_rollback(true)?;
        Ok("it would work")
    }
    on_both(async |db| {
        let app: Router = Router::new().route("/", routing::post(tried)).layer(watched(&db).0);
        let answer = post(&app, "/").await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "it would work"));
        assert_eq!(notes(&db).await, 0);
    });
}

#[test]
fn a7_an_error_that_was_swallowed_is_the_answer() {
    async fn swallow(mut s: Unit<'_>) -> &'static str {
        s.add(draft("taken"));
        s.flush().await.unwrap();
        s.add(draft("taken"));
        s.flush().await.unwrap_err();
        "all is well"
    }
    on_both(async |db| {
        let app: Router = Router::new().route("/", routing::post(swallow)).layer(watched(&db).0);
        let (status, kind, _) = post(&app, "/").await.problem();
        assert_eq!((status, &*kind), (409, "already-exists"));
        assert_eq!(notes(&db).await, 0);
    });
}

#[test]
fn a10_a_handler_cannot_end_the_requests_unit() {
    async fn ends(mut s: Unit<'_>) -> String {
        s.add(draft("pending"));
        let refused = [s.commit().await.unwrap_err(), s.rollback().await.unwrap_err()];
        refused.map(|refused| refused.to_string()).join("\n")
    }
    on_both(async |db| {
        let app: Router = Router::new().route("/", routing::post(ends)).layer(watched(&db).0);
        let answer = post(&app, "/").await;
        assert!(
            answer.text.starts_with("`commit` inside a block") && answer.text.contains("`rollback` inside a block")
        );
        assert_eq!(notes(&db).await, 1, "the layer commits all the same");
    });
}

#[test]
fn a_request_that_does_nothing_sends_nothing() {
    async fn none() -> &'static str {
        "no unit"
    }
    async fn idle(_: Unit<'_>) -> &'static str {
        "a unit"
    }
    on_both(async |db| {
        let (layer, recorder) = watched(&db);
        let app: Router =
            Router::new().route("/none", routing::get(none)).route("/idle", routing::get(idle)).layer(layer);
        assert_eq!(get(&app, "/none").await.text, "no unit");
        assert_eq!(get(&app, "/idle").await.text, "a unit");
        assert_eq!(recorder.take(), [""; 0]);
    });
}
