//! What a table of events needs so that claims stay quick, whatever has gone through it.

use super::Outbox;
use crate::{connection::db::Queues, error::Error, table::sql::quote};

impl Outbox {
    /// The statements of [`Outbox::create_indexes`], for a migration of the application's own.
    ///
    /// On PostgreSQL and SQLite no index and no condition of one names a column that a claim changes: on PostgreSQL a claim is then a heap-only
    /// update, for which half of each page is left free. All are partial, so that what is done costs nothing where claims
    /// look. MySQL and MariaDB have no partial indexes: there a column says in each what the condition would.
    pub fn index_statements(&self) -> Vec<String> {
        if self.db().queues() == Queues::Documents {
            return self.whole_indexes();
        }
        let table = self.table();
        let index = |name: &str| quote(&format!("{}_{name}_idx", self.name()));
        let mut statements = vec![
            // Whether something earlier of a key stands before an event.
            format!(
                "CREATE INDEX IF NOT EXISTS {} ON {table} (topic, event_key, sequence, id) WHERE finished_at IS NULL",
                index("live")
            ),
            // What is due, in the order of numbers.
            format!("CREATE INDEX IF NOT EXISTS {} ON {table} (topic, id) WHERE finished_at IS NULL", index("due")),
            // Retention.
            format!(
                "CREATE INDEX IF NOT EXISTS {} ON {table} (topic, finished_at) WHERE finished_at IS NOT NULL",
                index("finished")
            ),
            // Dead letters.
            format!(
                "CREATE INDEX IF NOT EXISTS {} ON {table} (topic, id) WHERE finished_at IS NOT NULL AND last_error IS NOT NULL",
                index("dead")
            ),
        ];
        if self.db().queues() == Queues::Arrays {
            statements.push(format!(
                "ALTER TABLE {table} SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, \
                 autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0)"
            ));
        }
        statements
    }

    /// Of the whole table, each with `finished_at` or `last_error` in it. A claim changes no column of these either.
    fn whole_indexes(&self) -> Vec<String> {
        // Outside of a unit a connection may not quote names as the standard does.
        let quote = |name: &str| format!("`{}`", name.replace('`', "``"));
        let table = quote(self.name());
        let create = |(name, columns): (&str, &str)| {
            let index = quote(&format!("{}_{name}_idx", self.name()));
            format!("CREATE INDEX IF NOT EXISTS {index} ON {table} ({columns})")
        };
        let indexes = [
            ("live", "topic, event_key, finished_at, sequence, id"),
            // What is due, in the order of numbers, and retention.
            ("due", "topic, finished_at, id"),
            ("dead", "topic, last_error(16)"),
        ];
        indexes.into_iter().map(create).collect()
    }

    /// Creates the indexes that claims need, and has PostgreSQL leave room in the table's pages and clean it up early.
    /// Without them everything works, and slows down with the number of events.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Safe: what is there is left as it is, so it may be called again.
    pub async fn create_indexes(&self) -> Result<(), Error> {
        for statement in self.index_statements() {
            self.db().send_alone(&statement).await?;
        }
        Ok(())
    }
}
