//! UPDATEs whose values are expressions (U2): rows that are given the same ones go together, after all other changes of the
//! flush, which they see. What they hold then is read back (D4).

use std::sync::Arc;

use chrono::{SubsecRound, Utc};
use sea_orm::{
    QueryResult, Value,
    sea_query::{Alias, Condition, Expr, ExprTrait, IntoTableRef, Query, TableRef},
};

use super::{Flush, Member};
use crate::{
    connection::{Fetch, Message},
    dialect::Dialect,
    error::Error,
    objects::{
        AnyObject,
        row::{Expressed, Returned, RowKind},
    },
    table::{
        facts::{Deed, Identity, TableFacts},
        meta::TableMeta,
        sql::quote,
        value::{as_integer, time_value},
    },
};

/// Rows of one statement: each is a condition of its own.
const MOST_ROWS: usize = 128;

/// Objects of one table that are given the same expressions.
struct Group {
    table: &'static TableMeta,
    columns: Vec<(usize, Expr)>,
    /// The rows were not changed otherwise: their version and time are set here.
    only: bool,
    rows: Vec<(Arc<AnyObject>, Expressed)>,
}

impl Flush<'_> {
    /// Writes what is to be written otherwise, then what expressions give.
    pub(super) async fn write_with_expressions(&mut self, due: &[Member]) -> Result<(), Error> {
        let only: Vec<bool> = due.iter().map(|(object, _)| object.only_expressed()).collect();
        let others = due.iter().zip(&only).filter(|(_, only)| !**only).map(|(member, _)| member.clone());
        let others: Vec<Member> = others.collect();
        self.write(&others).await?;
        let mut groups: Vec<Group> = Vec::new();
        for ((object, _), only) in due.iter().zip(only) {
            let Some(expressed) = object.expressed() else { continue };
            let table = object.table();
            let alike = |group: &&mut Group| {
                std::ptr::eq(group.table, table) && group.only == only && group.columns == expressed.columns
            };
            match groups.iter_mut().find(alike) {
                Some(group) => group.rows.push((object.clone(), expressed)),
                None => {
                    let columns = expressed.columns.clone();
                    groups.push(Group { table, columns, only, rows: vec![(object.clone(), expressed)] });
                }
            }
        }
        for mut group in groups {
            // All units lock rows in one order.
            group.rows.sort_by_cached_key(|(object, _)| object.rank());
            let facts = self.connection.table_facts(group.table).await?;
            // Where nothing is told, a row that was not changed is told from the others by being alone.
            let rows = if facts.update.row_by_row || facts.update.mute { 1 } else { MOST_ROWS };
            for some in group.rows.chunks(rows) {
                self.write_group(&group, &facts, some).await?;
            }
            self.doubt_what_follows(&group, &facts).await?;
        }
        Ok(())
    }

    async fn write_group(
        &mut self,
        group: &Group,
        facts: &TableFacts,
        rows: &[(Arc<AnyObject>, Expressed)],
    ) -> Result<(), Error> {
        let (table, dialect) = (group.table, self.connection.dialect());
        let (set, mut back) = assignments(group, dialect);
        let mut update = Query::update();
        update.table(table_ref(table));
        for (column, expression) in set {
            update.value(Alias::new(table.columns[column].name), expression);
        }
        // The text fills up to a power of two: the last row is named again, which changes nothing.
        let size = rows.len().next_power_of_two();
        let filled = (0..size).map(|at| &rows[at.min(rows.len() - 1)].1);
        update.cond_where(filled.fold(Condition::any(), |any, row| any.add(self.found(table, facts, row))));
        let mut statement = dialect.backend.build(&update);

        let answers = !untold(facts);
        let xid = self.wants_xid() && answers && !facts.row_security;
        if facts.update.rewrites || facts.update.row_by_row {
            back = (0..table.columns.len()).filter(|column| table.columns[*column].held).collect();
        }
        back.extend(&facts.generated);
        back.sort_unstable();
        back.dedup();
        let selected = table.keys.iter().chain(back.iter().filter(|column| !table.keys.contains(column)));
        let selected = selected.map(|column| table.columns[*column].select(dialect)).collect::<Vec<_>>().join(", ");
        statement.sql = match answers {
            true => format!("{} RETURNING {selected}{}", statement.sql, dialect.and_xid(xid)),
            false => statement.sql,
        };
        let fetch = if answers { Fetch::All } else { Fetch::Nothing };
        if !table.secret.is_empty() {
            self.connection.hide_values();
        }
        let shown = || format!("{} {}", table.entity, table.show_key(&rows[0].1.key));
        let reply = self.connection.send(Message::Statement(statement, fetch)).await.map_err(|e| e.at(shown))?;
        let changed = reply.affected();
        let answer = reply.rows();
        self.learn_xid(&answer, xid);
        if changed != rows.len() as u64 {
            return Err(self.blame_expressed(table, facts, rows, &answer).await?);
        }
        self.take_expressed(group, facts, rows, &back, &answer)
    }

    /// The rows hold what came back.
    fn take_expressed(
        &mut self,
        group: &Group,
        facts: &TableFacts,
        rows: &[(Arc<AnyObject>, Expressed)],
        back: &[usize],
        answer: &[QueryResult],
    ) -> Result<(), Error> {
        let table = group.table;
        for row in answer {
            let key = table.key_of_row(row)?;
            let Some((object, _)) = rows.iter().find(|(_, expressed)| expressed.key == key || rows.len() == 1) else {
                continue;
            };
            let values = back.iter().map(|column| Ok((*column, table.columns[*column].decode(row)?)));
            let values: Vec<(usize, Value)> = values.collect::<Result<_, Error>>()?;
            self.object_written(object, RowKind::Update, Some(&Returned::Values(&values)), &facts.micros)?;
        }
        if untold(facts) {
            for (object, _) in rows {
                self.object_written(object, RowKind::Update, None, &facts.micros)?;
            }
        }
        // Nothing was told, or it was told too early.
        if untold(facts) || facts.update.changes_afterwards {
            rows.iter().for_each(|(object, _)| object.doubt());
        }
        Ok(())
    }

    /// The condition that a row is found by: key, version, and what was read of it (P1).
    fn found(&self, table: &TableMeta, facts: &TableFacts, row: &Expressed) -> Condition {
        let dialect = self.connection.dialect();
        let value = |column: usize, value: &Value| {
            let saved = facts.compared(column, &table.columns[column].save(dialect, dialect.hole));
            Expr::cust_with_expr(saved, Expr::val(value.clone()))
        };
        let held = table.keys.iter().copied().zip(&row.key).chain(table.version.into_iter().zip(&row.version));
        let found = held.fold(Condition::all(), |all, (column, held)| {
            all.add(Expr::col(Alias::new(table.columns[column].name)).eq(value(column, held)))
        });
        row.checks.iter().fold(found, |all, (column, read)| {
            let meta = &table.columns[*column];
            if !dialect.compares_every_kind && (!meta.is_simple() || meta.is_moment()) {
                return all;
            }
            let loaded = meta.save(dialect, dialect.hole);
            all.add(Expr::cust_with_expr(meta.unchanged(dialect, &meta.quoted(), &loaded), Expr::val(read.clone())))
        })
    }

    /// Why one of these rows was not changed (F8, O1, P6).
    async fn blame_expressed(
        &mut self,
        table: &'static TableMeta,
        facts: &TableFacts,
        rows: &[(Arc<AnyObject>, Expressed)],
        answer: &[QueryResult],
    ) -> Result<Error, Error> {
        let dialect = self.connection.dialect();
        let changed = answer.iter().map(|row| table.key_of_row(row)).collect::<Result<Vec<_>, Error>>()?;
        let selected = table.columns.iter().map(|column| column.select(dialect)).collect::<Vec<_>>().join(", ");
        for (object, row) in rows.iter().filter(|(_, row)| !changed.contains(&row.key)) {
            let key = Expressed { key: row.key.clone(), version: None, columns: Vec::new(), checks: Vec::new() };
            let mut question = Query::select();
            question.expr(Expr::cust(selected.clone())).from(table_ref(table));
            question.cond_where(self.found(table, facts, &key));
            let answer =
                self.connection.send(Message::Statement(dialect.backend.build(&question), Fetch::One)).await?.rows();
            let (shown, expected) =
                (table.show_key(&row.key).into_boxed_str(), row.version.as_ref().and_then(as_integer));
            let Some(held) = answer.first() else {
                self.gone.push(object.clone());
                return Ok(Error::Stale { entity: table.entity, key: shown, expected, found: None });
            };
            if let Some(version) = table.version {
                let found = as_integer(&table.columns[version].decode(held)?);
                if found != expected {
                    return Ok(Error::Stale { entity: table.entity, key: shown, expected, found });
                }
            }
            for (column, read) in &row.checks {
                let found = table.columns[*column].decode(held)?;
                if found != *read {
                    let shown_values = self.show_values && !table.secret.contains(*column);
                    let change = shown_values.then(|| Box::new((read.to_string(), found.to_string())));
                    let column = table.columns[*column].name;
                    return Ok(Error::UnrepeatableRead { entity: table.entity, key: shown, column, change });
                }
            }
        }
        let place = format!("{} {} and {} more", table.entity, table.show_key(&rows[0].1.key), rows.len() - 1);
        Ok(Error::Stale { entity: table.entity, key: place.into(), expected: None, found: None })
    }

    /// Foreign keys that lead to what was set may have changed rows whose old values nobody has told (D6).
    async fn doubt_what_follows(&mut self, group: &Group, facts: &TableFacts) -> Result<(), Error> {
        let set = |name: &String| {
            group.table.column(name).is_some_and(|column| group.columns.iter().any(|(c, _)| *c == column))
        };
        let acts = facts.actions.iter().any(|action| action.on_update != Deed::None && action.to.iter().any(set));
        if acts { self.doubt_referring(facts).await } else { Ok(()) }
    }

    /// What became of rows that refer to those of a table is not known.
    pub(crate) async fn doubt_referring(&mut self, facts: &TableFacts) -> Result<(), Error> {
        let reached = |identity: &Identity| {
            facts.far.contains(identity) || facts.actions.iter().any(|action| action.child == *identity)
        };
        for table in self.map.tables() {
            let known = self.connection.table_facts(table).await?;
            if known.identity.as_ref().is_some_and(reached) {
                self.map.objects_of(table).for_each(|object| object.doubt());
            }
        }
        Ok(())
    }
}

/// Whether an UPDATE cannot answer: what its rows hold then is read when they are next asked for.
fn untold(facts: &TableFacts) -> bool {
    facts.update.instead || facts.update.mute
}

/// What the statement sets, and the columns that it changes.
fn assignments(group: &Group, dialect: &Dialect) -> (Vec<(usize, Expr)>, Vec<usize>) {
    let table = group.table;
    let mut set = group.columns.clone();
    if group.only {
        if let Some(version) = table.version {
            let name = quote(table.columns[version].name);
            set.push((version, Expr::cust(format!("{name} + 1"))));
        }
        let untouched = |column: &usize| !group.columns.iter().any(|(set, _)| set == column);
        if let Some(column) = table.updated_at.filter(untouched)
            && let Some(now) = time_value(&table.columns[column].kind, Utc::now().trunc_subsecs(6))
        {
            let saved = table.columns[column].save(dialect, dialect.hole);
            set.push((column, Expr::cust_with_expr(saved, Expr::val(now))));
        }
    }
    let columns = set.iter().map(|(column, _)| *column).collect();
    (set, columns)
}

fn table_ref(table: &TableMeta) -> TableRef {
    match &table.schema {
        Some(schema) => (Alias::new(schema.clone()), Alias::new(table.entity)).into_table_ref(),
        None => Alias::new(table.entity).into_table_ref(),
    }
}
