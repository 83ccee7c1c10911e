//! Handlers that are functions of a session are run again, whole, with their arguments as they were.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{Json, Router, extract::State, handler::Handler, http::header, routing};
use sea_orm::{ConnectionTrait, entity::prelude::*};
use sea_session::{Class, Error, prelude::*, testing::Backend};
use sea_session_axum::{NonAtomic, OrNotFound, Outcome, Problem, RequestOptions, Unit, UnitLayer, retrying};

use super::support::{Answer, draft, note, notes, on, on_both, post, request, send};

/// How often the handler was called, and in how many of its first calls another unit is faster.
#[derive(Clone)]
struct Race {
    db: Db,
    calls: Arc<AtomicU32>,
    lost: u32,
}

impl Race {
    async fn new(db: &Db, lost: u32) -> Self {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft("contended"));
            Ok(())
        })
        .await
        .unwrap();
        Self { db: db.clone(), calls: Arc::default(), lost }
    }

    /// A call: another unit changes the row that this one has read, if it is to be faster.
    async fn call(&self) -> Result<u32, Error> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call <= self.lost {
            self.db
                .run(async |s: &mut Session| -> Result<(), Error> {
                    s.execute_unprepared("UPDATE note SET stars = stars + 100").await?;
                    Ok(())
                })
                .await?;
        }
        Ok(call)
    }

    fn app(&self, handler: routing::MethodRouter<Self>) -> Router {
        let repeatable =
            |_: &axum::http::request::Parts, unit: UnitOptions| unit.isolation(IsolationLevel::RepeatableRead);
        let layer = UnitLayer::new(self.db.clone()).options(repeatable);
        Router::new().route("/", handler).layer(layer).with_state(self.clone())
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn star(s: &mut Session, State(race): State<Race>, Json(stars): Json<Vec<i64>>) -> Result<String, Problem> {
    let note = s.get::<note::Entity>(1).await?.or_not_found("the note")?;
    let call = race.call().await?;
    note.set_stars(note.stars() + stars.iter().sum::<i64>());
    s.flush().await?;
    Ok(format!("call {call}: {}", note.stars()))
}

async fn post_json(app: &Router, json: &'static str) -> Answer {
    let mut request = request("POST", "/");
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    *request.body_mut() = json.into();
    send(app, request).await
}

#[test]
fn r1_a_function_is_called_again_with_its_arguments() {
    on(Backend::Postgres, async |db| {
        let race = Race::new(&db, 2).await;
        let answer = post_json(&race.app(routing::post(retrying(5, star))), "[1, 2]").await;
        assert_eq!(answer.text, "call 3: 203", "two others, and this one once");
        assert_eq!(race.calls(), 3);
        let row = note::Entity::find().one(db.connection()).await.unwrap().unwrap();
        assert_eq!((row.stars, row.version), (203, 2));
    });
}

#[test]
fn r6_given_up_it_is_503() {
    on(Backend::Postgres, async |db| {
        let race = Race::new(&db, u32::MAX).await;
        let answer = post_json(&race.app(routing::post(retrying(2, star))), "[1]").await;
        assert_eq!((answer.problem().0, &*answer.problem().1), (503, "busy"));
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        assert_eq!(race.calls(), 3);
        assert_eq!(note::Entity::find().one(db.connection()).await.unwrap().unwrap().stars, 300);
    });
}

#[test]
fn r5_what_the_handler_makes_of_the_error_does_not_matter() {
    async fn careless(s: &mut Session, race: State<Race>, stars: Json<Vec<i64>>) -> String {
        star(s, race, stars).await.unwrap_or_else(|_| "all is well".into())
    }
    on(Backend::Postgres, async |db| {
        let race = Race::new(&db, 1).await;
        let answer = post_json(&race.app(routing::post(retrying(5, careless))), "[7]").await;
        assert_eq!(answer.text, "call 2: 107");
    });
}

#[test]
fn r7_what_is_no_conflict_is_not_repeated() {
    async fn taken(s: &mut Session, State(race): State<Race>) -> Result<(), Problem> {
        race.call().await?;
        s.add(draft("contended"));
        Ok(())
    }
    async fn refused(s: &mut Session, State(race): State<Race>) -> Result<(), Problem> {
        race.call().await?;
        s.add(draft("pending"));
        Err(Problem::not_found("of no database"))
    }
    on_both(async |db| {
        let race = Race::new(&db, 0).await;
        let answer = post(&race.app(routing::post(retrying(5, taken))), "/").await;
        assert_eq!((answer.problem().0, race.calls()), (409, 1));
        let answer = post(&race.app(routing::post(retrying(5, refused))), "/").await;
        assert_eq!((answer.problem().0, race.calls()), (404, 2));
        assert_eq!(notes(&db).await, 1);
    });
}

/// On SQLite a unit that finds the file locked is begun again.
#[test]
fn r7_a_locked_file_is_tried_again() {
    type Lock = Arc<tokio::sync::Mutex<Option<Session>>>;
    async fn write(s: &mut Session, State((lock, calls)): State<(Lock, Arc<AtomicU32>)>) -> Result<String, Problem> {
        let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
        let written = s.execute_unprepared("INSERT INTO shelf VALUES (2)").await;
        if let Some(mut holder) = lock.lock().await.take() {
            holder.rollback().await?;
        }
        written?;
        Ok(format!("call {call}"))
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("locked.db").display());
        let holder = Db::connect(&url).await.unwrap();
        holder.connection().execute_unprepared("CREATE TABLE shelf (id BIGINT)").await.unwrap();
        let hasty = Db::connect(sea_orm::ConnectOptions::new(&url).max_connections(1).to_owned()).await.unwrap();
        hasty.connection().execute_unprepared("PRAGMA busy_timeout = 0").await.unwrap();
        let held = holder.begin().await.unwrap();
        held.execute_unprepared("INSERT INTO shelf VALUES (1)").await.unwrap();

        let state: (Lock, Arc<AtomicU32>) = (Arc::new(Some(held).into()), Arc::default());
        let app: Router = Router::new()
            .route("/", routing::post(retrying(5, write)))
            .layer(UnitLayer::new(hasty))
            .with_state(state.clone());
        assert_eq!(post(&app, "/").await.text, "call 2");
        assert_eq!(state.1.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn an_answer_that_says_how_it_ends_is_heard() {
    async fn counted(s: &mut Session, State(race): State<Race>) -> (axum::http::StatusCode, Outcome) {
        race.call().await.unwrap();
        s.add(draft("a failed attempt"));
        (axum::http::StatusCode::UNAUTHORIZED, Outcome::Commit)
    }
    on_both(async |db| {
        let race = Race::new(&db, 0).await;
        assert_eq!(post(&race.app(routing::post(retrying(5, counted))), "/").await.status, 401);
        assert_eq!((notes(&db).await, race.calls()), (2, 1));
    });
}

#[test]
fn a_route_that_has_opted_out_retries_units_of_its_own() {
    on_both(async |db| {
        // By a layer inside.
        let ask = async |mut request: axum::extract::Request, next: axum::middleware::Next| {
            let (mut parts, body) = request.into_parts();
            let unit = <Unit as axum::extract::FromRequestParts<()>>::from_request_parts(&mut parts, &()).await;
            assert!(unit.is_err(), "{unit:?}");
            request = axum::extract::Request::from_parts(parts, body);
            next.run(request).await
        };
        async fn own(RequestOptions(unit): RequestOptions) -> Result<String, Problem> {
            let attempts = AtomicU32::new(0);
            let unit = unit.retry(3).retry_on(|problem: &Problem| problem.kind() == "not-yet");
            let count = async |s: &mut Session| -> Result<u32, Problem> {
                s.add(draft("own"));
                match attempts.fetch_add(1, Ordering::SeqCst) {
                    0 => Err(Problem::new(axum::http::StatusCode::TOO_EARLY, "not-yet", "Not yet")),
                    n => Ok(n + 1),
                }
            };
            Ok(unit.run(count).await?.to_string())
        }
        let app: Router = Router::new()
            .route("/", routing::post(own.layer(axum::middleware::from_fn(ask)).layer(NonAtomic)))
            .layer(UnitLayer::new(db.clone()));
        assert_eq!(post(&app, "/").await.text, "2", "a unit of the handler's own is retried as any other");
        assert_eq!(notes(&db).await, 1);
    });
}

#[test]
fn layers_outside_are_told_the_error_that_was_met_last() {
    on(Backend::Postgres, async |db| {
        let race = Race::new(&db, u32::MAX).await;
        let (send, told) = std::sync::mpsc::channel();
        let tell = move |response: axum::response::Response| {
            send.send(response.extensions().get::<Error>().and_then(Error::class)).unwrap();
            std::future::ready(response)
        };
        let app = race.app(routing::post(retrying(1, star))).layer(axum::middleware::map_response(tell));
        post_json(&app, "[1]").await;
        assert_eq!(told.recv().unwrap(), Some(Class::Serialization));
    });
}
