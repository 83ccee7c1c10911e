//! A schema as sorted lines of text, so that two can be compared.
//!
//! What it is for: the doctor compares a database with a clean one, and the tests compare what is left after a failure
//! with a clean run. What it must never do: contain what differs between equal schemas (object ids, sizes, the order in
//! which things were made, except that of columns).

use sea_orm::{ConnectionTrait, DbBackend, DbErr};

use crate::sql;

/// Each line: kind, name, definition. The runner's own tables are left out.
const POSTGRES: &str = r"
WITH tables AS (
    SELECT c.oid, c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.reloptions
    FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
)
SELECT format('table %s: kind %s, row security %s, forced %s, options %s', relname, relkind, relrowsecurity, relforcerowsecurity, reloptions)
FROM tables
UNION ALL
SELECT format('column %s.%s: place %s, %s%s%s%s%s', t.relname, a.attname,
    row_number() OVER (PARTITION BY t.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod),
    CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END,
    CASE WHEN a.attidentity <> '' THEN ' identity ' || a.attidentity::text ELSE '' END,
    CASE WHEN a.attcollation <> ty.typcollation THEN ' COLLATE ' || co.collname ELSE '' END,
    CASE WHEN d.oid IS NULL THEN '' WHEN a.attgenerated <> '' THEN ' GENERATED ' || pg_get_expr(d.adbin, d.adrelid)
        ELSE ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END)
FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type ty ON ty.oid = a.atttypid LEFT JOIN pg_collation co ON co.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
UNION ALL
SELECT format('constraint %s.%s: %s', t.relname, c.conname, pg_get_constraintdef(c.oid))
FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid
UNION ALL
SELECT format('index %s.%s: %s%s', t.relname, i.relname, pg_get_indexdef(x.indexrelid), CASE WHEN x.indisvalid THEN '' ELSE ' INVALID' END)
FROM tables t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
UNION ALL
SELECT format('trigger %s.%s: %s', t.relname, g.tgname, pg_get_triggerdef(g.oid))
FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
UNION ALL
SELECT format('policy %s.%s: %s %s using %s check %s', t.relname, p.polname, CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
    p.polcmd, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
FROM tables t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT format('view %s: %s', relname, pg_get_viewdef(oid)) FROM tables WHERE relkind IN ('v', 'm')
UNION ALL
SELECT format('sequence %s: %s', c.relname, format_type(s.seqtypid, NULL))
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
WHERE c.relnamespace = current_schema()::regnamespace
UNION ALL
SELECT format('routine %s: %s', p.oid::regprocedure, pg_get_functiondef(p.oid))
FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace AND p.prokind IN ('f', 'p')
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT format('type %s: %s %s', t.typname, t.typtype, (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM pg_type t WHERE t.typnamespace = current_schema()::regnamespace AND t.typtype IN ('e', 'd', 'r')
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
";

const SQLITE: &str = "SELECT type || ' ' || tbl_name || '.' || name || ': ' || coalesce(sql, 'automatic') FROM sqlite_master \
    WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\' AND name <> 'sqlite_sequence'";

/// The catalogue of the current schema, sorted. `migration_table` and what the runner keeps beside it are left out.
///
/// # Errors
/// Those of the database.
///
/// # Cancel safety
/// Safe.
pub async fn catalogue<C: ConnectionTrait>(db: &C, migration_table: &str) -> Result<Vec<String>, DbErr> {
    let (sql, schema) = match db.get_database_backend() {
        DbBackend::Postgres => {
            (POSTGRES, sql::one(db, "SELECT current_schema()::text", []).await?.try_get_by_index::<String>(0)?)
        }
        _ => (SQLITE, "main".to_owned()),
    };
    let own = ["", "_ledger", "_lock"].map(|suffix| format!("{migration_table}{suffix}"));
    let mut lines = Vec::new();
    for row in sql::all(db, sql).await? {
        let line: String = row.try_get_by_index(0)?;
        let subject = line.split_once(' ').map_or("", |(_, rest)| rest);
        let table = subject.split(['.', ':']).next().unwrap_or_default();
        if !own.iter().any(|own| own == table) {
            // Definitions name the schema they are in; two schemas are equal that differ in their name.
            lines.push(line.replace(&format!("{schema}."), ""));
        }
    }
    lines.sort();
    Ok(lines)
}
