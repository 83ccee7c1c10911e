//! The model test: random programs of a session's operations, in step with a model in memory.
//!
//! A program gets, adds, changes, re-keys, deletes, expunges, refreshes and flushes objects, gets or adds, upserts, updates and
//! deletes rows whether it holds them or not (U2, U4), sends SQL of its own (right and wrong), asks for a rollback and takes that back, and nests blocks and savepoints to a depth of five, which end well, with an error, with
//! a panic or by a drop, and blocks without a savepoint. The model knows nothing of undo logs: entering a block it copies itself, and a rollback takes the copy back. After
//! every step the objects' states and values and the identity map must be as the model says, and so must the table: after
//! every step in half of the programs, and only where the program itself looks in the others, because looking sends SQL and
//! so begins what is still owed.
//!
//! 500 programs on each backend, the same in every run, so that a change is judged by what it changes;
//! `MODEL_PROGRAMS=10000 cargo test -p sea-session --release --test oracles -- model::` draws as many new ones. A program that
//! fails is made small, shown, and its seed kept in `tests/oracles/model.proptest-regressions`, which every run begins with.

mod world;

use std::{collections::BTreeMap, panic::AssertUnwindSafe};

use futures_util::{FutureExt, future::BoxFuture};
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use sea_orm::{
    ActiveValue::Set,
    ConnectionTrait, DbBackend, QueryOrder,
    entity::prelude::*,
    sea_query::{Expr, ExprTrait},
};
use sea_session::{
    Error, NestedBlock, Savepoint, Session,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

use crate::item;
use world::{Wanted, World, unwanted};

/// Keys are few, so that programs meet them again.
const KEYS: i64 = 5;
const DEPTH: u32 = 5;

// ---- programs ------------------------------------------------------------------------------------------------------------

/// How a block's body ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Ok,
    Err,
    Panic,
    /// Its future is dropped.
    Drop,
}

/// What becomes of a savepoint made by hand.
#[derive(Clone, Copy, Debug)]
enum Fate {
    RollBackTo,
    Release,
    Leave,
}

/// One step. Objects are named by their number, in the order in which the program met them, modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    Get(i64),
    GetMany(Vec<i64>),
    LoadAll,
    Add(i64, i32),
    AddAgain(usize),
    Set(usize, i32),
    SetKey(usize, i64),
    Delete(usize),
    Expunge(usize),
    Refresh(usize),
    Flush,
    Look,
    GetOrAdd(i64, i32),
    Upsert(i64, i32),
    UpdateMany(i64),
    DeleteMany(i64),
    RawInsert(i64, i32),
    RawUpdate(i64, i32),
    RawDelete(i64),
    WrongSql,
    SetRollback,
    TakeBack,
    Block(Vec<Op>, End),
    Merged(Vec<Op>, End),
    Savepoint(Vec<Op>, Fate),
}

#[derive(Clone, Debug)]
struct Program {
    ops: Vec<Op>,
    end: End,
    look_always: bool,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    let slot = || 0..8_usize;
    let value = || 0..100_i32;
    let leaf = prop_oneof![
        4 => key().prop_map(Op::Get),
        1 => prop::collection::vec(key(), 0..4).prop_map(Op::GetMany),
        1 => Just(Op::LoadAll),
        6 => (key(), value()).prop_map(|(k, v)| Op::Add(k, v)),
        2 => slot().prop_map(Op::AddAgain),
        6 => (slot(), value()).prop_map(|(o, v)| Op::Set(o, v)),
        2 => (slot(), key()).prop_map(|(o, k)| Op::SetKey(o, k)),
        4 => slot().prop_map(Op::Delete),
        1 => slot().prop_map(Op::Expunge),
        1 => slot().prop_map(Op::Refresh),
        4 => Just(Op::Flush),
        2 => Just(Op::Look),
        2 => (key(), value()).prop_map(|(k, v)| Op::GetOrAdd(k, v)),
        2 => (key(), value()).prop_map(|(k, v)| Op::Upsert(k, v)),
        1 => key().prop_map(Op::UpdateMany),
        1 => key().prop_map(Op::DeleteMany),
        2 => (key(), value()).prop_map(|(k, v)| Op::RawInsert(k, v)),
        2 => (key(), value()).prop_map(|(k, v)| Op::RawUpdate(k, v)),
        1 => key().prop_map(Op::RawDelete),
        1 => Just(Op::WrongSql),
        1 => Just(Op::SetRollback),
        1 => Just(Op::TakeBack),
    ];
    leaf.prop_recursive(DEPTH, 60, 8, move |inner| {
        let ops = || prop::collection::vec(inner.clone(), 0..8);
        let end = || prop_oneof![4 => Just(End::Ok), 3 => Just(End::Err), 1 => Just(End::Panic), 1 => Just(End::Drop)];
        let fate = prop_oneof![2 => Just(Fate::RollBackTo), 1 => Just(Fate::Release), 1 => Just(Fate::Leave)];
        prop_oneof![
            4 => (ops(), end()).prop_map(|(ops, end)| Op::Block(ops, end)),
            1 => (ops(), end()).prop_map(|(ops, end)| Op::Merged(ops, end)),
            2 => (ops(), fate).prop_map(|(ops, fate)| Op::Savepoint(ops, fate)),
        ]
    })
}

fn program() -> impl Strategy<Value = Program> {
    let end = prop_oneof![3 => Just(End::Ok), 1 => Just(End::Err), 1 => Just(End::Panic)];
    (prop::collection::vec(op(), 0..20), end, any::<bool>()).prop_map(|(ops, end, look_always)| Program {
        ops,
        end,
        look_always,
    })
}

// ---- the model -----------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Transient,
    Pending,
    Persistent,
    Deleting,
    Deleted,
    Detached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    key: i64,
    value: i32,
}

#[derive(Clone, Debug)]
struct Thing {
    stand: Stand,
    now: Row,
    /// What the database held when it was last read or written, while `now` may differ.
    base: Option<Row>,
    /// What was read, for an object that came from the database.
    loaded: Option<Row>,
    /// Where the identity map has it.
    place: i64,
}

/// Why a block must roll back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Caller,
    Database,
}

struct Frame {
    flag: Option<Flag>,
    before: Picture,
}

/// What a rollback takes back.
#[derive(Clone, Default)]
struct Picture {
    table: BTreeMap<i64, i32>,
    things: Vec<Thing>,
    map: BTreeMap<i64, usize>,
}

#[derive(Default)]
struct Model {
    now: Picture,
    frames: Vec<Frame>,
}

impl Thing {
    /// What it is when the insert or the read that it came from is undone.
    fn without_changes(&self) -> Row {
        self.base.unwrap_or(self.now)
    }
}

impl Model {
    fn flagged(&self) -> bool {
        self.frames.iter().any(|frame| frame.flag.is_some())
    }

    fn flag(&mut self, flag: Flag) {
        let Some(frame) = self.frames.last_mut() else { return };
        if frame.flag != Some(Flag::Database) {
            frame.flag = frame.flag.filter(|_| flag == Flag::Caller).or(Some(flag));
        }
    }

    fn enter(&mut self) {
        self.frames.push(Frame { flag: None, before: self.now.clone() });
    }

    fn held(&self, key: i64) -> Option<usize> {
        let at = *self.now.map.get(&key)?;
        matches!(self.now.things[at].stand, Stand::Persistent | Stand::Pending).then_some(at)
    }

    /// Takes memory and table back to before the frame at `index`, the frames inside it first.
    fn restore(&mut self, index: usize, unit_ends: bool) {
        for at in (index..self.frames.len()).rev() {
            let before = &self.frames[at].before;
            let things = std::mem::take(&mut self.now.things);
            let goes_on = at == 0 && !unit_ends;
            self.now.things = things
                .into_iter()
                .enumerate()
                .map(|(number, thing)| restored(thing, before.things.get(number), goes_on))
                .collect();
            self.now.table = before.table.clone();
        }
        let held = self.now.things.iter().enumerate().filter(|(_, thing)| thing.stand == Stand::Persistent);
        self.now.map = held.map(|(at, thing)| (thing.place, at)).collect();
    }

    /// Sends what is dirty. `false`: the database refused, and everything is back at the nearest boundary.
    fn flush(&mut self) -> bool {
        if self.flagged() {
            return false;
        }
        match self.flushed() {
            Some(state) => {
                self.now = state;
                true
            }
            None => {
                self.restore(self.frames.len() - 1, false);
                self.flag(Flag::Database);
                false
            }
        }
    }

    /// Rows that give each other their keys in a circle are refused: there is no order to write them in (F1).
    fn swaps_keys(&self) -> bool {
        let moved = self.now.things.iter().filter(|thing| thing.stand == Stand::Persistent);
        let moves: BTreeMap<i64, i64> =
            moved.filter_map(|thing| Some((thing.base?.key, thing.now.key))).filter(|(from, to)| from != to).collect();
        moves.keys().any(|start| {
            let mut at = moves.get(start);
            // Ends after as many steps as there are moves: by then a walk is back, outside, or in a circle of others.
            for _ in 0..moves.len() {
                match at {
                    Some(next) if next == start => return true,
                    Some(next) => at = moves.get(next),
                    None => return false,
                }
            }
            false
        })
    }

    fn flushed(&self) -> Option<Picture> {
        if self.swaps_keys() {
            return None;
        }
        let mut next = self.now.clone();
        let mut writes: Vec<(usize, Row)> = Vec::new();
        for (at, thing) in next.things.iter_mut().enumerate() {
            match thing.stand {
                Stand::Pending => writes.push((at, thing.now)),
                Stand::Deleting => {
                    next.table.remove(&thing.base.unwrap_or(thing.now).key);
                    if next.map.get(&thing.place) == Some(&at) {
                        next.map.remove(&thing.place);
                    }
                    (thing.stand, thing.base) = (Stand::Deleted, None);
                }
                Stand::Persistent => {
                    let Some(base) = thing.base.take().filter(|base| *base != thing.now) else { continue };
                    let held = next.table.remove(&base.key)?;
                    let value = if thing.now.value == base.value { held } else { thing.now.value };
                    writes.push((at, Row { key: thing.now.key, value }));
                }
                _ => {}
            }
        }
        for (at, _) in &writes {
            let place = next.things[*at].place;
            if next.map.get(&place) == Some(at) {
                next.map.remove(&place);
            }
        }
        for (at, row) in writes {
            if next.table.insert(row.key, row.value).is_some() {
                return None;
            }
            let thing = &mut next.things[at];
            (thing.stand, thing.place) = (Stand::Persistent, row.key);
            next.map.insert(row.key, at);
        }
        Some(next)
    }

    /// A query found this row.
    fn admit(&mut self, row: Row) -> usize {
        if let Some(at) = self.now.map.get(&row.key) {
            return *at;
        }
        let at = self.now.things.len();
        self.now.things.push(Thing {
            stand: Stand::Persistent,
            now: row,
            base: None,
            loaded: Some(row),
            place: row.key,
        });
        self.now.map.insert(row.key, at);
        at
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Row)) {
        let thing = &mut self.now.things[at];
        if matches!(thing.stand, Stand::Persistent | Stand::Deleting) {
            thing.base.get_or_insert(thing.now);
        }
        change(&mut thing.now);
    }

    fn unplace(&mut self, at: usize) {
        let place = self.now.things[at].place;
        if self.now.map.get(&place) == Some(&at) {
            self.now.map.remove(&place);
        }
    }

    /// A block's body ended well. Whether the block did.
    fn exit_ok(&mut self, index: usize) -> bool {
        if self.frames[index..].iter().all(|frame| frame.flag.is_none()) && self.flush() {
            self.frames.truncate(index);
            return true;
        }
        let flag = self.frames[index..].iter().find_map(|frame| frame.flag);
        self.exit_err(index);
        flag == Some(Flag::Caller)
    }

    /// A merged block ended: its work, and that of savepoints made inside it, is its parent's; so is a flag, and its error.
    fn exit_merged(&mut self, index: usize, well: bool) {
        let flag = self.frames[index..].iter().find_map(|frame| frame.flag);
        self.frames.truncate(index);
        if let Some(flag) = flag.or((!well).then_some(Flag::Database)) {
            self.flag(flag);
        }
    }

    fn exit_err(&mut self, index: usize) {
        self.restore(index, index == 0);
        self.frames.truncate(index);
    }
}

fn restored(mut thing: Thing, before: Option<&Thing>, unit_goes_on: bool) -> Thing {
    if thing.stand == Stand::Detached {
        return thing;
    }
    match (before.map(|before| before.stand), thing.loaded) {
        (Some(Stand::Deleted), _) => {}
        (Some(Stand::Transient), _) | (None, None) => {
            thing.now = if thing.stand == Stand::Transient { thing.now } else { thing.without_changes() };
            (thing.stand, thing.base) = (Stand::Transient, None);
        }
        (Some(_), _) => {
            if let Some(before) = before {
                thing = before.clone();
            }
        }
        (None, Some(loaded)) => {
            let stand = if unit_goes_on { Stand::Persistent } else { Stand::Detached };
            thing = Thing { stand, now: loaded, base: None, loaded: thing.loaded, place: loaded.key };
        }
    }
    thing
}

async fn run_program(db: &Db, program: &Program) {
    db.connection().execute_unprepared("DELETE FROM item").await.unwrap();
    let world = tokio::sync::Mutex::new(World {
        model: Model::default(),
        handles: Vec::new(),
        look_always: program.look_always,
    });
    world.lock().await.model.enter();
    let body = async |s: &mut Session| -> Result<(), Error> {
        world.lock().await.run(s, &program.ops).await;
        match program.end {
            End::Ok => Ok(()),
            End::Err => Err(unwanted()),
            _ => std::panic::resume_unwind(Box::new(Wanted)),
        }
    };
    let outcome = AssertUnwindSafe(db.run(body)).catch_unwind().await;
    let mut world = world.into_inner();
    let well = match outcome {
        Err(panic) if !panic.is::<Wanted>() => std::panic::resume_unwind(panic),
        Err(_) => false,
        Ok(outcome) => outcome.is_ok(),
    };
    let expected = match program.end {
        End::Ok => world.model.exit_ok(0),
        _ => {
            world.model.exit_err(0);
            false
        }
    };
    assert_eq!(well, expected, "how the unit ended");
    for (thing, handle) in world.model.now.things.iter().zip(&world.handles) {
        let ended = if thing.stand == Stand::Transient { State::Transient } else { State::Detached };
        assert_eq!((handle.state(), handle.id(), handle.value()), (ended, thing.now.key, thing.now.value), "{thing:?}");
    }
    let rows = item::Entity::find().all(db.connection()).await.unwrap();
    let table: BTreeMap<i64, i32> = rows.into_iter().map(|row| (row.id, row.value)).collect();
    assert_eq!(table, world.model.now.table, "what was committed");
}

/// Runs the programs on one database, each in a unit of its own.
fn programs_on(backend: Backend) {
    let new = std::env::var("MODEL_PROGRAMS").ok().map(|n| n.parse().expect("MODEL_PROGRAMS is a number"));
    let kept = FileFailurePersistence::Direct("tests/oracles/model.proptest-regressions");
    let config = Config {
        cases: new.unwrap_or(500),
        failure_persistence: Some(Box::new(kept)),
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    run_test_on(
        backend,
        async |db: &Db| create_table(db, item::Entity).await,
        async |db: Db| {
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| {
                let mut runner = match new {
                    Some(_) => TestRunner::new(config),
                    None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
                };
                let outcome = runner.run(&program(), |program| {
                    let run = AssertUnwindSafe(run_program(&db, &program)).catch_unwind();
                    runtime.block_on(run).map_err(|panic| TestCaseError::fail(reason(&*panic)))
                });
                outcome.map_err(|failure| failure.to_string())
            })
        },
    );
}

fn reason(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a text".to_owned())
}

#[test]
fn model_s_objects_map_and_tables_agree_with_the_model_on_sqlite() {
    programs_on(Backend::Sqlite);
}

#[test]
fn model_s_objects_map_and_tables_agree_with_the_model_on_postgresql() {
    programs_on(Backend::Postgres);
}

#[test]
fn model_s_objects_map_and_tables_agree_with_the_model_on_mariadb() {
    programs_on(Backend::MariaDb);
}
