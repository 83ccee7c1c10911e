//! DELETE in sets (F2), each row matched on its key, its loaded version (O1) and what was read (P1).

use sea_orm::DbBackend;

use super::{Behind, Flush, Rows, plan::Step, sqlite_chunks, update::Columns};
use crate::{connection::Fetch, error::Error, meta::TableMeta};

pub(super) const POSTGRES_ROWS: usize = 10_000;

impl Flush<'_> {
    pub(super) async fn delete(
        &mut self,
        table: &TableMeta,
        step: &Step,
        rows: Rows,
        members: &[Behind],
    ) -> Result<(), Error> {
        let columns = Columns {
            table,
            backend: self.connection.backend(),
            version: table.version,
            checks: &step.checks,
            written: &[],
        };
        let chunks = match (columns.is_simple(), columns.backend) {
            (false, _) => rows.chunks(1),
            (true, DbBackend::Sqlite) => sqlite_chunks(rows, columns.width()),
            (true, _) => rows.chunks(POSTGRES_ROWS),
        };
        for mut chunk in chunks {
            let gone = match (chunk.len(), columns.backend) {
                (1, _) => self.change_one(&columns, &mut chunk).await?.into(),
                (_, DbBackend::Sqlite) => {
                    let text = columns.flat(&columns.delete_values(chunk.len()), &mut chunk);
                    self.send(table, &chunk, text.message(Fetch::Nothing)).await?.affected().into()
                }
                _ => {
                    let arguments = columns.arrays(&chunk)?;
                    self.send_matched(&columns, &chunk, arguments).await?
                }
            };
            self.expect_all(&columns, &chunk, gone, None).await?;
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

    /// The DELETE of so many rows in one text (SQLite). Its places have no numbers: a numbered one is looked up by name.
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
            "{with}DELETE FROM {0} WHERE ({1}) IN (SELECT {2} FROM u JOIN {0} ON {3})",
            table.table,
            keys(""),
            keys(&format!("{}.", table.table)),
            self.matching(),
            with = self.with_text(rows),
        )
    }

    /// The DELETE of rows in arrays, which returns the keys' arrays.
    pub(super) fn delete_arrays(&self) -> String {
        let table = self.table;
        if self.only_key() {
            let key = &table.columns[table.keys[0]];
            let name = key.quoted();
            return match key.save(self.backend, "u.c0") {
                plain if plain == "u.c0" => {
                    format!("DELETE FROM {} WHERE {name} = ANY($1) RETURNING {name}", table.table)
                }
                cast => format!(
                    "DELETE FROM {0} USING UNNEST($1) AS u(c0) WHERE {0}.{name} = {cast} RETURNING u.c0",
                    table.table
                ),
            };
        }
        let (from, matching, keys) = (self.from(), self.matching(), self.key_aliases());
        format!("DELETE FROM {} USING {from} WHERE {matching} RETURNING {keys}", table.table)
    }
}
