//! The longer texts of MySQL and MariaDB.

/// The ledger's columns. Names are compared byte by byte, and their key fits in every row format of InnoDB that is in use.
pub(super) const LEDGER: &str = "(
    version varchar(255) NOT NULL PRIMARY KEY,
    state varchar(16) NOT NULL,
    checksum varchar(64),
    statements_done bigint NOT NULL DEFAULT 0,
    in_hand longtext,
    started_at bigint NOT NULL,
    finished_at bigint,
    duration_ms bigint,
    runner varchar(255) NOT NULL
) ENGINE = InnoDB, CHARACTER SET utf8mb4, COLLATE utf8mb4_bin";

/// What `fresh` drops, in an order in which nothing is dropped by something else before its turn: kind and name.
pub(super) const EVERYTHING: &str = "SELECT kind, name FROM (
    SELECT CASE TABLE_TYPE WHEN 'VIEW' THEN 'VIEW' WHEN 'SEQUENCE' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
        CONVERT(TABLE_NAME USING utf8mb4) AS name, CASE TABLE_TYPE WHEN 'VIEW' THEN 1 WHEN 'SEQUENCE' THEN 3 ELSE 2 END AS place
    FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()
    UNION ALL
    SELECT CONVERT(ROUTINE_TYPE USING utf8mb4), CONVERT(ROUTINE_NAME USING utf8mb4), 4
    FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() AND ROUTINE_TYPE IN ('PROCEDURE', 'FUNCTION')
    UNION ALL
    SELECT 'EVENT', CONVERT(EVENT_NAME USING utf8mb4), 0 FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()
) AS everything ORDER BY place, name";

/// The catalogue of the current database: kind, name, definition. What stands in `/*M! … */` is MariaDB's.
pub(super) const CATALOGUE: &str = r"
SELECT CONVERT(line USING utf8mb4) FROM (
SELECT concat('table ', TABLE_NAME, ': kind ', TABLE_TYPE, ', ', coalesce(ENGINE, ''), ' ', coalesce(TABLE_COLLATION, ''), ' ',
    coalesce(CREATE_OPTIONS, ''), ' ', IF(TABLE_TYPE = 'VIEW', '', coalesce(TABLE_COMMENT, ''))) AS line
FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()
UNION ALL
SELECT concat('column ', TABLE_NAME, '.', COLUMN_NAME, ': place ', ORDINAL_POSITION, ', ', COLUMN_TYPE, IF(IS_NULLABLE = 'NO', ' NOT NULL', ''),
    coalesce(concat(' COLLATE ', COLLATION_NAME), ''), coalesce(concat(' DEFAULT ', COLUMN_DEFAULT), ''), ' ', EXTRA,
    coalesce(concat(' AS ', GENERATION_EXPRESSION), ''), ' ', COLUMN_COMMENT)
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()
UNION ALL
SELECT concat('index ', TABLE_NAME, '.', INDEX_NAME, ': ', INDEX_TYPE, IF(MIN(NON_UNIQUE) = 0, ' UNIQUE', ''), ' (',
    group_concat(concat(coalesce(COLUMN_NAME, 'an expression'), coalesce(concat('(', SUB_PART, ')'), ''), IF(COLLATION = 'D', ' DESC', ''))
        ORDER BY SEQ_IN_INDEX), ')')
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() GROUP BY TABLE_NAME, INDEX_NAME, INDEX_TYPE
UNION ALL
SELECT concat('constraint ', k.TABLE_NAME, '.', k.CONSTRAINT_NAME, ': FOREIGN KEY (', group_concat(k.COLUMN_NAME ORDER BY k.ORDINAL_POSITION),
    ') REFERENCES ', MIN(k.REFERENCED_TABLE_NAME), ' (', group_concat(k.REFERENCED_COLUMN_NAME ORDER BY k.ORDINAL_POSITION), ') ON DELETE ',
    MIN(r.DELETE_RULE), ' ON UPDATE ', MIN(r.UPDATE_RULE))
FROM information_schema.KEY_COLUMN_USAGE k JOIN information_schema.REFERENTIAL_CONSTRAINTS r
    ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME AND r.TABLE_NAME = k.TABLE_NAME
WHERE k.TABLE_SCHEMA = DATABASE() AND k.REFERENCED_TABLE_NAME IS NOT NULL GROUP BY k.TABLE_NAME, k.CONSTRAINT_NAME
UNION ALL
SELECT concat('constraint ', t.TABLE_NAME, '.', t.CONSTRAINT_NAME, ': CHECK ', c.CHECK_CLAUSE)
FROM information_schema.TABLE_CONSTRAINTS t JOIN information_schema.CHECK_CONSTRAINTS c
    ON c.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA AND c.CONSTRAINT_NAME = t.CONSTRAINT_NAME /*M! AND c.TABLE_NAME = t.TABLE_NAME */
WHERE t.TABLE_SCHEMA = DATABASE() AND t.CONSTRAINT_TYPE = 'CHECK'
UNION ALL
SELECT concat('partition ', TABLE_NAME, '.', PARTITION_NAME, coalesce(concat('/', SUBPARTITION_NAME), ''), ': ', PARTITION_METHOD, ' ',
    coalesce(PARTITION_EXPRESSION, ''), ' ', coalesce(PARTITION_DESCRIPTION, ''))
FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE() AND PARTITION_NAME IS NOT NULL
UNION ALL
SELECT concat('trigger ', EVENT_OBJECT_TABLE, '.', TRIGGER_NAME, ': ', ACTION_TIMING, ' ', EVENT_MANIPULATION, ' ', ACTION_STATEMENT)
FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()
UNION ALL
SELECT concat('view ', TABLE_NAME, ': ', VIEW_DEFINITION, ' ', CHECK_OPTION, ' ', SECURITY_TYPE)
FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE()
UNION ALL
SELECT concat('routine ', ROUTINE_NAME, ': ', ROUTINE_TYPE, ' ', coalesce(DTD_IDENTIFIER, ''), ' ', coalesce((
        SELECT group_concat(concat(coalesce(PARAMETER_MODE, ''), ' ', coalesce(PARAMETER_NAME, ''), ' ', p.DTD_IDENTIFIER) ORDER BY p.ORDINAL_POSITION)
        FROM information_schema.PARAMETERS p WHERE p.SPECIFIC_SCHEMA = r.ROUTINE_SCHEMA AND p.SPECIFIC_NAME = r.SPECIFIC_NAME
    ), ''), ' ', coalesce(ROUTINE_DEFINITION, ''), ' ', SQL_DATA_ACCESS, ' ', SECURITY_TYPE)
FROM information_schema.ROUTINES r WHERE ROUTINE_SCHEMA = DATABASE()
UNION ALL
SELECT concat('event ', EVENT_NAME, ': ', EVENT_TYPE, ' ', coalesce(EXECUTE_AT, ''), coalesce(concat(INTERVAL_VALUE, ' ', INTERVAL_FIELD), ''), ' ',
    STATUS, ' ', EVENT_DEFINITION)
FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()
) AS catalogue_lines";
