//! The same work by hand: SQL as one writes it who knows the schema, through sqlx, each statement prepared once.
//!
//! Transactions bind the tenant in the message of BEGIN, as the store's do, because row-level security asks for it.

use std::time::{Duration, Instant};

use context_store::record::{analyze, content_hash, record_id};
use context_store::{Level, Uri};
use sea_orm::prelude::Uuid;
use sea_orm::sqlx::{self, AssertSqlSafe, PgPool, Row, SqlitePool};

use crate::{schema, search};

const BEGIN: &str = "BEGIN; SELECT set_config('app.account_id', 'bench', true), set_config('app.owner_spaces', 'user:alice,shared', true)";
const BEGIN_READ_ONLY: &str = "BEGIN READ ONLY; SELECT set_config('app.account_id', 'bench', true), set_config('app.owner_spaces', 'user:alice,shared', true)";
const NODE: &str = "id, uri, owner_space, category, node_type, status, abstract, overview, content, metadata, version, content_hash, created_at, updated_at";

/// Whose rows the caller sees, as the store asks it besides the policies.
const OWN: &str = "owner_space IN ('user:alice', 'shared')";

/// A statement of PostgreSQL with the tenant bound in it, in one message and without a transaction: the fastest that we know to
/// read under row-level security. The values of the settings are the parameters from `first` on.
fn alone(sql: &str, first: usize) -> String {
    let second = first + 1;
    format!(
        "SELECT q.* FROM (SELECT set_config('app.account_id', ${first}, true) || set_config('app.owner_spaces', ${second}, true) AS bound) AS b \
         CROSS JOIN LATERAL (SELECT * FROM ({sql}) AS r OFFSET length(b.bound) * 0) AS q"
    )
}

/// All that a node has.
struct Whole {
    _id: Uuid,
    _uri: String,
    _owner_space: String,
    _category: Option<String>,
    _node_type: String,
    _status: String,
    _abstract: String,
    _overview: String,
    content: String,
    _metadata: serde_json::Value,
    _version: i64,
    _content_hash: String,
    _created_at: chrono::DateTime<chrono::Utc>,
    _updated_at: chrono::DateTime<chrono::Utc>,
}

macro_rules! node_of {
    ($row:expr) => {{
        let row = &$row;
        Whole {
            _id: row.get(0),
            _uri: row.get(1),
            _owner_space: row.get(2),
            _category: row.get(3),
            _node_type: row.get(4),
            _status: row.get(5),
            _abstract: row.get(6),
            _overview: row.get(7),
            content: row.get(8),
            _metadata: row.get(9),
            _version: row.get(10),
            _content_hash: row.get(11),
            _created_at: row.get(12),
            _updated_at: row.get(13),
        }
    }};
}

/// One line of a listing.
struct Listed {
    uri: String,
    name: String,
    is_folder: bool,
    node: Option<ListedNode>,
}

/// What a listing tells of a node.
struct ListedNode {
    _id: Uuid,
    _node_type: String,
    _version: i64,
    _abstract: String,
    _content_bytes: i64,
    _updated_at: chrono::DateTime<chrono::Utc>,
}

impl Listed {
    fn new(uri: String, is_folder: bool, node: Option<ListedNode>) -> Self {
        let name = uri.rsplit('/').next().unwrap_or_default().to_owned();
        Self { uri, name, is_folder, node }
    }
}

macro_rules! listed_of {
    ($row:expr) => {{
        let row = $row;
        let node = ListedNode {
            _id: row.get(2),
            _node_type: row.get(3),
            _version: row.get(4),
            _abstract: row.get(5),
            _content_bytes: row.get(6),
            _updated_at: row.get(7),
        };
        Listed::new(row.get(0), row.get(1), Some(node))
    }};
}

/// A connection for hand-written SQL.
pub enum Floor {
    Postgres {
        /// As the role that row-level security binds.
        pool: PgPool,
        /// As the owner, for the upkeep between samples.
        owner: PgPool,
    },
    Sqlite(SqlitePool),
}

impl Floor {
    pub async fn postgres(owner_url: &str, role: &str, role_url: &str) -> Self {
        let options = || sqlx::postgres::PgPoolOptions::new().max_connections(1).test_before_acquire(false);
        let owner = options().connect(owner_url).await.expect("the owner");
        let grants = format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
        );
        sqlx::raw_sql(AssertSqlSafe(grants)).execute(&owner).await.expect("grants");
        Self::Postgres { pool: options().connect(role_url).await.expect("a pool"), owner }
    }

    pub async fn sqlite(url: &str) -> Self {
        use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
        let options: SqliteConnectOptions = url.parse().expect("a URL");
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let pool = SqlitePoolOptions::new().max_connections(1).test_before_acquire(false).connect_with(options).await;
        Self::Sqlite(pool.expect("a pool"))
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// Nodes and their index records, not measured.
    pub async fn fill(&self, nodes: usize) {
        match self {
            Self::Postgres { owner, .. } => {
                for chunk in (0..nodes).collect::<Vec<_>>().chunks(5_000) {
                    fill_postgres(owner, chunk).await;
                }
                sqlx::raw_sql("VACUUM ANALYZE").execute(owner).await.expect("statistics");
            }
            Self::Sqlite(pool) => {
                let mut transaction = pool.begin().await.expect("begin");
                for n in 0..nodes {
                    fill_sqlite(&mut transaction, n).await;
                }
                transaction.commit().await.expect("commit");
                sqlx::raw_sql("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await.expect("statistics");
            }
        }
    }

    /// Tells the planner what there is; not measured.
    pub async fn statistics(&self) {
        match self {
            Self::Postgres { owner, .. } => sqlx::raw_sql("VACUUM ANALYZE").execute(owner).await.map(drop),
            Self::Sqlite(pool) => sqlx::raw_sql("ANALYZE").execute(pool).await.map(drop),
        }
        .expect("statistics");
    }

    /// Empties history and outbox, so that the samples of a move do not weigh on each other; not measured.
    pub async fn forget_history(&self) {
        match self {
            Self::Postgres { owner, .. } => {
                sqlx::raw_sql("TRUNCATE node_versions, outbox_events").execute(owner).await.expect("empty tables");
                sqlx::raw_sql("VACUUM nodes").execute(owner).await.expect("a clean table");
            }
            Self::Sqlite(pool) => {
                let sql = "DELETE FROM node_versions; DELETE FROM outbox_events; PRAGMA wal_checkpoint(TRUNCATE)";
                sqlx::raw_sql(sql).execute(pool).await.expect("empty tables");
            }
        }
    }

    /// A move has written one version and one event a node; not measured.
    pub async fn check_move(&self, nodes: usize) {
        let sql = "SELECT (SELECT count(*) FROM node_versions), (SELECT count(*) FROM outbox_events)";
        let (versions, events): (i64, i64) = match self {
            Self::Postgres { owner, .. } => sqlx::query_as(sql).fetch_one(owner).await.expect("counts"),
            Self::Sqlite(pool) => sqlx::query_as(sql).fetch_one(pool).await.expect("counts"),
        };
        assert_eq!((versions as usize, events as usize), (nodes, nodes));
    }

    /// Point reads of all that a node has, each in a transaction of its own or as one statement.
    pub async fn reads(&self, places: &[String], transaction: bool) -> Duration {
        let start = Instant::now();
        match self {
            Self::Postgres { pool, .. } => {
                let sql =
                    format!("SELECT {NODE} FROM nodes WHERE account_id = $1 AND uri = $2 AND owner_space = ANY($3)");
                let sql = if transaction { sql } else { alone(&sql, 4) };
                let spaces = vec!["user:alice".to_owned(), "shared".to_owned()];
                let mut connection = pool.acquire().await.expect("a connection");
                for place in places {
                    if transaction {
                        sqlx::raw_sql(BEGIN_READ_ONLY).execute(&mut *connection).await.expect("begin");
                    }
                    let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind("bench").bind(place).bind(&spaces);
                    let query = if transaction { query } else { query.bind("bench").bind("user:alice,shared") };
                    let row = query.fetch_one(&mut *connection).await.expect("a row");
                    assert!(!node_of!(row).content.is_empty());
                    if transaction {
                        sqlx::raw_sql("COMMIT").execute(&mut *connection).await.expect("commit");
                    }
                }
            }
            Self::Sqlite(pool) => {
                let sql = format!(
                    "SELECT {NODE} FROM nodes WHERE account_id = ? AND uri = ? AND owner_space IN ('user:alice', 'shared')"
                );
                for place in places {
                    let mut connection = pool.acquire().await.expect("a connection");
                    if transaction {
                        sqlx::raw_sql("BEGIN").execute(&mut *connection).await.expect("begin");
                    }
                    let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind("bench").bind(place);
                    let row = query.fetch_one(&mut *connection).await.expect("a row");
                    assert!(!node_of!(row).content.is_empty());
                    if transaction {
                        sqlx::raw_sql("COMMIT").execute(&mut *connection).await.expect("commit");
                    }
                }
            }
        }
        start.elapsed()
    }

    /// What is in a folder of nodes, or in one whose folders are implied: a range of the index of children, or a skip scan.
    pub async fn children(&self, folder: &str, times: usize) -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            let entries =
                if folder == schema::FOLDER { self.nodes_of(folder).await } else { self.folders_of(folder).await };
            assert_eq!(entries.len(), 100);
            assert!(entries.iter().all(|entry| !entry.name.is_empty() && entry.is_folder == entry.node.is_none()));
        }
        start.elapsed()
    }

    /// The children, and in the same statement whether anything lies deeper; nothing does here, so none of them is a folder.
    async fn nodes_of(&self, folder: &str) -> Vec<Listed> {
        let sql = |n: &str| {
            format!(
                "SELECT uri, (SELECT EXISTS (SELECT 1 FROM nodes d WHERE d.account_id = {n}1 AND d.status = 'active' AND d.{OWN} \
                 AND d.parent_uri >= {n}2 || '/' AND d.parent_uri < {n}2 || '0')) AS deeper, id, node_type, version, abstract, \
                 {bytes} AS content_bytes, updated_at \
                 FROM nodes WHERE account_id = {n}1 AND parent_uri = {n}2 AND status = 'active' AND {OWN} ORDER BY name LIMIT 101",
                bytes = if n == "$" { "octet_length(content)::bigint" } else { "octet_length(content)" }
            )
        };
        let listed = self.listed(&sql("$"), &sql("?"), &["bench", folder]).await;
        assert!(listed.iter().all(|entry| !entry.is_folder));
        listed
    }

    /// The folders of a folder in which every place is implied: the first row behind everything below the place before.
    async fn folders_of(&self, folder: &str) -> Vec<Listed> {
        let low = format!("{}\u{1}", folder.replace('/', "\u{1}"));
        let high = format!("{}\u{2}", folder.replace('/', "\u{1}"));
        let sql = |n: &str, char: &str, rest: &str| {
            let first = format!(
                "(SELECT tree_key FROM nodes WHERE account_id = {n}1 AND status = 'active' AND {OWN} AND tree_key >= {n}2 AND tree_key < {n}3 ORDER BY tree_key LIMIT 1)"
            );
            let next = format!(
                "(SELECT n.tree_key FROM nodes n WHERE n.account_id = {n}1 AND n.status = 'active' AND {OWN} AND n.tree_key >= {n}2 || {rest} || {char}(2) AND n.tree_key < {n}3 ORDER BY n.tree_key LIMIT 1)"
            );
            format!(
                "WITH RECURSIVE walk(key) AS (SELECT {first} UNION ALL SELECT {next} FROM walk w WHERE w.key IS NOT NULL) \
                 SELECT {n}2 || {rest} AS place FROM walk w WHERE w.key IS NOT NULL LIMIT 101"
            )
        };
        let postgres = sql("$", "chr", "split_part(substr(w.key, length($2) + 1), chr(1), 1)");
        let rest = "substr(w.key, length(?2) + 1)";
        let sqlite = sql("?", "char", &format!("substr({rest}, 1, instr({rest} || char(1), char(1)) - 1)"));
        let keys = self.keys(&postgres, &sqlite, &["bench", &low, &high]).await;
        let listed = |key: String| Listed::new(key.replace('\u{1}', "/"), true, None);
        keys.into_iter().map(listed).collect()
    }

    /// Everything below a folder, in pages of a thousand: a folder is what has the next row below it, or is implied by one.
    pub async fn tree(&self, folder: &str, nodes: usize) -> Duration {
        let start = Instant::now();
        let sql = |n: &str, no: &str| {
            format!(
                "SELECT tree_key, {no} AS is_folder, id, node_type, version, abstract, {bytes} AS content_bytes, updated_at FROM nodes \
                 WHERE account_id = {n}1 AND status = 'active' AND {OWN} AND tree_key > {n}2 AND tree_key < {n}3 ORDER BY tree_key LIMIT 1000",
                bytes = if n == "$" { "octet_length(content)::bigint" } else { "octet_length(content)" }
            )
        };
        let (postgres, sqlite) = (sql("$", "false"), sql("?", "0"));
        let mut after = format!("{}\u{1}", folder.replace('/', "\u{1}"));
        let high = format!("{}\u{2}", folder.replace('/', "\u{1}"));
        let mut seen = 0;
        loop {
            let rows = self.listed(&postgres, &sqlite, &["bench", &after, &high]).await;
            let full = rows.len() == 1_000;
            if let Some(last) = rows.last() {
                after.clone_from(&last.uri);
            }
            let mut items: Vec<Listed> = Vec::with_capacity(rows.len());
            for mut row in rows {
                row.uri = row.uri.replace('\u{1}', "/");
                row.name = row.uri.rsplit('/').next().unwrap_or_default().to_owned();
                let parent = &row.uri[..row.uri.len() - row.name.len() - 1];
                let met = items.last().is_some_and(|before| before.uri.strip_prefix(parent).is_some());
                if !met && parent.len() > folder.len() {
                    items.push(Listed::new(parent.to_owned(), true, None));
                }
                items.push(row);
            }
            seen += items.iter().filter(|entry| entry.node.is_some()).count();
            if !full {
                break;
            }
        }
        assert_eq!(seen, nodes);
        start.elapsed()
    }

    /// What the store's search does for words that are all the question's: counts, ranks, looks the nodes up, fetches the
    /// texts, marks the words, and ranks the best again by what they have in common.
    pub async fn search(&self, account: &str, words: &[String]) -> usize {
        match self {
            Self::Postgres { pool, .. } => {
                let mut connection = pool.acquire().await.expect("a connection");
                let begin = BEGIN_READ_ONLY.replace("'bench'", &format!("'{account}'"));
                sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await.expect("begin");
                let hits = search::on_postgres(&mut connection, account, words).await;
                sqlx::raw_sql("COMMIT").execute(&mut *connection).await.expect("commit");
                hits
            }
            Self::Sqlite(pool) => {
                let mut connection = pool.acquire().await.expect("a connection");
                sqlx::raw_sql("BEGIN").execute(&mut *connection).await.expect("begin");
                let hits = search::on_sqlite(&mut connection, account, words).await;
                sqlx::raw_sql("COMMIT").execute(&mut *connection).await.expect("commit");
                hits
            }
        }
    }

    /// What the store's move does: versions, rows, events, in one transaction, and a look at the target before.
    pub async fn move_subtree(&self, from: &str, to: &str, nodes: usize) -> Duration {
        let start = Instant::now();
        let kept = "account_id, uri, owner_space, category, node_type, status, abstract, overview, content, metadata, content_hash";
        let taken = |n: &str| {
            format!(
                "SELECT 1 FROM nodes WHERE account_id = 'bench' AND uri >= {n}1 || '/' AND uri < {n}1 || '0' LIMIT 1"
            )
        };
        let keep = |n: &str, lock: &str| {
            format!(
                "INSERT INTO node_versions (node_id, version, {kept}, change, written_at, recorded_at) \
                 SELECT id, version, {kept}, 'move', updated_at, {n}2 FROM nodes \
                 WHERE account_id = 'bench' AND uri >= {n}1 || '/' AND uri < {n}1 || '0' ORDER BY uri{lock}"
            )
        };
        let relocate = |n: &str| {
            format!(
                "UPDATE nodes SET uri = {n}2 || substr(uri, length({n}1) + 1), parent_uri = {n}2 || substr(parent_uri, length({n}1) + 1), \
                 owner_space = 'shared', category = NULL, node_type = 'resource', updated_at = {n}3, version = version + 1 \
                 WHERE account_id = 'bench' AND uri >= {n}1 || '/' AND uri < {n}1 || '0'"
            )
        };
        let announce = |n: &str, key: &str, object: &str| {
            format!(
                "INSERT INTO outbox_events (account_id, topic, event_key, sequence, event_type, payload) \
                 SELECT 'bench', 'context', {key}, version, 'node.move', \
                 {object}('uri', uri, 'from', {n}1 || substr(uri, length({n}2) + 1), 'version', version) FROM nodes \
                 WHERE account_id = 'bench' AND uri >= {n}2 || '/' AND uri < {n}2 || '0' ORDER BY uri"
            )
        };
        let hexed = "lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-' || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21, 12))";
        let now = chrono::Utc::now();
        let moved = match self {
            Self::Postgres { pool, .. } => {
                let mut connection = pool.acquire().await.expect("a connection");
                sqlx::raw_sql(BEGIN).execute(&mut *connection).await.expect("begin");
                let found = sqlx::query(AssertSqlSafe(taken("$"))).bind(to).fetch_optional(&mut *connection).await;
                assert!(found.expect("a look").is_none());
                let keep = AssertSqlSafe(keep("$", " FOR UPDATE"));
                sqlx::query(keep).bind(from).bind(now).execute(&mut *connection).await.expect("versions");
                let relocate = sqlx::query(AssertSqlSafe(relocate("$"))).bind(from).bind(to).bind(now);
                let moved = relocate.execute(&mut *connection).await.expect("rows").rows_affected();
                let announce = AssertSqlSafe(announce("$", "id::text", "jsonb_build_object"));
                sqlx::query(announce).bind(from).bind(to).execute(&mut *connection).await.expect("events");
                sqlx::raw_sql("COMMIT").execute(&mut *connection).await.expect("commit");
                moved
            }
            Self::Sqlite(pool) => {
                let mut connection = pool.acquire().await.expect("a connection");
                sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await.expect("begin");
                let found = sqlx::query(AssertSqlSafe(taken("?"))).bind(to).fetch_optional(&mut *connection).await;
                assert!(found.expect("a look").is_none());
                let keep = AssertSqlSafe(keep("?", ""));
                sqlx::query(keep).bind(from).bind(now).execute(&mut *connection).await.expect("versions");
                let relocate = sqlx::query(AssertSqlSafe(relocate("?"))).bind(from).bind(to).bind(now);
                let moved = relocate.execute(&mut *connection).await.expect("rows").rows_affected();
                let announce = AssertSqlSafe(announce("?", hexed, "json_object"));
                sqlx::query(announce).bind(from).bind(to).execute(&mut *connection).await.expect("events");
                sqlx::raw_sql("COMMIT").execute(&mut *connection).await.expect("commit");
                moved
            }
        };
        assert_eq!(moved as usize, nodes);
        start.elapsed()
    }

    /// The rows alone.
    pub async fn bare_move(&self, from: &str, to: &str, nodes: usize) -> Duration {
        let start = Instant::now();
        let sql = |n: &str| {
            format!(
                "UPDATE nodes SET uri = {n}2 || substr(uri, length({n}1) + 1), parent_uri = {n}2 || substr(parent_uri, length({n}1) + 1) \
                 WHERE account_id = 'bench' AND uri >= {n}1 || '/' AND uri < {n}1 || '0'"
            )
        };
        let moved = match self {
            Self::Postgres { pool, .. } => {
                let mut connection = pool.acquire().await.expect("a connection");
                sqlx::raw_sql(BEGIN).execute(&mut *connection).await.expect("begin");
                let update = sqlx::query(AssertSqlSafe(sql("$"))).bind(from).bind(to);
                let moved = update.execute(&mut *connection).await.expect("rows").rows_affected();
                sqlx::raw_sql("COMMIT").execute(&mut *connection).await.expect("commit");
                moved
            }
            Self::Sqlite(pool) => {
                let update = sqlx::query(AssertSqlSafe(sql("?"))).bind(from).bind(to);
                update.execute(pool).await.expect("rows").rows_affected()
            }
        };
        assert_eq!(moved as usize, nodes);
        start.elapsed()
    }

    /// The rows of a listing.
    async fn listed(&self, postgres: &str, sqlite: &str, values: &[&str]) -> Vec<Listed> {
        match self {
            Self::Postgres { pool, .. } => {
                let sql = alone(postgres, values.len() + 1);
                let query = values.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| query.bind(*value));
                let query = query.bind("bench").bind("user:alice,shared");
                query.fetch_all(pool).await.expect("rows").iter().map(|row| listed_of!(row)).collect()
            }
            Self::Sqlite(pool) => {
                let query = values.iter().fold(sqlx::query(AssertSqlSafe(sqlite)), |query, value| query.bind(*value));
                query.fetch_all(pool).await.expect("rows").iter().map(|row| listed_of!(row)).collect()
            }
        }
    }

    /// The first column of the rows.
    async fn keys(&self, postgres: &str, sqlite: &str, values: &[&str]) -> Vec<String> {
        match self {
            Self::Postgres { pool, .. } => {
                let sql = alone(postgres, values.len() + 1);
                let query = values.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| query.bind(*value));
                let query = query.bind("bench").bind("user:alice,shared");
                query.fetch_all(pool).await.expect("rows").iter().map(|row| row.get(0)).collect()
            }
            Self::Sqlite(pool) => {
                let query = values.iter().fold(sqlx::query(AssertSqlSafe(sqlite)), |query, value| query.bind(*value));
                query.fetch_all(pool).await.expect("rows").iter().map(|row| row.get(0)).collect()
            }
        }
    }
}

async fn fill_postgres(pool: &PgPool, chunk: &[usize]) {
    let (mut ids, mut uris, mut parents, mut names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut contents, mut hashes, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let (mut terms, mut streams, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for n in chunk {
        let uri = schema::node(*n);
        let place = Uri::parse(&uri).expect("a URI");
        ids.push(Uuid::now_v7());
        parents.push(place.parent().expect("a parent").to_string());
        names.push(place.encoded_name().to_owned());
        let words = analyze(place.encoded_name(), &schema::content(*n));
        terms.push(serde_json::json!(words.terms));
        streams.push(words.stream);
        lengths.push(words.length as i32);
        contents.push(schema::content(*n));
        hashes.push(content_hash(&schema::content(*n)));
        records.push(record_id(&uri, Level::Content));
        uris.push(uri);
    }
    sqlx::query(
        "INSERT INTO nodes (id, account_id, uri, parent_uri, name, owner_space, node_type, content, content_hash) \
         SELECT id, 'bench', uri, parent, name, 'shared', 'resource', content, hash \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) AS t(id, uri, parent, name, content, hash)",
    )
    .bind(&ids)
    .bind(&uris)
    .bind(&parents)
    .bind(&names)
    .bind(&contents)
    .bind(&hashes)
    .execute(pool)
    .await
    .expect("nodes");
    sqlx::query(
        "INSERT INTO index_records (account_id, record_id, node_id, uri, level, owner_space, node_type, title, body, version, content_hash, terms, words, length, words_version) \
         SELECT 'bench', record, id, uri || '/content.md', 2, 'shared', 'resource', name, content, 1, hash, terms, words, length, 1 \
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[], $8::text[], $9::integer[]) \
         AS t(id, uri, record, name, content, hash, terms, words, length)",
    )
    .bind(&ids)
    .bind(&uris)
    .bind(&records)
    .bind(&names)
    .bind(&contents)
    .bind(&hashes)
    .bind(&terms)
    .bind(&streams)
    .bind(&lengths)
    .execute(pool)
    .await
    .expect("records");
}

async fn fill_sqlite(connection: &mut sqlx::SqliteConnection, n: usize) {
    let uri = schema::node(n);
    let place = Uri::parse(&uri).expect("a URI");
    let (id, content) = (Uuid::now_v7(), schema::content(n));
    let hash = content_hash(&content);
    let node = sqlx::query(
        "INSERT INTO nodes (id, account_id, uri, parent_uri, name, owner_space, node_type, content, content_hash) \
         VALUES (?, 'bench', ?, ?, ?, 'shared', 'resource', ?, ?)",
    );
    let node = node.bind(id).bind(&uri).bind(place.parent().expect("a parent").to_string());
    node.bind(place.encoded_name()).bind(&content).bind(&hash).execute(&mut *connection).await.expect("a node");
    let record = sqlx::query(
        "INSERT INTO index_records (account_id, record_id, node_id, uri, level, owner_space, node_type, title, body, version, content_hash, terms, words, length, words_version) \
         VALUES ('bench', ?, ?, ? || '/content.md', 2, 'shared', 'resource', ?, ?, 1, ?, ?, ?, ?, 1)",
    );
    let words = analyze(place.encoded_name(), &content);
    let record = record.bind(record_id(&uri, Level::Content)).bind(id).bind(&uri);
    let record = record.bind(place.encoded_name()).bind(&content).bind(&hash);
    let record = record.bind(serde_json::json!(words.terms)).bind(words.stream).bind(i64::from(words.length));
    record.execute(&mut *connection).await.expect("a record");
}
