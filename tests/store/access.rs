//! Who sees what: V2 before any SQL, and T3 in the database itself.

use context_store::{
    Caller, DeleteOptions, Denial, Direction, Link, Message, Paging, Role, SearchOptions, StoreError, Traverse,
    TreeOptions, Uri, Write,
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use sea_session::Session;

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
        let denied = unit.run(async |s: &mut Session| t.store.write_in(s, &bob(), &place, &Write::of("x")).await).await;
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
            absent(t.store.read_in(s, &blind, &tea).await.map(drop));
            absent(t.store.stat_in(s, &blind, &tea).await.map(drop));
            absent(t.store.history_in(s, &blind, &tea, &Paging::default()).await.map(drop));
            absent(t.store.read_version_in(s, &blind, &tea, 1).await.map(drop));
            absent(t.store.edges_in(s, &blind, &tea, Direction::Both, &Paging::default()).await.map(drop));
            absent(t.store.traverse_in(s, &blind, &tea, &Traverse::default()).await.map(drop));
            absent(t.store.read_level_in(s, &blind, &tea, context_store::Level::Content).await.map(drop));
            assert!(!t.store.exists_in(s, &blind, tea.as_str()).await?);
            assert!(t.store.read_many_in(s, &blind, &[tea.clone(), milk.clone()]).await?.is_empty());
            assert!(t.store.tree_in(s, &blind, &everything, &TreeOptions::default()).await?.items.is_empty());
            assert!(t.store.list_children_in(s, &blind, &everything, &Paging::default()).await?.items.is_empty());
            assert!(t.store.glob_in(s, &blind, "ctx://acme/**", &Paging::default()).await?.items.is_empty());
            assert!(t.store.search_in(s, &blind, "two", &SearchOptions::default()).await?.items.is_empty());
            absent(t.store.messages_in(s, &blind, &log).await.map(drop));
            let sessions =
                t.store.session_history_in(s, &blind, &uri("ctx://acme/sessions/s2"), &Paging::default()).await?;
            assert!(sessions.items.is_empty());
            // And by SQL that knows of no filter at all.
            for table in ["nodes", "node_versions", "edges", "session_archives", "index_records"] {
                let count = Statement::from_string(DbBackend::Postgres, format!("SELECT count(*) FROM {table}"));
                let row = s.query_one_raw(count).await?.expect("a row");
                assert_eq!(row.try_get_by_index::<i64>(0)?, 0, "{table}");
            }
            let status = t.store.status_in(s, &blind).await?;
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
