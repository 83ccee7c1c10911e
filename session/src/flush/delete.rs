//! DELETE in sets (F2), each row matched on its key, its loaded version (O1) and what was read (P1).

use super::{Behind, Flush, Rows, plan::Step, update::Columns};
use crate::{error::Error, meta::TableMeta};

impl Flush<'_> {
    pub(super) async fn delete(
        &mut self,
        table: &TableMeta,
        step: &Step,
        rows: Rows,
        members: &[Behind],
    ) -> Result<(), Error> {
        let backend = self.connection.backend();
        let columns = Columns { table, backend, version: table.version, checks: &step.checks, written: &[] };
        let sizes = columns.sizes(rows.len());
        for chunk in rows.split(sizes) {
            self.change(&columns, &chunk, None).await?;
            self.all_done(&chunk, members)?;
        }
        Ok(())
    }
}

impl Columns<'_> {
    /// Whether rows are found by one column alone.
    fn only_key(&self) -> bool {
        self.table.keys.len() == 1 && self.version.is_none() && self.checks.is_empty()
    }

    /// The DELETE of so many rows in one text.
    pub(super) fn delete_values(&self, rows: usize) -> String {
        let table = self.table;
        if self.only_key() {
            let key = &table.columns[table.keys[0]];
            let places = vec![&*key.save(self.backend, "?"); rows].join(", ");
            return format!("DELETE FROM {} WHERE {} IN ({places})", table.table, key.quoted());
        }
        let keys = |prefix: &str| {
            table.keys.iter().map(|k| format!("{prefix}{}", table.columns[*k].quoted())).collect::<Vec<_>>().join(", ")
        };
        format!(
            "{with}DELETE FROM {0} WHERE ({1}) IN (SELECT {2} FROM {sent} JOIN {0} ON {3})",
            table.table,
            keys(""),
            keys(&format!("{}.", table.table)),
            self.matching(),
            with = self.with_text(rows),
            sent = self.sent(),
        )
    }

    /// The DELETE of rows in arrays, and the keys that it may return.
    pub(super) fn delete_arrays(&self) -> (String, String) {
        let table = &self.table.table;
        let key = &self.table.columns[self.table.keys[0]];
        if self.only_key() && key.save(self.backend, "u.c0") == "u.c0" {
            let name = key.quoted();
            return (format!("DELETE FROM {table} WHERE {name} = ANY($1)"), name);
        }
        let (from, matching) = (self.from(), self.matching());
        (format!("DELETE FROM {table} USING {from} WHERE {matching}"), self.key_aliases())
    }
}
