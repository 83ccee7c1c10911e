//! `index_terms`, `index_spaces`, `index_totals`: the words of the index, ours on both backends (W5).
//!
//! FTS5 and `tsvector` each have a tokenizer and a rank of their own: one finds what the other does not, and FTS5's rank is
//! computed from the texts of every tenant. Here the words come from the store's own tokenizer, and both backends hold
//! the same inverted index in plain tables and are asked the same question.
//!
//! | Table | Column | Why |
//! |---|---|---|
//! | `index_spaces` | `id` | A number for an account's owner space, so that a term's row is small. A search begins from the spaces of its caller: rows of others are neither read nor counted, and their number shows in no score and in no time (W7). |
//! | | `account_id`, `owner_space` | Unique together; what row-level security compares. |
//! | `index_totals` | `space_id`, `records`, `words` | How many records and words a space has: what BM25 needs beside the rows of the terms. The sum of the rows of a space counts. |
//! | `index_terms` | `space_id`, `term`, `record` | Which record has the term; in this order the primary key, which is what a search starts from, and all that it reads to rank. |
//! | | `frequency`, `length` | How often, and how many words the record has: what BM25 asks of the pair. |
//! | `index_records` | `terms` | The terms and how often each is there. The triggers make the rows of `index_terms` of it, and find them by it when the record goes: no second index by record. |
//! | | `words` | The words in order, each between spaces: where a phrase is looked up. |
//! | | `length`, `words_version` | How many words; by which version of the tokenizer. 0: by none yet. |
//!
//! Triggers keep the three in step with `index_records`, whoever changes it. On PostgreSQL they run once a statement. There
//! the totals are not one row a space, which every dispatcher would wait for: a statement adds a row, taking with it
//! those that nobody holds.
//!
//! Records that are there already have no terms yet: each active node gets an event, and the dispatcher brings the index
//! up to date as it does after any change, in batches, and goes on where it was stopped.

use sea_orm_migration::prelude::*;

use super::Statements;

/// Creates the tables of words, and leaves an event for every active node.
#[derive(DeriveMigrationName)]
pub(super) struct Migration;

macro_rules! space_policy {
    ($table:literal) => {
        concat!(
            "CREATE POLICY ",
            $table,
            "_space ON ",
            $table,
            " USING ((SELECT current_setting('app.dispatcher', true) = 'on') OR space_id IN (SELECT s.id FROM index_spaces s",
            " WHERE s.account_id = (SELECT nullif(current_setting('app.account_id', true), ''))))",
            " WITH CHECK ((SELECT current_setting('app.dispatcher', true) = 'on') OR space_id IN (SELECT s.id FROM index_spaces s",
            " WHERE s.account_id = (SELECT nullif(current_setting('app.account_id', true), ''))))"
        )
    };
}

/// What keeps the words of PostgreSQL: a later migration replaces it, and puts it back.
pub(super) const FUNCTION: &str = r#"CREATE FUNCTION index_records_words() RETURNS trigger LANGUAGE plpgsql
    SET enable_seqscan TO off SET enable_hashjoin TO off SET enable_mergejoin TO off AS $$
DECLARE
    one record;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        FOR one IN SELECT s.id AS space_id, g.id AS record, g.terms FROM gone g
            JOIN index_spaces s ON s.account_id = g.account_id AND s.owner_space = g.owner_space
        LOOP
            DELETE FROM index_terms t WHERE t.space_id = one.space_id AND t.record = one.record
                AND t.term = ANY (ARRAY(SELECT jsonb_object_keys(one.terms)));
        END LOOP;
        WITH change AS (
            SELECT s.id AS space_id, -count(*) AS records, -sum(g.length) AS words FROM gone g
                JOIN index_spaces s ON s.account_id = g.account_id AND s.owner_space = g.owner_space GROUP BY s.id
        ), old AS (
            DELETE FROM index_totals t WHERE t.ctid = ANY (ARRAY(
                SELECT x.ctid FROM index_totals x WHERE x.space_id IN (SELECT c.space_id FROM change c) FOR UPDATE SKIP LOCKED
            )) RETURNING t.space_id, t.records, t.words
        )
        INSERT INTO index_totals (space_id, records, words) SELECT b.space_id, sum(b.records), sum(b.words)
            FROM (SELECT * FROM change UNION ALL SELECT * FROM old) b GROUP BY b.space_id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO index_spaces (account_id, owner_space)
            SELECT DISTINCT a.account_id, a.owner_space FROM added a
            WHERE NOT EXISTS (SELECT 1 FROM index_spaces s WHERE s.account_id = a.account_id AND s.owner_space = a.owner_space)
            ORDER BY 1, 2 ON CONFLICT DO NOTHING;
        INSERT INTO index_terms (space_id, term, record, frequency, length)
            SELECT s.id, e.key, a.id, e.value::integer, a.length FROM added a
                JOIN index_spaces s ON s.account_id = a.account_id AND s.owner_space = a.owner_space
                CROSS JOIN LATERAL jsonb_each_text(a.terms) AS e(key, value);
        WITH change AS (
            SELECT s.id AS space_id, count(*) AS records, sum(a.length) AS words FROM added a
                JOIN index_spaces s ON s.account_id = a.account_id AND s.owner_space = a.owner_space GROUP BY s.id
        ), old AS (
            DELETE FROM index_totals t WHERE t.ctid = ANY (ARRAY(
                SELECT x.ctid FROM index_totals x WHERE x.space_id IN (SELECT c.space_id FROM change c) FOR UPDATE SKIP LOCKED
            )) RETURNING t.space_id, t.records, t.words
        )
        INSERT INTO index_totals (space_id, records, words) SELECT b.space_id, sum(b.records), sum(b.words)
            FROM (SELECT * FROM change UNION ALL SELECT * FROM old) b GROUP BY b.space_id;
    END IF;
    RETURN NULL;
END
$$"#;

/// Calls it after an INSERT.
pub(super) const ON_INSERT: &str = r#"CREATE TRIGGER index_records_words_insert AFTER INSERT ON index_records
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION index_records_words()"#;

/// Calls it after a DELETE.
pub(super) const ON_DELETE: &str = r#"CREATE TRIGGER index_records_words_delete AFTER DELETE ON index_records
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION index_records_words()"#;

/// Calls it after an UPDATE.
pub(super) const ON_UPDATE: &str = r#"CREATE TRIGGER index_records_words_update AFTER UPDATE ON index_records
    REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION index_records_words()"#;

/// SQLite's words of a new record.
pub(super) const SQLITE_ON_INSERT: &str = r#"CREATE TRIGGER index_records_words_insert AFTER INSERT ON index_records
BEGIN
    INSERT INTO index_spaces (account_id, owner_space) SELECT NEW.account_id, NEW.owner_space
        WHERE NOT EXISTS (SELECT 1 FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space);
    INSERT INTO index_totals (space_id, records, words)
        SELECT s.id, 0, 0 FROM index_spaces s WHERE s.account_id = NEW.account_id AND s.owner_space = NEW.owner_space
        AND NOT EXISTS (SELECT 1 FROM index_totals t WHERE t.space_id = s.id);
    UPDATE index_totals SET records = records + 1, words = words + NEW.length
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space);
    INSERT INTO index_terms (space_id, term, record, frequency, length)
        SELECT (SELECT id FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space),
            key, NEW.id, value, NEW.length FROM json_each(NEW.terms);
END"#;

/// SQLite's words of a changed record.
pub(super) const SQLITE_ON_UPDATE: &str = r#"CREATE TRIGGER index_records_words_update AFTER UPDATE OF id, account_id, owner_space, terms, length ON index_records
    WHEN OLD.id <> NEW.id OR OLD.account_id <> NEW.account_id OR OLD.owner_space <> NEW.owner_space
        OR OLD.terms <> NEW.terms OR OLD.length <> NEW.length
BEGIN
    UPDATE index_totals SET records = records - 1, words = words - OLD.length
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space);
    DELETE FROM index_terms
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space)
        AND term IN (SELECT key FROM json_each(OLD.terms)) AND record = OLD.id;
    INSERT INTO index_spaces (account_id, owner_space) SELECT NEW.account_id, NEW.owner_space
        WHERE NOT EXISTS (SELECT 1 FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space);
    INSERT INTO index_totals (space_id, records, words)
        SELECT s.id, 0, 0 FROM index_spaces s WHERE s.account_id = NEW.account_id AND s.owner_space = NEW.owner_space
        AND NOT EXISTS (SELECT 1 FROM index_totals t WHERE t.space_id = s.id);
    UPDATE index_totals SET records = records + 1, words = words + NEW.length
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space);
    INSERT INTO index_terms (space_id, term, record, frequency, length)
        SELECT (SELECT id FROM index_spaces WHERE account_id = NEW.account_id AND owner_space = NEW.owner_space),
            key, NEW.id, value, NEW.length FROM json_each(NEW.terms);
END"#;

const UP: Statements = Statements {
    postgres: &[
        r#"CREATE TABLE index_spaces (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    account_id text COLLATE "C" NOT NULL CONSTRAINT index_spaces_account_id_check CHECK (account_id <> ''),
    owner_space text COLLATE "C" NOT NULL
)"#,
        "CREATE UNIQUE INDEX index_spaces_account_id_owner_space_key ON index_spaces (account_id, owner_space)",
        r#"CREATE TABLE index_totals (
    space_id bigint NOT NULL CONSTRAINT index_totals_space_fkey REFERENCES index_spaces (id),
    records bigint NOT NULL,
    words bigint NOT NULL
)"#,
        "CREATE INDEX index_totals_space_idx ON index_totals (space_id)",
        r#"CREATE TABLE index_terms (
    space_id bigint NOT NULL,
    term text COLLATE "C" NOT NULL,
    record bigint NOT NULL,
    frequency integer NOT NULL,
    length integer NOT NULL,
    PRIMARY KEY (space_id, term, record) INCLUDE (frequency, length)
)"#,
        "ALTER TABLE index_records DROP COLUMN search",
        "ALTER TABLE index_records ADD COLUMN terms jsonb NOT NULL DEFAULT '{}'",
        "ALTER TABLE index_records ADD COLUMN words text NOT NULL DEFAULT ''",
        "ALTER TABLE index_records ADD COLUMN length integer NOT NULL DEFAULT 0",
        "ALTER TABLE index_records ADD COLUMN words_version smallint NOT NULL DEFAULT 0",
        // A plan is kept for as long as the connection lives, and may be made while the tables are empty: it must be the
        // one that is right for full ones, which looks each row up by its key.
        FUNCTION,
        ON_INSERT,
        ON_DELETE,
        ON_UPDATE,
        // The policies of the other migration must not hide anything from this one.
        "SELECT set_config('app.dispatcher', 'on', true)",
        r#"INSERT INTO index_spaces (account_id, owner_space)
    SELECT DISTINCT account_id, owner_space FROM index_records ORDER BY 1, 2"#,
        r#"INSERT INTO index_totals (space_id, records, words)
    SELECT s.id, count(*), 0 FROM index_records r
        JOIN index_spaces s ON s.account_id = r.account_id AND s.owner_space = r.owner_space GROUP BY s.id"#,
        r#"INSERT INTO outbox_events (account_id, topic, event_key, sequence, event_type, payload)
    SELECT account_id, 'context', id::text, version, 'node.write', jsonb_build_object('uri', uri, 'from', uri, 'version', version)
    FROM nodes WHERE status = 'active' ORDER BY id"#,
        "SELECT set_config('app.dispatcher', '', true)",
        "ALTER TABLE index_spaces ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "ALTER TABLE index_totals ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "ALTER TABLE index_terms ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        r#"CREATE POLICY index_spaces_tenant ON index_spaces
    USING (account_id = (SELECT nullif(current_setting('app.account_id', true), ''))
        OR (SELECT current_setting('app.dispatcher', true) = 'on'))
    WITH CHECK (account_id = (SELECT nullif(current_setting('app.account_id', true), ''))
        OR (SELECT current_setting('app.dispatcher', true) = 'on'))"#,
        r#"CREATE POLICY index_spaces_owner_space ON index_spaces
    AS RESTRICTIVE USING ((SELECT coalesce(current_setting('app.owner_spaces', true), '') = '')
        OR owner_space = ANY ((SELECT string_to_array(current_setting('app.owner_spaces', true), ','))::text[]))"#,
        // The sub-selects see `index_spaces` through its own policies, and find the account's by its index.
        space_policy!("index_totals"),
        space_policy!("index_terms"),
    ],
    sqlite: &[
        r#"CREATE TABLE index_spaces (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    account_id TEXT NOT NULL CONSTRAINT index_spaces_account_id_check CHECK (account_id <> ''),
    owner_space TEXT NOT NULL
) STRICT"#,
        "CREATE UNIQUE INDEX index_spaces_account_id_owner_space_key ON index_spaces (account_id, owner_space)",
        r#"CREATE TABLE index_totals (
    space_id INTEGER NOT NULL PRIMARY KEY CONSTRAINT index_totals_space_fkey REFERENCES index_spaces (id),
    records INTEGER NOT NULL,
    words INTEGER NOT NULL
) STRICT"#,
        r#"CREATE TABLE index_terms (
    space_id INTEGER NOT NULL,
    term TEXT NOT NULL,
    record INTEGER NOT NULL,
    frequency INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (space_id, term, record)
) STRICT, WITHOUT ROWID"#,
        "DROP TRIGGER index_records_fts_insert",
        "DROP TRIGGER index_records_fts_delete",
        "DROP TRIGGER index_records_fts_update",
        "DROP TABLE index_records_fts",
        "ALTER TABLE index_records ADD COLUMN terms TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE index_records ADD COLUMN words TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE index_records ADD COLUMN length INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE index_records ADD COLUMN words_version INTEGER NOT NULL DEFAULT 0",
        r#"INSERT INTO index_spaces (account_id, owner_space)
    SELECT DISTINCT account_id, owner_space FROM index_records ORDER BY 1, 2"#,
        r#"INSERT INTO index_totals (space_id, records, words)
    SELECT s.id, count(*), 0 FROM index_records r
        JOIN index_spaces s ON s.account_id = r.account_id AND s.owner_space = r.owner_space GROUP BY s.id"#,
        SQLITE_ON_INSERT,
        r#"CREATE TRIGGER index_records_words_delete AFTER DELETE ON index_records
BEGIN
    UPDATE index_totals SET records = records - 1, words = words - OLD.length
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space);
    DELETE FROM index_terms
        WHERE space_id = (SELECT id FROM index_spaces WHERE account_id = OLD.account_id AND owner_space = OLD.owner_space)
        AND term IN (SELECT key FROM json_each(OLD.terms)) AND record = OLD.id;
END"#,
        SQLITE_ON_UPDATE,
        r#"INSERT INTO outbox_events (account_id, topic, event_key, sequence, event_type, payload)
    SELECT account_id, 'context', lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4)
        || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)), version, 'node.write',
        json_object('uri', uri, 'from', uri, 'version', version)
    FROM nodes WHERE status = 'active' ORDER BY id"#,
    ],
    mariadb: &[
        r#"CREATE TABLE index_spaces (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    account_id varchar(240) NOT NULL,
    owner_space varchar(510) NOT NULL,
    UNIQUE KEY index_spaces_account_id_owner_space_key (account_id, owner_space),
    CONSTRAINT index_spaces_account_id_check CHECK (account_id <> '')
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"#,
        r#"CREATE TABLE index_totals (
    space_id bigint NOT NULL PRIMARY KEY,
    records bigint NOT NULL,
    words bigint NOT NULL,
    CONSTRAINT index_totals_space_fkey FOREIGN KEY (space_id) REFERENCES index_spaces (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"#,
        r#"CREATE TABLE index_terms (
    space_id bigint NOT NULL,
    term varchar(255) NOT NULL,
    record bigint NOT NULL,
    frequency integer NOT NULL,
    length integer NOT NULL,
    PRIMARY KEY (space_id, term, record)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"#,
        "ALTER TABLE index_records ADD COLUMN terms json NOT NULL DEFAULT '[]', ADD COLUMN words longtext NOT NULL DEFAULT '', ADD COLUMN length integer NOT NULL DEFAULT 0, ADD COLUMN words_version smallint NOT NULL DEFAULT 0",
    ],
};

const DOWN: Statements = Statements {
    postgres: &[
        "DROP TRIGGER index_records_words_update ON index_records",
        "DROP TRIGGER index_records_words_delete ON index_records",
        "DROP TRIGGER index_records_words_insert ON index_records",
        "DROP FUNCTION index_records_words()",
        "ALTER TABLE index_records DROP COLUMN terms, DROP COLUMN words, DROP COLUMN length, DROP COLUMN words_version",
        r##"ALTER TABLE index_records ADD COLUMN search tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('simple', translate(left(title, 2000), '!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~', '                                ')), 'A')
        || setweight(to_tsvector('simple', translate(left(body, 200000), '!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~', '                                ')), 'B')
    ) STORED"##,
        "CREATE INDEX index_records_search_idx ON index_records USING gin (search)",
        "DROP TABLE index_terms",
        "DROP TABLE index_totals",
        "DROP TABLE index_spaces",
    ],
    sqlite: &[
        "DROP TRIGGER index_records_words_update",
        "DROP TRIGGER index_records_words_delete",
        "DROP TRIGGER index_records_words_insert",
        "DROP TABLE index_terms",
        "DROP TABLE index_totals",
        "DROP TABLE index_spaces",
        "ALTER TABLE index_records DROP COLUMN words_version",
        "ALTER TABLE index_records DROP COLUMN length",
        "ALTER TABLE index_records DROP COLUMN words",
        "ALTER TABLE index_records DROP COLUMN terms",
        r#"CREATE VIRTUAL TABLE index_records_fts USING fts5(
    title, body, content = 'index_records', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 0'
)"#,
        "INSERT INTO index_records_fts (index_records_fts) VALUES ('rebuild')",
        r#"CREATE TRIGGER index_records_fts_insert AFTER INSERT ON index_records
BEGIN
    INSERT INTO index_records_fts (rowid, title, body) VALUES (NEW.id, NEW.title, NEW.body);
END"#,
        r#"CREATE TRIGGER index_records_fts_delete AFTER DELETE ON index_records
BEGIN
    INSERT INTO index_records_fts (index_records_fts, rowid, title, body) VALUES ('delete', OLD.id, OLD.title, OLD.body);
END"#,
        r#"CREATE TRIGGER index_records_fts_update AFTER UPDATE OF id, title, body ON index_records
BEGIN
    INSERT INTO index_records_fts (index_records_fts, rowid, title, body) VALUES ('delete', OLD.id, OLD.title, OLD.body);
    INSERT INTO index_records_fts (rowid, title, body) VALUES (NEW.id, NEW.title, NEW.body);
END"#,
    ],
    mariadb: &[
        "ALTER TABLE index_records DROP COLUMN words_version, DROP COLUMN length, DROP COLUMN words, DROP COLUMN terms",
        "DROP TABLE index_terms",
        "DROP TABLE index_totals",
        "DROP TABLE index_spaces",
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
