//! The words of a changed record: only the rows that differ are written (W5).
//!
//! The migration before takes all rows of a changed record out and puts them in again: a text of 400 words of which one
//! changes writes 800 rows. Here a change writes the rows whose term is new, is gone, or is there more or less often.
//!
//! Each row of `index_terms` has the length of its record beside the frequency, so that a search ranks from the index alone. In
//! full, that length would change with nearly every text and take all of its rows along. It is kept to four binary digits
//! (from 16 words on, the number below it of the form 8 to 15 times a power of two): at most an eighth too small, which moves a score by one
//! or two hundredths of it, alike on both backends. `index_records.length` and the totals are exact.
//! Rows that are there already keep their length until their text changes.

use sea_orm_migration::prelude::*;

use super::{
    Statements,
    m20260101_000008_search_words::{FUNCTION, ON_DELETE, ON_INSERT, ON_UPDATE, SQLITE_ON_INSERT, SQLITE_ON_UPDATE},
};

/// Replaces the triggers that make the words of a record.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

/// A number of words to four binary digits, downwards: a text that grows by a few words keeps the rows of all the others.
macro_rules! about {
    ($n:literal) => {
        concat!(
            "CASE WHEN ",
            $n,
            " < 16 THEN ",
            $n,
            " WHEN ",
            $n,
            " < 32 THEN ",
            $n,
            " / 2 * 2",
            " WHEN ",
            $n,
            " < 64 THEN ",
            $n,
            " / 4 * 4",
            " WHEN ",
            $n,
            " < 128 THEN ",
            $n,
            " / 8 * 8",
            " WHEN ",
            $n,
            " < 256 THEN ",
            $n,
            " / 16 * 16",
            " WHEN ",
            $n,
            " < 512 THEN ",
            $n,
            " / 32 * 32",
            " WHEN ",
            $n,
            " < 1024 THEN ",
            $n,
            " / 64 * 64",
            " WHEN ",
            $n,
            " < 2048 THEN ",
            $n,
            " / 128 * 128",
            " WHEN ",
            $n,
            " < 4096 THEN ",
            $n,
            " / 256 * 256",
            " WHEN ",
            $n,
            " < 8192 THEN ",
            $n,
            " / 512 * 512",
            " WHEN ",
            $n,
            " < 16384 THEN ",
            $n,
            " / 1024 * 1024",
            " ELSE ",
            $n,
            " / 2048 * 2048 END"
        )
    };
}

/// Brings the totals of spaces up to date by the rows `change(space_id, records, words)` that a query gives, taking with it the rows that
/// nobody holds.
macro_rules! totals {
    ($change:literal) => {
        concat!(
            "WITH change AS (",
            $change,
            r#"), old AS (
            DELETE FROM index_totals t WHERE t.ctid = ANY (ARRAY(
                SELECT x.ctid FROM index_totals x WHERE x.space_id IN (SELECT c.space_id FROM change c) FOR UPDATE SKIP LOCKED
            )) RETURNING t.space_id, t.records, t.words
        )
        INSERT INTO index_totals (space_id, records, words) SELECT b.space_id, sum(b.records), sum(b.words)
            FROM (SELECT * FROM change UNION ALL SELECT * FROM old) b GROUP BY b.space_id;
"#
        )
    };
}

/// Makes the spaces of new and changed records.
macro_rules! spaces {
    () => {
        r#"        INSERT INTO index_spaces (account_id, owner_space)
            SELECT DISTINCT a.account_id, a.owner_space FROM added a
            WHERE NOT EXISTS (SELECT 1 FROM index_spaces s WHERE s.account_id = a.account_id AND s.owner_space = a.owner_space)
            ORDER BY 1, 2 ON CONFLICT DO NOTHING;
"#
    };
}

/// SQLite's rows of a record that is new in its space.
macro_rules! put_in {
    () => {
        concat!(
            r#"    INSERT INTO index_spaces (account_id, owner_space) SELECT NEW.account_id, NEW.owner_space
        WHERE NOT EXISTS (SELECT 1 FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space);
    INSERT INTO index_totals (space_id, records, words)
        SELECT s.id, 0, 0 FROM index_spaces s WHERE s.account_id = NEW.account_id AND s.owner_space = NEW.owner_space
        AND NOT EXISTS (SELECT 1 FROM index_totals t WHERE t.space_id = s.id);
    UPDATE index_totals SET records = records + 1, words = words + NEW.length
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space);
    INSERT INTO index_terms (space_id, term, record, frequency, length)
        SELECT (SELECT id FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space),
            key, NEW.id, value, "#,
            about!("NEW.length"),
            r#" FROM json_each(NEW.terms);
"#
        )
    };
}

/// MariaDB's rows of a document of terms, each with its number of times. Without a character set it would be the database's, which may
/// not have all letters.
macro_rules! mariadb_terms {
    ($terms:literal, $alias:literal) => {
        concat!(
            "JSON_TABLE(",
            $terms,
            ", '$[*]' COLUMNS (term varchar(255) CHARACTER SET utf8mb4 PATH '$[0]', frequency integer PATH '$[1]')) AS ",
            $alias
        )
    };
}

/// One of these terms, as it is compared and kept.
macro_rules! mariadb_term {
    ($alias:literal) => {
        concat!("CONVERT(", $alias, ".term USING utf8mb4) COLLATE utf8mb4_nopad_bin")
    };
}

/// As `about!`: so many of the number's binary digits become zero.
macro_rules! mariadb_about {
    ($n:literal) => {
        concat!(
            $n,
            " >> least(greatest(char_length(bin(",
            $n,
            ")) - 4, 0), 11) << least(greatest(char_length(bin(",
            $n,
            ")) - 4, 0), 11)"
        )
    };
}

/// MariaDB's rows of a record that is new in its space. A space is looked for as it is now: others may have made it since the
/// transaction's snapshot.
macro_rules! mariadb_put_in {
    () => {
        concat!(
            r#"    INSERT IGNORE INTO index_spaces (account_id, owner_space) SELECT NEW.account_id, NEW.owner_space FROM DUAL
        WHERE NOT EXISTS (SELECT 1 FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space);
    SELECT id INTO the_space FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space LOCK IN SHARE MODE;
    INSERT INTO index_totals (space_id, records, words) VALUES (the_space, 1, NEW.length)
        ON DUPLICATE KEY UPDATE records = records + 1, words = words + NEW.length;
    INSERT INTO index_terms (space_id, term, record, frequency, length) SELECT the_space, "#,
            mariadb_term!("n"),
            ", NEW.id, n.frequency, ",
            mariadb_about!("NEW.length"),
            " FROM ",
            mariadb_terms!("NEW.terms", "n"),
            ";\n"
        )
    };
}

/// MariaDB's rows of a record that leaves its space.
macro_rules! mariadb_take_out {
    () => {
        concat!(
            r#"    SELECT id INTO the_space FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space LOCK IN SHARE MODE;
    UPDATE index_totals SET records = records - 1, words = words - OLD.length WHERE space_id = the_space;
    DELETE t FROM "#,
            mariadb_terms!("OLD.terms", "o"),
            " STRAIGHT_JOIN index_terms AS t FORCE INDEX (PRIMARY) ON t.space_id = the_space AND t.term = ",
            mariadb_term!("o"),
            " AND t.record = OLD.id;\n"
        )
    };
}

const UP: Statements = Statements {
    postgres: &[concat!(
        r#"CREATE OR REPLACE FUNCTION index_records_words() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan TO off SET enable_hashjoin TO off SET enable_mergejoin TO off AS $$
DECLARE
    one record;
BEGIN
    IF TG_OP = 'DELETE' THEN
        FOR one IN SELECT s.id AS space_id, g.id AS record, g.terms FROM gone g
            JOIN index_spaces s ON s.account_id = g.account_id AND s.owner_space = g.owner_space
        LOOP
            DELETE FROM index_terms t WHERE t.space_id = one.space_id AND t.record = one.record
                AND t.term = ANY (ARRAY(SELECT jsonb_object_keys(one.terms)));
        END LOOP;
        "#,
        totals!(
            r#"SELECT s.id AS space_id, -count(*) AS records, -sum(g.length) AS words FROM gone g
                JOIN index_spaces s ON s.account_id = g.account_id AND s.owner_space = g.owner_space GROUP BY s.id"#
        ),
        r#"    ELSIF TG_OP = 'INSERT' THEN
"#,
        spaces!(),
        r#"        INSERT INTO index_terms (space_id, term, record, frequency, length)
            SELECT s.id, e.key, a.id, e.value::integer, "#,
        about!("a.length"),
        r#" FROM added a
                JOIN index_spaces s ON s.account_id = a.account_id AND s.owner_space = a.owner_space
                CROSS JOIN LATERAL jsonb_each_text(a.terms) AS e(key, value);
        "#,
        totals!(
            r#"SELECT s.id AS space_id, count(*) AS records, sum(a.length) AS words FROM added a
                JOIN index_spaces s ON s.account_id = a.account_id AND s.owner_space = a.owner_space GROUP BY s.id"#
        ),
        r#"    ELSE
        -- The terms that a record has no more; all of them where it is another space's now.
        FOR one IN SELECT s.id AS space_id, g.id AS record,
                CASE WHEN a.id IS NULL THEN g.terms ELSE g.terms - ARRAY(SELECT jsonb_object_keys(a.terms)) END AS terms
            FROM gone g JOIN index_spaces s ON s.account_id = g.account_id AND s.owner_space = g.owner_space
            LEFT JOIN added a ON a.id = g.id AND a.account_id = g.account_id AND a.owner_space = g.owner_space
            WHERE a.id IS NULL OR a.terms <> g.terms
        LOOP
            DELETE FROM index_terms t WHERE t.space_id = one.space_id AND t.record = one.record
                AND t.term = ANY (ARRAY(SELECT jsonb_object_keys(one.terms)));
        END LOOP;
"#,
        spaces!(),
        r#"        INSERT INTO index_terms (space_id, term, record, frequency, length)
            SELECT s.id, e.key, a.id, e.value::integer, "#,
        about!("a.length"),
        r#" FROM added a
                JOIN index_spaces s ON s.account_id = a.account_id AND s.owner_space = a.owner_space
                LEFT JOIN gone g ON g.id = a.id AND g.account_id = a.account_id AND g.owner_space = a.owner_space
                CROSS JOIN LATERAL (
                    SELECT * FROM jsonb_each_text(a.terms) EXCEPT
                    SELECT * FROM jsonb_each_text(CASE WHEN "#,
        about!("g.length"),
        " = ",
        about!("a.length"),
        r#" THEN g.terms ELSE '{}' END)
                ) AS e(key, value)
            WHERE g.id IS NULL OR g.terms <> a.terms OR "#,
        about!("g.length"),
        " <> ",
        about!("a.length"),
        r#"
            ON CONFLICT (space_id, term, record) DO UPDATE SET frequency = excluded.frequency, length = excluded.length;
        "#,
        totals!(
            r#"SELECT s.id AS space_id, sum(d.records) AS records, sum(d.words) AS words FROM (
                SELECT g.account_id, g.owner_space, -count(*) AS records, -sum(g.length) AS words FROM gone g GROUP BY 1, 2
                UNION ALL
                SELECT a.account_id, a.owner_space, count(*), sum(a.length) FROM added a GROUP BY 1, 2
            ) d JOIN index_spaces s ON s.account_id = d.account_id AND s.owner_space = d.owner_space
            GROUP BY s.id HAVING sum(d.records) <> 0 OR sum(d.words) <> 0"#
        ),
        r#"    END IF;
    RETURN NULL;
END
$$"#
    )],
    // The triggers have other names than those before: a connection of a pool that has not seen the DROP yet refuses the same name.
    sqlite: &[
        "DROP TRIGGER index_records_words_insert",
        concat!(
            r#"CREATE TRIGGER index_records_words_added AFTER INSERT ON index_records
BEGIN
"#,
            put_in!(),
            "END"
        ),
        "DROP TRIGGER index_records_words_update",
        concat!(
            r#"CREATE TRIGGER index_records_words_changed AFTER UPDATE OF terms, length ON index_records
    WHEN OLD.id = NEW.id AND OLD.account_id = NEW.account_id AND OLD.owner_space = NEW.owner_space
        AND (OLD.terms <> NEW.terms OR OLD.length <> NEW.length)
BEGIN
    UPDATE index_totals SET words = words - OLD.length + NEW.length
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space);
    DELETE FROM index_terms
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space)
        AND term IN (SELECT key FROM json_each(OLD.terms) EXCEPT SELECT key FROM json_each(NEW.terms)) AND record = OLD.id;
    INSERT INTO index_terms (space_id, term, record, frequency, length)
        SELECT (SELECT id FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space),
            e.key, NEW.id, e.value, "#,
            about!("NEW.length"),
            r#"
        FROM (SELECT key, value FROM json_each(NEW.terms) EXCEPT SELECT key, value FROM json_each(OLD.terms) WHERE "#,
            about!("OLD.length"),
            " = ",
            about!("NEW.length"),
            r#") e WHERE true
        ON CONFLICT (space_id, term, record) DO UPDATE SET frequency = excluded.frequency, length = excluded.length;
END"#
        ),
        concat!(
            r#"CREATE TRIGGER index_records_words_move AFTER UPDATE OF id, account_id, owner_space ON index_records
    WHEN OLD.id <> NEW.id OR OLD.account_id <> NEW.account_id OR OLD.owner_space <> NEW.owner_space
BEGIN
    UPDATE index_totals SET records = records - 1, words = words - OLD.length
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space);
    DELETE FROM index_terms
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space)
        AND term IN (SELECT key FROM json_each(OLD.terms)) AND record = OLD.id;
"#,
            put_in!(),
            "END"
        ),
    ],
    mariadb: &[
        concat!(
            "CREATE TRIGGER index_records_words_added AFTER INSERT ON index_records FOR EACH ROW\nBEGIN\n    DECLARE the_space bigint;\n",
            mariadb_put_in!(),
            "END"
        ),
        concat!(
            "CREATE TRIGGER index_records_words_gone AFTER DELETE ON index_records FOR EACH ROW\nBEGIN\n    DECLARE the_space bigint;\n",
            mariadb_take_out!(),
            "END"
        ),
        concat!(
            r#"CREATE TRIGGER index_records_words_changed AFTER UPDATE ON index_records FOR EACH ROW
BEGIN
    DECLARE the_space bigint;
    IF OLD.id <> NEW.id OR OLD.account_id <> NEW.account_id OR OLD.owner_space <> NEW.owner_space THEN
"#,
            mariadb_take_out!(),
            mariadb_put_in!(),
            r#"    ELSEIF OLD.terms <> NEW.terms OR OLD.length <> NEW.length THEN
    SELECT id INTO the_space FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space LOCK IN SHARE MODE;
    UPDATE index_totals SET words = words - OLD.length + NEW.length WHERE space_id = the_space;
    DELETE t FROM "#,
            mariadb_terms!("OLD.terms", "o"),
            " STRAIGHT_JOIN index_terms AS t FORCE INDEX (PRIMARY) ON t.space_id = the_space AND t.term = ",
            mariadb_term!("o"),
            " AND t.record = OLD.id LEFT JOIN ",
            mariadb_terms!("NEW.terms", "n"),
            " ON ",
            mariadb_term!("n"),
            " = ",
            mariadb_term!("o"),
            " WHERE n.frequency IS NULL;\n    INSERT INTO index_terms (space_id, term, record, frequency, length) SELECT the_space, ",
            mariadb_term!("n"),
            ", NEW.id, n.frequency, ",
            mariadb_about!("NEW.length"),
            " FROM ",
            mariadb_terms!("NEW.terms", "n"),
            " LEFT JOIN ",
            mariadb_terms!("OLD.terms", "o"),
            " ON ",
            mariadb_term!("o"),
            " = ",
            mariadb_term!("n"),
            " AND o.frequency = n.frequency WHERE o.frequency IS NULL OR ",
            mariadb_about!("OLD.length"),
            " <> ",
            mariadb_about!("NEW.length"),
            "\n        ON DUPLICATE KEY UPDATE frequency = VALUES(frequency), length = VALUES(length);\n    END IF;\nEND"
        ),
    ],
};

const DOWN: Statements = Statements {
    postgres: &[
        "DROP TRIGGER index_records_words_update ON index_records",
        "DROP TRIGGER index_records_words_delete ON index_records",
        "DROP TRIGGER index_records_words_insert ON index_records",
        "DROP FUNCTION index_records_words()",
        FUNCTION,
        ON_INSERT,
        ON_DELETE,
        ON_UPDATE,
    ],
    sqlite: &[
        "DROP TRIGGER index_records_words_move",
        "DROP TRIGGER index_records_words_changed",
        SQLITE_ON_UPDATE,
        "DROP TRIGGER index_records_words_added",
        SQLITE_ON_INSERT,
    ],
    mariadb: &[
        "DROP TRIGGER index_records_words_changed",
        "DROP TRIGGER index_records_words_gone",
        "DROP TRIGGER index_records_words_added",
    ],
};

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        UP.send(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        DOWN.send(manager).await
    }
}
