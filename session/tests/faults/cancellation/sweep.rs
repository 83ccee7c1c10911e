//! Drops each operation at each of its polls, and looks what was left.

use std::time::Duration;

use sea_orm::{
    ColumnTrait, ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait, PaginatorTrait,
    QueryFilter, Statement,
};
use sea_session::Several;
use sea_session::prelude::*;
use sea_session::testing::create_table;

use super::delivery::{DELIVERED, dispatcher, event};
use super::dropping::{Timing, dropped};
use super::operations::{Operation, Place, Scene, operations, titled};
use crate::support_outbox::{create_events, received};
use crate::support_proof::note::{self, label, remark};
use crate::support_proof::sea_orm;

/// What the sweep found.
#[derive(Default)]
pub struct Findings {
    pub operations: usize,
    pub drop_points: usize,
    pub leaks: Vec<String>,
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
}

/// What becomes of a unit whose operation was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    /// It is dropped too.
    Dropped,
    /// It writes one more row and commits.
    Continued,
}

pub struct Sweep {
    db: Db,
    other: Option<Db>,
    /// Looks at the same database from outside.
    observer: DatabaseConnection,
    findings: Findings,
}

impl Sweep {
    pub async fn new(url: &str, tables: &str) -> Self {
        let observer = sea_orm(url, 1).await;
        observer.execute_unprepared(tables).await.expect("tables");
        let fixture = "INSERT INTO note (title) VALUES ('first'), ('second'), ('third'); \
            INSERT INTO remark (note_id, text) VALUES (1, 'good'); INSERT INTO label (name) VALUES ('red')";
        observer.execute_unprepared(fixture).await.expect("rows");
        let mut options = ConnectOptions::new(url);
        options.max_connections(1).acquire_timeout(Duration::from_secs(5));
        let db = Db::connect(options).await.expect("sessions");
        create_events(&db).await.expect("the table of events");
        create_table(&db, received::Entity).await.expect("the table of messages");
        let mut other = None;
        if db.backend() != DbBackend::Sqlite {
            db.create_commit_tokens().await.expect("the table of tokens");
            let mut options = ConnectOptions::new(url);
            options.max_connections(1).acquire_timeout(Duration::from_secs(5));
            other = Some(Db::connect(options).await.expect("sessions"));
        }
        Self { db, other, observer, findings: Findings::default() }
    }

    pub async fn run(mut self) -> Findings {
        let backend = self.db.backend();
        for operation in operations().into_iter().filter(|one| one.only.is_empty() || one.only.contains(&backend)) {
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
        let backend = self.db.backend();
        let at_work = match backend {
            DbBackend::Postgres => {
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                 AND backend_type = 'client backend' AND state <> 'idle'"
            }
            _ => {
                "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() \
                 AND command <> 'Sleep'"
            }
        };
        for _ in 0..1_000 {
            let busy = self.observer.query_all_raw(Statement::from_string(backend, at_work)).await;
            if !busy.expect("activity").is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            if !self.leaves_prepared().await {
                return;
            }
            match several.recover(Duration::ZERO).await {
                Ok(_) => {}
                // The server has not noticed yet that the connection which prepared it is gone.
                Err(error) if backend == DbBackend::MySql && error.sqlstate() == Some("XAE04") => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{token}: recovery: {error}"),
            }
        }
        panic!("{token}: what is left prepared is never settled");
    }

    /// Whether a transaction of this database is prepared.
    async fn leaves_prepared(&self) -> bool {
        let backend = self.db.backend();
        let ask = async |question: &str| {
            self.observer.query_all_raw(Statement::from_string(backend, question)).await.expect("what is prepared")
        };
        if backend == DbBackend::Postgres {
            return !ask("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").await.is_empty();
        }
        // The server shows those of all databases; the second part of a name says which it belongs to.
        let place = ask("SELECT LEFT(MD5(DATABASE()), 16) AS place").await;
        let place: String = place[0].try_get("", "place").expect("a place");
        let prepared = ask("XA RECOVER").await;
        let names = prepared.iter().map(|row| row.try_get::<Vec<u8>>("", "data").expect("a name"));
        names.into_iter().any(|name| String::from_utf8_lossy(&name).contains(&place))
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
