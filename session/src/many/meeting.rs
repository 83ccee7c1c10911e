//! New rows that may meet rows which are there, where an INSERT cannot name the key that it is about (MySQL and MariaDB).
//!
//! `ON DUPLICATE KEY` is about every unique key of the table. So each assignment asks first whether the row that was met is the one
//! that was meant, and the number of the last insert tells which it was. It must never change a row that holds other values in the
//! columns that tell rows apart. A row that was met stays locked, so that units which meet it one after the other may change it.

use sea_orm::{QueryResult, Value};

use super::{
    new_rows::{Answers, Meeting, NewRows},
    statement::{next_version, sent},
};
use crate::{
    connection::{Fetch, Message, text::Text},
    dialect::Dialect,
    error::Error,
    objects::{
        entity::{TrackedEntity, table_of},
        identity::Key,
    },
    table::meta::TableMeta,
    unit::session::Session,
};

/// The numbers that tell of a row which was met; no key that is counted up comes so far.
const MEANT: u64 = u64::MAX - 1;
const OTHER: u64 = u64::MAX - 2;

impl Session {
    /// Sends these drafts one by one, and says which of them were written.
    ///
    /// # Errors
    /// What the database says, also that another row holds the same in another unique key.
    pub(super) async fn insert_each<E: TrackedEntity>(
        &mut self,
        rows: &NewRows<E>,
        of: &[usize],
        values: &[Vec<Value>],
    ) -> Result<Answers, Error> {
        let mut answers = Answers::default();
        let mut of = of.to_vec();
        // All units take the rows in one order, so that no two wait for each other.
        of.sort_by_cached_key(|draft| Key::from_values(values[*draft].clone()).rank());
        for draft in of {
            // An UPDATE that changes nothing would fire triggers.
            let added = match rows.meeting == Meeting::Keeps && rows.facts.update.rewrites {
                true => self.insert_unless_there(rows, draft, &values[draft]).await?,
                false => self.insert_or_meet(rows, draft, &values[draft]).await?,
            };
            if added {
                answers.written.push(draft);
            }
        }
        Ok(answers)
    }

    async fn insert_or_meet<E: TrackedEntity>(
        &mut self,
        rows: &NewRows<E>,
        draft: usize,
        values: &[Value],
    ) -> Result<bool, Error> {
        let table = table_of::<E>();
        let has_tenant = self.core().settings.tenant.is_some();
        let meets = format!(" ON DUPLICATE KEY UPDATE {}", rows.assignments(table, draft, has_tenant));
        let message = rows.single(self.dialect(), draft, &meets);
        match sent(self.core(), table, message).await?.last_number() {
            MEANT => Ok(false),
            OTHER => {
                let keeps = rows.meeting == Meeting::Keeps;
                if keeps && self.row_behind::<E>(&rows.unique, values).await?.is_some() {
                    return Ok(false);
                }
                // Once more, so that the server says which key it would violate.
                let message = rows.single(self.dialect(), draft, "");
                sent(self.core(), table, message).await.map(|_| true)
            }
            _ => Ok(true),
        }
    }

    async fn insert_unless_there<E: TrackedEntity>(
        &mut self,
        rows: &NewRows<E>,
        draft: usize,
        values: &[Value],
    ) -> Result<bool, Error> {
        let table = table_of::<E>();
        let message = rows.single(self.dialect(), draft, "");
        self.core().shared.joins.changed(&table.table);
        let violated = match self.core().attempt(message, !table.secret.is_empty()).await? {
            Ok(_) => return Ok(true),
            Err(violated) => violated,
        };
        match self.row_behind::<E>(&rows.unique, values).await? {
            Some(_) => Ok(false),
            // Another key than the one that was named.
            None => {
                let violated = violated.at(|| table.entity.to_owned());
                self.core().failed(&violated);
                Err(violated)
            }
        }
    }

    /// The rows of those values that no row of `found` is about, which others have written since this unit's snapshot.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn rows_behind<E: TrackedEntity>(
        &mut self,
        columns: &[usize],
        values: &[Vec<Value>],
        found: &mut Vec<(usize, QueryResult)>,
    ) -> Result<(), Error> {
        if self.dialect().reads_latest.is_empty() {
            return Ok(());
        }
        let mut is_found = vec![false; values.len()];
        found.iter().for_each(|(at, _)| is_found[*at] = true);
        for (at, values) in values.iter().enumerate().filter(|(at, _)| !is_found[*at]) {
            found.extend(self.row_behind::<E>(columns, values).await?.map(|row| (at, row)));
        }
        Ok(())
    }

    /// The row that holds these values now, whatever this unit's snapshot shows.
    async fn row_behind<E: TrackedEntity>(
        &mut self,
        columns: &[usize],
        values: &[Value],
    ) -> Result<Option<QueryResult>, Error> {
        let (table, dialect) = (table_of::<E>(), self.dialect());
        let facts = self.core().table_facts(table).await?;
        let tenant = table.tenant.filter(|tenant| !columns.contains(tenant)).zip(self.core().tenant_of(table)?);
        let mut text = Text::new(dialect, "");
        let held = columns.iter().copied().zip(values.iter().cloned()).chain(tenant);
        let mut same = Vec::with_capacity(columns.len() + 1);
        for (column, value) in held {
            let meta = &table.columns[column];
            let place = text.bind(meta.sent(value));
            same.push(format!("{} = {}", meta.quoted(), facts.compared(column, &meta.save(dialect, &place))));
        }
        let selected = table.columns.iter().map(|column| column.select(dialect)).collect::<Vec<_>>().join(", ");
        text.sql =
            format!("SELECT {selected} FROM {} WHERE {}{}", table.table, same.join(" AND "), dialect.reads_latest);
        let answer = self.core().statement_about(text.message(Fetch::One), !table.secret.is_empty()).await;
        Ok(answer.map_err(|e| e.at(|| table.entity.to_owned()))?.rows().into_iter().next())
    }
}

impl<E: TrackedEntity> NewRows<E> {
    /// The INSERT of one draft.
    fn single<'m>(&self, dialect: &'static Dialect, draft: usize, meets: &str) -> Message<'m> {
        let table = table_of::<E>();
        let shape = self.shape(draft);
        let mut text = Text::new(dialect, "");
        let mut saved = Vec::with_capacity(shape.len());
        for column in &shape {
            let meta = &table.columns[*column];
            let value = self.drafts[draft].any().column_value(*column).unwrap_or(meta.kind_null());
            let place = text.bind(meta.sent(value));
            saved.push(meta.save(dialect, &place));
        }
        let written = shape.iter().map(|column| table.columns[*column].quoted()).collect::<Vec<_>>().join(", ");
        text.sql = format!("INSERT INTO {} ({written}) VALUES ({}){meets}", table.table, saved.join(", "));
        text.message(Fetch::Nothing)
    }

    /// What becomes of a row that was met: nothing, unless it is the one that was meant.
    fn assignments(&self, table: &TableMeta, draft: usize, has_tenant: bool) -> String {
        let name = |column: &usize| table.columns[*column].quoted();
        let same = |column: &usize| format!("{0} <=> VALUES({0})", name(column));
        let meant = self.unique.iter().map(same).collect::<Vec<_>>().join(" AND ");
        let first = name(&self.unique[0]);
        let mut set = vec![format!("{first} = IF(LAST_INSERT_ID(IF({meant}, {MEANT}, {OTHER})), {first}, {first})")];
        let taken = match self.meeting {
            Meeting::Keeps => Vec::new(),
            Meeting::Takes => self.taken(table, &self.shape(draft)),
        };
        // Another tenant's row is not touched (T2).
        let tenant = table.tenant.filter(|_| has_tenant).map(|column| format!(" AND {}", same(&column)));
        let meant = meant + &tenant.unwrap_or_default();
        let version = table.version.filter(|_| !taken.is_empty());
        set.extend(taken.iter().map(name).map(|name| format!("{name} = IF({meant}, VALUES({name}), {name})")));
        set.extend(version.map(|version| {
            let name = name(&version);
            format!("{name} = IF({meant}, {}, {name})", next_version(table, version, &name))
        }));
        set.join(", ")
    }
}
