//! Both databases, and the objects, side by side.

use super::*;

impl Run<'_> {
    /// Nothing is pending: the session's rows are the oracle's, and its objects hold its rows.
    pub(super) async fn compare(&mut self, s: &mut Session) -> Result<(), Stop> {
        for (entity, world) in self.worlds.clone().into_iter().enumerate() {
            let rows = world.rows_in(s).await?;
            self.compare_in(&*world, &rows, s).await?;
            let rows = by_tag(&*world, rows);
            let keys: Vec<usize> = world.shape().keys().collect();
            let mut taken: Vec<String> = Vec::new();
            for at in 0..self.slots.len() {
                if self.slots[at].entity != entity {
                    continue;
                }
                let name = self.name(at);
                match rows.get(&self.slots[at].tag) {
                    Some(row) => {
                        let key: Vec<Value> = keys.iter().map(|k| row[*k].clone()).collect();
                        taken.push(format!("{key:?}"));
                        let found = world.get(s, key.clone()).await?;
                        let found = found.ok_or_else(|| different(format!("{name} is not found as {key:?}")))?;
                        if self.slots[at].handle.state() == State::Persistent {
                            self.must_be(at, &*found)?;
                        }
                        self.slots[at].handle = found.clone();
                        self.slots[at].expired = false;
                        let held = found.row();
                        for (c, column) in world.shape().columns.iter().enumerate() {
                            if shown(&held[c]) != shown(&row[c]) {
                                return Err(different(format!(
                                    "{name}: the object holds {} = {}, its row {}",
                                    column.name,
                                    shown(&held[c]),
                                    shown(&row[c])
                                )));
                            }
                        }
                        // Ours has its own keys.
                        if let Some(held) = &mut self.slots[at].held {
                            for (c, column) in world.shape().columns.iter().enumerate() {
                                if matches!(column.role, Role::Made | Role::Parent(..)) {
                                    held[c] = row[c].clone();
                                }
                            }
                        }
                    }
                    None if matches!(self.slots[at].stand, Stand::Gone) => {}
                    None => return Err(different(format!("{name} has no row"))),
                }
            }
            for at in 0..self.slots.len() {
                let slot = &self.slots[at];
                if slot.entity != entity || slot.stand != Stand::Gone || rows.contains_key(&slot.tag) {
                    continue;
                }
                let Some(held) = &slot.held else { continue };
                let key: Vec<Value> = keys.iter().map(|k| held[*k].clone()).collect();
                if taken.contains(&format!("{key:?}")) {
                    continue;
                }
                let name = self.name(at);
                if world.get(s, key.clone()).await?.is_some() {
                    return Err(different(format!("{name} is gone, and is found as {key:?}")));
                }
                self.slots[at].missed = true;
            }
        }
        Ok(())
    }

    pub(super) async fn compare_in(&self, world: &dyn World, ours: &[Row], s: &mut Session) -> Result<(), Stop> {
        let theirs = world.rows(self.oracle).await?;
        let mut parents = BTreeMap::new();
        for (at, table, of) in world.shape().parents() {
            let parent = self.worlds.iter().find(|other| other.shape().table == table).expect("the parent's table");
            let of = parent.shape().at(of);
            let ours = tags(&**parent, of, &parent.rows_in(s).await?);
            let theirs = tags(&**parent, of, &parent.rows(self.oracle).await?);
            parents.insert(at, (ours, theirs));
        }
        same_rows(world, ours, &theirs, &parents)
    }

    pub(super) async fn compare_rows(
        &self,
        world: &dyn World,
        ours: Vec<Row>,
        db: &DatabaseConnection,
    ) -> Result<(), Stop> {
        let theirs = world.rows(self.oracle).await?;
        let mut parents = BTreeMap::new();
        for (at, table, of) in world.shape().parents() {
            let parent = self.worlds.iter().find(|other| other.shape().table == table).expect("the parent's table");
            let of = parent.shape().at(of);
            let ours = tags(&**parent, of, &parent.rows(db).await?);
            let theirs = tags(&**parent, of, &parent.rows(self.oracle).await?);
            parents.insert(at, (ours, theirs));
        }
        same_rows(world, &ours, &theirs, &parents)
    }
}

/// Which tag a value of a referred column stands for.
type Tags = BTreeMap<String, i64>;

pub(super) fn tags(parent: &dyn World, of: usize, rows: &[Row]) -> Tags {
    rows.iter().map(|row| (text(&row[of]), tag_of(parent, row))).collect()
}

fn tag_of(world: &dyn World, row: &Row) -> i64 {
    match row[world.shape().tag()] {
        Value::BigInt(Some(tag)) => tag,
        ref other => panic!("a tag is a number: {other:?}"),
    }
}

pub(super) fn by_tag(world: &dyn World, rows: Vec<Row>) -> BTreeMap<i64, Row> {
    rows.into_iter().map(|row| (tag_of(world, &row), row)).collect()
}

/// A value without its width: an `i64` refers to an `i32`.
pub(super) fn text(value: &Value) -> String {
    value.to_string()
}

fn same_rows(
    world: &dyn World,
    ours: &[Row],
    theirs: &[Row],
    parents: &BTreeMap<usize, (Tags, Tags)>,
) -> Result<(), Stop> {
    let table = world.shape().table;
    let (count, ours, theirs) = (ours.len(), by_tag(world, ours.to_vec()), by_tag(world, theirs.to_vec()));
    if count != theirs.len() || !ours.keys().eq(theirs.keys()) {
        let extra: Vec<_> = ours.keys().filter(|tag| !theirs.contains_key(tag)).collect();
        let missing: Vec<_> = theirs.keys().filter(|tag| !ours.contains_key(tag)).collect();
        return Err(different(format!("{table} has {count} rows, {extra:?} too many, without {missing:?}")));
    }
    for (tag, row) in &ours {
        let other = &theirs[tag];
        for (at, column) in world.shape().columns.iter().enumerate() {
            let same = match (&column.role, parents.get(&at)) {
                (Role::Made, _) => true,
                (_, Some((ours, theirs))) => ours.get(&text(&row[at])) == theirs.get(&text(&other[at])),
                _ => shown(&row[at]) == shown(&other[at]),
            };
            if !same {
                let (found, expected) = (shown(&row[at]), shown(&other[at]));
                return Err(different(format!("{table} {tag}: {} is {found}, by SeaORM {expected}", column.name)));
            }
        }
    }
    Ok(())
}
