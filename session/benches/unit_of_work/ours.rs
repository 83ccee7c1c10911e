//! The workloads through the session. One function each, the same for both backends.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sea_orm::{EntityTrait, IsolationLevel, QuerySelect};
use sea_session::Error;
use sea_session::prelude::*;

use crate::entities::{account, child, hooked, item, new_child, new_item, new_parent, parent};

/// Adds every row and commits, which flushes once.
pub async fn insert(db: &Db, rows: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let mut s = db.begin().await.expect("begin");
    for row in rows {
        s.add(new_item(row));
    }
    s.commit().await.expect("commit");
    drop(s);
    start.elapsed()
}

/// Adds parents and children whose keys the database makes, and commits.
pub async fn insert_family(db: &Db, parents: Vec<item::Model>, children: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let each = children.len() / parents.len();
    let mut children = children.into_iter();
    let mut made = Vec::with_capacity(children.len());
    let mut s = db.begin().await.expect("begin");
    for row in parents {
        let parent = s.add(new_parent(row));
        for row in children.by_ref().take(each) {
            let child = s.add(new_child(row));
            child.set_parent::<parent::Entity>(child::Relation::Parent, &parent).expect("a declared relation");
            made.push(child);
        }
    }
    s.commit().await.expect("commit");
    assert!(made.iter().all(|child| child.id() > 0 && child.parent_id() > 0));
    drop((s, made));
    start.elapsed()
}

/// Loads every row, changes the title of the first so many, and commits.
pub async fn load_and_update(db: &Db, changes: usize, suffix: &str) -> Duration {
    let change = |row: &Tracked<item::Entity>| _ = row.set_title(format!("title {} {suffix}", row.id()));
    load_and_change(db, changes, change, |_| ()).await
}

/// The same with all rows; a hook of the entity runs before each is saved.
pub async fn load_and_update_hooked(db: &Db, n: usize, suffix: &str) -> Duration {
    let change = |row: &Tracked<hooked::Entity>| _ = row.set_title(format!("title {} {suffix}", row.id()));
    let hooked = |rows: &[Tracked<hooked::Entity>]| {
        assert!(rows.iter().all(|row| row.revision() == 2), "the hook ran once for each");
    };
    load_and_change(db, n, change, hooked).await
}

async fn load_and_change<E: TrackedEntity>(
    db: &Db,
    changes: usize,
    change: impl Fn(&Tracked<E>),
    check: impl Fn(&[Tracked<E>]),
) -> Duration {
    let start = Instant::now();
    let mut s = db.begin().await.expect("begin");
    let rows = E::find().load(&mut s).await.expect("load");
    rows[..changes].iter().for_each(change);
    s.commit().await.expect("commit");
    check(&rows);
    drop((s, rows));
    start.elapsed()
}

/// Loads every row.
pub async fn load(db: &Db, n: usize) -> Duration {
    let start = Instant::now();
    let mut s = db.begin().await.expect("begin");
    let rows = item::Entity::find().load(&mut s).await.expect("load");
    s.commit().await.expect("commit");
    let time = start.elapsed();
    assert_eq!(rows.len(), n);
    time
}

/// Deletes rows that were loaded before, and commits.
pub async fn delete(db: &Db, n: usize) -> Duration {
    let mut s = db.begin().await.expect("begin");
    let rows = item::Entity::find().load(&mut s).await.expect("load");
    assert_eq!(rows.len(), n);
    let start = Instant::now();
    for row in &rows {
        s.delete(row);
    }
    s.commit().await.expect("commit");
    start.elapsed()
}

/// Gets objects that are tracked already, in the order of these keys.
pub async fn gets(s: &mut Session, keys: &[i64]) -> Duration {
    let start = Instant::now();
    for key in keys {
        black_box(s.get::<item::Entity>(*key).await.expect("get"));
    }
    start.elapsed()
}

/// The same without an await.
pub fn peeks(s: &mut Session, keys: &[i64]) -> Duration {
    let start = Instant::now();
    for key in keys {
        black_box(s.peek::<item::Entity>(*key));
    }
    start.elapsed()
}

/// One unit, a nested block for each row, every tenth of them rolled back.
pub async fn nested(db: &Db, rows: Vec<item::Model>) -> Duration {
    let start = Instant::now();
    let mut s = db.begin().await.expect("begin");
    for (at, row) in rows.into_iter().enumerate() {
        let outcome = s
            .atomic(async |s| -> Result<(), Error> {
                s.add(new_item(row));
                s.flush().await?;
                if at % 10 == 9 { Err(Error::from(sea_orm::DbErr::Custom("every tenth".into()))) } else { Ok(()) }
            })
            .await;
        assert_eq!(outcome.is_err(), at % 10 == 9);
    }
    s.commit().await.expect("commit");
    drop(s);
    start.elapsed()
}

/// One unit a row: get, change one column, commit.
pub async fn units(db: &Db, n: usize, rows: i64, suffix: &str) -> Duration {
    let start = Instant::now();
    for at in 0..n as i64 {
        let unit = db.run(async |s| -> Result<(), Error> {
            let row = s.get::<item::Entity>(at % rows + 1).await?.expect("a row");
            row.set_title(format!("unit {} {suffix}", row.id()));
            Ok(())
        });
        unit.await.expect("the unit");
    }
    start.elapsed()
}

/// Changes one of so many tracked objects, and flushes, so often, and as often beforehand: what the load left behind in the
/// allocator's lists is used up by then.
pub async fn flush_ones(db: &Db, tracked: u64, flushes: usize) -> Duration {
    let mut s = db.begin().await.expect("begin");
    let rows = item::Entity::find().limit(tracked).load(&mut s).await.expect("load");
    assert_eq!(rows.len() as u64, tracked);
    let mut start = Instant::now();
    for at in 0..2 * flushes {
        if at == flushes {
            start = Instant::now();
        }
        rows[0].set_revision(at as i32 + 1_000);
        s.flush().await.expect("flush");
    }
    let time = start.elapsed();
    s.rollback().await.expect("rollback");
    time
}

/// Moves money between two accounts at SERIALIZABLE, retried by the session; how often it had to.
pub async fn transfer(db: &Db, from: i64, to: i64, amount: i64) -> u64 {
    let unit = db.session().isolation(IsolationLevel::Serializable).retry(Retry::times(1_000));
    let numbers = unit.clone();
    let outcome = unit
        .run(async |s| -> Result<(), Error> {
            let source = s.get::<account::Entity>(from).await?.expect("an account");
            let target = s.get::<account::Entity>(to).await?.expect("an account");
            source.set_balance(source.balance() - amount);
            target.set_balance(target.balance() + amount);
            Ok(())
        })
        .await;
    outcome.expect("the transfer");
    numbers.stats().retries
}
