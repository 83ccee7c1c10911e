//! What statements on many rows have in common: whose rows they may touch, what they answer with, and how an answer's row, or
//! the lack of one, reaches the objects of the map.

use std::sync::Arc;

use sea_orm::{ColumnTrait, IdenStatic, Iterable, QueryResult};

use crate::{
    connection::{Message, Reply},
    dialect::Dialect,
    error::Error,
    flush::Watch,
    load::{admit::admit, row_reader::RowReader},
    objects::{
        AnyObject, Tracked,
        entity::{TrackedEntity, table_of},
        identity::Key,
        key_of,
    },
    table::{facts::TableFacts, meta::TableMeta, sql::quote, value::last_integer},
    unit::core::Core,
};

/// What a write has answered.
pub(super) struct Answer {
    /// How many rows it was about.
    pub(super) count: u64,
    pub(super) rows: Vec<QueryResult>,
}

/// Sends a write of rows of this table; `tells_xid` says whether its answer tells the transaction's id (R9).
pub(super) async fn write(
    core: &mut Core,
    table: &'static TableMeta,
    message: Message<'_>,
    tells_xid: bool,
) -> Result<Answer, Error> {
    let reply = sent(core, table, message).await?;
    let count = reply.affected();
    let rows = reply.rows();
    if tells_xid && core.xid.is_none() {
        core.xid = core.dialect().xid_in(&rows);
    }
    Ok(Answer { count, rows })
}

/// Sends a write of rows of this table.
pub(super) async fn sent(core: &mut Core, table: &'static TableMeta, message: Message<'_>) -> Result<Reply, Error> {
    // What relations of the table's rows gave is not known any more (U1).
    core.shared.joins.changed(&table.table);
    let sent = core.statement_about(message, !table.secret.is_empty()).await;
    sent.map_err(|e| {
        if e.doubts_facts() {
            core.connection.doubt_facts(table);
        }
        e.at(|| table.entity.to_owned())
    })
}

/// Whether a write that answers is to tell the transaction's id.
pub(super) fn wants_xid(core: &Core) -> bool {
    core.xid.is_none() && core.dialect().transaction_ids.is_some()
}

/// The version after the one that a row holds. At its type's end there is none: NULL, which its column refuses, rather than a
/// number that the entity cannot read (E7).
pub(super) fn next_version(table: &TableMeta, version: usize, held: &str) -> String {
    let last = last_integer(&table.columns[version].kind);
    format!("CASE WHEN {held} < {last} THEN {held} + 1 END")
}

/// These columns as an answer names them. They are told from those of other tables of the statement.
pub(super) fn returned<E: TrackedEntity>(columns: &[usize], dialect: &Dialect) -> String {
    let all: Vec<E::Column> = E::Column::iter().collect();
    let select = |column: &usize| {
        let column = all[*column];
        let read = (dialect.expression)(column.select_as(column.into_expr()));
        format!("{read} AS {}", quote(column.as_str()))
    };
    columns.iter().map(select).collect::<Vec<_>>().join(", ")
}

/// A row that this unit has written, as its object: one that is in the map holds what the row holds, but for changes that were
/// not sent.
pub(super) fn take_row<E: TrackedEntity>(core: &mut Core, row: &QueryResult) -> Result<Tracked<E>, Error> {
    let (table, model) = (table_of::<E>(), RowReader::<E>::new().read(row)?);
    if let Some(held) = core.map.get(table, &key_of(table, &model)) {
        held.doubt();
    }
    admit::<E>(core, Arc::new(model), false, false)
}

/// The object of an answer's row, if the map holds it.
pub(super) fn held_object(
    core: &Core,
    table: &'static TableMeta,
    row: &QueryResult,
) -> Result<Option<Arc<AnyObject>>, Error> {
    let key = Key::from_values(table.key_of_row(row)?);
    Ok(core.map.get(table, &key).cloned())
}

/// It is not told what became of the rows of an entity: its objects are asked about before they are used.
pub(super) fn doubt_all(core: &Core, table: &'static TableMeta) {
    core.map.objects_of(table).for_each(|object| object.doubt());
}

/// Foreign keys may have changed rows of tables that refer to this one (D6).
pub(super) async fn doubt_children(core: &mut Core, facts: &TableFacts) -> Result<(), Error> {
    let doubted = core.flushing(Watch::Nothing).doubt_referring(facts).await;
    doubted.inspect_err(|e| core.failed(e))
}
