//! Every hot query of the store can be answered from an index, also under row-level security: what each operation sends
//! is recorded, and the database is asked how it would do it.

use context_store::{
    Caller, DeleteOptions, Direction, Link, Message, Paging, SearchOptions, Store, StoreError, Traverse, TreeOptions,
    Write,
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sea_session::{Recorder, Session};

use crate::support::{self, admin, uri};

/// The statements of the hot operations, by operation.
async fn hot_statements(store: &Store) -> Vec<(&'static str, Vec<String>)> {
    let caller = admin();
    let (a, b, folder) =
        (uri("ctx://acme/resources/x/a"), uri("ctx://acme/resources/x/b"), uri("ctx://acme/resources/x"));
    for place in [&a, &b] {
        store.write(&caller, place, &Write::of("apple")).await.expect("a write");
    }
    store.link(&caller, &a, &b, &Link::of("next")).await.expect("a link");
    store.drain().await.expect("a drain");
    let recorder = Recorder::new();
    let mut all = Vec::new();
    macro_rules! record {
        ($name:literal, $s:ident => $call:expr) => {
            let unit = store.unit(&caller).record(&recorder);
            unit.run(async |$s: &mut Session| -> Result<(), StoreError> { $call.await.map(drop) }).await.expect($name);
            all.push(($name, recorder.take()));
        };
    }
    record!("read", s => store.within(s, &caller).read(&a));
    record!("exists", s => store.within(s, &caller).exists(a.as_str()));
    record!("stat", s => store.within(s, &caller).stat(&a));
    record!("list_children", s => store.within(s, &caller).list_children(&folder, &Paging::default()));
    let next = Paging::first(1).after(a.to_string());
    record!("list_children, a later page", s => store.within(s, &caller).list_children(&folder, &next));
    record!("tree", s => store.within(s, &caller).tree(&folder, &TreeOptions::default()));
    record!("glob", s => store.within(s, &caller).glob("ctx://acme/resources/x/*", &Paging::default()));
    record!("write", s => store.within(s, &caller).write(&a, &Write::of("pear")));
    record!("write of a new node", s => store.within(s, &caller).write(&uri("ctx://acme/resources/x/new"), &Write::of("pear")));
    record!("edges", s => store.within(s, &caller).edges(&a, Direction::Outgoing, &Paging::default()));
    record!("incoming edges", s => store.within(s, &caller).edges(&a, Direction::Incoming, &Paging::default()));
    record!("traverse", s => store.within(s, &caller).traverse(&a, &Traverse::default()));
    record!("history", s => store.within(s, &caller).history(&a, &Paging::default()));
    record!("read_many", s => store.within(s, &caller).read_many(&[a.clone(), b.clone()]));
    record!("read_version", s => store.within(s, &caller).read_version(&a, 1));
    record!("link", s => store.within(s, &caller).link(&a, &b, &Link::of("again")));
    let log = uri("ctx://acme/sessions/s1/history/0001");
    store.append_messages(&caller, &log, &[Message::new("alice", "hello")]).await.expect("a log");
    record!("messages", s => store.within(s, &caller).messages(&log));
    record!("session_history", s => store.within(s, &caller).session_history(&log, &Paging::default()));
    record!("search", s => store.within(s, &caller).search("apple", &SearchOptions::default()));
    record!("move", s => store.within(s, &caller).move_node(&folder, &uri("ctx://acme/resources/y")));
    record!("archive", s => store.within(s, &caller).archive(&uri("ctx://acme/resources/y"), DeleteOptions::recursive()));
    record!("delete", s => store.within(s, &caller).delete(&uri("ctx://acme/resources/y"), DeleteOptions::recursive()));
    all
}

/// Whether a statement looks rows up in a table, so that it has a plan worth looking at.
fn is_looking(sql: &str) -> bool {
    ["SELECT", "UPDATE", "DELETE", "INSERT INTO node_versions", "INSERT INTO outbox_events (", "WITH"]
        .iter()
        .any(|start| sql.starts_with(start))
        && !sql.contains("set_config")
        && !sql.contains("xact")
}

#[tokio::test]
async fn v6_hot_queries_use_an_index_on_sqlite() {
    let t = support::TestStore::sqlite().await;
    let db = t.owner.connection();
    let mut looked = 0;
    for (operation, statements) in hot_statements(&t.store).await {
        for sql in statements.iter().filter(|sql| is_looking(sql)) {
            let explain = Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {sql}"));
            let rows = db.query_all_raw(explain).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            for row in rows {
                let step: String = row.try_get("", "detail").expect("a plan");
                let table = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next()).unwrap_or_default();
                let whole = [
                    "nodes",
                    "n",
                    "t",
                    "c",
                    "h",
                    "v",
                    "e",
                    "f",
                    "r",
                    "edges",
                    "node_versions",
                    "outbox_events",
                    "index_records",
                    "session_archives",
                ];
                assert!(
                    !whole.contains(&table) || step.contains("USING"),
                    "{operation} reads a whole table: {step}\n{sql}"
                );
                looked += 1;
            }
        }
    }
    assert!(looked > 60, "{looked} steps of plans");
}

/// Who has spaces of one's own is told of one's own events: compared each with each, a thousand of them beside as many nodes took seconds.
#[tokio::test]
async fn v6_status_looks_up_the_node_of_an_event_on_sqlite() {
    let t = support::TestStore::sqlite().await;
    let (caller, recorder) = (admin(), Recorder::new());
    let unit = t.store.unit(&caller).record(&recorder);
    unit.run(async |s: &mut Session| t.store.within(s, &caller).status().await).await.expect("a status");
    let sql = recorder.take().into_iter().find(|sql| sql.contains("JOIN nodes o")).expect("events joined with nodes");
    let explain = Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = t.owner.connection().query_all_raw(explain).await.expect("a plan");
    let steps: Vec<String> = rows.iter().map(|row| row.try_get("", "detail").expect("a step")).collect();
    let nodes: Vec<&String> = steps.iter().filter(|step| step.split(' ').nth(1) == Some("o")).collect();
    assert!(nodes.len() == 2 && nodes.iter().all(|step| step.starts_with("SEARCH o USING")), "{steps:#?}");
}

#[tokio::test]
async fn v6_hot_queries_use_an_index_on_postgres_under_row_level_security() {
    let t = support::TestStore::postgres().await;
    let mut looked = 0;
    for (operation, statements) in hot_statements(&t.store).await {
        for sql in statements.into_iter().filter(|sql| is_looking(sql)) {
            let parameters = (1..).take_while(|n| sql.contains(&format!("${n}"))).count();
            let nothing = vec!["NULL"; parameters].join(", ");
            let arguments = if parameters == 0 { String::new() } else { format!("({nothing})") };
            let caller = Caller::user("acme", "alice");
            let explained = t.store.unit(&caller).run(async |s: &mut Session| -> Result<Vec<String>, StoreError> {
                s.execute_unprepared("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
                    .await?;
                s.execute_unprepared(&format!("PREPARE hot AS {sql}")).await?;
                let explain = Statement::from_string(DbBackend::Postgres, format!("EXPLAIN EXECUTE hot{arguments}"));
                let rows = s.query_all_raw(explain).await?;
                s.execute_unprepared("DEALLOCATE hot").await?;
                rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
            });
            let plan = explained.await.unwrap_or_else(|e| panic!("{operation}: {sql}: {e}"));
            let whole = plan.iter().find(|step| step.contains("Seq Scan on"));
            assert!(whole.is_none(), "{operation} reads a whole table:\n{}\n{sql}", plan.join("\n"));
            looked += plan.len();
        }
    }
    assert!(looked > 100, "{looked} steps of plans");
}

/// The statements of a search with everything that a question may have.
async fn search_statements(store: &Store) -> Vec<String> {
    let caller = admin();
    for n in 0..12 {
        let place = uri(&format!("ctx://acme/resources/n{n}x"));
        let text = format!("the quick brown fox and its career path {}", if n % 2 == 0 { "draft" } else { "lake" });
        store.write(&caller, &place, &Write::of(text)).await.expect("a write");
    }
    store.drain().await.expect("a drain");
    let recorder = Recorder::new();
    let plain = SearchOptions::default();
    let narrow = SearchOptions {
        within: Some(uri("ctx://acme/resources")),
        metadata: vec![("tag".into(), serde_json::json!("a"))],
        since: Some(chrono::DateTime::UNIX_EPOCH),
        ..SearchOptions::default()
    };
    for (query, options) in [
        ("what career path has the fox", &plain),
        ("\"brown fox\" career -draft -\"no path\" qui*", &plain),
        ("career lake", &narrow),
    ] {
        let unit = store.unit(&caller).record(&recorder);
        let search = async |s: &mut Session| store.within(s, &caller).search(query, options).await.map(drop);
        unit.run(search).await.expect("a search");
    }
    recorder.take().into_iter().filter(|sql| is_looking(sql)).collect()
}

/// Today's plan asked the full-text index once for each record of the account; now it begins with the words.
#[tokio::test]
async fn w5_a_search_begins_with_the_words_on_sqlite() {
    let t = support::TestStore::sqlite().await;
    let db = t.owner.connection();
    let (mut terms, mut others) = (0, 0);
    for sql in search_statements(&t.store).await {
        let explain = Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {sql}"));
        for row in db.query_all_raw(explain).await.unwrap_or_else(|e| panic!("{sql}: {e}")) {
            let step: String = row.try_get("", "detail").expect("a plan");
            let mut words = step.split(' ');
            let (how, table) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let by_key = match table {
                "t" if sql.contains("FROM index_totals t") && !step.contains("term") => how == "SEARCH",
                "t" => step.contains("USING PRIMARY KEY (space_id=? AND term"),
                "r" | "p" => step.contains("USING INTEGER PRIMARY KEY (rowid=?)"),
                "n" => step.contains("id=?)"),
                "s" => step.contains("(account_id=?"),
                "x" if step.contains("index_records") => step.contains("(account_id=? AND node_id=?)"),
                _ => continue,
            };
            assert!(by_key, "{step}\n{sql}");
            terms += usize::from(step.contains("term"));
            others += 1;
        }
    }
    assert!(terms >= 6 && others >= 20, "{terms} of {others} steps");
}

/// The same on PostgreSQL, under row-level security.
#[tokio::test]
async fn w5_a_search_begins_with_the_words_on_postgres() {
    let t = support::TestStore::postgres().await;
    let mut terms = 0;
    for sql in search_statements(&t.store).await.into_iter().filter(|sql| sql.contains("index_terms")) {
        let parameters = (1..).take_while(|n| sql.contains(&format!("${n}"))).count();
        let nothing = vec!["NULL"; parameters].join(", ");
        let plan = t.store.unit(&admin()).run(async |s: &mut Session| -> Result<Vec<String>, StoreError> {
            s.execute_unprepared("SET LOCAL enable_seqscan = off; SET LOCAL plan_cache_mode = force_generic_plan")
                .await?;
            s.execute_unprepared(&format!("PREPARE words AS {sql}")).await?;
            let explain = Statement::from_string(DbBackend::Postgres, format!("EXPLAIN EXECUTE words({nothing})"));
            let rows = s.query_all_raw(explain).await?;
            s.execute_unprepared("DEALLOCATE words").await?;
            rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
        });
        let plan = plan.await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        for (n, step) in plan.iter().enumerate().filter(|(_, step)| step.contains("on index_terms")) {
            assert!(step.contains("Index Only Scan using index_terms_pkey"), "{}\n{sql}", plan.join("\n"));
            let condition = plan[n + 1].trim();
            assert!(
                condition.starts_with("Index Cond: ((space_id = ANY") && condition.contains("term "),
                "{condition}"
            );
            terms += 1;
        }
    }
    assert!(terms >= 6, "{terms} steps");
}
