//! What a program does to rows and objects: new ones, changed ones, SQL past the session.

use super::*;
use crate::differential::program;

impl Run<'_> {
    pub(super) fn add(
        &mut self,
        s: &mut Session,
        rng: &mut Rng,
        entity: usize,
        keys: Option<Cells>,
    ) -> Result<(), Stop> {
        let world = self.worlds[entity].clone();
        let shape = world.shape();
        self.tags += 1;
        let (tag, mut cells, mut links) = (self.tags, Cells::new(), BTreeMap::new());
        for (at, column) in shape.columns.iter().enumerate() {
            match column.role {
                Role::Made | Role::Version | Role::Computed => {}
                Role::Tag => drop(cells.insert(at, tag.into())),
                Role::Key => drop(cells.insert(at, fresh_key(column.kind, tag))),
                Role::Plain if self.case.tables[entity].defaults.contains(&at) && rng.bool() => {}
                Role::Plain => drop(cells.insert(at, value(rng, column.kind, column.null))),
                Role::Unique => drop(cells.insert(at, unique(column.kind, tag))),
                Role::Parent(table, of) => {
                    let fits = |slot: &Slot| {
                        self.worlds[slot.entity].shape().table == table
                            && matches!(slot.stand, Stand::There | Stand::New)
                    };
                    let parent = self.some(rng, 1, fits).first().copied().filter(|_| !column.null || rng.u8(..3) > 0);
                    match parent {
                        Some(parent) => drop(links.insert(at, parent)),
                        None if column.null => drop(cells.insert(at, program::null_of(column.kind))),
                        // Nobody to refer to.
                        None => return Ok(()),
                    }
                    let _ = of;
                }
            }
        }
        cells.extend(keys.unwrap_or_default());
        self.note(format!("add {} {tag}: {} following {links:?}", shape.table, brief(shape, &cells)));
        let handle = world.add(s, &cells)?;
        for (at, parent) in &links {
            handle.link(*at, &*self.slots[*parent].handle)?;
        }
        let stand = Stand::New;
        self.slots.push(Slot { entity, tag, handle, stand, cells, links, expired: false, missed: false, held: None });
        Ok(())
    }

    pub(super) fn set(&mut self, rng: &mut Rng, at: usize, wanted: usize) -> Result<(), Stop> {
        let shape = self.shape(at);
        let settable: Vec<usize> = (0..shape.columns.len())
            .filter(|c| matches!(shape.columns[*c].role, Role::Plain | Role::Parent(..) | Role::Unique))
            .filter(|c| shape.columns[*c].role != Role::Unique || shape.columns[*c].null)
            .collect();
        let Some(column) = settable.get(wanted % settable.len().max(1)).copied() else { return Ok(()) };
        if let Role::Parent(table, _) = shape.columns[column].role {
            let fits = |slot: &Slot| {
                self.worlds[slot.entity].shape().table == table && matches!(slot.stand, Stand::There | Stand::New)
            };
            let parent = self.some(rng, 1, fits).first().copied().filter(|parent| *parent != at);
            if let Some(parent) = parent.filter(|_| !shape.columns[column].null || rng.u8(..3) > 0) {
                self.note(format!("{} follows {} by {}", self.name(at), self.name(parent), shape.columns[column].name));
                self.slots[at].handle.link(column, &*self.slots[parent].handle)?;
                self.slots[at].cells.remove(&column);
                self.slots[at].links.insert(column, parent);
                return Ok(());
            }
            if !shape.columns[column].null {
                return Ok(());
            }
        }
        let value = match shape.columns[column].role {
            Role::Parent(..) => program::null_of(shape.columns[column].kind),
            // Now and then a value that another row gives up.
            Role::Unique => unique(shape.columns[column].kind, rng.i64(1..=self.tags)),
            _ => value(rng, shape.columns[column].kind, shape.columns[column].null),
        };
        self.note(format!("set {} of {} to {}", shape.columns[column].name, self.name(at), shown(&value)));
        self.slots[at].handle.set(column, value.clone())?;
        self.slots[at].links.remove(&column);
        self.slots[at].cells.insert(column, value);
        Ok(())
    }

    pub(super) fn rekey(&mut self, rng: &mut Rng) -> Result<(), Stop> {
        // Children that were linked follow the key (D6). The oracle does not know which those are: it counts on the foreign
        // key to move them or to refuse, which one that is checked later does not.
        if self.case.tables.iter().any(|table| table.statements[0].contains("DEFERRABLE")) {
            return Ok(());
        }
        let keyed = |slot: &Slot| {
            let columns = self.worlds[slot.entity].shape().columns;
            slot.stand == Stand::There
                && columns.iter().any(|c| matches!(c.role, Role::Key) || c.name == "code" && !c.null)
        };
        for at in self.some(rng, 1, keyed) {
            let shape = self.shape(at);
            let columns = shape.columns;
            let column =
                (0..columns.len()).find(|c| matches!(columns[*c].role, Role::Key) || columns[*c].name == "code");
            let column = column.expect("a column that others may refer to");
            self.tags += 1;
            let value = match columns[column].role {
                Role::Key => fresh_key(columns[column].kind, self.tags),
                _ => unique(columns[column].kind, self.tags),
            };
            self.note(format!("rekey {} to {}", self.name(at), shown(&value)));
            self.slots[at].handle.set(column, value.clone())?;
            self.slots[at].cells.insert(column, value);
        }
        Ok(())
    }

    // ---- both worlds -------------------------------------------------------------------------------------------------

    pub(super) async fn raw_update(&mut self, s: &mut Session, rng: &mut Rng, entity: usize) -> Result<(), Stop> {
        self.flush(s).await?;
        // What an optimistic unit has read must not change (P5).
        if self.case.optimistic {
            return Ok(());
        }
        let shape = self.worlds[entity].shape();
        let plain = shape.columns.iter().find(|c| c.role == Role::Plain && matches!(c.kind, family::Kind::Text));
        let Some(column) = plain else { return Ok(()) };
        let text = format!(
            "UPDATE \"{}\" SET \"{}\" = 'raw{}' WHERE tag % 2 = {} AND tag > 0",
            shape.table,
            column.name,
            rng.u8(..3),
            rng.u8(..2)
        );
        self.note(text.clone());
        self.both(s, &text).await?;
        self.expire_all(s, entity);
        Ok(())
    }

    pub(super) async fn raw_delete(&mut self, s: &mut Session, rng: &mut Rng) -> Result<(), Stop> {
        self.flush(s).await?;
        // Its foreign keys may change what an optimistic unit has read (P5).
        if self.case.optimistic {
            return Ok(());
        }
        for at in self.some(rng, 1, |slot| slot.stand == Stand::There) {
            let text = format!("DELETE FROM \"{}\" WHERE tag = {}", self.shape(at).table, self.slots[at].tag);
            sql(self.oracle, "SAVEPOINT raw").await?;
            let outcome = sql(self.oracle, &text).await;
            if outcome.is_err() {
                sql(self.oracle, "ROLLBACK TO SAVEPOINT raw").await?;
            }
            sql(self.oracle, "RELEASE SAVEPOINT raw").await?;
            if outcome.is_err() {
                continue;
            }
            self.note(text.clone());
            sea_orm::ConnectionTrait::execute_unprepared(&*s, &text).await?;
            for entity in 0..self.worlds.len() {
                self.expire_all(s, entity);
            }
            self.learn().await?;
            if rng.bool() {
                self.compare(s).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn both(&mut self, s: &mut Session, text: &str) -> Result<(), Stop> {
        sea_orm::ConnectionTrait::execute_unprepared(&*s, text).await?;
        sql(self.oracle, text).await?;
        self.learn().await
    }
}
