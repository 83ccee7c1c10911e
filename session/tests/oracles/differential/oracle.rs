//! The oracle: SeaORM's own statements, one row at a time, in an order that works.
//!
//! It knows nothing of how a session orders its rows: it tries what is left until nothing is, new and changed rows before
//! deleted ones, each behind a savepoint. Where it finds no order at all it says so; a session may still know one, by writing
//! NULL first, and then the program proves nothing.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};

use super::world::{Cells, World};

/// What is due about one row.
#[derive(Clone, Debug)]
pub enum Due {
    Insert(Cells),
    Update(Cells),
    Delete,
}

/// One row's change. Values that follow a parent are looked up when it is their turn.
pub struct Change {
    pub world: Arc<dyn World>,
    pub tag: i64,
    pub due: Due,
    /// Column, the parent's entity and tag, and the parent's column.
    pub links: Vec<(usize, Arc<dyn World>, i64, usize)>,
    /// Whether the database says how many rows were written.
    pub counted: bool,
}

/// The oracle could not go on.
#[derive(Debug)]
pub struct Stuck;

pub async fn sql(db: &DatabaseConnection, text: &str) -> Result<(), DbErr> {
    db.execute_unprepared(text).await.map(|_| ())
}

/// Carries all changes out, or none of them.
pub async fn apply(db: &DatabaseConnection, changes: &[Change]) -> Result<(), Stuck> {
    let say = |_: DbErr| Stuck;
    sql(db, "SAVEPOINT whole").await.map_err(say)?;
    if at_once(db, changes).await.is_err() {
        sql(db, "ROLLBACK TO SAVEPOINT whole").await.map_err(say)?;
        if changes.len() > 200 {
            // So many are not worth ordering one by one.
            return Err(Stuck);
        }
        one_by_one(db, changes).await?;
    }
    sql(db, "RELEASE SAVEPOINT whole").await.map_err(say)
}

/// As they come: parents before children, and the other way round for those that go.
async fn at_once(db: &DatabaseConnection, changes: &[Change]) -> Result<(), DbErr> {
    let goes = |change: &&Change| matches!(change.due, Due::Delete);
    for change in changes.iter().filter(|change| !goes(change)) {
        one(db, change).await?;
    }
    for change in changes.iter().rev().filter(goes) {
        one(db, change).await?;
    }
    Ok(())
}

async fn one_by_one(db: &DatabaseConnection, changes: &[Change]) -> Result<(), Stuck> {
    let (mut deletes, mut others): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| matches!(change.due, Due::Delete));
    deletes.reverse();
    loop {
        let before = (others.len(), deletes.len());
        others = tried(db, others, usize::MAX).await?;
        if others.len() == before.0 {
            deletes = tried(db, deletes, if others.is_empty() { usize::MAX } else { 1 }).await?;
        }
        if others.is_empty() && deletes.is_empty() {
            return Ok(());
        }
        if (others.len(), deletes.len()) == before {
            return Err(Stuck);
        }
    }
}

/// Those that could not be carried out; at most `most` are.
async fn tried<'c>(db: &DatabaseConnection, changes: Vec<&'c Change>, most: usize) -> Result<Vec<&'c Change>, Stuck> {
    let say = |_: DbErr| Stuck;
    let (mut left, mut done) = (Vec::new(), 0);
    for change in changes {
        if done == most {
            left.push(change);
            continue;
        }
        sql(db, "SAVEPOINT one").await.map_err(say)?;
        match one(db, change).await {
            Ok(()) => done += 1,
            Err(_) => {
                sql(db, "ROLLBACK TO SAVEPOINT one").await.map_err(say)?;
                left.push(change);
            }
        }
        sql(db, "RELEASE SAVEPOINT one").await.map_err(say)?;
    }
    Ok(left)
}

async fn one(db: &DatabaseConnection, change: &Change) -> Result<(), DbErr> {
    let world = &change.world;
    let with_links = async |cells: &Cells| {
        let mut cells = cells.clone();
        for (at, parent, tag, of) in &change.links {
            let row = parent.by_tag(db, *tag).await?;
            let row = row.ok_or_else(|| DbErr::Custom("the parent is not there yet".into()))?;
            cells.insert(*at, row[*of].clone());
        }
        Ok::<_, DbErr>(cells)
    };
    let key = async || {
        let row = world.by_tag(db, change.tag).await?;
        Ok::<_, DbErr>(row.map(|row| world.shape().keys().map(|at| row[at].clone()).collect()))
    };
    let one = |rows: u64| match rows {
        1 => Ok(()),
        0 if !change.counted => Ok(()),
        rows => Err(DbErr::Custom(format!("{rows} rows were written"))),
    };
    match &change.due {
        Due::Insert(cells) => one(world.insert(db, &with_links(cells).await?).await?),
        Due::Update(cells) => {
            let cells = with_links(cells).await?;
            let key = key().await?.ok_or_else(|| DbErr::Custom("the row is gone".into()))?;
            one(world.update(db, key, &cells).await?)
        }
        // A referential action may have taken it.
        Due::Delete => match key().await? {
            Some(key) => one(world.remove(db, key).await?),
            None => Ok(()),
        },
    }
}
