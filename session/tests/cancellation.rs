//! The cancellation sweep (C1 to C5): every public async operation, dropped at its first poll, its second, … until it
//! completes, on a pool of one connection and on both backends.
//!
//! After each drop the pool must be clean, no acknowledged write may be missing, and none may be there that was not asked
//! for, or twice. The sweep counts its drop points, and fails when there are too few of them: it cannot go empty.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests look past the session, and a failure is a panic"
)]

mod fault_proxy;
mod support_proof;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{
    ColumnTrait, ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, PaginatorTrait,
    QueryFilter, Statement,
};
use sea_session::outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable, first_time};
use sea_session::prelude::*;
use sea_session::testing::create_table;
use sea_session::{Error, Several};
use support_proof::note::{self, label, remark};
use support_proof::{Server, sea_orm};

/// Fewer drop points than this on one backend mean that the sweep no longer reaches into the operations.
const FLOOR: usize = 200;

/// Events that the sweep writes and delivers.
mod event {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// An event.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "events")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub account_id: String,
        pub topic: String,
        pub event_key: String,
        pub sequence: i64,
        pub event_type: String,
        #[sea_orm(column_type = "JsonBinary")]
        pub payload: Json,
        pub state: String,
        pub attempts: i32,
        pub fence: i64,
        pub available_at: DateTimeUtc,
        #[tracked(created_at)]
        pub created_at: DateTimeUtc,
        pub claimed_by: Option<String>,
        pub lease_until: Option<DateTimeUtc>,
        pub last_error: Option<String>,
        pub finished_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Messages that were received.
mod received {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// A message.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "received")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub consumer: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub message_id: String,
        pub account_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Notes which events it was given. One that comes for the first time waits a moment, so that it can be dropped there.
struct Receiver;

static DELIVERED: parking_lot::Mutex<BTreeSet<(String, i64)>> = parking_lot::Mutex::new(BTreeSet::new());

#[async_trait::async_trait]
impl Handler for Receiver {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        for event in events {
            let new = DELIVERED.lock().insert((event.key.clone(), event.sequence));
            if new {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(vec![Delivery::Done; events.len()])
    }
}

fn outbox(db: &Db) -> Outbox {
    Outbox::new(db, "events", "sweep")
}

/// A lease so short that what a dropped dispatcher held comes again within the sweep.
fn dispatcher(db: &Db) -> Dispatcher<Receiver> {
    Dispatcher::new(&outbox(db), Receiver).lease(Duration::from_millis(100)).retention(Some(Duration::from_secs(3_600)))
}

fn event(token: &str, sequence: i64) -> event::ActiveModel {
    event::ActiveModel {
        account_id: Set("acme".into()),
        topic: Set("sweep".into()),
        event_key: Set(token.into()),
        sequence: Set(sequence),
        event_type: Set("written".into()),
        payload: Set(serde_json::json!({})),
        state: Set("pending".into()),
        attempts: Set(0),
        fence: Set(0),
        available_at: Set(chrono::Utc::now()),
        claimed_by: Set(None),
        lease_until: Set(None),
        last_error: Set(None),
        finished_at: Set(None),
        ..Default::default()
    }
}

/// A future that is dropped after so many polls that did not complete it.
struct DropAt<F> {
    inner: Option<Pin<Box<F>>>,
    left: usize,
}

impl<F: Future> Future for DropAt<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(output) = inner.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        self.left -= 1;
        if self.left > 0 {
            return Poll::Pending;
        }
        Poll::Ready(None)
    }
}

/// When a future is dropped, once its last poll is over.
#[derive(Clone, Copy, Debug)]
enum Timing {
    /// At once: the message may not even have left.
    AtOnce,
    /// After a pause: the answer is there and unread.
    Late,
}

async fn dropped<F: Future>(future: F, polls: usize, timing: Timing) -> Option<F::Output> {
    let mut future = DropAt { inner: Some(Box::pin(future)), left: polls };
    let output = std::future::poll_fn(|context| Pin::new(&mut future).poll(context)).await;
    if output.is_none() && matches!(timing, Timing::Late) {
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    output
}

/// What an operation finds: an engine on a pool of one, and a session with a note that was loaded and one that is new.
struct Scene {
    db: Db,
    /// Another engine, on a pool of one and the same database (PostgreSQL).
    other: Option<Db>,
    s: Session,
    token: String,
    loaded: Option<Tracked<note::Entity>>,
    savepoint: Option<sea_session::Savepoint>,
    label: Option<Tracked<label::Entity>>,
}

impl Scene {
    fn in_two_phases(&self) -> Several {
        Several::new("main", &self.db).and("other", self.other.as_ref().expect("PostgreSQL")).two_phase()
    }
}

fn titled(token: &str, what: &str) -> note::ActiveModel {
    note::ActiveModel { title: Set(format!("{token} {what}")), ..Default::default() }
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// Where an operation stands in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Inside a unit that goes on afterwards, or is dropped.
    Inside,
    /// It ends the unit by a commit.
    Commit,
    /// It ends the unit by a rollback.
    Rollback,
    /// It is a unit of its own, which writes two rows.
    Unit,
    /// It is about the engine and writes nothing.
    Engine,
}

struct Operation {
    name: &'static str,
    place: Place,
    /// The backend that it is for, if not for both.
    only: Option<DbBackend>,
    run: for<'a> fn(&'a mut Scene) -> Running<'a>,
}

macro_rules! operations {
    ($($place:ident $(($only:ident))? $name:literal |$scene:ident| $body:block)*) => {
        vec![$(Operation {
            name: $name,
            place: Place::$place,
            only: operations!(@only $($only)?),
            run: {
                fn run($scene: &mut Scene) -> Running<'_> {
                    Box::pin(async move $body)
                }
                run
            },
        }),*]
    };
    (@only) => { None };
    (@only $only:ident) => { Some(DbBackend::$only) };
}

fn operations() -> Vec<Operation> {
    operations! {
        Unit "Db::run" |scene| {
            let token = scene.token.clone();
            scene.db.run(async |s| -> Result<(), Error> {
                s.add(titled(&token, "one"));
                s.flush().await?;
                s.add(titled(&token, "two"));
                Ok(())
            }).await
        }
        Unit "UnitOptions::run, serializable, retried" |scene| {
            let token = scene.token.clone();
            let unit = scene.db.session().isolation(IsolationLevel::Serializable).retry(Retry::times(2));
            unit.run(async |s| -> Result<(), Error> {
                s.get::<note::Entity>(1).await?;
                s.add(titled(&token, "one"));
                s.add(titled(&token, "two"));
                Ok(())
            }).await
        }
        Unit (Postgres) "UnitOptions::run, set_local, settle, statement_timeout" |scene| {
            let token = scene.token.clone();
            let unit = scene.db.session().set_local("app.tenant", "it's").settle().statement_timeout(Duration::from_secs(5));
            unit.run(async |s| -> Result<(), Error> {
                s.add(titled(&token, "one"));
                s.add(titled(&token, "two"));
                Ok(())
            }).await
        }
        Unit "a unit of nested blocks" |scene| {
            let token = scene.token.clone();
            scene.db.run(async |s| -> Result<(), Error> {
                s.atomic(async |s| -> Result<(), Error> {
                    s.add(titled(&token, "one"));
                    s.atomic(async |s| -> Result<(), Error> { s.add(titled(&token, "two")); s.flush().await }).await
                }).await?;
                let undone = s.atomic(async |s| -> Result<(), Error> {
                    s.add(titled(&token, "undone"));
                    s.flush().await?;
                    Err(Error::Cancelled)
                }).await;
                assert!(undone.is_err());
                Ok(())
            }).await
        }
        Unit "a unit of large sets" |scene| {
            let token = scene.token.clone();
            scene.db.run(async |s| -> Result<(), Error> {
                for at in 0..600 {
                    s.add(titled(&token, &format!("bulk {at}")));
                }
                s.add(titled(&token, "one"));
                s.add(titled(&token, "two"));
                s.flush().await?;
                note::Entity::find().count(&*s).await?;
                Ok(())
            }).await
        }
        Unit "a unit with hooks that wait" |scene| {
            let token = scene.token.clone();
            scene.db.run(async |s| -> Result<(), Error> {
                s.add(titled(&token, "one"));
                s.add(titled(&token, "two"));
                s.on_commit(async || { tokio::time::sleep(Duration::from_millis(2)).await; });
                s.on_rollback(async || { tokio::time::sleep(Duration::from_millis(2)).await; });
                Ok(())
            }).await
        }
        Unit "begin, commit" |scene| {
            let mut s = scene.db.begin().await?;
            s.add(titled(&scene.token, "one"));
            s.add(titled(&scene.token, "two"));
            s.commit().await
        }
        Engine "a unit that fails" |scene| {
            let token = scene.token.clone();
            let outcome = scene.db.run(async |s| -> Result<(), Error> {
                s.add(titled(&token, "undone"));
                s.flush().await?;
                s.execute_unprepared("SELECT no_such_function()").await?;
                Ok(())
            }).await;
            assert!(outcome.is_err());
            Ok(())
        }
        Unit "Db::batches, all items in one batch" |scene| {
            let token = scene.token.clone();
            let mut batches = scene.db.batches(["one", "two"], 5, Duration::ZERO);
            let done = batches.run(async |s, items| -> Result<(), Error> {
                for item in items {
                    s.add(titled(&token, item));
                }
                Ok(())
            }).await;
            done.map(drop).map_err(|error| error.cause)
        }
        Unit (Postgres) "Several::run in two phases" |scene| {
            let several = scene.in_two_phases();
            let token = scene.token.clone();
            several.run(async |sessions| -> Result<(), Error> {
                sessions.primary().add(titled(&token, "one"));
                sessions.on("other")?.add(titled(&token, "two"));
                Ok(())
            }).await
        }
        Engine (Postgres) "Several::run in two phases that fails" |scene| {
            let several = scene.in_two_phases();
            let token = scene.token.clone();
            let outcome = several.run(async |sessions| -> Result<(), Error> {
                sessions.primary().add(titled(&token, "undone"));
                sessions.on("other")?.add(titled(&token, "undone"));
                sessions.on("other")?.flush().await?;
                Err(Error::Cancelled)
            }).await;
            assert!(outcome.is_err());
            Ok(())
        }
        Engine (Postgres) "Several::recover" |scene| {
            let left = format!(
                "BEGIN; INSERT INTO note (title) VALUES ('{} undone'); \
                 PREPARE TRANSACTION 'sea_session:6f1f0ad0-0000-4000-8000-000000000001:1'",
                scene.token
            );
            scene.db.connection().execute_unprepared(&left).await?;
            scene.in_two_phases().recover(Duration::ZERO).await.map(drop)
        }
        Engine "Dispatcher::drain" |scene| {
            let token = format!("{:?} {}", scene.db.backend(), scene.token);
            scene.db.run(async |s| -> Result<(), Error> {
                s.add(event(&token, 1));
                s.add(event(&token, 2));
                Ok(())
            }).await?;
            dispatcher(&scene.db).drain().await.map(drop)
        }
        Engine "Outbox::metrics" |scene| { outbox(&scene.db).metrics().await.map(drop) }
        Engine "Outbox::dead" |scene| { outbox(&scene.db).dead(0, 10).await.map(drop) }
        Engine "Outbox::replay" |scene| { outbox(&scene.db).replay(None).await.map(drop) }
        Engine "Outbox::purge_dead" |scene| { outbox(&scene.db).purge_dead(None).await.map(drop) }
        Engine "Several::run" |scene| {
            let other = Db::connect("sqlite::memory:").await?;
            Several::new("main", &scene.db).and("other", &other).run(async |sessions| -> Result<(), Error> {
                sessions.primary().get::<note::Entity>(1).await?;
                sessions.on("other")?.execute_unprepared("SELECT 1").await?;
                Ok(())
            }).await
        }
        Engine "Db::connect" |scene| {
            let connection = scene.db.connection();
            let url = match scene.db.backend() {
                DbBackend::Postgres => {
                    connection.get_postgres_connection_pool().connect_options().to_url_lossy_text()
                }
                _ => "sqlite::memory:".to_owned(),
            };
            Db::connect(url).await?.close().await
        }
        Inside "get" |scene| { scene.s.get::<note::Entity>(2).await.map(drop) }
        Inside "get_many" |scene| { scene.s.get_many::<note::Entity>([1_i64, 2, 3]).await.map(drop) }
        Inside "load" |scene| { note::Entity::find().load(&mut scene.s).await.map(drop) }
        Inside "load_one" |scene| { note::Entity::find().load_one(&mut scene.s).await.map(drop) }
        Inside "rows, read to their end" |scene| {
            let mut rows = note::Entity::find().rows(&mut scene.s).await?;
            let mut read = 0;
            while rows.next().await?.is_some() {
                read += 1;
            }
            assert!(read > 2, "{read} rows");
            Ok(())
        }
        Inside "rows, left after the first" |scene| {
            let mut rows = note::Entity::find().rows(&mut scene.s).await?;
            rows.next().await.map(drop)
        }
        Inside "first_time" |scene| {
            let token = scene.token.clone();
            first_time(&mut scene.s, "received", "acme", "sweep", &token).await.map(drop)
        }
        Inside "refresh" |scene| {
            let loaded = scene.loaded.clone().expect("loaded");
            scene.s.refresh(&loaded).await
        }
        Inside "lock" |scene| {
            let loaded = scene.loaded.clone().expect("loaded");
            scene.s.lock(&loaded).await
        }
        Inside "merge" |scene| {
            let model = note::Model { id: 2, title: "second".into(), rank: Some(7) };
            scene.s.merge::<note::Entity>(model).await.map(drop)
        }
        Inside "related" |scene| {
            let loaded = scene.loaded.clone().expect("loaded");
            loaded.related::<remark::Entity>(&mut scene.s).await.map(drop)
        }
        Inside "load_related" |scene| {
            let loaded = [scene.loaded.clone().expect("loaded")];
            scene.s.load_related(&loaded, remark::Entity).await.map(drop)
        }
        Inside "attach" |scene| {
            let (loaded, label) = (scene.loaded.clone().expect("loaded"), scene.label.clone().expect("a label"));
            loaded.junction::<label::Entity>().attach(&mut scene.s, [&label]).await
        }
        Inside "detach" |scene| {
            let (loaded, label) = (scene.loaded.clone().expect("loaded"), scene.label.clone().expect("a label"));
            loaded.junction::<label::Entity>().detach(&mut scene.s, [&label]).await
        }
        Inside "change" |scene| {
            let (loaded, label) = (scene.loaded.clone().expect("loaded"), scene.label.clone().expect("a label"));
            loaded.junction::<label::Entity>().change(&mut scene.s, &[&label], &[&label]).await
        }
        Inside "flush of an insert" |scene| {
            scene.s.add(titled(&scene.token, "one"));
            scene.s.flush().await
        }
        Inside "flush of 600 inserts" |scene| {
            for at in 0..600 {
                scene.s.add(titled(&scene.token, &format!("bulk {at}")));
            }
            scene.s.flush().await
        }
        Inside "flush of an update" |scene| {
            scene.loaded.as_ref().expect("loaded").set_title("first");
            scene.loaded.as_ref().expect("loaded").set_rank(Some(9));
            scene.s.flush().await
        }
        Inside "flush of a delete" |scene| {
            let short_lived = scene.s.add(titled(&scene.token, "undone"));
            scene.s.flush().await?;
            scene.s.delete(&short_lived);
            scene.s.flush().await
        }
        Inside "a query through ConnectionTrait" |scene| {
            note::Entity::find().count(&scene.s).await.map(drop).map_err(Error::from)
        }
        Inside "execute_raw" |scene| {
            let statement = Statement::from_string(scene.s.backend(), "UPDATE note SET rank = 8 WHERE id = 2");
            scene.s.execute_raw(statement).await.map(drop).map_err(Error::from)
        }
        Inside "execute_unprepared" |scene| {
            let sql = "UPDATE note SET rank = 8 WHERE id = 2; UPDATE note SET rank = 8 WHERE id = 3";
            scene.s.execute_unprepared(sql).await.map(drop).map_err(Error::from)
        }
        Inside "atomic" |scene| {
            let token = scene.token.clone();
            scene.s.atomic(async |s| -> Result<(), Error> { s.add(titled(&token, "one")); Ok(()) }).await
        }
        Inside "atomic that fails" |scene| {
            let token = scene.token.clone();
            let outcome = scene.s.atomic(async |s| -> Result<(), Error> {
                s.add(titled(&token, "undone"));
                s.flush().await?;
                Err(Error::Cancelled)
            }).await;
            assert!(outcome.is_err());
            Ok(())
        }
        Inside "atomic in atomic" |scene| {
            let token = scene.token.clone();
            scene.s.atomic(async |s| -> Result<(), Error> {
                s.execute_unprepared("SELECT 1").await?;
                s.atomic(async |s| -> Result<(), Error> { s.add(titled(&token, "one")); s.flush().await }).await
            }).await
        }
        Inside "merged block" |scene| {
            let token = scene.token.clone();
            let block = scene.s.block().merged();
            block.run(async |s| -> Result<(), Error> { s.add(titled(&token, "one")); s.flush().await }).await
        }
        Inside "savepoint" |scene| { scene.s.savepoint().await.map(drop) }
        Inside "rollback_to" |scene| {
            let savepoint = scene.savepoint.take().expect("a savepoint");
            scene.s.rollback_to(savepoint).await
        }
        Inside "release" |scene| {
            let savepoint = scene.savepoint.take().expect("a savepoint");
            scene.s.release(savepoint).await
        }
        Inside (Postgres) "advisory_lock" |scene| { scene.s.advisory_lock(42).await }
        Inside (Postgres) "try_advisory_lock" |scene| { scene.s.try_advisory_lock(42).await.map(drop) }
        Commit "commit" |scene| { scene.s.commit().await }
        Commit "commit with a flush and a hook" |scene| {
            scene.s.add(titled(&scene.token, "one"));
            scene.s.on_commit(async || { tokio::time::sleep(Duration::from_millis(2)).await; });
            scene.s.commit().await
        }
        Rollback "rollback" |scene| { scene.s.rollback().await }
    }
}

/// The URL that a pool was made from, as far as another pool needs it.
trait ToText {
    fn to_url_lossy_text(&self) -> String;
}

impl ToText for sea_orm::sqlx::postgres::PgConnectOptions {
    fn to_url_lossy_text(&self) -> String {
        use sea_orm::sqlx::ConnectOptions;
        self.to_url_lossy().to_string()
    }
}

/// What the sweep found.
#[derive(Default)]
struct Findings {
    operations: usize,
    drop_points: usize,
    leaks: Vec<String>,
    lost: Vec<String>,
    doubled: Vec<String>,
}

/// What becomes of a unit whose operation was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    /// It is dropped too.
    Dropped,
    /// It writes one more row and commits.
    Continued,
}

struct Sweep {
    db: Db,
    other: Option<Db>,
    /// Looks at the same database from outside.
    observer: DatabaseConnection,
    findings: Findings,
}

impl Sweep {
    async fn new(url: &str, tables: &str) -> Self {
        let observer = sea_orm(url, 1).await;
        observer.execute_unprepared(tables).await.expect("tables");
        let fixture = "INSERT INTO note (title) VALUES ('first'), ('second'), ('third'); \
            INSERT INTO remark (note_id, text) VALUES (1, 'good'); INSERT INTO label (name) VALUES ('red')";
        observer.execute_unprepared(fixture).await.expect("rows");
        let mut options = ConnectOptions::new(url);
        options.max_connections(1).acquire_timeout(Duration::from_secs(5));
        let db = Db::connect(options).await.expect("sessions");
        create_table(&db, event::Entity).await.expect("the table of events");
        create_table(&db, received::Entity).await.expect("the table of messages");
        let mut other = None;
        if db.backend() == DbBackend::Postgres {
            db.create_commit_tokens().await.expect("the table of tokens");
            let mut options = ConnectOptions::new(url);
            options.max_connections(1).acquire_timeout(Duration::from_secs(5));
            other = Some(Db::connect(options).await.expect("sessions"));
        }
        Self { db, other, observer, findings: Findings::default() }
    }

    async fn run(mut self) -> Findings {
        let backend = self.db.backend();
        for operation in operations().into_iter().filter(|one| one.only.is_none_or(|only| only == backend)) {
            self.findings.operations += 1;
            let continued: &[Afterwards] = match operation.place {
                Place::Inside => &[Afterwards::Dropped, Afterwards::Continued],
                _ => &[Afterwards::Dropped],
            };
            for afterwards in continued {
                for timing in [Timing::AtOnce, Timing::Late] {
                    self.sweep(&operation, *afterwards, timing).await;
                }
            }
        }
        self.check_events().await;
        self.findings
    }

    /// Every event that was written has been delivered and acknowledged, once what was held by dropped dispatchers is free.
    async fn check_events(&mut self) {
        for _ in 0..100 {
            dispatcher(&self.db).drain().await.expect("the last delivery");
            let left = event::Entity::find().filter(event::Column::FinishedAt.is_null()).count(&self.observer).await;
            if left.expect("a count") == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let written = event::Entity::find().all(&self.observer).await.expect("events");
        assert!(written.len() > 10, "only {} events were written", written.len());
        let delivered = DELIVERED.lock().clone();
        for event in written {
            let known = delivered.contains(&(event.event_key.clone(), event.sequence));
            if event.finished_at.is_none() || !known {
                self.findings.lost.push(format!("event {} {}", event.event_key, event.sequence));
            }
        }
    }

    /// Drops one operation at each of its polls.
    async fn sweep(&mut self, operation: &Operation, afterwards: Afterwards, timing: Timing) {
        for polls in 1.. {
            let token = format!("{} {afterwards:?} {timing:?} {polls}", operation.name);
            let completed = self.drop_once(operation, afterwards, timing, polls, &token).await;
            self.check_pool(&token).await;
            if completed {
                return;
            }
            self.findings.drop_points += 1;
        }
    }

    async fn drop_once(
        &mut self,
        operation: &Operation,
        afterwards: Afterwards,
        timing: Timing,
        polls: usize,
        token: &str,
    ) -> bool {
        let mut scene = self.scene(operation, token).await;
        let outcome = dropped((operation.run)(&mut scene), polls, timing).await;
        let completed = outcome.is_some();
        if let Some(Err(error)) = &outcome {
            panic!("{token}: {error}");
        }
        let committed = match (operation.place, afterwards) {
            (Place::Inside, Afterwards::Continued) => {
                scene.s.add(titled(token, "after"));
                let committed = scene.s.commit().await;
                assert!(!completed || committed.is_ok(), "{token}: {committed:?}");
                Some(committed.is_ok())
            }
            (Place::Inside | Place::Rollback | Place::Engine, _) => Some(false),
            (Place::Commit | Place::Unit, _) => completed.then_some(true),
        };
        let several = scene.other.is_some().then(|| scene.in_two_phases());
        drop(scene);
        if let Some(several) = several {
            self.recover(&several, token).await;
        }
        self.check_rows(operation, token, committed).await;
        completed
    }

    async fn scene(&self, operation: &Operation, token: &str) -> Scene {
        let mut scene = Scene {
            db: self.db.clone(),
            other: self.other.clone(),
            s: self.db.begin().await.expect("begin"),
            token: token.to_owned(),
            loaded: None,
            savepoint: None,
            label: None,
        };
        // A unit of its own needs the only connection.
        if matches!(operation.place, Place::Unit | Place::Engine) {
            return scene;
        }
        scene.loaded = scene.s.get::<note::Entity>(1).await.expect("get");
        scene.label = scene.s.get::<label::Entity>(1).await.expect("get");
        scene.s.add(titled(token, "before"));
        scene.s.flush().await.expect("flush");
        if matches!(operation.name, "rollback_to" | "release") {
            scene.savepoint = Some(scene.s.savepoint().await.expect("savepoint"));
            scene.s.execute_unprepared("SELECT 1").await.expect("a statement in it");
        }
        scene
    }

    /// Settles what a dropped unit in two phases has left prepared, once the server is done with what it was sent.
    async fn recover(&self, several: &Several, token: &str) {
        let at_work = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
            AND backend_type = 'client backend' AND state <> 'idle'";
        let left = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()";
        for _ in 0..1_000 {
            let busy = self.observer.query_all_raw(Statement::from_string(DbBackend::Postgres, at_work)).await;
            if !busy.expect("activity").is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let prepared = self.observer.query_all_raw(Statement::from_string(DbBackend::Postgres, left)).await;
            if prepared.expect("what is prepared").is_empty() {
                return;
            }
            several.recover(Duration::ZERO).await.unwrap_or_else(|error| panic!("{token}: recovery: {error}"));
        }
        panic!("{token}: what is left prepared is never settled");
    }

    /// What is stored under a token, seen from outside: all of a unit or nothing, and nothing twice.
    async fn check_rows(&mut self, operation: &Operation, token: &str, committed: Option<bool>) {
        // What was dropped late may still be on its way to the server's rollback; the pool's next user waits for that.
        self.db.connection().ping().await.unwrap_or_else(|error| panic!("{token}: the pool is dead: {error}"));
        let stored = note::Entity::find().all(&self.observer).await.expect("rows");
        let count = |what: &str| stored.iter().filter(|note| note.title == format!("{token} {what}")).count();
        let (before, one, two, after, undone) =
            (count("before"), count("one"), count("two"), count("after"), count("undone"));
        let bulk = stored.iter().filter(|note| note.title.starts_with(&format!("{token} bulk"))).count();
        let shown =
            format!("{token}: before {before}, one {one}, two {two}, after {after}, undone {undone}, bulk {bulk}");
        if [before, one, two, after].iter().any(|count| *count > 1) || bulk > 600 {
            self.findings.doubled.push(shown.clone());
        }
        if undone > 0 || !matches!(bulk, 0 | 600) {
            self.findings.leaks.push(shown.clone());
        }
        let all = match operation.place {
            Place::Unit => vec![one, two],
            Place::Inside => vec![before, after],
            _ => vec![before],
        };
        let whole = all.iter().all(|count| *count == all[0]);
        match committed {
            Some(true) if all.contains(&0) => self.findings.lost.push(shown),
            Some(false) if all.iter().chain([&one, &bulk]).any(|count| *count > 0) => self.findings.leaks.push(shown),
            _ if !whole => self.findings.lost.push(shown),
            _ => {}
        }
        let old = "DELETE FROM note WHERE id > 3";
        self.observer.execute_unprepared(old).await.expect("room");
    }

    /// A later borrower of the only connection writes outside any transaction, and it must be there at once.
    async fn check_pool(&mut self, token: &str) {
        let write = "INSERT INTO remark (note_id, text) VALUES (1, 'a later borrower')";
        let written = self.db.connection().execute_unprepared(write).await;
        written.unwrap_or_else(|error| panic!("{token}: the pool cannot be used: {error}"));
        let seen = remark::Entity::find().count(&self.observer).await.expect("a count");
        if seen < 2 {
            self.findings.leaks.push(format!("{token}: an open transaction was left in the pool"));
        }
        let clear = "DELETE FROM remark WHERE text = 'a later borrower'";
        self.observer.execute_unprepared(clear).await.expect("the observer writes");
    }
}

fn report(backend: &str, findings: Findings) {
    let Findings { operations, drop_points, leaks, lost, doubled } = findings;
    println!(
        "{backend}: cancellation sweep: {operations} operations, {drop_points} drop points, {} leaks, {} lost, {} doubled",
        leaks.len(),
        lost.len(),
        doubled.len()
    );
    for (what, found) in [("leak", &leaks), ("lost", &lost), ("doubled", &doubled)] {
        for one in found {
            println!("{what}: {one}");
        }
    }
    assert!(leaks.is_empty() && lost.is_empty() && doubled.is_empty());
    assert!(drop_points >= FLOOR, "only {drop_points} drop points, the floor is {FLOOR}");
}

#[tokio::test]
async fn c1_the_sweep_on_postgres() {
    let server = Server::new().await;
    // Through the proxy every message of the server arrives by itself, so that there are more polls to drop at.
    let proxy = server.proxy().await;
    let url = proxy.url(&server.user, &server.database);
    let findings = Sweep::new(&url, note::POSTGRES).await.run().await;
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let idle: i64 = ::sea_orm::sqlx::query_scalar(idle).fetch_one(&server.pool).await.expect("activity");
    assert_eq!(idle, 0, "C1: no transaction is left open on the server");
    report("postgres", findings);
}

#[tokio::test]
async fn c1_the_sweep_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("sweep.db").display());
    report("sqlite", Sweep::new(&url, note::SQLITE).await.run().await);
}

#[tokio::test]
async fn c5_a_thousand_drops_leave_the_pool_as_it_was() {
    let server = Server::new().await;
    ::sea_orm::sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    let db = server.db(4).await;
    let pool = db.connection().get_postgres_connection_pool().clone();
    let mut acknowledged = 0;
    for at in 0..1_000 {
        let unit = db.run(async |s| -> Result<(), Error> {
            s.add(titled("dropped", "one"));
            s.flush().await?;
            s.execute_unprepared("SELECT pg_sleep(0.01)").await?;
            s.add(titled("dropped", "two"));
            Ok(())
        });
        let outcome = dropped(unit, at % 18 + 1, Timing::AtOnce).await;
        acknowledged += outcome.map_or(0, |outcome| outcome.map(|()| 1).expect("the unit"));
    }
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await.expect("a connection"));
    }
    assert_eq!(pool.size(), 4);
    drop(held);
    assert!((100..900).contains(&acknowledged), "{acknowledged} of 1,000 came through");
    let stored = note::Entity::find().count(db.connection()).await.expect("a count");
    // A unit that was dropped while its COMMIT was under way may be there or not, but whole.
    assert!(stored >= 2 * acknowledged && stored % 2 == 0, "{stored} rows, {acknowledged} units of two acknowledged");
}

#[tokio::test]
async fn c3_a_unit_dropped_in_mid_statement_frees_its_locks() {
    let server = Server::new().await;
    ::sea_orm::sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
    ::sea_orm::sqlx::raw_sql("INSERT INTO note (title) VALUES ('locked')").execute(&server.pool).await.expect("a row");
    let db = server.db(2).await;
    for _ in 0..5 {
        let unit = db.run(async |s| -> Result<(), Error> {
            let note = s.get::<note::Entity>(1).await?.expect("a note");
            note.set_rank(Some(1));
            s.flush().await?;
            s.execute_unprepared("SELECT pg_sleep(3)").await?;
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(60), unit).await.is_err());
        let start = std::time::Instant::now();
        ::sea_orm::sqlx::raw_sql("UPDATE note SET rank = 2").execute(&server.pool).await.expect("the lock");
        assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
    }
}
