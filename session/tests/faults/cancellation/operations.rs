//! The operations that the sweep drops, and the scene that each of them finds.

use std::{pin::Pin, time::Duration};

use sea_orm::ActiveValue::Set;
use sea_orm::sqlx::ConnectOptions as _;
use sea_orm::{
    ColumnTrait, ConnectionTrait, Database, DbBackend, EntityTrait, PaginatorTrait, Statement,
    sea_query::{Expr, ExprTrait},
};
use sea_session::outbox::first_time;
use sea_session::prelude::*;
use sea_session::{Change, Error, FlushObserver, Flushing, Several};

use super::delivery::{dispatcher, event, outbox};
use crate::support_proof::note::{self, label, remark};

/// What an operation finds: an engine on a pool of one, and a session with a note that was loaded and one that is new.
pub struct Scene {
    pub db: Db,
    /// Another engine, on a pool of one and the same database (a server's).
    pub other: Option<Db>,
    pub s: Session,
    pub token: String,
    pub loaded: Option<Tracked<note::Entity>>,
    pub savepoint: Option<sea_session::Savepoint>,
    pub label: Option<Tracked<label::Entity>>,
}

impl Scene {
    pub fn in_two_phases(&self) -> Several {
        Several::new("main", &self.db).and("other", self.other.as_ref().expect("a server")).two_phase()
    }
}

/// A key that no sequence comes to.
const FAR: i64 = 1 << 40;

pub fn titled(token: &str, what: &str) -> note::ActiveModel {
    note::ActiveModel { title: Set(format!("{token} {what}")), ..Default::default() }
}

pub type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;

/// Adds a second note beside the first, and lets others run meanwhile.
struct Second(String);

#[async_trait::async_trait]
impl FlushObserver for Second {
    async fn flushed(&self, unit: &mut Flushing<'_>, changes: &[Change]) -> Result<(), Error> {
        let first = Some(format!("{} one", self.0).into());
        if changes.iter().any(|change| change.column("title").is_some_and(|title| title.new == first)) {
            tokio::task::yield_now().await;
            unit.add(titled(&self.0, "two"));
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Where an operation stands in a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
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

pub struct Operation {
    pub name: &'static str,
    pub place: Place,
    /// The backends that it is for, if not for all.
    pub only: &'static [DbBackend],
    pub run: for<'a> fn(&'a mut Scene) -> Running<'a>,
}

macro_rules! operations {
    ($($place:ident $(($($only:ident),+))? $name:literal |$scene:ident| $body:block)*) => {
        vec![$(Operation {
            name: $name,
            place: Place::$place,
            only: &[$($(DbBackend::$only),+)?],
            run: {
                fn run($scene: &mut Scene) -> Running<'_> {
                    Box::pin(async move $body)
                }
                run
            },
        }),*]
    };
}

pub fn operations() -> Vec<Operation> {
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
        Unit (MySql) "UnitOptions::run, settled by a token, lock_timeout, statement_timeout" |scene| {
            let token = scene.token.clone();
            let unit = scene.db.session().settle_by_token().lock_timeout(Duration::from_secs(5));
            unit.statement_timeout(Duration::from_secs(5)).run(async |s| -> Result<(), Error> {
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
        Unit "a unit whose flushes are observed" |scene| {
            // A handle of its own: other operations on this pool are not observed.
            let db = Db::from(scene.db.connection().clone());
            db.on_flush(Second(scene.token.clone()));
            let token = scene.token.clone();
            db.run(async |s| -> Result<(), Error> {
                s.add(titled(&token, "one"));
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
        Unit (Postgres, MySql) "Several::run in two phases" |scene| {
            let several = scene.in_two_phases();
            let token = scene.token.clone();
            several.run(async |sessions| -> Result<(), Error> {
                sessions.primary().add(titled(&token, "one"));
                sessions.on("other")?.add(titled(&token, "two"));
                Ok(())
            }).await
        }
        Engine (Postgres, MySql) "Several::run in two phases that fails" |scene| {
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
        Engine (Postgres, MySql) "Several::recover" |scene| {
            leave_prepared(&scene.db, &format!("{} undone", scene.token)).await?;
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
            Db::connect(url_of(&scene.db)).await?.close().await
        }
        Inside "get" |scene| { scene.s.get::<note::Entity>(2).await.map(drop) }
        Inside "get_many" |scene| { scene.s.get_many::<note::Entity>([1_i64, 2, 3]).await.map(drop) }
        Inside "find_by_unique" |scene| {
            scene.s.find_many_by_unique::<note::Entity>(note::Column::Id, [2_i64, 3]).await.map(drop)
        }
        Inside "get_or_add" |scene| {
            let model = |id| note::ActiveModel { id: Set(id), title: Set("found or added".to_owned()), ..Default::default() };
            scene.s.get_or_add_many([model(2), model(FAR), model(FAR + 1)], note::Column::Id).await.map(drop)
        }
        Inside "upsert" |scene| {
            let model = |id| note::ActiveModel { id: Set(id), title: Set("upserted".to_owned()), ..Default::default() };
            scene.s.upsert_many([model(2), model(FAR)], note::Column::Id).await.map(drop)
        }
        Inside "update_many" |scene| {
            let ranked = note::Entity::update_many().col_expr(note::Column::Rank, Expr::value(9));
            scene.s.update_many(ranked).await.map(drop)
        }
        Inside "delete_many" |scene| {
            let undone = scene.s.atomic(async |s| -> Result<(), Error> {
                s.delete_many(remark::Entity::delete_many()).await?;
                s.delete_by_key::<label::Entity>(1).await?;
                Err(Error::Cancelled)
            }).await;
            assert!(undone.is_err());
            Ok(())
        }
        Inside "flush of an expression" |scene| {
            let loaded = scene.loaded.clone().expect("loaded");
            loaded.set_expr(note::Column::Rank, Expr::col(note::Column::Rank).add(1))?;
            scene.s.flush().await
        }
        Inside "load" |scene| { note::Entity::find().load(&mut scene.s).await.map(drop) }
        Inside "load_one" |scene| { note::Entity::find().load_one(&mut scene.s).await.map(drop) }
        Inside "load, unfiltered" |scene| { note::Entity::find().unfiltered().load(&mut scene.s).await.map(drop) }
        Inside "get under a filter" |scene| {
            let mut s = scene.s.with_filter::<note::Entity>(note::Column::Id.lt(3));
            s.get::<note::Entity>(1).await.map(drop)
        }
        Inside "count_in" |scene| { note::Entity::find().count_in(&mut scene.s).await.map(drop) }
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
        Inside "with, and what it has loaded" |scene| {
            let notes = note::Entity::find().with(remark::Entity.then(note::Entity)).with(label::Entity).load(&mut scene.s).await?;
            notes[0].follow(&mut scene.s, remark::Entity.then(note::Entity)).await.map(drop)
        }
        Inside "page" |scene| {
            note::Entity::find().page(None, 2).by_desc(note::Column::Rank).load(&mut scene.s).await.map(drop)
        }
        Inside "a joined select" |scene| {
            note::Entity::find().find_with_related(remark::Entity).load(&mut scene.s).await.map(drop)
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
        Inside (Postgres, MySql) "advisory_lock" |scene| { scene.s.advisory_lock(42).await }
        Inside (Postgres, MySql) "try_advisory_lock" |scene| { scene.s.try_advisory_lock(42).await.map(drop) }
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
fn url_of(db: &Db) -> String {
    let connection = db.connection();
    match db.backend() {
        DbBackend::Postgres => connection.get_postgres_connection_pool().connect_options().to_url_lossy().to_string(),
        DbBackend::MySql => connection.get_mysql_connection_pool().connect_options().to_url_lossy().to_string(),
        _ => "sqlite::memory:".to_owned(),
    }
}

/// Leaves a transaction prepared, as a crash does.
async fn leave_prepared(db: &Db, title: &str) -> Result<(), Error> {
    let (name, insert) =
        ("sea_session:6f1f0ad0-0000-4000-8000-000000000001:1", format!("INSERT INTO note (title) VALUES ('{title}')"));
    if db.backend() == DbBackend::Postgres {
        db.connection().execute_unprepared(&format!("BEGIN; {insert}; PREPARE TRANSACTION '{name}'")).await?;
        return Ok(());
    }
    // As long as its connection lives, nobody else can end it: it has one of its own.
    let own = Database::connect(url_of(db)).await?;
    let place = Statement::from_string(DbBackend::MySql, "SELECT LEFT(MD5(DATABASE()), 16) AS place");
    let place = own.query_one_raw(place).await?.expect("a place").try_get::<String>("", "place")?;
    let name = format!("'{name}', '{place}.1'");
    own.execute_unprepared(&format!("XA START {name}; {insert}; XA END {name}; XA PREPARE {name}")).await?;
    own.close().await?;
    Ok(())
}
