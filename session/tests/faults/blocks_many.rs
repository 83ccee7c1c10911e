//! Many blocks one after the other and many inside each other: nothing grows but what is open (A2, A4, A15). Each test
//! is alone in a process, because it counts every byte that the process holds.
//!
//! `cargo test -p sea-session --test faults -- blocks_many --nocapture` prints the counts.

use futures_util::future::BoxFuture;
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbBackend, PaginatorTrait, Statement, entity::prelude::*};
use sea_session::{
    Error, Recorder, Session, Stats,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

use crate::{again::alone, item, memory::held};

const IN_A_ROW: u64 = 10_000;
const DEEP: u64 = 200;

/// Follows what is sent: which savepoints the server holds.
#[derive(Default)]
struct Held {
    open: Vec<String>,
    most: usize,
}

impl Held {
    fn follow(&mut self, sent: Vec<String>) {
        for part in sent.iter().flat_map(|sql| sql.split("; ")) {
            if let Some(name) = part.strip_prefix("SAVEPOINT ") {
                self.open.push(name.to_owned());
                self.most = self.most.max(self.open.len());
            } else if let Some(name) = part.strip_prefix("RELEASE SAVEPOINT ") {
                let at = self.open.iter().position(|open| open == name).expect("what is released is open");
                // Those inside it go with it.
                self.open.truncate(at);
            } else if let Some(name) = part.strip_prefix("ROLLBACK TO SAVEPOINT ") {
                let at = self.open.iter().position(|open| open == name).expect("what is rolled back to is open");
                self.open.truncate(at + 1);
            }
        }
    }
}

fn since(before: Stats, after: Stats) -> (u64, u64, u64) {
    (after.statements - before.statements, after.control - before.control, after.savepoints - before.savepoints)
}

/// One block with a change, a flush and an end that is good twice out of three times.
async fn block(s: &mut Session, item: &Tracked<item::Entity>, n: u64) {
    let outcome = s
        .atomic(async |s: &mut Session| -> Result<(), Error> {
            item.set_value(i32::try_from(n).unwrap() + 1);
            s.flush().await?;
            if n % 3 == 2 { Err(Error::Usage("undo".into())) } else { Ok(()) }
        })
        .await;
    assert_eq!(outcome.is_err(), n % 3 == 2);
}

/// What the server's own process holds for this transaction.
async fn server_holds(s: &mut Session) -> i64 {
    if s.backend() != DbBackend::Postgres {
        return 0;
    }
    // The memory of the cache of catalogues comes and goes by itself.
    let sql = "SELECT sum(used_bytes)::int8 AS n FROM pg_backend_memory_contexts \
               WHERE name IN ('TopTransactionContext', 'CurTransactionContext', 'PortalContext')";
    let row = s.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.unwrap().unwrap();
    row.try_get("", "n").unwrap()
}

#[test]
fn a2_a4_ten_thousand_blocks_in_a_row_hold_no_more_than_ten() {
    if !alone(module_path!(), "a2_a4_ten_thousand_blocks_in_a_row_hold_no_more_than_ten") {
        return;
    }
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, item::Entity).await,
            async |db: Db| {
                in_a_row(&db).await;
            },
        );
    }
}

async fn in_a_row(db: &Db) {
    let recorder = Recorder::new();
    let mut s = db.session().record(&recorder).begin().await.unwrap();
    let item = s.add(item::ActiveModel { id: Set(1), value: Set(0) });
    s.flush().await.unwrap();
    let mut savepoints = Held::default();
    // Statements are prepared and buffers have their size after some.
    for n in 0..100 {
        block(&mut s, &item, n).await;
        savepoints.follow(recorder.take());
    }
    let (before, bytes, server) = (s.stats(), held(), server_holds(&mut s).await);
    for n in 0..IN_A_ROW {
        block(&mut s, &item, n).await;
        // Emptied after every block, so that the record does not grow either.
        savepoints.follow(recorder.take());
        assert!(savepoints.open.len() <= 1, "the last one's RELEASE rides with the next: {:?}", savepoints.open);
    }
    let grown = held() - bytes;
    let (statements, control, count) = since(before, s.stats());
    let server = server_holds(&mut s).await - server;
    println!(
        "{:?}: {IN_A_ROW} blocks in a row: {statements} statements, {control} control messages, {count} savepoints, at most \
         {} held at once, {grown} bytes more here, {server} on the server",
        db.backend(),
        savepoints.most
    );
    // The look at the server's memory is the one statement more.
    assert_eq!(statements, IN_A_ROW + u64::from(db.backend() == DbBackend::Postgres));
    // SAVEPOINT with the last RELEASE, and ROLLBACK TO for every third.
    assert_eq!((control, count, savepoints.most), (IN_A_ROW + IN_A_ROW / 3, IN_A_ROW, 1));
    assert!(grown < 4_096, "{grown} bytes more after {IN_A_ROW} blocks");
    // The numbers of its subtransactions that wrote are all that a server keeps of blocks that are over.
    assert!(server < 64 * i64::try_from(IN_A_ROW).unwrap(), "{server} bytes more on the server");
    assert_eq!((s.depth(), item.value()), (0, 10_000), "the last change that was kept");
    s.rollback().await.unwrap();
}

/// Goes down to a depth, with a statement at each level or only at the bottom.
fn descend(s: &mut Session, depth: u64, everywhere: bool) -> BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        if depth == 0 || everywhere {
            assert_eq!(item::Entity::find().count(s).await?, 0);
        }
        if depth == 0 {
            return Ok(());
        }
        s.atomic(async |s: &mut Session| descend(s, depth - 1, everywhere).await).await
    })
}

#[test]
fn a2_a15_two_hundred_blocks_deep_are_closed_by_one_message_and_leave_nothing() {
    if !alone(module_path!(), "a2_a15_two_hundred_blocks_deep_are_closed_by_one_message_and_leave_nothing") {
        return;
    }
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, item::Entity).await,
            async |db: Db| {
                let recorder = Recorder::new();
                let mut s = db.session().record(&recorder).begin().await.unwrap();
                for (everywhere, messages) in [(true, DEEP + 1), (false, 1)] {
                    descend(&mut s, 3, true).await.unwrap();
                    let before = s.stats();
                    let mut savepoints = Held::default();
                    recorder.take();
                    descend(&mut s, DEEP, everywhere).await.unwrap();
                    let sent = recorder.take();
                    let (statements, control, count) = since(before, s.stats());
                    println!(
                        "{:?}: {DEEP} blocks deep, {}: {statements} statements, {control} control messages, {count} savepoints",
                        db.backend(),
                        if everywhere { "a statement in each" } else { "a statement in the last" }
                    );
                    assert_eq!((statements, count), (messages, DEEP));
                    assert_eq!(control, if everywhere { DEEP } else { 1 }, "SAVEPOINTs that wait go in one message");
                    // What the three blocks before left to release is not this recorder's to follow.
                    savepoints.follow(sent.into_iter().map(|sql| without_first_release(&sql)).collect());
                    assert_eq!(savepoints.most, usize::try_from(DEEP).unwrap());
                    s.atomic(async |s: &mut Session| descend(s, 0, true).await).await.unwrap();
                    savepoints.follow(recorder.take());
                    assert_eq!(savepoints.open.len(), 1, "one RELEASE, of the outermost, closed all two hundred");
                    assert_eq!(s.depth(), 0);
                }
                s.rollback().await.unwrap();
            },
        );
    }
}

fn without_first_release(sql: &str) -> String {
    match sql.strip_prefix("RELEASE SAVEPOINT ") {
        Some(rest) => rest.split_once("; ").map_or(String::new(), |(_, rest)| rest.to_owned()),
        None => sql.to_owned(),
    }
}
