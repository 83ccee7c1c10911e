//! DELETE in sets (F2), each row matched on its key, its loaded version (O1) and what was read (P1).

use sea_orm::{DbBackend, sqlx::postgres::PgArguments};

use super::{Behind, Changed, Flush, Rows, Text, Write, plan::Step, sqlite_chunks, update::Columns, value::bind_array};
use crate::{connection::Fetch, error::Error, meta::TableMeta};

const POSTGRES_ROWS: usize = 10_000;

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
            let only_key = table.keys.len() == 1 && table.version.is_none() && step.checks.is_empty();
            let gone = match (chunk.len(), columns.backend) {
                (1, _) => self.delete_one(&columns, &mut chunk).await?.into(),
                (_, DbBackend::Sqlite) if only_key => self.delete_in(&columns, &mut chunk).await?.into(),
                (_, DbBackend::Sqlite) => self.delete_values(&columns, &mut chunk).await?.into(),
                _ if only_key => self.delete_any(&columns, &mut chunk).await?,
                _ => self.delete_arrays(&columns, &mut chunk).await?,
            };
            self.expect_all(&columns, &chunk, gone, None).await?;
            self.all_done(&chunk, members)?;
        }
        Ok(())
    }

    async fn delete_one(&mut self, columns: &Columns<'_>, rows: &mut Rows) -> Result<u64, Error> {
        let mut text = Text::new(columns.backend, "");
        let matching = columns.matching_one(&mut text, rows);
        text.sql = format!("DELETE FROM {} WHERE {matching}", columns.table.table);
        self.send_counted(columns.table, rows, Write::Values(text)).await
    }

    async fn delete_in(&mut self, columns: &Columns<'_>, rows: &mut Rows) -> Result<u64, Error> {
        let table = columns.table;
        let key = &table.columns[table.keys[0]];
        let mut text = Text::new(columns.backend, "");
        text.values = rows.keys.iter().map(|k| k[0].clone()).collect();
        // Without numbers: SQLite looks a numbered place up by its name, one after the other.
        let places = vec![key.save(columns.backend, "?"); rows.len()];
        text.sql = format!("DELETE FROM {} WHERE {} IN ({})", table.table, key.quoted(), places.join(", "));
        Ok(self.send(table, rows, text.message(Fetch::Nothing)).await?.affected())
    }

    async fn delete_values(&mut self, columns: &Columns<'_>, rows: &mut Rows) -> Result<u64, Error> {
        let table = columns.table;
        let keys = |prefix: &str| {
            table.keys.iter().map(|k| format!("{prefix}{}", table.columns[*k].quoted())).collect::<Vec<_>>().join(", ")
        };
        let mut text = columns.with_values(rows);
        text.sql += &format!(
            "DELETE FROM {0} WHERE ({1}) IN (SELECT {2} FROM u JOIN {0} ON {3})",
            table.table,
            keys(""),
            keys(&format!("{}.", table.table)),
            columns.matching()
        );
        Ok(self.send(table, rows, text.message(Fetch::Nothing)).await?.affected())
    }

    async fn delete_any(&mut self, columns: &Columns<'_>, rows: &mut Rows) -> Result<Changed, Error> {
        let table = columns.table;
        let key = &table.columns[table.keys[0]];
        let mut arguments = PgArguments::default();
        bind_array(&mut arguments, &key.kind, rows.keys.iter().map(|k| k[0].clone()).collect())?;
        let name = key.quoted();
        let sql = match key.save(columns.backend, "u.c0") {
            plain if plain == "u.c0" => format!("DELETE FROM {} WHERE {name} = ANY($1) RETURNING {name}", table.table),
            cast => format!(
                "DELETE FROM {0} USING UNNEST($1) AS u(c0) WHERE {0}.{name} = {cast} RETURNING u.c0",
                table.table
            ),
        };
        self.send_matched(table, rows, (&sql, 1), arguments).await
    }

    async fn delete_arrays(&mut self, columns: &Columns<'_>, rows: &mut Rows) -> Result<Changed, Error> {
        let table = columns.table;
        let (arguments, from) = columns.unnest(rows)?;
        let (matching, keys) = (columns.matching(), columns.key_aliases());
        let sql = format!("DELETE FROM {} USING {from} WHERE {matching} RETURNING {keys}", table.table);
        self.send_matched(table, rows, (&sql, table.keys.len()), arguments).await
    }
}
