//! What each error is as an answer, one by one, made by the database where it is the database's.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing,
};
use futures_util::future::BoxFuture;
use sea_orm::{ActiveModelTrait, ConnectOptions, ConnectionTrait, Database, DbErr, Set};
use sea_session::{Class, Error, prelude::*, testing::Backend};
use sea_session_axum::{OrNotFound, Problem, Unit, UnitLayer, in_unit};

use super::support::{Answer, draft, get, note, notes, on, on_both, post, watched};

/// What no answer may say: names of tables, columns, constraints, functions, and the database's own words.
const INTERNALS: [&str; 8] = ["note", "author", "constraint", "SELECT", "INSERT", "sqlite", "backend", "no_such"];

/// Looks at the answer of a route that is to be an error.
async fn answered(db: &Db, handler: routing::MethodRouter) -> Answer {
    let app: Router = Router::new().route("/", handler).layer(watched(db).0);
    let answer = post(&app, "/").await;
    for internal in INTERNALS {
        assert!(!answer.text.contains(internal), "{internal} is told: {}", answer.text);
    }
    answer
}

/// What a handler does with its session.
type Deed = for<'a> fn(&'a mut Session) -> BoxFuture<'a, Result<(), Problem>>;

async fn carry_out(s: &mut Session, Extension(deed): Extension<Deed>) -> Result<(), Problem> {
    deed(s).await
}

/// Carries a deed out on both backends and compares status and kind.
fn check(status: u16, kind: &str, deed: Deed) {
    on_both(async |db| {
        let answer = answered(&db, routing::post(in_unit(carry_out)).layer(Extension(deed))).await;
        let (answered_status, answered_kind, _) = answer.problem();
        assert_eq!((answered_status, &*answered_kind), (status, kind));
        let repeated = answer.headers.get(header::RETRY_AFTER).map(|after| after.to_str().unwrap().to_owned());
        assert_eq!(repeated, (status == 503).then(|| "1".to_owned()), "only what may come again is told when");
        assert_eq!(notes(&db).await, 0, "nothing is left");
    });
}

#[test]
fn a_stale_row_is_409_and_tells_the_versions() {
    async fn edit(s: &mut Session) -> Result<(), Problem> {
        let note = s.add(draft("theirs"));
        s.flush().await?;
        note.set_stars(1);
        s.flush().await?;
        s.merge::<note::Entity>(note::Model { version: 1, title: "mine".into(), ..note.model() }).await?;
        Ok(())
    }
    on_both(async |db| {
        let (status, kind, body) = answered(&db, routing::post(in_unit(edit))).await.problem();
        assert_eq!((status, &*kind), (409, "stale"));
        assert_eq!((&body["expected"], &body["found"]), (&1.into(), &2.into()));
    });
}

#[test]
fn a_unique_violation_is_409() {
    check(409, "already-exists", |s| {
        Box::pin(async move {
            s.add(draft("taken"));
            s.add(draft("taken"));
            Ok(s.flush().await?)
        })
    });
}

#[test]
fn an_object_that_is_added_twice_is_409() {
    check(409, "already-exists", |s| {
        Box::pin(async move {
            s.try_add(note::ActiveModel { id: Set(7), ..draft("one") })?;
            s.try_add(note::ActiveModel { id: Set(7), ..draft("other") })?;
            Ok(())
        })
    });
}

#[test]
fn what_is_not_there_is_404() {
    check(404, "not-found", |s| {
        Box::pin(async move {
            s.get::<note::Entity>(7).await?.or_not_found("what was asked for")?;
            Ok(())
        })
    });
    // SeaORM's own errors, as they are and through an error of ours.
    check(404, "not-found", |s| {
        Box::pin(async move {
            note::ActiveModel { id: Set(7), title: Set("new".into()), ..Default::default() }.update(&*s).await?;
            Ok(())
        })
    });
    check(404, "not-found", |_| {
        Box::pin(async move { Err(Error::from(DbErr::RecordNotFound("note 7".into())).into()) })
    });
}

#[test]
fn a_foreign_key_is_422() {
    check(422, "reference", |s| {
        Box::pin(async move {
            s.add(note::ActiveModel { author_id: Set(Some(99)), ..draft("of nobody") });
            Ok(s.flush().await?)
        })
    });
}

#[test]
fn a_missing_value_is_422() {
    check(422, "missing-value", |s| {
        Box::pin(async move {
            s.execute_unprepared("INSERT INTO note (title, version) VALUES (NULL, 1)").await?;
            Ok(())
        })
    });
}

#[test]
fn a_check_is_422() {
    check(422, "check", |s| {
        Box::pin(async move {
            s.add(note::ActiveModel { stars: Set(-1), ..draft("below zero") });
            Ok(s.flush().await?)
        })
    });
}

#[test]
fn everything_else_is_500_without_a_word_about_why() {
    check(500, "internal", |s| {
        Box::pin(async move {
            s.execute_unprepared("SELECT * FROM no_such_table").await?;
            Ok(())
        })
    });
    check(500, "internal", |_| Box::pin(async move { Err(Error::Usage("note 7 is not to be told".into()).into()) }));
    check(500, "internal", |_| Box::pin(async move { Err(DbErr::Custom("note 7 is not to be told".into()).into()) }));
    // Another row of a statement than was asked for is no row that is not there.
    check(500, "internal", |s| {
        Box::pin(async move {
            let row = s.query_one_raw(sea_orm::Statement::from_string(s.backend(), "SELECT 'text' AS id")).await?;
            row.or_not_found("a row")?.try_get::<i64>("", "id")?;
            Ok(())
        })
    });
}

#[test]
fn a_serialization_failure_is_503_and_may_come_again() {
    async fn lose(s: &mut Session, State(other): State<Db>) -> Result<(), Problem> {
        let note = s.get::<note::Entity>(1).await?.or_not_found("it")?;
        other
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("UPDATE note SET stars = 5").await?;
                Ok(())
            })
            .await?;
        note.set_stars(1);
        Ok(s.flush().await?)
    }
    on(Backend::Postgres, async |db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft("contended"));
            Ok(())
        })
        .await
        .unwrap();
        let layer =
            UnitLayer::new(db.clone()).options(|_, unit: UnitOptions| unit.isolation(IsolationLevel::RepeatableRead));
        let app: Router = Router::new().route("/", routing::post(in_unit(lose))).layer(layer).with_state(db);
        let answer = post(&app, "/").await;
        assert_eq!((answer.problem().0, &*answer.problem().1), (503, "busy"));
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    });
}

/// A file that another unit writes to, and a pool of one connection to it that does not wait.
#[test]
fn a_locked_file_is_503_and_may_come_again() {
    async fn write(s: Unit<'_>) -> Result<(), Problem> {
        s.execute_unprepared("INSERT INTO shelf VALUES (2)").await?;
        Ok(())
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("locked.db").display());
        let holder = Db::connect(&url).await.unwrap();
        holder.connection().execute_unprepared("CREATE TABLE shelf (id BIGINT)").await.unwrap();
        let hasty = Db::connect(ConnectOptions::new(&url).max_connections(1).to_owned()).await.unwrap();
        hasty.connection().execute_unprepared("PRAGMA busy_timeout = 0").await.unwrap();
        let lock = holder.begin().await.unwrap();
        lock.execute_unprepared("INSERT INTO shelf VALUES (1)").await.unwrap();

        let app: Router = Router::new().route("/", routing::post(write)).layer(UnitLayer::new(hasty));
        let answer = post(&app, "/").await;
        assert_eq!((answer.problem().0, &*answer.problem().1), (503, "busy"));
        drop(lock);
    });
}

#[test]
fn a_pool_without_a_free_connection_is_503_and_may_come_again() {
    async fn count(s: Unit<'_>) -> Result<String, Problem> {
        Ok(s.query_all_raw(sea_orm::Statement::from_string(s.backend(), "SELECT 1")).await?.len().to_string())
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).acquire_timeout(std::time::Duration::from_millis(20));
        let db = Db::from(Database::connect(options).await.unwrap());
        let app: Router = Router::new().route("/", routing::get(count)).layer(UnitLayer::new(db.clone()));

        let holder = db.begin().await.unwrap();
        holder.execute_unprepared("SELECT 1").await.unwrap();
        let answer = get(&app, "/").await;
        assert_eq!((answer.problem().0, &*answer.problem().1), (503, "unavailable"));
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");

        let mut holder = holder;
        holder.rollback().await.unwrap();
        assert_eq!(get(&app, "/").await.text, "1", "it is there again");
    });
}

#[test]
fn a_lost_connection_is_503_and_may_come_again() {
    async fn cut(s: Unit<'_>) -> Result<(), Problem> {
        s.execute_unprepared("SELECT pg_terminate_backend(pg_backend_pid())").await?;
        Ok(())
    }
    on(Backend::Postgres, async |db| {
        let answer = answered(&db, routing::post(cut)).await;
        assert_eq!((answer.problem().0, &*answer.problem().1), (503, "unavailable"));
        assert_eq!(notes(&db).await, 0, "another connection is there");
    });
}

#[test]
fn h6_a_hook_that_fails_after_the_commit_says_that_it_was_changed() {
    async fn hooked(mut s: Unit<'_>) -> &'static str {
        s.add(draft("stays"));
        s.on_commit(async move || Err::<(), _>("the mail was not sent"));
        "changed"
    }
    on_both(async |db| {
        let (status, kind, body) = answered(&db, routing::post(hooked)).await.problem();
        assert_eq!((status, &*kind), (500, "after-commit"));
        assert!(body["detail"].as_str().unwrap().contains("Do not repeat"), "{body}");
        assert_eq!(notes(&db).await, 1);
    });
}

#[test]
fn r9_a_commit_of_unknown_fate_says_so_and_does_not_ask_to_come_again() {
    let problem = Problem::from(Error::CommitUnknown { cause: Arc::new(Error::Cancelled) });
    assert_eq!((problem.status(), problem.kind()), (StatusCode::INTERNAL_SERVER_ERROR, "commit-unknown"));
    assert!(problem.into_response().headers().get(header::RETRY_AFTER).is_none());
}

#[test]
fn r6_a_unit_that_was_given_up_is_answered_by_its_cause() {
    let cause = Error::Unavailable("the mail server".into());
    let given_up = Error::Exhausted { attempts: 6, cause: Arc::new(Error::RolledBack { cause: Arc::new(cause) }) };
    let problem = Problem::from(given_up);
    assert_eq!((problem.status(), problem.kind()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
}

#[test]
fn layers_outside_are_told_the_error() {
    async fn taken(mut s: Unit<'_>) -> Result<(), Problem> {
        s.add(draft("taken"));
        s.add(draft("taken"));
        Ok(s.flush().await?)
    }
    on_both(async |db| {
        let (send, told) = std::sync::mpsc::channel();
        let tell = move |response: axum::response::Response| {
            let send = send.clone();
            async move {
                let class = response.extensions().get::<Error>().and_then(Error::class);
                send.send(class).unwrap();
                response
            }
        };
        let app: Router = Router::new()
            .route("/", routing::post(taken))
            .layer(watched(&db).0)
            .layer(axum::middleware::map_response(tell));
        assert_eq!(post(&app, "/").await.status, 409);
        assert_eq!(told.recv().unwrap(), Some(Class::Unique));
    });
}

#[test]
fn a_problem_of_ones_own_has_its_members_and_keeps_the_standard_ones() {
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too-long", "The title is too long")
        .member("longest", 80)
        .member("status", "mine")
        .retry_after(std::time::Duration::from_millis(1));
    assert_eq!(problem.to_string(), "422 too-long: The title is too long");
    let response = problem.into_response();
    assert_eq!(response.headers()[header::RETRY_AFTER], "1", "never at once");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(axum::body::to_bytes(response.into_body(), usize::MAX)).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "type": "urn:sea-session:problem:too-long", "title": "The title is too long", "status": 422, "longest": 80,
    });
    assert_eq!(body, expected, "no `detail` where none was given");
}
