//! Drops everything in a schema, for `fresh`.
//!
//! What it is for: development and tests. What it must never do: run by itself, touch an extension's objects or another
//! schema, or stop half-way: it is one transaction.

use sea_orm::{DatabaseConnection, DbBackend, DbErr};

use crate::{
    lock::begin_immediate,
    sql::{self, send},
};

/// Everything of the current schema that does not belong to an extension, types that come with a table excepted.
const DROP_POSTGRES: &str = r"DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('DROP %s IF EXISTS %s CASCADE',
                CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                    WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
                format('%I.%I', n.nspname, c.relname))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'i'))
        UNION ALL
        SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = current_schema()
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('DROP TYPE IF EXISTS %I.%I CASCADE', n.nspname, t.typname)
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE n.nspname = current_schema() AND t.typtype IN ('e', 'd', 'r', 'c') AND t.typelem = 0
            AND (t.typrelid = 0 OR (SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) = 'c')
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
    LOOP
        EXECUTE command;
    END LOOP;
END
$$";

/// Drops everything but the runner's own lock table.
pub(crate) async fn drop_everything(db: &DatabaseConnection, lock_table: &str) -> Result<(), DbErr> {
    match db.get_database_backend() {
        DbBackend::Postgres => {
            let transaction = begin_immediate(db).await?;
            send(&transaction, DROP_POSTGRES).await?;
            transaction.commit().await
        }
        _ => drop_sqlite(db, lock_table).await,
    }
}

async fn drop_sqlite(db: &DatabaseConnection, lock_table: &str) -> Result<(), DbErr> {
    let transaction = begin_immediate(db).await?;
    // Rows go before tables, and what refers before what is referred to, by deferring the checks to the end, when
    // nothing is left that could refer.
    send(&transaction, "PRAGMA defer_foreign_keys = ON").await?;
    let sql = format!(
        "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view', 'table') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name <> '{lock_table}' \
         ORDER BY CASE WHEN type = 'trigger' THEN 0 WHEN type = 'view' THEN 1 WHEN sql LIKE 'CREATE VIRTUAL%' THEN 2 ELSE 3 END"
    );
    let mut tables = Vec::new();
    for row in sql::all(&transaction, &sql).await? {
        let (kind, name): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let name = name.replace('"', "\"\"");
        if kind == "table" {
            tables.push(name);
        } else {
            send(&transaction, &format!(r#"DROP {kind} IF EXISTS "{name}""#)).await?;
        }
    }
    for name in tables {
        // A virtual table takes its shadow tables with it.
        send(&transaction, &format!(r#"DROP TABLE IF EXISTS "{name}""#)).await?;
    }
    transaction.commit().await
}
