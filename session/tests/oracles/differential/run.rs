//! A program, carried out in a session and by the oracle at the same time. After every flush, and at the end, the rows of both
//! worlds must be the same, and every object of the session must hold what its row holds.

mod compare;
mod deeds;

use std::{collections::BTreeMap, sync::Arc};

use fastrand::Rng;
use futures_util::{FutureExt as _, future::BoxFuture};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, Value};
use sea_session::{
    Db, Error, Session, State,
    testing::{Backend, cluster::mariadb::MariaDbDatabase},
};

use compare::{by_tag, tags, text};

use super::{
    family::{self, Role, Shape},
    oracle::{self, Change, Due, sql},
    program::{Case, Step, What, value},
    tables::{self, Spelling},
    world::{Cells, Handle, Row, World, shown},
};

/// How a program ended.
#[derive(Debug)]
pub enum Outcome {
    Same,
    /// Both worlds refused the same flush.
    Refused,
    /// The oracle found no order, and the session did: this proves nothing.
    Open,
    Different(String),
}

/// Why a program goes no further.
enum Stop {
    /// The body of a block wants it rolled back.
    Back,
    End(Outcome),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        different(format!("the session failed: {error}"))
    }
}

impl From<DbErr> for Stop {
    fn from(error: DbErr) -> Self {
        different(format!("the oracle failed: {error}"))
    }
}

fn different(what: String) -> Stop {
    Stop::End(Outcome::Different(what))
}

/// One object of the program.
#[derive(Clone)]
struct Slot {
    /// Among the program's tables.
    entity: usize,
    tag: i64,
    handle: Arc<dyn Handle>,
    stand: Stand,
    cells: Cells,
    /// Column, and the slot of the parent that it follows.
    links: BTreeMap<usize, usize>,
    expired: bool,
    /// The session has looked for the row that is gone, and may have its key again (D7).
    missed: bool,
    /// The row as the object knows it.
    held: Option<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    New,
    There,
    Going,
    Gone,
}

/// Both worlds of a program.
struct Run<'a> {
    case: &'a Case,
    worlds: Vec<Arc<dyn World>>,
    oracle: &'a DatabaseConnection,
    slots: Vec<Slot>,
    tags: i64,
    savepoints: u32,
    log: &'a std::sync::Mutex<Vec<String>>,
}

/// Where the worlds of a program are, which it may do with as it likes.
pub struct Places {
    session: String,
    oracle: String,
    /// Empties both, sent in the oracle's.
    empty: String,
}

impl Places {
    pub fn in_memory() -> Self {
        let memory = || "sqlite::memory:".to_owned();
        Self { session: memory(), oracle: memory(), empty: String::new() }
    }

    /// Two schemas of a database on PostgreSQL.
    pub fn schemas(url: &str) -> Self {
        let first = if url.contains('?') { '&' } else { '?' };
        let place = |schema: &str| format!("{url}{first}options=-c%20search_path%3D{schema}");
        let empty = ["a", "b"].map(|name| format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}"));
        Self { session: place("a"), oracle: place("b"), empty: empty.join("; ") }
    }

    /// Two databases of MariaDB.
    pub fn databases(session: &MariaDbDatabase, oracle: &MariaDbDatabase) -> Self {
        let both = [session, oracle];
        let empty = both.map(|one| format!("DROP DATABASE {0}; CREATE DATABASE {0} CHARACTER SET utf8mb4", one.name()));
        let empty = format!("{}; USE {}", empty.join("; "), oracle.name());
        Self { session: session.url(), oracle: oracle.url(), empty }
    }
}

/// One connection to a world.
fn options(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    options
}

/// Carries the program out.
pub async fn run(case: &Case, places: &Places, log: &std::sync::Mutex<Vec<String>>) -> Outcome {
    let outcome = std::panic::AssertUnwindSafe(prepared(case, places, log)).catch_unwind().await;
    match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(e)) => Outcome::Different(format!("the tables could not be made: {e}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Outcome::Different(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

async fn prepared(case: &Case, places: &Places, log: &std::sync::Mutex<Vec<String>>) -> Result<Outcome, DbErr> {
    let all = family::all(case.backend);
    let worlds: Vec<Arc<dyn World>> = case.tables.iter().map(|table| all[table.entity].clone()).collect();
    let oracle = Database::connect(options(&places.oracle)).await?;
    if !places.empty.is_empty() {
        sql(&oracle, &places.empty).await?;
    }
    let db = Db::connect(options(&places.session)).await.map_err(|e| DbErr::Custom(e.to_string()))?;
    let statements = tables::script(&case.tables, &case.surroundings);
    for connection in [db.connection(), &oracle] {
        sql(connection, &statements).await?;
    }
    let run = Run { case, worlds, oracle: &oracle, slots: Vec::new(), tags: 0, savepoints: 0, log };
    let outcome = run.whole(&db).await;
    drop(db.close().await);
    drop(oracle.close().await);
    Ok(match outcome {
        Ok(()) => Outcome::Same,
        Err(Stop::End(outcome)) => outcome,
        Err(Stop::Back) => Outcome::Different("a rollback without a block".into()),
    })
}

impl Run<'_> {
    async fn whole(mut self, db: &Db) -> Result<(), Stop> {
        let unit = db.session();
        let unit = if self.case.optimistic { unit.optimistic() } else { unit };
        let unit = if self.case.show_values { unit.show_values() } else { unit };
        let mut session = unit.begin().await?;
        sql(self.oracle, if self.case.backend == Backend::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
        let outcome = self.body(&mut session).await;
        if let Err(stop) = outcome {
            drop(session.rollback().await);
            return Err(stop);
        }
        match (session.commit().await, sql(self.oracle, "COMMIT").await) {
            (Ok(()), Ok(())) => {}
            (Err(_), Err(_)) => return Err(Stop::End(Outcome::Refused)),
            (ours, theirs) => return Err(different(format!("the commits: {ours:?}, the oracle's {theirs:?}"))),
        }
        for world in self.worlds.clone() {
            let ours = world.rows(db.connection()).await?;
            self.compare_rows(&*world, ours, db.connection()).await?;
        }
        Ok(())
    }

    async fn body(&mut self, s: &mut Session) -> Result<(), Stop> {
        let steps = self.case.steps.clone();
        self.steps(s, &steps).await?;
        self.flush(s).await
    }

    fn steps<'f>(&'f mut self, s: &'f mut Session, steps: &'f [Step]) -> BoxFuture<'f, Result<(), Stop>> {
        Box::pin(async move {
            for step in steps {
                self.step(s, step).await?;
            }
            Ok(())
        })
    }

    fn note(&self, text: String) {
        self.log.lock().expect("the log").push(text);
    }

    fn shape(&self, slot: usize) -> &'static Shape {
        self.worlds[self.slots[slot].entity].shape()
    }

    /// The slots of an entity that stand so, as many as wanted.
    fn some(&self, rng: &mut Rng, rows: usize, fits: impl Fn(&Slot) -> bool) -> Vec<usize> {
        let mut fitting: Vec<usize> = (0..self.slots.len()).filter(|at| fits(&self.slots[*at])).collect();
        rng.shuffle(&mut fitting);
        fitting.truncate(rows);
        fitting
    }

    async fn step(&mut self, s: &mut Session, step: &Step) -> Result<(), Stop> {
        let mut rng = Rng::with_seed(step.seed);
        match &step.what {
            What::Add { entity, rows } => {
                for _ in 0..*rows {
                    self.add(s, &mut rng, *entity, None)?;
                }
            }
            What::AddAgain => {
                let key = |role| role == Role::Key;
                let gone = |slot: &Slot| {
                    let columns = self.worlds[slot.entity].shape().columns;
                    slot.stand == Stand::Gone
                        && slot.missed
                        && slot.held.is_some()
                        && columns.iter().any(|c| key(c.role))
                };
                for at in self.some(&mut rng, 1, gone) {
                    let (entity, held) = (self.slots[at].entity, self.slots[at].held.clone());
                    let held = held.expect("a row that was there");
                    let keys: Vec<usize> = self.worlds[entity].shape().keys().collect();
                    let taken = self.slots.iter().any(|slot| {
                        // A key that is to be changed is the object's until the flush (I2).
                        let was = |k: usize| slot.held.as_ref().map(|row| &row[k]);
                        let is = |k: usize| slot.cells.get(&k).or(was(k));
                        let key_is = |value: &dyn Fn(usize) -> Option<Value>| {
                            keys.iter().all(|k| value(*k).as_ref().map(shown) == Some(shown(&held[*k])))
                        };
                        slot.entity == entity
                            && slot.stand != Stand::Gone
                            && (key_is(&|k| was(k).cloned()) || key_is(&|k| is(k).cloned()))
                    });
                    if !taken {
                        let keys = keys.into_iter().map(|k| (k, held[k].clone())).collect();
                        self.add(s, &mut rng, entity, Some(keys))?;
                    }
                }
            }
            What::Set { entity, rows } => {
                let there = |slot: &Slot| slot.entity == *entity && matches!(slot.stand, Stand::There | Stand::New);
                let column = rng.usize(..8);
                for at in self.some(&mut rng, *rows, there) {
                    self.set(&mut rng, at, column)?;
                }
            }
            What::Delete { entity, rows } => {
                let there = |slot: &Slot| slot.entity == *entity && matches!(slot.stand, Stand::There | Stand::New);
                for at in self.some(&mut rng, *rows, there) {
                    // Nobody can follow a key that is never written.
                    let columns = self.shape(at).columns;
                    if self.slots[at].cells.keys().any(|c| matches!(columns[*c].role, Role::Key | Role::Unique))
                        && self.slots[at].stand == Stand::There
                    {
                        continue;
                    }
                    self.note(format!("delete {}", self.name(at)));
                    self.slots[at].handle.delete(s);
                    let slot = &mut self.slots[at];
                    slot.stand = if slot.stand == Stand::New { Stand::Gone } else { Stand::Going };
                }
            }
            What::Rekey => self.rekey(&mut rng)?,
            What::Flush => self.flush(s).await?,
            What::Get => {
                self.flush(s).await?;
                for at in self.some(&mut rng, 3, |slot| slot.stand == Stand::There) {
                    self.note(format!("get {}", self.name(at)));
                    let key = self.key(s, at).await?;
                    let found = self.worlds[self.slots[at].entity].clone().get(s, key).await?;
                    let found = found.ok_or_else(|| different(format!("{} is not found", self.name(at))))?;
                    self.must_be(at, &*found)?;
                    self.slots[at].expired = false;
                }
            }
            What::GetMany { entity } => {
                self.flush(s).await?;
                let there = |slot: &Slot| slot.entity == *entity && slot.stand == Stand::There;
                let slots = self.some(&mut rng, 40, there);
                self.note(format!("get_many of {}", slots.len()));
                let mut keys = Vec::new();
                for at in &slots {
                    keys.push(self.key(s, *at).await?);
                }
                let found = self.worlds[*entity].clone().get_many(s, keys).await?;
                if found.len() != slots.len() {
                    return Err(different(format!("get_many found {} of {}", found.len(), slots.len())));
                }
                for (at, found) in slots.iter().zip(&found) {
                    self.must_be(*at, &**found)?;
                    self.slots[*at].expired = false;
                }
            }
            What::GetOther => {
                self.flush(s).await?;
                let folds = |slot: &Slot| self.case.tables[slot.entity].spelling != Spelling::Exact;
                for at in self.some(&mut rng, 2, |slot| slot.stand == Stand::There && folds(slot)) {
                    let spelling = self.case.tables[self.slots[at].entity].spelling;
                    let other = |value: Value| match value {
                        Value::String(Some(text)) if spelling == Spelling::Case => text.to_uppercase().into(),
                        Value::String(Some(text)) if spelling == Spelling::Trimmed => format!("{text}  ").into(),
                        Value::String(Some(text)) => text.trim_end().to_owned().into(),
                        value => value,
                    };
                    let key: Vec<Value> = self.key(s, at).await?.into_iter().map(other).collect();
                    self.note(format!("get {} as {key:?}", self.name(at)));
                    let found = self.worlds[self.slots[at].entity].clone().get(s, key).await?;
                    let found = found.ok_or_else(|| different(format!("{} is not found", self.name(at))))?;
                    self.must_be(at, &*found)?;
                    self.slots[at].expired = false;
                }
            }
            What::Load { entity } => {
                self.flush(s).await?;
                let world = self.worlds[*entity].clone();
                let found = world.load(s).await?;
                self.note(format!("load {} {}", found.len(), world.shape().table));
                for at in self.some(&mut rng, usize::MAX, |slot| slot.entity == *entity && slot.stand == Stand::There) {
                    let tag = shown(&self.slots[at].tag.into());
                    let row = found.iter().find(|found| shown(&found.row()[world.shape().tag()]) == tag);
                    let row = row.ok_or_else(|| different(format!("{} is not loaded", self.name(at))))?;
                    self.must_be(at, &**row)?;
                    self.slots[at].expired = false;
                }
            }
            What::Refresh => {
                self.flush(s).await?;
                for at in self.some(&mut rng, 2, |slot| slot.stand == Stand::There) {
                    self.note(format!("refresh {}", self.name(at)));
                    self.slots[at].handle.clone().refresh(s).await?;
                    self.slots[at].expired = false;
                }
            }
            What::Parent => {
                self.flush(s).await?;
                let child = |slot: &Slot| self.worlds[slot.entity].shape().parents().next().is_some();
                for at in self.some(&mut rng, 2, |slot| slot.stand == Stand::There && child(slot)) {
                    for (column, ..) in self.shape(at).parents() {
                        let expected = self.parent_of(at, column).await?;
                        self.note(format!("the parent of {}", self.name(at)));
                        let handle = self.slots[at].handle.clone();
                        let found = handle.parent(column, s).await?;
                        if found != expected {
                            return Err(different(format!(
                                "the parent of {} is {found:?}, by its row {expected:?}",
                                self.name(at)
                            )));
                        }
                    }
                }
            }
            What::Parents { entity } => {
                self.flush(s).await?;
                let there = |slot: &Slot| slot.entity == *entity && slot.stand == Stand::There;
                let slots = self.some(&mut rng, 40, there);
                let handles: Vec<Arc<dyn Handle>> = slots.iter().map(|at| self.slots[*at].handle.clone()).collect();
                for (column, ..) in self.worlds[*entity].shape().parents() {
                    self.note(format!("the parents of {} rows", slots.len()));
                    let found = self.worlds[*entity].clone().parents(s, &handles, column).await?;
                    for (at, found) in slots.iter().zip(found) {
                        let expected = self.parent_of(*at, column).await?;
                        if found != expected {
                            let name = self.name(*at);
                            return Err(different(format!(
                                "load_related: {name} to {found:?}, by its row {expected:?}"
                            )));
                        }
                    }
                }
            }
            What::Expire => {
                for at in self.some(&mut rng, 3, |slot| slot.stand == Stand::There && slot.is_clean()) {
                    self.note(format!("expire {}", self.name(at)));
                    self.slots[at].handle.expire(s);
                    self.slots[at].expired = true;
                }
            }
            What::ExpireAll { entity } => {
                self.flush(s).await?;
                self.expire_all(s, *entity);
            }
            What::RawUpdate { entity } => self.raw_update(s, &mut rng, *entity).await?,
            What::RawDelete => self.raw_delete(s, &mut rng).await?,
            What::Block { steps, good } => self.block(s, steps, *good).await?,
        }
        Ok(())
    }

    fn name(&self, at: usize) -> String {
        let slot = &self.slots[at];
        format!("{} {}", self.worlds[slot.entity].shape().table, slot.tag)
    }

    fn must_be(&self, at: usize, found: &dyn Handle) -> Result<(), Stop> {
        if self.slots[at].handle.same(found) {
            return Ok(());
        }
        Err(different(format!("{} is two objects", self.name(at))))
    }

    fn expire_all(&mut self, s: &mut Session, entity: usize) {
        self.note(format!("expire all {}", self.worlds[entity].shape().table));
        self.worlds[entity].expire_all(s);
        self.slots.iter_mut().filter(|slot| slot.entity == entity).for_each(|slot| slot.expired = true);
    }

    // ---- objects ---------------------------------------------------------------------------------------------------

    async fn block(&mut self, s: &mut Session, steps: &[Step], good: bool) -> Result<(), Stop> {
        self.flush(s).await?;
        self.savepoints += 1;
        let name = format!("block_{}", self.savepoints);
        let before = self.slots.clone();
        sql(self.oracle, &format!("SAVEPOINT {name}")).await?;
        self.note(format!("begin {name}"));
        let outcome = s
            .atomic(async |s: &mut Session| -> Result<(), Stop> {
                self.steps(s, steps).await?;
                self.flush(s).await?;
                if good { Ok(()) } else { Err(Stop::Back) }
            })
            .await;
        match outcome {
            Ok(()) => self.note(format!("end {name}")),
            Err(Stop::Back) => {
                self.note(format!("roll {name} back"));
                sql(self.oracle, &format!("ROLLBACK TO SAVEPOINT {name}")).await?;
                self.slots = before;
            }
            Err(stop) => return Err(stop),
        }
        sql(self.oracle, &format!("RELEASE SAVEPOINT {name}")).await?;
        self.learn().await?;
        self.compare(s).await
    }

    async fn flush(&mut self, s: &mut Session) -> Result<(), Stop> {
        let changes = self.changes();
        self.note(format!("flush {} changes", changes.len()));
        let ours = s.flush().await;
        let theirs = oracle::apply(self.oracle, &changes).await;
        match (ours, theirs) {
            (Ok(()), Ok(())) => {}
            (Err(_), Err(_)) => return Err(Stop::End(Outcome::Refused)),
            (Ok(()), Err(_)) => return Err(Stop::End(Outcome::Open)),
            (Err(e), Ok(())) => return Err(different(format!("the flush failed: {e}"))),
        }
        for slot in &mut self.slots {
            slot.cells.clear();
            slot.links.clear();
            slot.stand = match slot.stand {
                Stand::New => Stand::There,
                Stand::Going => Stand::Gone,
                other => other,
            };
        }
        self.learn().await?;
        self.compare(s).await
    }

    /// What is due, parents before children.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (entity, world) in self.worlds.iter().enumerate() {
            for slot in self.slots.iter().filter(|slot| slot.entity == entity) {
                let links = slot.links.iter().map(|(at, parent)| {
                    let parent = &self.slots[*parent];
                    let Role::Parent(_, of) = world.shape().columns[*at].role else { panic!("no link") };
                    let to = self.worlds[parent.entity].clone();
                    let of = to.shape().at(of);
                    (*at, to, parent.tag, of)
                });
                let mut links: Vec<_> = links.collect();
                let version = world.shape().columns.iter().position(|column| column.role == Role::Version);
                let due = match slot.stand {
                    Stand::New => {
                        let mut cells = slot.cells.clone();
                        cells.extend(version.map(|at| (at, Value::from(1))));
                        Due::Insert(cells)
                    }
                    Stand::There => {
                        let held = slot.held.as_ref().expect("a row that is there");
                        let differs = |at: usize, value: &Value| slot.expired || shown(value) != shown(&held[at]);
                        let mut cells = slot.cells.clone();
                        cells.retain(|at, value| differs(*at, value));
                        // A parent that is there already is followed by its key.
                        links.retain(|(at, to, tag, of)| {
                            let parent = self.slots.iter().find(|slot| slot.tag == *tag).expect("the parent");
                            let now = parent.cells.get(of).or(parent.held.as_ref().map(|row| &row[*of]));
                            let _ = to;
                            now.is_none_or(|now| text(now) != text(&held[*at]) || slot.expired)
                        });
                        if cells.is_empty() && links.is_empty() {
                            continue;
                        }
                        if let (Some(at), Value::Int(Some(now))) = (version, &held[version.unwrap_or_default()]) {
                            cells.insert(at, (now + 1).into());
                        }
                        Due::Update(cells)
                    }
                    Stand::Going => Due::Delete,
                    Stand::Gone => continue,
                };
                let counted = self.case.tables[entity].counted;
                changes.push(Change { world: world.clone(), tag: slot.tag, due, links, counted });
            }
        }
        changes
    }

    /// What became of the rows, as the oracle has them.
    async fn learn(&mut self) -> Result<(), Stop> {
        for (entity, world) in self.worlds.clone().into_iter().enumerate() {
            let rows = by_tag(&*world, world.rows(self.oracle).await?);
            for slot in self.slots.iter_mut().filter(|slot| slot.entity == entity) {
                match rows.get(&slot.tag) {
                    Some(row) if slot.stand == Stand::There => slot.held = Some(row.clone()),
                    None if slot.stand == Stand::There => slot.stand = Stand::Gone,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    // ---- comparisons -------------------------------------------------------------------------------------------------

    /// The key of a slot's row in the session's world.
    async fn key(&self, s: &mut Session, at: usize) -> Result<Vec<Value>, Stop> {
        let world = &self.worlds[self.slots[at].entity];
        let rows = by_tag(&**world, world.rows_in(s).await?);
        let row = rows.get(&self.slots[at].tag).ok_or_else(|| different(format!("{} has no row", self.name(at))))?;
        Ok(world.shape().keys().map(|k| row[k].clone()).collect())
    }

    /// The tag of the parent, by the oracle's rows.
    async fn parent_of(&self, at: usize, column: usize) -> Result<Option<i64>, Stop> {
        let world = &self.worlds[self.slots[at].entity];
        let Role::Parent(table, of) = world.shape().columns[column].role else { return Ok(None) };
        let parent = self.worlds.iter().find(|other| other.shape().table == table).expect("the parent's table");
        let row = world.by_tag(self.oracle, self.slots[at].tag).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(tags(&**parent, parent.shape().at(of), &parent.rows(self.oracle).await?).get(&text(&row[column])).copied())
    }
}

impl Slot {
    fn is_clean(&self) -> bool {
        self.cells.is_empty() && self.links.is_empty()
    }
}

fn fresh_key(kind: family::Kind, tag: i64) -> Value {
    match kind {
        family::Kind::Text => format!("k{tag}").into(),
        family::Kind::Int => i32::try_from(tag).expect("a small number").into(),
        family::Kind::Unsigned => u32::try_from(tag).expect("a small number").into(),
        family::Kind::Id => uuid::Uuid::from_u128((tag as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15)).into(),
        _ => (tag * 7 % 1_000_003).into(),
    }
}

fn unique(kind: family::Kind, tag: i64) -> Value {
    match kind {
        family::Kind::Text => format!("c{tag}").into(),
        _ => i32::try_from(tag).expect("a small number").into(),
    }
}

fn brief(shape: &Shape, cells: &Cells) -> String {
    cells.iter().map(|(at, value)| format!("{} {}", shape.columns[*at].name, value)).collect::<Vec<_>>().join(", ")
}
