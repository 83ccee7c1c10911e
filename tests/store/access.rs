//! Who sees what: V2 before any SQL, and T3 in the database itself.

use context_store::{
    Caller, DeleteOptions, Denial, Direction, Link, Message, Paging, Role, SearchOptions, Store, StoreError, Traverse,
    TreeOptions, Uri, Write,
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sea_session::{Db, Recorder, Session, UnitOptions};

use crate::{
    on_each_backend,
    support::{self, admin, uri},
};

fn bob() -> Caller {
    Caller::user("acme", "bob")
}

on_each_backend! {
    async fn v2_denials_come_before_any_sql_with_the_true_reason(t: TestStore) {
        let place = uri("ctx://acme/users/alice/memories/likes/tea");
        let unit = t.store.unit(&bob());
        let asked = unit.clone();
        let denied = unit.run(async |s: &mut Session| t.store.within(s, &bob()).write(&place, &Write::of("x")).await).await;
        assert!(matches!(&denied, Err(StoreError::Denied { reason: Denial::OtherSpace { space }, .. }) if space == "user:alice"), "{denied:?}");
        assert_eq!(asked.stats().round_trips(), 0, "not even BEGIN");
        let shared = t.store.write(&bob(), &uri("ctx://acme/resources/a"), &Write::of("x")).await;
        assert!(matches!(shared, Err(StoreError::Denied { reason: Denial::NeedsAdmin { role: Role::Member }, .. })), "{shared:?}");
        let rival = t.store.read(&Caller::user("rival", "alice"), &place).await;
        assert!(matches!(rival, Err(StoreError::Denied { reason: Denial::OtherAccount { .. }, .. })), "{rival:?}");
    }

    async fn v2_a_session_belongs_to_the_space_that_created_it(t: TestStore) {
        let alice = Caller::user("acme", "alice");
        let archive = uri("ctx://acme/sessions/s1/history/0001");
        t.store.write(&alice, &archive, &Write::of("private")).await.expect("a session is created by its first write");
        assert_eq!(t.store.read(&alice, &archive).await.map(|n| n.owner_space).ok().as_deref(), Some("user:alice"));

        assert!(matches!(t.store.read(&bob(), &archive).await, Err(StoreError::NotFound { .. })));
        assert_eq!(t.store.exists(&bob(), archive.as_str()).await.ok(), Some(false));
        for place in [archive.as_str(), "ctx://acme/sessions/s1/history/0002", "ctx://acme/sessions/s1/state.json"] {
            let write = t.store.write(&bob(), &uri(place), &Write::of("x")).await;
            assert!(matches!(&write, Err(StoreError::Denied { reason: Denial::OtherSession { session }, .. }) if session == "s1"), "{place}: {write:?}");
        }
        let listed = t.store.list_children(&bob(), &uri("ctx://acme/sessions"), &Paging::default()).await.expect("a listing");
        assert!(listed.items.is_empty(), "{listed:?}");
        let gone = t.store.delete(&bob(), &uri("ctx://acme/sessions/s1"), DeleteOptions::recursive()).await;
        assert!(gone.is_err(), "{gone:?}");
        t.store.delete(&alice, &uri("ctx://acme/sessions/s1"), DeleteOptions::recursive()).await.expect("its owner may");
        assert_eq!(t.count("SELECT count(*) FROM nodes").await, 0);
        let again = t.store.write(&bob(), &archive, &Write::of("mine")).await.expect("a new session");
        assert!(again.created, "free again");
        let nobody = t.store.write(&Caller::account_only("acme"), &uri("ctx://acme/sessions/s2/state"), &Write::of("x")).await;
        assert!(matches!(nobody, Err(StoreError::Denied { reason: Denial::NoSpace, .. })), "{nobody:?}");
    }

    async fn t4_two_tenants_hold_the_same_name(t: TestStore) {
        for account in ["acme", "rival"] {
            let caller = Caller::user(account, "alice").with_role(Role::Admin);
            let place = Uri::parse(&format!("ctx://{account}/resources/plan")).expect("a URI");
            t.store.write(&caller, &place, &Write::of(format!("the plan of {account}"))).await.expect("a write");
        }
        t.store.drain().await.expect("a drain");
        for account in ["acme", "rival"] {
            let caller = Caller::user(account, "alice");
            let found = t.store.search(&caller, "plan", &SearchOptions::default()).await.expect("a search");
            assert_eq!(found.items.len(), 1, "{account}");
            assert_eq!(found.items[0].uri.account(), account);
        }
    }

    async fn v11_tree_and_search_show_what_the_caller_may_see(t: TestStore) {
        let (alice, seeing) = (Caller::user("acme", "alice"), bob().seeing(["user:alice"]));
        t.store.write(&alice, &uri("ctx://acme/users/alice/memories/likes/tea"), &Write::of("oolong")).await.expect("a write");
        t.store.write(&bob(), &uri("ctx://acme/users/bob/memories/likes/tea"), &Write::of("oolong")).await.expect("a write");
        t.store.write(&admin(), &uri("ctx://acme/resources/tea"), &Write::of("oolong")).await.expect("a write");
        t.store.drain().await.expect("a drain");
        for (caller, n) in [(bob(), 2), (seeing.clone(), 3), (seeing.strict(), 2), (bob().with_role(Role::Root), 3), (Caller::account_only("acme"), 1)] {
            let found = t.store.search(&caller, "oolong", &SearchOptions::default()).await.expect("a search");
            assert_eq!(found.items.len(), n, "{caller:?}");
            let tree = t.store.tree(&caller, &uri("ctx://acme"), &TreeOptions::default()).await.expect("a tree");
            assert_eq!(tree.items.iter().filter(|entry| entry.node.is_some()).count(), n, "{caller:?}");
            let globbed = t.store.glob(&caller, "ctx://acme/**/tea", &Paging::default()).await.expect("a glob");
            assert_eq!(globbed.items.len(), n, "{caller:?}");
        }
    }
}

/// The code's filter is switched off by asking as ROOT, inside a unit that is bound to what bob may see: whatever the
/// store's queries forget, the database does not (T3).
#[tokio::test]
async fn t3_without_the_codes_filter_the_database_still_hides_other_spaces() {
    let t = support::TestStore::postgres().await;
    let alice = Caller::user("acme", "alice");
    let (tea, milk) =
        (uri("ctx://acme/users/alice/memories/likes/tea"), uri("ctx://acme/users/alice/memories/likes/milk"));
    for place in [&tea, &milk] {
        t.store.write(&alice, place, &Write::of("one")).await.expect("a write");
        t.store.write(&alice, place, &Write::of("two")).await.expect("a write");
    }
    t.store.link(&alice, &tea, &milk, &Link::of("with")).await.expect("a link");
    t.store.write(&alice, &uri("ctx://acme/sessions/s1/history/0001"), &Write::of("two")).await.expect("a write");
    let log = uri("ctx://acme/sessions/s2/history/0001");
    t.store.append_messages(&alice, &log, &[Message::new("alice", "two words")]).await.expect("a log");
    t.store.archive_session(&alice, &log, None).await.expect("closing");
    t.store.drain().await.expect("a drain");

    let blind = Caller::user("acme", "bob").with_role(Role::Root);
    let looked = t
        .store
        .read_unit(&bob())
        .run(async |s: &mut Session| -> Result<(), StoreError> {
            let absent = |e: Result<(), StoreError>| {
                assert!(matches!(e, Err(StoreError::NotFound { .. } | StoreError::NoSuchVersion { .. })), "{e:?}")
            };
            let everything = uri("ctx://acme");
            absent(t.store.within(s, &blind).read(&tea).await.map(drop));
            absent(t.store.within(s, &blind).stat(&tea).await.map(drop));
            absent(t.store.within(s, &blind).history(&tea, &Paging::default()).await.map(drop));
            absent(t.store.within(s, &blind).read_version(&tea, 1).await.map(drop));
            absent(t.store.within(s, &blind).edges(&tea, Direction::Both, &Paging::default()).await.map(drop));
            absent(t.store.within(s, &blind).traverse(&tea, &Traverse::default()).await.map(drop));
            absent(t.store.within(s, &blind).read_level(&tea, context_store::Level::Content).await.map(drop));
            assert!(!t.store.within(s, &blind).exists(tea.as_str()).await?);
            assert!(t.store.within(s, &blind).read_many(&[tea.clone(), milk.clone()]).await?.is_empty());
            assert!(t.store.within(s, &blind).tree(&everything, &TreeOptions::default()).await?.items.is_empty());
            assert!(t.store.within(s, &blind).list_children(&everything, &Paging::default()).await?.items.is_empty());
            assert!(t.store.within(s, &blind).glob("ctx://acme/**", &Paging::default()).await?.items.is_empty());
            assert!(t.store.within(s, &blind).search("two", &SearchOptions::default()).await?.items.is_empty());
            absent(t.store.within(s, &blind).messages(&log).await.map(drop));
            let sessions =
                t.store.within(s, &blind).session_history(&uri("ctx://acme/sessions/s2"), &Paging::default()).await?;
            assert!(sessions.items.is_empty());
            // And by SQL that knows of no filter at all.
            for table in ["nodes", "node_versions", "edges", "session_archives", "index_records"] {
                let count = Statement::from_string(DbBackend::Postgres, format!("SELECT count(*) FROM {table}"));
                let row = s.query_one_raw(count).await?.expect("a row");
                assert_eq!(row.try_get_by_index::<i64>(0)?, 0, "{table}");
            }
            let status = t.store.within(s, &blind).status().await?;
            assert_eq!((status.active, status.versions, status.index_records, status.edges), (0, 0, 0, 0));
            Ok(())
        })
        .await;
    looked.unwrap_or_else(|e| panic!("{e}"));
    // Another tenant sees nothing of any table, the outbox included; and one that is not bound at all sees nothing either.
    let rival = Caller::user("rival", "eve").with_role(Role::Root);
    let seen = t.store.read_unit(&rival).run(async |s: &mut Session| tables(s).await).await.expect("counts");
    assert_eq!(seen, [0; 7]);
    let unbound =
        t.store.db().session().read_only().run(async |s: &mut Session| tables(s).await).await.expect("counts");
    assert_eq!(unbound, [0; 7]);
    let own = t.store.read_unit(&alice).run(async |s: &mut Session| tables(s).await).await.expect("counts");
    assert!(own[..6].iter().all(|rows| *rows > 0), "{own:?}");
    // The same questions of somebody whose unit is not bound do have answers: the test would notice an empty store.
    let status = t.store.status(&blind).await.expect("a status");
    assert_eq!((status.active, status.edges), (6, 1));
}

/// How many rows of each table a unit sees.
async fn tables(s: &mut Session) -> Result<[i64; 7], StoreError> {
    let all = ["nodes", "node_versions", "edges", "session_archives", "index_records", "outbox_events", "inbox"];
    let mut counts = [0; 7];
    for (count, table) in counts.iter_mut().zip(all) {
        let sql = Statement::from_string(DbBackend::Postgres, format!("SELECT count(*) FROM {table}"));
        *count = s.query_one_raw(sql).await?.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(-1);
    }
    Ok(counts)
}

fn counting(backend: DbBackend) -> Statement {
    Statement::from_string(backend, "SELECT count(*) FROM nodes")
}

/// How many nodes a unit sees that is one statement, and what was sent for it.
async fn seen_alone(unit: UnitOptions, backend: DbBackend) -> (i64, Vec<String>) {
    let recorder = Recorder::new();
    let rows = unit.record(&recorder).query(counting(backend)).await.unwrap_or_else(|e| panic!("{e}"));
    (rows[0].try_get_by_index(0).unwrap_or_else(|e| panic!("{e}")), recorder.take())
}

/// A read of its own goes without BEGIN and COMMIT. The policies see the same account and spaces as in a unit, on a pool of one
/// connection, whoever was on it before; and nothing is left of them (T1, T3).
#[tokio::test]
async fn t3_a_read_that_is_sent_alone_is_bound_like_a_unit() {
    let t = support::TestStore::postgres().await;
    let mut options = sea_orm::ConnectOptions::new(&t.url);
    options.max_connections(1);
    let store = Store::new(Db::connect(options).await.unwrap_or_else(|e| panic!("{e}")));
    let (alice, bob) = (Caller::user("acme", "alice"), bob());
    let (rival, root) = (Caller::user("rival", "alice"), alice.clone().with_role(Role::Root));
    let tea = uri("ctx://acme/users/alice/memories/likes/tea");
    store.write(&alice, &tea, &Write::of("green")).await.expect("a write");
    store.write(&bob, &uri("ctx://acme/users/bob/memories/likes/tea"), &Write::of("black")).await.expect("a write");
    for _ in 0..8 {
        for (caller, sees) in [(&alice, 1), (&bob, 1), (&rival, 0), (&root, 2)] {
            let (seen, sent) = seen_alone(store.read_unit(caller), DbBackend::Postgres).await;
            assert_eq!((seen, sent.len()), (sees, 1), "{caller:?}: {sent:?}");
            assert!(sent[0].starts_with("SELECT") && !sent[0].contains("acme"), "{sent:?}");
            let unbound = seen_alone(store.db().session().read_only(), DbBackend::Postgres).await.0;
            assert_eq!(unbound, 0, "nothing of {caller:?} is left");
        }
        assert_eq!(store.read(&alice, &tea).await.expect("a read").content, "green");
        let others = store.read_many(&root, std::slice::from_ref(&tea)).await.expect("a read");
        assert_eq!(others.len(), 1);
    }
    // The database refuses writes, by words that no text shows, and the next unit may write all the same.
    let hidden =
        Statement::from_string(DbBackend::Postgres, "SELECT nextval(pg_get_serial_sequence('index_spaces', 'id'))");
    let refused = store.read_unit(&alice).query(hidden).await.expect_err("a write in a read-only unit");
    assert_eq!(refused.sqlstate(), Some("25006"), "{refused}");
    store.write(&alice, &tea, &Write::of("white")).await.expect("a write");
}

on_each_backend! {
    async fn b4_a_text_that_writes_takes_a_transaction_and_is_refused_there(t: TestStore) {
        let tea = uri("ctx://acme/users/alice/memories/likes/tea");
        let alice = Caller::user("acme", "alice");
        t.store.write(&alice, &tea, &Write::of("green")).await.expect("a write");
        let backend = t.store.db().backend();
        let (seen, sent) = seen_alone(t.store.read_unit(&alice), backend).await;
        assert_eq!((seen, sent.len()), (1, 1), "{sent:?}");
        let recorder = Recorder::new();
        let writes = Statement::from_string(backend, "DELETE FROM nodes RETURNING 1");
        t.store.read_unit(&alice).record(&recorder).query(writes).await.expect_err("a write in a read-only unit");
        let begin = if backend == DbBackend::MySql { "START TRANSACTION" } else { "BEGIN" };
        assert!(recorder.take()[0].contains(begin));
        let ends = Statement::from_string(backend, "COMMIT");
        t.store.read_unit(&alice).query(ends).await.expect_err("the end of a transaction");
        assert_eq!(t.store.read(&alice, &tea).await.expect("a read").content, "green");
        t.store.write(&alice, &tea, &Write::of("white")).await.expect("a unit after it may write");
    }
}
