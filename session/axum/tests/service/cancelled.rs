//! What is left of a request whose future was dropped, or whose handler panicked: nothing.

use std::{sync::Arc, task::Poll};

use axum::{Router, body::Body, extract::State, http::Request, routing};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter};
use sea_session::{prelude::*, testing::Backend};
use sea_session_axum::{Problem, Unit, UnitLayer, in_unit, retrying};
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::Notify};
use tower::ServiceExt;

use super::support::{draft, note, notes, notes_titled, on, on_both, post, request};

/// Says when the handler has written its row, and when its future is gone.
#[derive(Clone, Default)]
struct Points {
    written: Arc<Notify>,
    dropped: Arc<Notify>,
}

/// Tells of the end of the handler's future.
struct Telling(Arc<Notify>);

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

async fn hangs(s: &mut Session, State(points): State<Points>) -> Result<(), Problem> {
    let _telling = Telling(points.dropped);
    s.add(draft("unfinished"));
    s.flush().await?;
    points.written.notify_one();
    std::future::pending().await
}

async fn hangs_with_unit(state: State<Points>, mut s: Unit<'_>) -> Result<(), Problem> {
    hangs(&mut s, state).await
}

fn app(db: &Db, points: &Points) -> Router {
    async fn add(mut s: Unit<'_>) {
        s.add(draft("unfinished"));
    }
    Router::new()
        .route("/argument", routing::post(hangs_with_unit))
        .route("/function", routing::post(in_unit(hangs)))
        .route("/retrying", routing::post(retrying(3, hangs)))
        .route("/add", routing::post(add))
        .layer(UnitLayer::new(db.clone()))
        .with_state(points.clone())
}

#[test]
fn c1_a_request_that_is_dropped_rolls_back() {
    on_both(async |db| {
        for path in ["/argument", "/function", "/retrying"] {
            let points = Points::default();
            let app = app(&db, &points);
            let mut answer = Box::pin(app.clone().oneshot(request("POST", path)));
            tokio::select! {
                answer = &mut answer => panic!("{answer:?}"),
                () = points.written.notified() => {}
            }
            drop(answer);
            points.dropped.notified().await;
            // The same unique title: this waits for the other unit's row, and finds it gone.
            assert_eq!(post(&app, "/add").await.status, 200, "{path}");
            assert_eq!(notes(&db).await, 1);
            db.connection().execute_unprepared("DELETE FROM note").await.unwrap();
        }
    });
}

#[test]
fn c1_a_client_that_goes_away_rolls_its_request_back() {
    on_both(async |db| {
        let points = Points::default();
        let app = app(&db, &points);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, app.clone()).into_future());
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"POST /argument HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        points.written.notified().await;
        drop(client);
        points.dropped.notified().await;
        assert_eq!(post(&app, "/add").await.status, 200);
        assert_eq!(notes(&db).await, 1);
        server.abort();
    });
}

/// Dropped at its first, second, … poll, until it is through: each request has a title of its own, since the COMMIT of one that was dropped
/// may reach the server after we have looked.
#[test]
fn c1_dropped_at_any_poll_nothing_or_all_is_there() {
    async fn add(s: &mut Session, title: String) -> Result<(), Problem> {
        let added = s.add(draft(&title));
        s.flush().await?;
        s.execute_unprepared(&format!("UPDATE note SET stars = 1 WHERE id = {}", added.id())).await?;
        Ok(())
    }
    for backend in [Backend::Sqlite, Backend::Postgres] {
        on(backend, async |db| {
            let app: Router = Router::new().route("/", routing::post(in_unit(add))).layer(UnitLayer::new(db.clone()));
            let mut polls = 1;
            for attempt in 0.. {
                let title = attempt.to_string();
                let add = Request::builder().method("POST").uri("/").body(Body::from(title.clone())).unwrap();
                let mut answer = Box::pin(app.clone().oneshot(add));
                let mut polled = 0;
                let through = std::future::poll_fn(|context| {
                    polled += 1;
                    match answer.as_mut().poll(context) {
                        Poll::Ready(answer) => Poll::Ready(Some(answer.unwrap().status())),
                        Poll::Pending if polled == polls => Poll::Ready(None),
                        Poll::Pending => Poll::Pending,
                    }
                })
                .await;
                drop(answer);
                match through {
                    None => polls += 1,
                    Some(status) => {
                        assert_eq!((status.as_u16(), notes_titled(&db, &title).await), (200, 1), "{polls} polls");
                        // On a busy machine the first may be through before it is polled a second time.
                        if polls > 1 {
                            break;
                        }
                        assert!(attempt < 1_000, "it was never dropped half-way");
                    }
                }
            }
            let half = note::Entity::find().filter(note::Column::Stars.ne(1)).count(db.connection()).await.unwrap();
            assert_eq!(half, 0, "a request that was dropped half-way has left a part of its work");
        });
    }
}

#[test]
fn a13_a_handler_that_panics_rolls_back() {
    async fn panics(mut s: Unit<'_>) {
        s.add(draft("unfinished"));
        s.flush().await.unwrap();
        panic!("this is the test's own panic");
    }
    async fn panics_in_unit(s: &mut Session) {
        s.add(draft("unfinished"));
        s.flush().await.unwrap();
        panic!("this is the test's own panic");
    }
    on_both(async |db| {
        let app: Router = Router::new()
            .route("/argument", routing::post(panics))
            .route("/function", routing::post(in_unit(panics_in_unit)))
            .layer(UnitLayer::new(db.clone()));
        for path in ["/argument", "/function"] {
            let request = tokio::spawn(app.clone().oneshot(request("POST", path)));
            assert!(request.await.is_err_and(|end| end.is_panic()), "{path}");
            assert_eq!(notes(&db).await, 0, "{path}");
            db.run(async |s: &mut Session| -> Result<(), sea_session::Error> {
                s.add(draft("unfinished"));
                s.flush().await?;
                s.set_rollback(true)
            })
            .await
            .unwrap();
        }
    });
}
