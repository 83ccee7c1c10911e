//! DELETE of many rows by SeaORM's statement, and of one by its key, and what they make of the objects in the map (U2, U4).

use sea_orm::{DeleteMany, EntityTrait, QueryFilter, QueryTrait, Value, sea_query::IntoValueTuple};

use super::statement::{Answer, doubt_all, doubt_children, held_object, returned, wants_xid, write};
use crate::{
    connection::{Fetch, Message},
    error::Error,
    flush::Watch,
    load::by_key::{compared_filter, key_filter, key_values},
    objects::{
        entity::{TrackedEntity, table_of},
        row::RowKind,
    },
    table::{
        facts::{Deed, TableFacts},
        meta::TableMeta,
    },
    unit::session::Session,
};

impl Session {
    /// Sends SeaORM's DELETE of many rows through the unit, and says how many it has deleted. Pending work goes first. Objects of
    /// the map whose rows are gone are deleted as by a flush, and what foreign keys did to other rows is done to their objects
    /// (D6); where the answer cannot say (row-level security, rules), they are expired, and looked for when they are next asked
    /// for. A rollback of the block takes all of it back.
    ///
    /// Versions that this unit has loaded are no condition; the entity's filters are (U5): what no read would give is not deleted.
    /// SeaORM's hooks do not run, and those who observe flushes are not told: there is no model to call them with.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     let unstarred = note::Entity::delete_many().filter(note::Column::Stars.eq(0));
    ///     assert_eq!(s.delete_many(unstarred).await?, 1);
    ///     assert_eq!(s.state(&note), State::Deleted);
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the database says; [`Error::Tenant`] if the unit has no tenant and the entity wants one; [`Error::Usage`] for an entity
    /// whose rows are soft-deleted, but for a stretch that is [unfiltered](Session::unfiltered).
    ///
    /// # Cancel safety
    /// A statement dropped half-way flags its block (C1).
    pub async fn delete_many<E: TrackedEntity>(&mut self, mut delete: DeleteMany<E>) -> Result<u64, Error> {
        let (table, dialect) = (table_of::<E>(), self.dialect());
        self.flush().await?;
        let core = self.core();
        if let Some(column) = table.soft_delete.filter(|_| core.filters.may_hide(table)) {
            let (entity, name) = (table.entity, table.columns[column].name);
            return Err(Error::usage(format!(
                "rows of {entity} are soft-deleted, and this deletes them for good: set `{name}` by `update_many`, or say \
                 `s.unfiltered()` before it"
            )));
        }
        if let Some(conditions) = core.conditions::<E>()? {
            delete = delete.filter(conditions);
        }
        let facts = core.table_facts(table).await?;
        let trusted = !facts.row_security && !facts.delete.instead && !facts.delete.mute;
        let asked = trusted && core.map.len() > 0 || facts.uncounted;
        let referred = referred(table, &facts);
        let mut statement = delete.build(dialect.backend);
        let xid = asked && wants_xid(core);
        let mut fetch = Fetch::Nothing;
        if asked {
            fetch = Fetch::All;
            let mut columns: Vec<usize> = table.keys.iter().chain(&referred).copied().collect();
            columns.sort_unstable();
            columns.dedup();
            statement.sql += &format!(" RETURNING {}{}", returned::<E>(&columns, dialect), dialect.and_xid(xid));
        }
        let Answer { count, rows } = write(core, table, Message::Statement(statement, fetch), xid).await?;
        if !asked {
            doubt_all(core, table);
            doubt_children(core, &facts).await?;
            return Ok(count);
        }
        let holder = core.holder();
        let frame = core.frames[holder].id;
        let mut held: Vec<Vec<(usize, Value)>> = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(object) = held_object(core, table, row)?
                && object.written(RowKind::Delete, None, &[], frame, &mut core.map)?
            {
                core.frames[holder].undo.touch(object);
            }
            let values = referred.iter().map(|column| Ok((*column, table.columns[*column].decode(row)?)));
            held.push(values.collect::<Result<_, Error>>()?);
        }
        if !referred.is_empty() && !held.is_empty() {
            let acted = core.flushing(Watch::Nothing).act_on_deleted(table, &facts, held).await;
            acted.inspect_err(|e| core.failed(e))?;
        }
        Ok(count)
    }

    /// Deletes the row with this key without loading it, at once; whether there was one. An object of it that is in the map is
    /// deleted as by [`Session::delete_many`].
    ///
    /// # Errors
    /// As [`Session::delete_many`]; a key of another shape than the entity's.
    ///
    /// # Cancel safety
    /// As [`Session::delete_many`].
    pub async fn delete_by_key<E: TrackedEntity>(&mut self, key: impl IntoValueTuple) -> Result<bool, Error> {
        let table = table_of::<E>();
        let values = key_values(table, key.into_value_tuple())?;
        let filter = match table.keys.iter().any(|key| table.columns[*key].may_fold()) {
            false => key_filter::<E>(values),
            true => {
                let facts = self.core().table_facts(table).await?;
                compared_filter::<E>(&[values], &facts, self.dialect())
            }
        };
        Ok(self.delete_many(<E as EntityTrait>::delete_many().filter(filter)).await? > 0)
    }
}

/// The columns whose values decide what becomes of rows that refer to a deleted one.
fn referred(table: &TableMeta, facts: &TableFacts) -> Vec<usize> {
    let acting = facts.actions.iter().filter(|action| action.on_delete != Deed::None);
    let mut columns: Vec<usize> = acting.flat_map(|action| &action.to).filter_map(|name| table.column(name)).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}
