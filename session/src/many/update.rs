//! SeaORM's UPDATE of many rows, and what it makes of the objects in the map (U2).

use chrono::{SubsecRound, Utc};
use sea_orm::{
    ColumnTrait, Condition, Iterable, QueryFilter, QueryResult, QueryTrait, UpdateMany, Value, sea_query::Expr,
};

use super::statement::{
    Answer, doubt_all, doubt_children, held_object, next_version, returned, take_row, wants_xid, write,
};
use crate::{
    connection::{Fetch, Message},
    error::Error,
    objects::entity::{TrackedEntity, table_of},
    table::{
        facts::{Deed, TableFacts},
        meta::TableMeta,
        value::time_value,
    },
    unit::session::Session,
};

/// What the statement is asked for, and what its answer says of the objects.
enum Asked {
    /// Nothing: it is only counted, and every object of the entity is expired.
    Nothing,
    /// Nothing: the map holds no object of the entity.
    Count,
    /// The keys of the rows: their objects are expired, because more may have become of them.
    Keys,
    /// What the statement has set, and what follows from it.
    Columns(Vec<usize>),
    /// The whole row.
    Row,
}

impl Asked {
    /// How far the answer can be trusted (D1). `assigned` are the columns that the statement sets.
    fn of(table: &TableMeta, facts: &TableFacts, assigned: &[usize], holds_objects: bool) -> Self {
        let event = facts.update;
        if facts.uncounted {
            return Asked::Keys;
        }
        if !holds_objects {
            return Asked::Count;
        }
        let moves_rows = assigned.iter().any(|column| table.keys.contains(column));
        if event.instead || event.mute || facts.row_security || moves_rows {
            return Asked::Nothing;
        }
        if event.changes_afterwards {
            return Asked::Keys;
        }
        let mut columns: Vec<usize> = table.keys.iter().chain(assigned).chain(&facts.generated).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let simple = |column: &usize| table.columns[*column].held && table.columns[*column].is_simple();
        match event.rewrites || event.row_by_row || !columns.iter().all(simple) {
            true => Asked::Row,
            false => Asked::Columns(columns),
        }
    }

    fn columns(&self, table: &TableMeta) -> Vec<usize> {
        match self {
            Asked::Nothing | Asked::Count => Vec::new(),
            Asked::Keys => table.keys.clone(),
            Asked::Columns(columns) => columns.clone(),
            Asked::Row => (0..table.columns.len()).collect(),
        }
    }
}

impl Session {
    /// Sends SeaORM's UPDATE of many rows through the unit, and says how many it has changed. Pending work goes first. The
    /// objects of the map whose rows it has changed then hold what those hold; where its answer cannot say (row-level security,
    /// rules, triggers that write afterwards, a primary key that is set), they are expired, and read again when they are next
    /// asked for. A rollback of the block takes the values back.
    ///
    /// Beside what the statement sets, the row's version is raised by one and its `updated_at` is set, unless the statement sets
    /// them itself: a unit that has loaded such a row before notices. The versions that this unit has loaded are no condition.
    /// The entity's filters are (U5): what no read would give is not changed. SeaORM's hooks do not run, and those who observe
    /// flushes are not told: there is no model to call them with.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// use sea_orm::sea_query::{Expr, ExprTrait};
    ///
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     let more_stars = note::Entity::update_many()
    ///         .col_expr(note::Column::Stars, Expr::col(note::Column::Stars).add(1))
    ///         .filter(note::Column::Title.eq("first"));
    ///     assert_eq!(s.update_many(more_stars).await?, 1);
    ///     assert_eq!((note.stars(), note.version()), (1, 2));
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says; [`Error::Tenant`] if the unit has no tenant and the entity wants one, or if the tenant is set. A
    /// version that has reached its type's end violates its column's NOT NULL.
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn update_many<E: TrackedEntity>(&mut self, update: UpdateMany<E>) -> Result<u64, Error> {
        let (table, dialect) = (table_of::<E>(), self.dialect());
        if update.as_query().get_values().is_empty() {
            return Ok(0);
        }
        self.flush().await?;
        let core = self.core();
        let (update, assigned) = completed::<E>(update, core.conditions::<E>()?)?;
        let facts = core.table_facts(table).await?;
        if let Some(column) = assigned.iter().find(|column| facts.generated.contains(column)) {
            let (entity, name) = (table.entity, table.columns[*column].name);
            return Err(Error::usage(format!("`{entity}.{name}` is computed by the database, and is never written")));
        }
        let asked = Asked::of(table, &facts, &assigned, core.map.objects_of(table).next().is_some());
        let mut statement = update.build(dialect.backend);
        let columns = asked.columns(table);
        let mut fetch = Fetch::Nothing;
        let xid = !columns.is_empty() && wants_xid(core);
        if !columns.is_empty() {
            fetch = Fetch::All;
            statement.sql += &format!(" RETURNING {}{}", returned::<E>(&columns, dialect), dialect.and_xid(xid));
        }
        let Answer { count, rows } = write(core, table, Message::Statement(statement, fetch), xid).await?;
        match asked {
            Asked::Count => {}
            Asked::Nothing => doubt_all(core, table),
            Asked::Keys => {
                for row in &rows {
                    held_object(core, table, row)?.iter().for_each(|object| object.doubt());
                }
            }
            Asked::Columns(columns) => rows.iter().try_for_each(|row| self.row_set::<E>(&columns, row))?,
            Asked::Row => {
                for row in &rows {
                    if held_object(self.core(), table, row)?.is_some() {
                        take_row::<E>(self.core(), row)?;
                    }
                }
            }
        }
        let referred =
            facts.actions.iter().filter(|action| action.on_update != Deed::None).flat_map(|action| &action.to);
        let moves = |name: &String| table.column(name).is_some_and(|column| assigned.contains(&column));
        if count > 0 && referred.into_iter().any(moves) {
            doubt_children(self.core(), &facts).await?;
        }
        Ok(count)
    }

    /// The statement has set these columns of a row: its object holds them, but for changes that were not sent.
    fn row_set<E: TrackedEntity>(&mut self, columns: &[usize], row: &QueryResult) -> Result<(), Error> {
        let (table, core) = (table_of::<E>(), self.core());
        let Some(object) = held_object(core, table, row)? else { return Ok(()) };
        let values = columns.iter().filter(|column| !table.keys.contains(column));
        let values = values.map(|column| Ok((*column, table.columns[*column].decode(row)?)));
        let values: Vec<(usize, Value)> = values.collect::<Result<_, Error>>()?;
        let holder = core.holder();
        let frame = core.frames[holder].id;
        if object.database_set(&values, frame, &mut core.map)? {
            core.frames[holder].undo.touch(object);
        }
        Ok(())
    }
}

/// The statement as it is sent, and the columns that it sets: version and time as well, of rows that no filter hides (U5).
fn completed<E: TrackedEntity>(
    mut update: UpdateMany<E>,
    conditions: Option<Condition>,
) -> Result<(UpdateMany<E>, Vec<usize>), Error> {
    let table = table_of::<E>();
    let set = update.as_query().get_values().iter();
    let mut assigned: Vec<usize> = set.filter_map(|(name, _)| table.column(&name.inner())).collect();
    if table.tenant.is_some_and(|tenant| assigned.contains(&tenant)) {
        return Err(Error::Tenant {
            entity: table.entity,
            reason: "an update does not hand rows to another tenant".into(),
        });
    }
    if let Some(conditions) = conditions {
        update = update.filter(conditions);
    }
    for (at, column) in E::Column::iter().enumerate().filter(|(at, _)| !assigned.contains(at)).collect::<Vec<_>>() {
        if table.version == Some(at) {
            let held = format!("{}.{}", quoted_entity(table), table.columns[at].quoted());
            QueryTrait::query(&mut update).value(column, Expr::cust(next_version(table, at, &held)));
            assigned.push(at);
        } else if table.updated_at == Some(at)
            && let Some(now) = time_value(&table.columns[at].kind, Utc::now().trunc_subsecs(6))
        {
            QueryTrait::query(&mut update).value(column, column.save_as(Expr::val(now)));
            assigned.push(at);
        }
    }
    Ok((update, assigned))
}

fn quoted_entity(table: &TableMeta) -> String {
    crate::table::sql::quote(table.entity)
}
