//! A session and the model, in step.

use super::*;

pub(super) struct World {
    pub(super) model: Model,
    pub(super) handles: Vec<Tracked<item::Entity>>,
    pub(super) look_always: bool,
}

/// What a body of a program panics with: not a failure of the test.
pub(super) struct Wanted;

pub(super) fn unwanted() -> Error {
    Error::Usage("the program's own error".into())
}

impl World {
    pub(super) fn slot(&self, at: usize) -> Option<usize> {
        (!self.handles.is_empty()).then(|| at % self.handles.len())
    }

    /// An object came out of the session: the model says which one it is.
    pub(super) fn met(&mut self, at: usize, handle: Tracked<item::Entity>) {
        match self.handles.get(at) {
            Some(known) => assert!(Tracked::ptr_eq(known, &handle), "object {at} is another one now"),
            None => {
                assert_eq!(at, self.handles.len());
                self.handles.push(handle);
            }
        }
    }

    pub(super) async fn check(&self, s: &mut Session, look: bool) {
        let now = &self.model.now;
        for (at, (thing, handle)) in now.things.iter().zip(&self.handles).enumerate() {
            let state = match thing.stand {
                Stand::Transient => State::Transient,
                Stand::Pending => State::Pending,
                Stand::Persistent => State::Persistent,
                Stand::Deleting | Stand::Deleted => State::Deleted,
                Stand::Detached => State::Detached,
            };
            assert_eq!(s.state(handle), state, "the state of object {at}, {thing:?}");
            assert_eq!(
                Row { key: handle.id(), value: handle.value() },
                thing.now,
                "the values of object {at}, {thing:?}"
            );
        }
        for key in 0..KEYS {
            match (s.peek::<item::Entity>(key), self.model.held(key)) {
                (Some(held), Some(at)) => assert!(Tracked::ptr_eq(&held, &self.handles[at]), "the map at {key}"),
                (held, at) => assert_eq!((held.is_some(), at), (false, None), "the map at {key}"),
            }
        }
        assert_eq!(s.tracked(), now.map.len(), "how many objects the map holds: {:?}", now.map);
        assert_eq!(s.needs_rollback(), self.model.flagged());
        if look && !self.model.flagged() {
            let quiet = s.no_autoflush();
            let rows = item::Entity::find().all(&*quiet).await.unwrap();
            let table: BTreeMap<i64, i32> = rows.into_iter().map(|row| (row.id, row.value)).collect();
            assert_eq!(table, now.table, "the table");
        }
    }

    /// A query is about to be sent; `false`: it will not be, because the flush before it fails or the block is flagged.
    pub(super) fn queries(&mut self) -> bool {
        !self.model.flagged() && self.model.flush()
    }

    pub(super) fn run<'a>(&'a mut self, s: &'a mut Session, ops: &'a [Op]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for op in ops {
                self.step(s, op).await;
                let look = self.look_always || matches!(op, Op::Look);
                self.check(s, look).await;
            }
        })
    }

    pub(super) async fn step(&mut self, s: &mut Session, op: &Op) {
        match op {
            Op::Look => {}
            Op::Get(key) => self.get(s, *key).await,
            Op::GetMany(keys) => self.get_many(s, keys).await,
            Op::LoadAll => self.load_all(s).await,
            Op::Add(key, value) => self.add(s, *key, *value),
            Op::Flush => {
                let worked = s.flush().await.is_ok();
                // Under a flag it is refused only if there is something to send.
                if !self.model.flagged() {
                    assert_eq!(worked, self.model.flush(), "the flush");
                }
            }
            Op::GetOrAdd(key, value) => self.get_or_add(s, *key, *value).await,
            Op::Upsert(key, value) => self.upsert(s, *key, *value).await,
            Op::UpdateMany(from) => self.update_many(s, *from).await,
            Op::DeleteMany(from) => self.delete_many(s, *from).await,
            Op::RawInsert(..) | Op::RawUpdate(..) | Op::RawDelete(_) | Op::WrongSql => self.raw(s, op).await,
            Op::SetRollback => {
                s.set_rollback(true).unwrap();
                self.model.flag(Flag::Caller);
            }
            Op::TakeBack => {
                // What the database refused is another rule's business: whether it can be taken back depends on the backend.
                let by_database = self.model.frames.iter().any(|frame| frame.flag == Some(Flag::Database));
                if let Some(frame) = self.model.frames.last_mut().filter(|_| !by_database) {
                    s.set_rollback(false).unwrap();
                    frame.flag = None;
                }
            }
            Op::Block(ops, end) => self.block(s, ops, *end).await,
            Op::Merged(ops, end) => self.merged(s, ops, *end).await,
            Op::Savepoint(ops, fate) => self.savepoint(s, ops, *fate).await,
            Op::AddAgain(at)
            | Op::Set(at, _)
            | Op::SetKey(at, _)
            | Op::Delete(at)
            | Op::Expunge(at)
            | Op::Refresh(at) => {
                if let Some(at) = self.slot(*at) {
                    self.with_object(s, op, at).await;
                }
            }
        }
    }

    pub(super) async fn get(&mut self, s: &mut Session, key: i64) {
        let in_map = self.model.now.map.contains_key(&key);
        let found = s.get::<item::Entity>(key).await;
        if !in_map && !self.queries() {
            assert!(found.is_err(), "get {key} should have failed");
            return;
        }
        let row = self.model.now.table.get(&key).map(|value| Row { key, value: *value });
        let expected = if in_map { self.model.held(key) } else { row.map(|row| self.model.admit(row)) };
        match (found.unwrap(), expected) {
            (Some(handle), Some(at)) => self.met(at, handle),
            (found, expected) => assert_eq!((found.is_some(), expected), (false, None), "get {key}"),
        }
    }

    pub(super) async fn get_many(&mut self, s: &mut Session, keys: &[i64]) {
        let missing: Vec<i64> = keys.iter().copied().filter(|key| !self.model.now.map.contains_key(key)).collect();
        let found = s.get_many::<item::Entity>(keys.iter().copied()).await;
        if !missing.is_empty() && !self.queries() {
            assert!(found.is_err(), "get_many {keys:?} should have failed");
            return;
        }
        let answers = found.unwrap();
        assert_eq!(answers.len(), keys.len(), "get_many {keys:?}");
        let found: Vec<_> = answers.into_iter().flatten().collect();
        // New objects in the order in which the database gave them, which is not the model's business.
        for handle in &found {
            let key = handle.id();
            if !self.model.now.map.contains_key(&key) && missing.contains(&key) {
                let value = self.model.now.table[&key];
                let at = self.model.admit(Row { key, value });
                self.met(at, handle.clone());
            }
        }
        let expected: Vec<usize> = keys.iter().filter_map(|key| self.model.held(*key)).collect();
        assert_eq!(found.len(), expected.len(), "get_many {keys:?}");
        for (handle, at) in found.into_iter().zip(expected) {
            self.met(at, handle);
        }
    }

    pub(super) async fn load_all(&mut self, s: &mut Session) {
        let found = item::Entity::find().order_by_asc(item::Column::Id).load(s).await;
        if !self.queries() {
            assert!(found.is_err(), "the query should have failed");
            return;
        }
        let table = self.model.now.table.clone();
        let found = found.unwrap();
        assert_eq!(found.len(), table.len());
        for (handle, (key, value)) in found.into_iter().zip(table) {
            let at = self.model.admit(Row { key, value });
            self.met(at, handle);
        }
    }

    pub(super) fn add(&mut self, s: &mut Session, key: i64, value: i32) {
        let added = s.try_add(item::ActiveModel { id: Set(key), value: Set(value) });
        if self.model.held(key).is_some() {
            assert!(matches!(added, Err(Error::Duplicate { .. })));
            return;
        }
        let now = Row { key, value };
        let at = self.model.now.things.len();
        self.model.now.things.push(Thing { stand: Stand::Pending, now, base: None, loaded: None, place: key });
        self.model.now.map.insert(key, at);
        self.met(at, added.unwrap());
    }

    /// A new object is the unit's as if a flush had written it; a row that is there is met as by a query (U4).
    pub(super) async fn get_or_add(&mut self, s: &mut Session, key: i64, value: i32) {
        let outcome = s.get_or_add(item::ActiveModel { id: Set(key), value: Set(value) }, item::Column::Id).await;
        if !self.queries() {
            assert!(outcome.is_err(), "get_or_add {key} should have failed");
            return;
        }
        let (handle, added) = outcome.unwrap();
        let there = self.model.now.table.get(&key).copied();
        assert_eq!(added, there.is_none(), "get_or_add {key}");
        self.model.now.table.entry(key).or_insert(value);
        let at = self.model.admit(Row { key, value: there.unwrap_or(value) });
        if added {
            self.model.now.things[at].loaded = None;
        }
        self.met(at, handle);
    }

    /// Whatever becomes of the row, its object is one that was read (U4).
    pub(super) async fn upsert(&mut self, s: &mut Session, key: i64, value: i32) {
        let outcome = s.upsert(item::ActiveModel { id: Set(key), value: Set(value) }, item::Column::Id).await;
        if !self.queries() {
            assert!(outcome.is_err(), "upsert {key} should have failed");
            return;
        }
        self.model.now.table.insert(key, value);
        let at = self.model.admit(Row { key, value });
        self.model.now.things[at].now.value = value;
        self.met(at, outcome.unwrap());
    }

    /// One more for each row from a key on; the objects that are held follow (U2).
    pub(super) async fn update_many(&mut self, s: &mut Session, from: i64) {
        let more = Expr::col(item::Column::Value).add(1);
        let statement = item::Entity::update_many().col_expr(item::Column::Value, more);
        let outcome = s.update_many(statement.filter(item::Column::Id.gte(from))).await;
        if !self.queries() {
            assert!(outcome.is_err(), "update_many should have failed");
            return;
        }
        let Picture { table, things, map } = &mut self.model.now;
        let mut count = 0;
        for (key, value) in table.range_mut(from..) {
            (*value, count) = (*value + 1, count + 1);
            if let Some(at) = map.get(key) {
                things[*at].now.value = *value;
            }
        }
        assert_eq!(outcome.unwrap(), count, "update_many");
        // No UPDATE answers on MariaDB: all objects are expired, and hold when they are asked for what SQL of the program's own
        // has written as well.
        if s.backend() == DbBackend::MySql {
            let held: Vec<i64> = self.model.now.map.keys().copied().collect();
            s.get_many::<item::Entity>(held).await.unwrap();
            let Picture { table, things, map } = &mut self.model.now;
            map.iter().for_each(|(key, at)| things[*at].now.value = table[key]);
        }
    }

    /// Each row from a key on goes, and so do the objects that are held (U2).
    pub(super) async fn delete_many(&mut self, s: &mut Session, from: i64) {
        let statement = item::Entity::delete_many().filter(item::Column::Id.gte(from));
        let outcome = s.delete_many(statement).await;
        if !self.queries() {
            assert!(outcome.is_err(), "delete_many should have failed");
            return;
        }
        let gone = self.model.now.table.split_off(&from);
        for key in gone.keys() {
            if let Some(at) = self.model.now.map.remove(key) {
                self.model.now.things[at].stand = Stand::Deleted;
            }
        }
        assert_eq!(outcome.unwrap(), gone.len() as u64, "delete_many");
    }

    pub(super) async fn with_object(&mut self, s: &mut Session, op: &Op, at: usize) {
        let handle = self.handles[at].clone();
        let thing = self.model.now.things[at].clone();
        match op {
            Op::Set(_, value) => {
                handle.set_value(*value);
                self.model.change(at, |row| row.value = *value);
            }
            Op::SetKey(_, key) => {
                handle.set_id(*key);
                self.model.change(at, |row| row.key = *key);
            }
            Op::Delete(_) => {
                s.delete(&handle);
                match thing.stand {
                    Stand::Pending => {
                        self.model.unplace(at);
                        self.model.now.things[at].stand = Stand::Transient;
                    }
                    Stand::Persistent => self.model.now.things[at].stand = Stand::Deleting,
                    _ => {}
                }
            }
            Op::Expunge(_) => {
                s.expunge(&handle);
                self.model.unplace(at);
                self.model.now.things[at].stand = Stand::Detached;
            }
            Op::AddAgain(_) => {
                let added = s.add_again(&handle);
                let free = self.model.held(thing.now.key).is_none();
                assert_eq!(added.is_ok(), thing.stand == Stand::Transient && free, "add {at} again: {added:?}");
                if added.is_ok() {
                    let thing = &mut self.model.now.things[at];
                    (thing.stand, thing.place, thing.loaded) = (Stand::Pending, thing.now.key, None);
                    self.model.now.map.insert(thing.place, at);
                }
            }
            _ => {
                let read = s.refresh(&handle).await;
                let can = thing.stand == Stand::Persistent && !self.model.flagged();
                let key = thing.base.unwrap_or(thing.now).key;
                let row = self.model.now.table.get(&key).filter(|_| can).copied();
                assert_eq!(read.is_ok(), row.is_some(), "refresh {at}: {read:?}");
                if let Some(value) = row {
                    let thing = &mut self.model.now.things[at];
                    (thing.now, thing.base) = (Row { key, value }, None);
                }
            }
        }
    }

    /// SQL of the program's own, after a flush, so that what the map holds is what it will hold.
    pub(super) async fn raw(&mut self, s: &mut Session, op: &Op) {
        let flushed = s.flush().await.is_ok();
        if self.model.flagged() || !self.model.flush() {
            assert!(s.execute_unprepared("SELECT 1").await.is_err(), "refused until the block ends (A8)");
            return;
        }
        assert!(flushed);
        let table = &mut self.model.now.table;
        let (sql, works) = match op {
            Op::RawInsert(key, value) => {
                let free = !table.contains_key(key);
                table.entry(*key).or_insert(*value);
                (format!("INSERT INTO item (id, value) VALUES ({key}, {value})"), free)
            }
            Op::RawUpdate(key, value) => {
                table.entry(*key).and_modify(|held| *held = *value);
                (format!("UPDATE item SET value = {value} WHERE id = {key}"), true)
            }
            // A row that is held would be `Stale` at its next flush: another rule's business.
            Op::RawDelete(key) if self.model.now.map.contains_key(key) => return,
            Op::RawDelete(key) => {
                table.remove(key);
                (format!("DELETE FROM item WHERE id = {key}"), true)
            }
            _ => ("INSERT INTO nowhere VALUES (1)".to_owned(), false),
        };
        let sent = s.execute_unprepared(&sql).await;
        assert_eq!(sent.is_ok(), works, "{sql}: {sent:?}");
        if !works {
            self.model.flag(Flag::Database);
        }
    }

    pub(super) async fn block(&mut self, s: &mut Session, ops: &[Op], end: End) {
        // What is entered under a flag has nothing to save and is part of the block around it (A3).
        if self.model.flagged() {
            return self.merged(s, ops, end).await;
        }
        if !self.model.flush() {
            let entered = s.atomic(async |_: &mut Session| -> Result<(), Error> { Ok(()) }).await;
            assert!(entered.is_err(), "the flush on entry should have failed");
            return;
        }
        let index = self.model.frames.len();
        self.model.enter();
        let ended = self.nested(s.block(), ops, end).await;
        let well = match end {
            End::Ok => self.model.exit_ok(index),
            _ => {
                self.model.exit_err(index);
                false
            }
        };
        assert_eq!(ended.is_some_and(|ended| ended.is_ok()), well, "how the block ended");
    }

    pub(super) async fn merged(&mut self, s: &mut Session, ops: &[Op], end: End) {
        let index = self.model.frames.len();
        // Asked for by `atomic` too: under a flag that is what it comes to.
        let block = if self.model.flagged() { s.block() } else { s.block().merged() };
        let ended = self.nested(block, ops, end).await;
        assert_eq!(ended.is_some_and(|ended| ended.is_ok()), matches!(end, End::Ok), "how the merged block ended");
        self.model.exit_merged(index, matches!(end, End::Ok));
    }

    /// Runs a nested block with this body. `None`: it panicked, or was dropped, as the program wished.
    pub(super) async fn nested(&mut self, block: NestedBlock<'_>, ops: &[Op], end: End) -> Option<Result<(), Error>> {
        let done = tokio::sync::Notify::new();
        let body = async |s: &mut Session| -> Result<(), Error> {
            self.check(s, false).await;
            self.run(s, ops).await;
            match end {
                End::Ok => Ok(()),
                End::Err => Err(unwanted()),
                End::Panic => std::panic::resume_unwind(Box::new(Wanted)),
                End::Drop => {
                    done.notify_one();
                    std::future::pending().await
                }
            }
        };
        let block = AssertUnwindSafe(block.run(body)).catch_unwind();
        tokio::select! {
            biased;
            ended = block => match ended {
                Err(panic) if !panic.is::<Wanted>() => std::panic::resume_unwind(panic),
                ended => ended.ok(),
            },
            () = done.notified() => None,
        }
    }

    pub(super) async fn savepoint(&mut self, s: &mut Session, ops: &[Op], fate: Fate) {
        let savepoint: Result<Savepoint, Error> = s.savepoint().await;
        if self.model.flagged() || !self.model.flush() {
            assert!(savepoint.is_err(), "a flagged block has no savepoints");
            return;
        }
        let savepoint = savepoint.unwrap();
        let index = self.model.frames.len();
        self.model.enter();
        self.run(s, ops).await;
        match fate {
            Fate::Leave => {}
            Fate::RollBackTo => {
                s.rollback_to(savepoint).await.unwrap();
                self.model.restore(index, false);
                self.model.frames.truncate(index + 1);
                self.model.frames[index].flag = None;
            }
            Fate::Release => {
                let released = s.release(savepoint).await;
                assert_eq!(released.is_ok(), self.model.exit_ok(index), "{released:?}");
                assert!(s.release(savepoint).await.is_err(), "it no longer exists (B1)");
            }
        }
    }
}
