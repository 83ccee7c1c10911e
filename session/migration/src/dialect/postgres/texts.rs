//! The longer texts of PostgreSQL.

/// The catalogue of the current schema: kind, name, definition.
pub(super) const CATALOGUE: &str = r"
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

/// Everything of the current schema that does not belong to an extension, types that come with a table excepted.
pub(super) const DROP_EVERYTHING: &str = r"DO $$
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
