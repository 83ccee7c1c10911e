//! Archives that nobody exported (W1, W7).

use super::*;

/// An archive that somebody wrote by hand: its sums agree, whatever its lines say.
fn forged(folder: &std::path::Path, from: &str, lines: &[serde_json::Value]) -> std::path::PathBuf {
    use sha2::Digest;
    let mut text =
        serde_json::json!({ "kind": "head", "format": "context-store archive 2", "from": from }).to_string() + "\n";
    for line in lines {
        text += &(line.to_string() + "\n");
    }
    let count = |kind: &str| lines.iter().filter(|line| line["kind"] == kind).count();
    let sha256: String = sha2::Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let end = serde_json::json!({ "kind": "end", "nodes": count("node"), "versions": count("version"), "logs": count("log"), "edges": count("edge"), "sha256": sha256 });
    let file = folder.join(format!("forged{}.jsonl", fastrand::u64(..)));
    fs::write(&file, text + &end.to_string() + "\n").expect("a file");
    file
}

const T: &str = "2026-01-01T00:00:00Z";

fn texts(text: &str) -> serde_json::Value {
    serde_json::json!({ "abstract": "", "overview": "", "content": text, "metadata": {}, "sha256": context_store::record::content_hash(text), "owner_space": "user:bob", "status": "active" })
}

fn with(mut base: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    for (key, value) in more.as_object().expect("an object") {
        base[key] = value.clone();
    }
    base
}

fn version_line(path: &str, node: sea_orm::prelude::Uuid, version: i64) -> serde_json::Value {
    with(
        texts("evil"),
        serde_json::json!({ "kind": "version", "path": path, "node": node, "version": version, "change": "write", "written_at": T, "recorded_at": T }),
    )
}

fn node_line(path: &str, id: sea_orm::prelude::Uuid) -> serde_json::Value {
    with(
        texts("evil"),
        serde_json::json!({ "kind": "node", "path": path, "id": id, "version": 3, "created_at": T, "updated_at": T }),
    )
}

fn edge_line(from: &str, to: &str, id: sea_orm::prelude::Uuid) -> serde_json::Value {
    serde_json::json!({ "kind": "edge", "from": from, "to": to, "id": id, "edge_type": "t", "weight": "1", "reason": "", "metadata": {}, "created_at": T, "updated_at": T })
}

fn log_line(path: &str, id: sea_orm::prelude::Uuid) -> serde_json::Value {
    let messages = serde_json::json!([{ "speaker": "bob", "text": "evil" }]);
    let sha256 = context_store::record::content_hash(&messages.to_string());
    serde_json::json!({ "kind": "log", "path": path, "id": id, "sequence": 1, "version": 1, "open": true, "owner_space": "user:bob", "messages": messages,
        "started_at": null, "ended_at": null, "created_at": T, "updated_at": T, "sha256": sha256 })
}

/// What somebody gets to know of an import: everything but the identities that they put in.
async fn answer(
    t: &TestStore,
    caller: &context_store::Caller,
    file: &std::path::Path,
    to: &Uri,
    known: &[String],
) -> String {
    let mut text = match t.store.import_archive(caller, file, to, &mut |_| {}).await {
        Ok(report) => format!("{report:?}"),
        Err(e) => format!("error {e}"),
    };
    for id in known {
        text = text.replace(id, "ID");
    }
    text
}

/// Every row of an account, as the owner of the database sees it.
async fn all_of(t: &TestStore, account: &str) -> Vec<String> {
    rows(&t.owner).await.into_iter().filter(|row| row.contains(&format!("account_id: {account:?}"))).collect()
}

on_each_backend! {
    async fn w1_a_forged_archive_lays_nothing_under_anybody_elses_identities(t: TestStore) {
        use context_store::{Caller, Role};
        use sea_orm::prelude::Uuid;
        let folder = tempfile::tempdir().expect("a folder");
        let (plan, draft, log) = (uri("ctx://acme/resources/plan"), uri("ctx://acme/users/alice/memories/m/draft"), uri("ctx://acme/sessions/s1/history/0001"));
        for text in ["one", "two", "v1"] {
            t.store.write(&admin(), &plan, &Write::of(text)).await.expect("a write");
        }
        t.store.write(&admin(), &draft, &Write::of("v1")).await.expect("a write");
        t.store.link(&admin(), &plan, &draft, &Link::of("t")).await.expect("a link");
        t.store.append_messages(&admin(), &log, &[Message::new("alice", "hello")]).await.expect("a log");
        // One that is gone, of which the history is left.
        let gone = uri("ctx://acme/users/alice/memories/m/gone");
        t.store.write(&admin(), &gone, &Write::of("v1")).await.expect("a write");
        let gone_id = t.store.stat(&admin(), &gone).await.expect("a stat").id;
        t.store.delete(&admin(), &gone, DeleteOptions::default()).await.expect("a delete");
        let mut taken: Vec<Uuid> = vec![gone_id];
        for at in [&plan, &draft, &log] {
            taken.push(t.store.stat(&admin(), at).await.expect("a stat").id);
        }
        let edges = t.store.edges(&admin(), &plan, context_store::Direction::Outgoing, &Paging::default()).await.expect("edges");
        taken.push(edges.items[0].id);
        let before = all_of(&t, "acme").await;

        let bob = |account: &str| Caller::user(account, "bob");
        let callers = [bob("acme"), bob("acme").with_role(Role::Admin), bob("evil"), bob("evil").with_role(Role::Root), Caller::account_only("evil").with_role(Role::Root)];
        for caller in &callers {
            for (n, id) in taken.iter().copied().enumerate() {
                let account = caller.account();
                // The plan is an administrator's to change; for a member it is only to be read.
                if n == 1 && account == "acme" && caller.role() == Role::Admin {
                    continue;
                }
                let mut answers = Vec::new();
                // The same lines twice: with an identity that somebody has, and with one that nobody has.
                for (m, id) in [id, Uuid::now_v7()].into_iter().enumerate() {
                    let to = uri(&format!("ctx://{account}/users/bob/memories/n{n}{m}{}", fastrand::u32(..)));
                    let session = uri(&format!("ctx://{account}/sessions/x{}", fastrand::u32(..)));
                    let known = [id.to_string(), to.to_string(), session.to_string(), session.name().into_owned()];
                    let mut said = Vec::new();
                    for from in [to.as_str(), "ctx://evil/users/eve/memories/n"] {
                        let versions: Vec<_> = (1..=5).map(|v| version_line("/x", id, v)).collect();
                        said.push(answer(&t, caller, &forged(folder.path(), from, &versions), &to, &known).await);
                        let nodes = [node_line("/a", id), node_line("/b", Uuid::from_u128(1)), version_line("/a", id, 1), version_line("/a", id, 7), edge_line("/a", "/b", id)];
                        said.push(answer(&t, caller, &forged(folder.path(), from, &nodes), &to, &known).await);
                    }
                    let log = [node_line("/history/h", Uuid::from_u128(2)), log_line("/history/h", id)];
                    said.push(answer(&t, caller, &forged(folder.path(), session.as_str(), &log), &session, &known).await);
                    answers.push(said);
                }
                let [with_taken, with_unknown] = &answers[..] else { unreachable!("two") };
                assert_eq!(with_taken, with_unknown, "{caller:?} tells an identity that somebody has from one that nobody has");
            }
        }
        let after = all_of(&t, "acme").await;
        for row in &before {
            assert!(after.contains(row), "{row} was changed");
        }
        let others = after.iter().filter(|row| row.contains("user:alice") || row.contains("\"shared\"")).count();
        assert_eq!(others, before.iter().filter(|row| row.contains("user:alice") || row.contains("\"shared\"")).count(), "nothing was laid beside");
        // The owners go on as if nothing had been.
        t.store.write(&admin(), &plan, &Write::of("v2")).await.expect("a write");
        t.store.write(&admin(), &plan, &Write::of("v3")).await.expect("a write");
        t.store.move_node(&admin(), &plan, &uri("ctx://acme/resources/moved")).await.expect("a move");
        t.store.write(&admin(), &gone, &Write::of("v2")).await.expect("a write");
        t.store.delete(&admin(), &draft, DeleteOptions::default()).await.expect("a delete");
        for account in ["acme", "evil"] {
            let root = Caller::account_only(account).with_role(Role::Root);
            t.store.drain().await.expect("a drain");
            // What bob made of his own nodes' past is found in his own space only.
            let repaired = t.store.doctor(&root, true).await.expect("a repair");
            assert!(repaired.findings.iter().all(|f| f.repaired && f.place.contains("/users/bob/")), "{account}: {repaired:#?}");
            let diagnosis = t.store.doctor(&root, false).await.expect("a diagnosis");
            assert!(diagnosis.is_clean(), "{account}: {diagnosis:#?}");
        }
    }

    async fn w1_a_version_of_a_node_that_is_not_the_callers_is_refused(t: TestStore) {
        use context_store::{Caller, Role};
        let folder = tempfile::tempdir().expect("a folder");
        let plan = uri("ctx://acme/resources/plan");
        t.store.write(&admin(), &plan, &Write::of("v1")).await.expect("a write");
        let id = t.store.stat(&admin(), &plan).await.expect("a stat").id;
        let to = uri("ctx://evil/users/bob/memories/n");
        for caller in [Caller::user("evil", "bob"), Caller::account_only("evil").with_role(Role::Root)] {
            for id in [id, sea_orm::prelude::Uuid::now_v7()] {
                let lines: Vec<_> = (1..4).map(|n| version_line("/x", id, n)).collect();
                let report = t.store.import_archive(&caller, &forged(folder.path(), to.as_str(), &lines), &to, &mut |_| {}).await.expect("a report");
                assert_eq!((report.versions, report.refused.len()), (0, 3), "{report:?}");
                assert!(report.refused[0].reason.starts_with("line 2: its node was neither made by this import"), "{report:?}");
            }
        }
        assert_eq!(t.count("SELECT count(*) FROM node_versions").await, 0);
    }

    async fn w1_a_member_cannot_say_who_owns_a_session(t: TestStore) {
        use context_store::Caller;
        let folder = tempfile::tempdir().expect("a folder");
        let session = uri("ctx://acme/sessions/s1");
        t.store.append_messages(&admin(), &uri("ctx://acme/sessions/s1/history/0001"), &[Message::new("alice", "mine")]).await.expect("a log");
        let before = rows(&t.owner).await;
        let bob = Caller::user("acme", "bob");
        let id = sea_orm::prelude::Uuid::now_v7;
        let lines = [node_line("", id()), node_line("/state.json", id()), node_line("/history/0002", id()), version_line("/history/0001", id(), 1), log_line("/history/0001", id()), log_line("/history/0002", id())];
        let report = t.store.import_archive(&bob, &forged(folder.path(), session.as_str(), &lines), &session, &mut |_| {}).await.expect("a report");
        assert_eq!((report.nodes, report.versions, report.logs, report.refused.len()), (0, 0, 0, lines.len()), "{report:#?}");
        assert_same(&before, &rows(&t.owner).await);
    }

    async fn w1_every_line_is_checked_and_refused_by_its_number(t: TestStore) {
        use context_store::Caller;
        use serde_json::json;
        let folder = tempfile::tempdir().expect("a folder");
        let to = uri("ctx://evil/users/bob/memories/n");
        let bob = Caller::user("evil", "bob");
        let id = || sea_orm::prelude::Uuid::now_v7();
        let node = |more: serde_json::Value| with(node_line("/x", id()), more);
        let version = |more: serde_json::Value| with(version_line("/x", id(), 2), more);
        let session = uri("ctx://evil/sessions/s1");
        let cases: Vec<(serde_json::Value, &str)> = vec![
            (node(json!({ "version": 0 })), "its version is 0; it is from 1 to"),
            (node(json!({ "version": -1 })), "its version is -1"),
            (node(json!({ "version": i64::MAX })), "it is from 1 to 9007199254740991"),
            (node(json!({ "version": 1.5 })), "not of its format"),
            (node(json!({ "version": 18446744073709551615_u64 })), "not of its format"),
            (node(json!({ "status": "asleep" })), "\"asleep\" is no status"),
            (node(json!({ "created_at": "yesterday" })), "not of its format"),
            (node(json!({ "updated_at": "+12026-01-01T00:00:00Z" })), "a time is in the years 1 to 9999"),
            (node(json!({ "content": "other" })), "its sha256 is not that of its content"),
            (node(json!({ "abstract": "a\u{0}b" })), "its abstract has a NUL character"),
            (node(json!({ "metadata": [] })), "its metadata is no JSON object"),
            (node(json!({ "metadata": { "a": ["x\u{0}"] } })), "its metadata has a NUL character"),
            (node(json!({ "metadata": { "_kept": 1 } })), "such a key is never stored"),
            (node(json!({ "owner_space": "user:../x" })), "is no owner space"),
            (node(json!({ "path": "/../x" })), "`.` and `..` are not allowed"),
            (node(json!({ "path": "x" })), ""),
            (node(json!({ "path": "/a/b/c" })), "a memory is"),
            (node(json!({ "path": "/\u{1b}[31m" })), "control character"),
            (node(json!({ "id": "7" })), "not of its format"),
            (version(json!({ "version": 0 })), "its version is 0"),
            (version(json!({ "version": i64::MAX })), "it is from 1 to"),
            (version(json!({ "change": "magic" })), "\"magic\" is no change"),
            (version(json!({ "status": "" })), "is no status"),
            (version(json!({ "written_at": "-0001-01-01T00:00:00Z" })), "a time is in the years"),
            (version(json!({ "sha256": "" })), "its sha256 is not that of its content"),
            (edge_line("/x", "/y", id()), "is not there"),
            (with(edge_line("/x", "/x", id()), json!({ "weight": "NaN" })), "a weight is a number from 0 to 1"),
            (with(edge_line("/x", "/x", id()), json!({ "weight": "1e9" })), "a weight is a number from 0 to 1"),
            (with(edge_line("/x", "/x", id()), json!({ "edge_type": " " })), "is no type of an edge"),
            (log_line("/x", id()), "a log is at `sessions/{id}/history/{archive}`"),
            (json!({ "kind": "spell", "path": "/x" }), "`spell` is no kind of line"),
            (json!({ "path": "/x" }), "a line is a JSON object with a `kind`"),
            (json!([1, 2]), "not of its format"),
        ];
        let lines: Vec<_> = cases.iter().map(|(line, _)| line.clone()).chain([node_line("/good", id())]).collect();
        let file = forged(folder.path(), to.as_str(), &lines);
        let report = t.store.import_archive(&bob, &file, &to, &mut |_| {}).await.expect("a report");
        assert_eq!((report.nodes, report.versions, report.edges, report.logs), (1, 0, 0, 0), "{report:#?}");
        assert_eq!(report.refused.len(), cases.len(), "{report:#?}");
        for (n, ((line, why), refusal)) in cases.iter().zip(&report.refused).enumerate() {
            assert!(refusal.reason.starts_with(&format!("line {}: ", n + 2)) && refusal.reason.contains(why), "{line}: {refusal:?}");
            assert!(!refusal.path.chars().chain(refusal.reason.chars()).any(char::is_control), "{refusal:?}");
        }
        assert_eq!(t.store.read(&bob, &to.child("good").expect("a name")).await.map(|node| node.content).ok().as_deref(), Some("evil"));

        // Logs, whose messages are checked one by one.
        let log = |more: serde_json::Value| with(log_line("/history/h", id()), more);
        let hash = |messages: &serde_json::Value| context_store::record::content_hash(&messages.to_string());
        let strange = [json!([1]), json!([{ "speaker": "x" }]), json!([{ "speaker": "x", "text": "y", "more": 1 }]), json!([{ "speaker": "x", "text": "a\u{0}" }]), json!([{ "speaker": "x", "text": "y", "time": "noon" }])];
        let mut lines = vec![node_line("/history/h", id())];
        lines.extend(strange.iter().map(|messages| log(json!({ "messages": messages, "sha256": hash(messages) }))));
        lines.push(log(json!({ "sha256": "" })));
        lines.push(log(json!({ "sequence": 0 })));
        lines.push(log(json!({ "version": i64::MAX })));
        let report = t.store.import_archive(&bob, &forged(folder.path(), session.as_str(), &lines), &session, &mut |_| {}).await.expect("a report");
        assert_eq!((report.nodes, report.logs, report.refused.len()), (1, 0, lines.len() - 1), "{report:#?}");
    }

    async fn w1_two_lines_of_one_thing_are_one_thing(t: TestStore) {
        use context_store::Caller;
        let folder = tempfile::tempdir().expect("a folder");
        let (to, bob) = (uri("ctx://evil/users/bob/memories/n"), Caller::user("evil", "bob"));
        let id = sea_orm::prelude::Uuid::now_v7();
        let lines = [node_line("/a", id), node_line("/a", sea_orm::prelude::Uuid::now_v7()), node_line("/b", id), version_line("/a", id, 1), version_line("/a", id, 1), version_line("/a", id, 3), version_line("/a", id, 9)];
        let report = t.store.import_archive(&bob, &forged(folder.path(), to.as_str(), &lines), &to, &mut |_| {}).await.expect("a report");
        assert_eq!((report.nodes, report.versions, report.refused.len()), (1, 1, 5), "{report:#?}");
        assert!(report.refused.iter().filter(|refusal| refusal.reason.contains("a node's history has versions below its own")).count() == 2, "{report:#?}");
        for n in 4..8 {
            assert_eq!(t.store.write(&bob, &to.child("a").expect("a name"), &Write::of("on")).await.map(|written| written.version).ok(), Some(n));
        }
    }

    async fn w1_the_doctor_finds_and_repairs_what_a_forged_archive_left(t: TestStore) {
        use context_store::{Ailment, Caller, Role};
        let plan = uri("ctx://acme/resources/plan");
        for text in ["v1", "v2"] {
            t.store.write(&admin(), &plan, &Write::of(text)).await.expect("a write");
        }
        t.store.drain().await.expect("a drain");
        // As an earlier version of the program took it: from another account, from another space, and under the node's own past.
        let forge = |account: &str, space: &str, version: i64| format!(
            "INSERT INTO node_versions (node_id, version, account_id, uri, owner_space, node_type, status, content, \"change\", written_at, recorded_at) \
             SELECT id, {version}, '{account}', 'ctx://{account}/users/bob/memories/n/x', '{space}', 'memory', 'active', 'evil', 'write', created_at, created_at FROM nodes WHERE uri = '{plan}'");
        t.sql(&forge("evil", "user:bob", 2)).await;
        t.sql(&forge("acme", "user:bob", 3)).await;
        t.sql(&forge("evil", "user:bob", 9_223_372_036_854_775_807)).await;
        let blocked = t.store.write(&admin(), &plan, &Write::of("v3")).await;
        assert!(blocked.is_err(), "what it did");
        let root = Caller::account_only("acme").with_role(Role::Root);
        let found = t.store.doctor(&root, false).await.expect("a diagnosis");
        assert_eq!(found.findings.iter().filter(|f| f.ailment == Ailment::History && !f.repaired).count(), 3, "{found:#?}");
        let repaired = t.store.doctor(&root, true).await.expect("a repair");
        assert!(repaired.findings.iter().all(|f| f.repaired), "{repaired:#?}");
        assert!(t.store.doctor(&root, false).await.expect("a diagnosis").is_clean());
        assert!(t.store.doctor(&Caller::account_only("evil").with_role(Role::Root), true).await.is_ok());
        assert!(t.store.doctor(&Caller::account_only("evil").with_role(Role::Root), false).await.expect("a diagnosis").is_clean());
        t.store.write(&admin(), &plan, &Write::of("v3")).await.expect("a write");
        t.store.delete(&admin(), &plan, DeleteOptions::default()).await.expect("a delete");
        assert_eq!(t.count("SELECT count(*) FROM node_versions WHERE content = 'evil'").await, 3, "nothing stored is lost");
    }

    async fn w1_an_operator_brings_one_of_several_accounts_back_as_it_was(t: TestStore) {
        use context_store::Caller;
        let folder = tempfile::tempdir().expect("a folder");
        live(&t.store, 100, &mut fastrand::Rng::with_seed(4)).await;
        let (file, account) = (folder.path().join("acme.jsonl"), uri("ctx://acme"));
        t.store.export_archive(&root(), &account, &file).await.expect("an export");
        let other = another(&t).await;
        let eve = Caller::user("evil", "eve");
        other.store.write(&eve, &uri("ctx://evil/users/eve/memories/m/n"), &Write::of("x")).await.expect("a write");
        let member = other.store.restore_archive(&admin(), &file, &account, &mut |_| {}).await;
        assert!(matches!(member, Err(StoreError::InvalidArgument(_))), "{member:?}");
        other.store.restore_archive(&root(), &file, &account, &mut |_| {}).await.expect("a restore");
        assert_same(&all_of(&t, "acme").await, &all_of(&other, "acme").await);
    }

    async fn w1_a_history_that_moved_and_came_back_is_no_finding(t: TestStore) {
        let mut random = fastrand::Rng::with_seed(91);
        live(&t.store, 400, &mut random).await;
        t.store.prune_history(&root(), &uri("ctx://acme"), context_store::Retention { keep: Some(1), age: None }).await.expect("a pruning");
        live(&t.store, 100, &mut random).await;
        t.store.drain().await.expect("a drain");
        let diagnosis = t.store.doctor(&root(), false).await.expect("a diagnosis");
        assert!(diagnosis.is_clean(), "{diagnosis:#?}");
    }
}

/// From one backend to the other and back: every version and every time as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w1_versions_and_times_survive_the_other_backend() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second, third) = (TestStore::sqlite().await, TestStore::postgres().await, TestStore::sqlite().await);
    let mut random = fastrand::Rng::with_seed(3);
    live(&first.store, 200, &mut random).await;
    let said = chrono::DateTime::parse_from_rfc3339("2024-05-01T10:00:00.123456789Z").expect("a time").to_utc();
    let message = Message { time: Some(said), ..Message::new("alice", "with a time") };
    first
        .store
        .append_messages(&root(), &uri("ctx://acme/sessions/timed/history/0001"), &[message])
        .await
        .expect("a log");
    let account = uri("ctx://acme");
    let files: Vec<_> = (0..3).map(|n| folder.path().join(format!("{n}.jsonl"))).collect();
    first.store.export_archive(&root(), &account, &files[0]).await.expect("an export");
    second.store.import_archive(&root(), &files[0], &account, &mut |_| {}).await.expect("an import");
    second.store.export_archive(&root(), &account, &files[1]).await.expect("an export");
    third.store.import_archive(&root(), &files[1], &account, &mut |_| {}).await.expect("an import");
    third.store.export_archive(&root(), &account, &files[2]).await.expect("an export");
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).expect("a text")).collect();
    for (n, other) in texts.iter().enumerate().skip(1) {
        for (a, b) in texts[0].lines().zip(other.lines()) {
            assert_eq!(a, b, "{n}");
        }
    }
    assert_same(&rows(&first.owner).await, &rows(&third.owner).await);
}

on_each_backend! {
    async fn w7_whatever_an_archive_says_it_is_read_or_refused(t: TestStore) {
        use sha2::Digest;
        let folder = tempfile::tempdir().expect("a folder");
        live(&t.store, 60, &mut fastrand::Rng::with_seed(8)).await;
        let (file, account) = (folder.path().join("whole.jsonl"), uri("ctx://acme"));
        t.store.export_archive(&root(), &account, &file).await.expect("an export");
        let whole = fs::read(&file).expect("a file");
        let mut random = fastrand::Rng::with_seed(9);
        let other = another(&t).await;
        let (mut taken, mut damaged) = (0, 0);
        for _ in 0..300 {
            let mut lines: Vec<Vec<u8>> = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect();
            lines.pop();
            for _ in 0..random.usize(1..4) {
                let n = random.usize(1..lines.len());
                let line = &mut lines[n];
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..line.len().max(1)).min(line.len().saturating_sub(1));
                    match random.u8(..5) {
                        0 if !line.is_empty() => line[at] = random.u8(11..),
                        1 if !line.is_empty() => drop(line.remove(at)),
                        2 => line.truncate(at),
                        3 => line.extend_from_slice(b"[[[[{{"),
                        _ => line.insert(at, b"0-9\"{}[]:,e\\"[random.usize(..12)]),
                    }
                }
                if random.u8(..4) == 0 {
                    let again = lines[n].clone();
                    lines.push(again);
                }
            }
            // Its sums agree, so that the lines are looked at.
            let mut text = lines.join(&b'\n');
            text.push(b'\n');
            let kind = |line: &Vec<u8>| serde_json::from_slice::<serde_json::Value>(line).ok().and_then(|line| line["kind"].as_str().map(str::to_owned));
            let count = |name: &str| lines.iter().filter(|line| kind(line).as_deref() == Some(name)).count();
            let sha256: String = sha2::Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
            let end = serde_json::json!({ "kind": "end", "nodes": count("node"), "versions": count("version"), "logs": count("log"), "edges": count("edge"), "sha256": sha256 });
            text.extend_from_slice(end.to_string().as_bytes());
            let file = folder.path().join("mutated.jsonl");
            fs::write(&file, text).expect("a file");
            match other.store.import_archive(&root(), &file, &account, &mut |_| {}).await {
                Ok(_) => taken += 1,
                Err(StoreError::Io { message, .. }) if message.starts_with("not a whole archive") => damaged += 1,
                Err(e) => panic!("{e}"),
            }
        }
        assert!(taken > 200, "{taken} taken, {damaged} damaged");
        other.store.drain().await.expect("a drain");
        let diagnosis = other.store.doctor(&root(), false).await.expect("a diagnosis");
        assert!(diagnosis.findings.iter().all(|f| f.ailment == context_store::Ailment::Derived), "{diagnosis:#?}");
    }
}
