//! Conversations: logs that grow, are closed and summarised, and are imported (V2, V12).

use context_store::{Caller, DeleteOptions, Denial, Message, Paging, SearchOptions, StoreError, Summary};

use crate::{on_each_backend, support::uri};

fn alice() -> Caller {
    Caller::user("acme", "alice")
}

on_each_backend! {
    async fn v12_a_log_grows_is_closed_and_found(t: TestStore) {
        let log = uri("ctx://acme/sessions/s1/history/monday");
        assert_eq!(t.store.append_messages(&alice(), &log, &[Message::new("alice", "Shall we plant tomatoes?")]).await.ok(), Some(1));
        assert_eq!(t.store.append_messages(&alice(), &log, &[Message::new("bot", "In May."), Message::new("alice", "Good.")]).await.ok(), Some(3));
        t.store.append_messages(&alice(), &uri("ctx://acme/sessions/s1/history/tuesday"), &[Message::new("alice", "Hello")]).await.expect("another log");
        t.store.drain().await.expect("a drain");
        let nothing = t.store.search(&alice(), "tomatoes", &SearchOptions::default()).await.expect("a search");
        assert!(nothing.items.is_empty(), "an open log is not searched");

        let written = t.store.archive_session(&alice(), &log, None).await.expect("closing");
        let node = t.store.read(&alice(), &written.uri).await.expect("a read");
        assert_eq!(node.r#abstract, "3 message(s) between alice, bot: Shall we plant tomatoes?");
        assert!(node.content.contains("bot: In May.\n"), "{}", node.content);
        t.store.drain().await.expect("a drain");
        let found = t.store.search(&alice(), "tomatoes", &SearchOptions::default()).await.expect("a search");
        assert_eq!((found.items.len(), &found.items[0].uri), (1, &log));

        assert!(matches!(t.store.append_messages(&alice(), &log, &[]).await, Err(StoreError::Archived { .. })), "closed is closed");
        assert!(matches!(t.store.archive_session(&alice(), &log, None).await, Err(StoreError::Archived { .. })));
        assert_eq!(t.store.messages(&alice(), &log).await.map(|m| m.len()).ok(), Some(3));
        let history = t.store.session_history(&alice(), &uri("ctx://acme/sessions/s1"), &Paging::default()).await.expect("a history");
        let seen: Vec<_> = history.items.iter().map(|entry| (entry.uri.name().into_owned(), entry.open, entry.messages)).collect();
        assert_eq!(seen, [("monday".into(), false, 3), ("tuesday".into(), true, 1)]);
        let moved = t.store.move_node(&alice(), &log, &uri("ctx://acme/sessions/s2/history/monday")).await;
        assert!(matches!(moved, Err(StoreError::InvalidMove { .. })), "{moved:?}");
        t.store.delete(&alice(), &log, DeleteOptions::default()).await.expect("a delete");
        assert_eq!(t.count("SELECT count(*) FROM session_archives").await, 1, "a log goes with its node");
    }

    async fn v2_a_log_is_read_by_the_space_of_its_session_only(t: TestStore) {
        let (bob, log) = (Caller::user("acme", "bob"), uri("ctx://acme/sessions/s1/history/0001"));
        t.store.append_messages(&alice(), &log, &[Message::new("alice", "a secret")]).await.expect("a log");
        assert!(matches!(t.store.messages(&bob, &log).await, Err(StoreError::NotFound { .. })));
        let history = t.store.session_history(&bob, &uri("ctx://acme/sessions/s1"), &Paging::default()).await.expect("a history");
        assert!(history.items.is_empty());
        for place in ["0001", "0002"] {
            let at = uri(&format!("ctx://acme/sessions/s1/history/{place}"));
            let refused = t.store.append_messages(&bob, &at, &[Message::new("bob", "me too")]).await;
            assert!(matches!(refused, Err(StoreError::Denied { reason: Denial::OtherSession { .. }, .. })), "{refused:?}");
        }
    }

    async fn v2_the_doctor_finds_a_log_that_is_another_space_s(t: TestStore) {
        let log = uri("ctx://acme/sessions/s1/history/0001");
        t.store.append_messages(&alice(), &log, &[Message::new("alice", "a secret")]).await.expect("a log");
        t.store.drain().await.expect("a drain");
        let root = alice().with_role(context_store::Role::Root);
        assert!(t.store.doctor(&root, false).await.expect("a diagnosis").is_clean());
        t.sql("UPDATE session_archives SET owner_space = 'user:eve'").await;
        let ill = t.store.doctor(&root, true).await.expect("a repair");
        let seen: Vec<_> = ill.findings.iter().map(|f| (f.ailment, f.place.as_str(), f.repaired)).collect();
        assert_eq!(seen, [(context_store::Ailment::Log, log.as_str(), true)]);
        assert!(t.store.doctor(&root, false).await.expect("a diagnosis").is_clean());
        assert_eq!(t.store.messages(&alice(), &log).await.map(|m| m.len()).ok(), Some(1));
        t.sql("UPDATE session_archives SET name = '0002'").await;
        let ill = t.store.doctor(&root, true).await.expect("a repair");
        assert!(ill.findings.iter().any(|f| f.ailment == context_store::Ailment::Log && !f.repaired && f.what.contains("its node is at")), "{ill:#?}");
    }

    async fn v3_appenders_at_once_lose_no_message(t: TestStore) {
        let log = uri("ctx://acme/sessions/busy/history/0001");
        let mut tasks = Vec::new();
        for n in 0..10 {
            let (store, log) = (t.store.clone(), log.clone());
            tasks.push(tokio::spawn(async move { store.append_messages(&alice(), &log, &[Message::new("alice", n.to_string())]).await }));
        }
        for task in tasks {
            task.await.expect("a task").unwrap_or_else(|e| panic!("{e}"));
        }
        let mut said: Vec<u32> = t.store.messages(&alice(), &log).await.expect("messages").iter().map(|m| m.text.parse().expect("a number")).collect();
        said.sort_unstable();
        assert_eq!(said, (0..10).collect::<Vec<_>>());
    }

    async fn v12_conversations_are_imported_once(t: TestStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log.json");
        let turns = |n: usize| serde_json::json!([
            { "speaker": "Ann", "text": format!("conversation {n} begins"), "time": "2024-05-01T10:00:00Z" },
            { "role": "assistant", "content": "and ends", "timestamp": "2024-05-01T10:05:00Z" },
        ]);
        let all: Vec<_> = (1..=120).map(turns).collect();
        std::fs::write(&file, serde_json::to_string(&all).expect("JSON")).expect("a file");
        let session = uri("ctx://acme/sessions/import");
        let mut seen = 0;
        let report = t.store.import_conversations(&alice(), &file, &session, &mut |n| seen = n).await.expect("an import");
        assert_eq!((report.created, report.unchanged, report.messages, report.batches.clamp(3, 120), seen), (120, 0, 240, report.batches, 120));
        let again = t.store.import_conversations(&alice(), &file, &session, &mut |_| {}).await.expect("an import");
        assert_eq!((again.created, again.unchanged), (0, 120));
        let history = t.store.session_history(&alice(), &session, &Paging::first(1000)).await.expect("a history");
        assert_eq!(history.items.len(), 120);
        assert!(history.items.iter().all(|log| !log.open && log.messages == 2 && log.started_at < log.ended_at));
        t.store.drain().await.expect("a drain");
        let found = t.store.search(&alice(), "conversation 77", &SearchOptions::default()).await.expect("a search");
        assert_eq!(found.items[0].uri, uri("ctx://acme/sessions/import/history/0077"));

        std::fs::write(&file, r#"[[{"speaker":"Ann","text":"x"}], {"no": "list"}]"#).expect("a file");
        let other = uri("ctx://acme/sessions/other");
        let broken = t.store.import_conversations(&alice(), &file, &other, &mut |_| {}).await;
        assert!(matches!(&broken, Err(StoreError::Io { message, .. }) if message.contains("not a list of conversations")), "{broken:?}");
    }
}

#[test]
fn v12_a_summary_says_who_and_how_it_began() {
    let summary = Summary::of(&[
        Message::new("Ann", "\n  Hello there.\nMore."),
        Message::new("Bo", "Hi."),
        Message::new("Ann", "Bye."),
    ]);
    assert_eq!(summary.r#abstract, "3 message(s) between Ann, Bo: Hello there.");
    assert_eq!(summary.overview, "Ann, 2 message(s), beginning: Hello there.\nBo, 1 message(s), beginning: Hi.\n");
}
