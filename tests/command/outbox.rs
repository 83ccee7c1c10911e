//! `ctx outbox` and `ctx reindex`, as an operator uses them.

#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use context_store::index::FileSink;
use serde_json::Value;

use crate::support::shell::Shell;

/// One on each backend, its database named as a service's is.
async fn each() -> [Shell; 2] {
    Shell::each().await.map(Shell::in_environment)
}

/// Events as an earlier version of the program might have left them: one that nobody knows.
const STRANGE: &str = "INSERT INTO outbox_events (account_id, topic, event_key, sequence, event_type) \
     VALUES ('acme', 'context', '018f0000-0000-7000-8000-000000000001', 1, 'node.sung')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q4_dead_letters_are_listed_shown_replayed_and_purged() {
    for shell in each().await {
        shell.ok(&["write", "ctx://acme/resources/a", "apples and pears"]);
        let status = shell.json(&["outbox", "status"]);
        assert_eq!(
            (&status["pending"], &status["done"], &status["dead"]),
            (&0.into(), &1.into(), &0.into()),
            "{status}"
        );
        shell.sql(STRANGE).await;
        let report = shell.json(&["outbox", "run", "--once"]);
        assert_eq!((&report["delivered"], &report["dead"]), (&0.into(), &1.into()), "{report}");

        let letters = shell.json(&["outbox", "dead", "list"]);
        let id = letters[0]["id"].as_i64().expect("a number").to_string();
        assert_eq!((&letters[0]["type"], letters.as_array().map(Vec::len)), (&"node.sung".into(), Some(1)));
        let shown = shell.ok(&["outbox", "dead", "show", &id]);
        assert!(shown.contains("unknown event type `node.sung`"), "{shown}");
        assert!(shell.ok(&["outbox", "dead", "list"]).contains("node.sung"));

        assert_eq!(shell.json(&["outbox", "replay", &id])["replayed"], 1);
        assert_eq!(shell.json(&["outbox", "status"])["pending"], 1);
        assert_eq!(shell.json(&["outbox", "run", "--once"])["dead"], 1, "its cause is not gone");
        let (code, message) = shell.fails(&["outbox", "replay", "4711"]);
        assert_eq!(
            (code, message.as_str()),
            (
                2,
                "ctx: there is no dead letter 4711: `ctx outbox dead list` has them (see errors/store-invalid-argument)"
            )
        );
        assert_eq!(shell.json(&["outbox", "purge", "--dead", &id])["purged"], 1);
        assert_eq!(shell.ok(&["outbox", "dead", "list"]), "no dead letters\n");
        assert_eq!(shell.json(&["outbox", "purge", "--done", "--older-than", "1h"])["purged"], 0, "too young");
        assert_eq!(shell.json(&["outbox", "purge", "--done"])["purged"], 1);
        assert_eq!(shell.run(&["outbox", "purge"]).status.code(), Some(2), "it asks what");
    }
}

/// A child that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn within(seconds: u64, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q7_run_delivers_until_it_is_told_to_stop_and_says_what_it_did() {
    for shell in each().await {
        shell.ok(&["write", "ctx://acme/resources/a", "apples"]);
        let running = shell.command(&["outbox", "run", "--poll", "100ms", "--json"]).stdout(Stdio::piped()).spawn();
        let mut running = Running(running.expect("ctx runs"));
        // An event that only the running one can deliver: the command that writes it does not wait for its delivery.
        shell.sql("DELETE FROM index_records").await;
        shell.sql("UPDATE outbox_events SET state = 'pending', finished_at = NULL").await;
        assert!(within(20, || shell.json(&["outbox", "status"])["done"] == 1), "it delivers");
        assert_eq!(shell.found("apples"), 1);
        let told = Command::new("kill").args(["-TERM", &running.0.id().to_string()]).status().expect("kill");
        assert!(told.success());
        let mut text = String::new();
        running.0.stdout.take().expect("a pipe").read_to_string(&mut text).expect("its report");
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(report["delivered"], 1, "{report}");
        assert!(running.0.wait().expect("its end").success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v11_reindex_builds_the_index_anew_and_removes_what_is_gone() {
    for shell in each().await {
        for n in 0..5 {
            shell.ok(&["write", &format!("ctx://acme/resources/n{n}"), "apples and pears"]);
        }
        shell.ok(&["write", "ctx://other/resources/n", "apples and pears"]);
        shell.sql("DELETE FROM index_records WHERE uri LIKE 'ctx://acme/resources/n1%'").await;
        shell.sql(r#"UPDATE index_records SET body = 'plums', terms = '{"plum": 1}' WHERE uri LIKE 'ctx://acme/resources/n2%'"#).await;
        shell.sql("DELETE FROM node_versions").await;
        shell.sql("DELETE FROM nodes WHERE uri = 'ctx://acme/resources/n3'").await;
        assert_eq!((shell.found("apples"), shell.found("plums")), (2, 1));
        let report = shell.json(&["reindex", "--batch", "2"]);
        assert_eq!(
            (&report["nodes"], &report["records"], &report["orphans"]),
            (&5.into(), &5.into(), &1.into()),
            "{report}"
        );
        assert_eq!((shell.found("apples"), shell.found("plums")), (4, 0));
        let report = shell.json(&["reindex", "--account", "other"]);
        assert_eq!((&report["nodes"], &report["orphans"]), (&1.into(), &0.into()), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q5_a_file_sink_can_be_replayed() {
    for shell in each().await {
        let file = shell.folder.path().join("records.jsonl");
        let sink = format!("file:{}", file.display());
        shell.ok(&["write", "ctx://acme/resources/a", "one"]);
        shell.ok(&["write", "ctx://acme/resources/b", "two"]);
        shell.ok(&["reindex", "--sink", &sink]);
        shell.ok(&["mv", "ctx://acme/resources/a", "ctx://acme/resources/c"]);
        shell.ok(&["write", "ctx://acme/resources/b", "three"]);
        // Those two events went to the embedded index; here they go to the file as well.
        shell.sql("UPDATE outbox_events SET state = 'pending', finished_at = NULL").await;
        let report = shell.json(&["outbox", "run", "--once", "--sink", &sink]);
        assert_eq!(report["delivered"], 4, "{report}");
        let held = FileSink::replay(&file).unwrap_or_else(|e| panic!("{e}"));
        let mut held: Vec<(&str, &str)> =
            held.values().map(|record| (record.uri.as_str(), record.body.as_str())).collect();
        held.sort_unstable();
        assert_eq!(
            held,
            [("ctx://acme/resources/b/content.md", "three"), ("ctx://acme/resources/c/content.md", "one")]
        );
        // A line that a crash cut off was never acknowledged.
        let mut torn = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
        torn.write_all(b"{\"op\":\"ups").unwrap();
        assert_eq!(FileSink::replay(&file).unwrap_or_else(|e| panic!("{e}")).len(), 2);
    }
}

/// A request as the receiver got it: its headers, lower-case, and its body.
type Request = (Vec<String>, Value);

/// A receiver of one answer a connection, in turn; the last one for all that follow.
fn receiver(answers: Vec<String>) -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}/records", listener.local_addr().expect("an address"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut headers, mut length) = (Vec::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).expect("a request") <= 2 {
                    break;
                }
                let line = line.trim().to_lowercase();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().expect("a length");
                }
                headers.push(line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            if !headers.is_empty() {
                seen.lock().unwrap().push((headers, serde_json::from_slice(&body).expect("JSON")));
            }
            let answer = answers.get(at).or(answers.last()).expect("an answer");
            stream.get_mut().write_all(answer.as_bytes()).expect("an answer");
        }
    });
    (address, requests)
}

/// Everything was taken.
const TAKEN: &str = r#"{"refused": []}"#;

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q5_an_http_sink_signs_waits_as_it_is_told_and_lets_a_bad_record_fail_alone() {
    let shell = Shell::sqlite().in_environment();
    for n in 0..4 {
        shell.ok(&["write", &format!("ctx://acme/resources/n{n}"), &format!("text {n}")]);
    }
    shell.sql("UPDATE outbox_events SET state = 'pending', finished_at = NULL").await;
    // All four nodes have records to delete (abstract, overview) and one to write.
    let (address, requests) = receiver(vec![
        answer("503 Service Unavailable", "retry-after: 1\r\n", ""),
        answer("200 OK", "", TAKEN),
        answer("422 Unprocessable Entity", "", "one of them is bad"),
        answer("200 OK", "", TAKEN),
        answer("422 Unprocessable Entity", "", "one of them is bad"),
        answer("201 Created", "", TAKEN),
        answer("422 Unprocessable Entity", "", "too long"),
    ]);
    let start = Instant::now();
    let output = shell
        .command(&["outbox", "run", "--once", "--sink", &address, "--json"])
        .env("CTX_INDEX_SECRET", "secret")
        .output()
        .expect("ctx runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(start.elapsed() >= Duration::from_secs(1), "it waited as it was told");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["delivered"], &report["dead"]), (&3.into(), &1.into()), "{report}");
    let letters = shell.json(&["outbox", "dead", "list"]);
    assert!(letters[0]["error"].as_str().expect("a reason").contains("too long"), "{letters}");

    let requests = requests.lock().unwrap();
    let sizes: Vec<(&str, usize)> = requests
        .iter()
        .map(|(_, body)| (body["operation"].as_str().unwrap(), body["records"].as_array().unwrap().len()))
        .collect();
    assert_eq!(
        sizes,
        [("delete", 8), ("delete", 8), ("upsert", 4), ("upsert", 2), ("upsert", 2), ("upsert", 1), ("upsert", 1)],
        "deletes first; a batch that is refused is halved"
    );
    for (headers, _) in requests.iter() {
        let signed =
            headers.iter().any(|header| header.starts_with("x-ctx-signature: sha256=") && header.len() == 24 + 64);
        assert!(signed && headers.iter().any(|header| header.starts_with("x-ctx-timestamp: ")), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q5_an_index_that_is_down_holds_events_back_and_kills_none() {
    let shell = Shell::sqlite().in_environment();
    shell.ok(&["write", "ctx://acme/resources/a", "text"]);
    shell.sql("UPDATE outbox_events SET state = 'pending', finished_at = NULL, attempts = 0").await;
    let (address, _) = receiver(vec![answer("401 Unauthorized", "", "")]);
    let (_, message) = shell.fails(&["outbox", "run", "--once", "--sink", &address]);
    assert!(message.contains("the receiver cannot be reached: the index answered 401"), "{message}");
    let status = shell.json(&["outbox", "status"]);
    assert_eq!((&status["pending"], &status["dead"], &status["most_attempts"]), (&1.into(), &0.into(), &0.into()));
    let (code, message) = shell.fails(&["outbox", "run", "--once", "--sink", "gopher://index"]);
    assert_eq!(code, 2);
    assert!(message.contains("`gopher` is neither http nor https"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w4_nothing_counts_but_the_contract_s_own_answer() {
    let shell = Shell::sqlite().in_environment();
    shell.ok(&["write", "ctx://acme/resources/a", "text"]);
    let (elsewhere, seen) = receiver(vec![answer("200 OK", "", TAKEN)]);
    let huge = format!(r#"{{"refused": [], "more": "{}"}}"#, "x".repeat(2 << 20));
    let cases = [
        (answer("302 Found", &format!("location: {elsewhere}\r\n"), ""), "redirects are not followed"),
        (answer("301 Moved Permanently", &format!("location: {elsewhere}\r\n"), TAKEN), "redirects are not followed"),
        (answer("307 Temporary Redirect", &format!("location: {elsewhere}\r\n"), ""), "redirects are not followed"),
        (answer("200 OK", "", "<html>please log in</html>"), "with what is no answer"),
        (answer("200 OK", "", ""), "without a body"),
        (answer("204 No Content", "", ""), "without a body"),
        (answer("200 OK", "", r#"{"ok": true}"#), "not what it took"),
        (answer("200 OK", "", "[]"), "with what is no answer"),
        (answer("200 OK", "", r#"{"taken": 3}"#), "with what is no answer"),
        (answer("200 OK", "", &huge), "more than 1048576 bytes"),
    ];
    for (answer, why) in cases {
        let (address, _) = receiver(vec![answer]);
        let output = shell
            .command(&["outbox", "run", "--once", "--sink", &address])
            .env("CTX_INDEX_SECRET", "secret")
            .output()
            .expect("ctx runs");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(why), "{why}: {message}");
        let streams = shell.json(&["outbox", "streams"]);
        let stream = streams.as_array().unwrap().iter().find(|stream| stream["sink"] == address.as_str()).unwrap();
        assert_eq!((&stream["waiting"], &stream["dead"]), (&1.into(), &0.into()), "{stream}");
        shell.ok(&["outbox", "streams", "--forget", stream["name"].as_str().unwrap()]);
    }
    assert!(seen.lock().unwrap().is_empty(), "nobody else was told anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w4_what_the_receiver_does_not_confirm_by_record_comes_again() {
    for shell in each().await {
        shell.ok(&["write", "ctx://acme/resources/a", "text"]);
        shell.ok(&["write", "ctx://acme/resources/b", "text"]);
        let id = |name: &str| {
            let uri = format!("ctx://acme/resources/{name}");
            context_store::record::record_id(&uri, context_store::Level::Content)
        };
        let delete = answer("200 OK", "", TAKEN);
        // The first time one of the two is confirmed, and one that nobody sent; the second time the other.
        let first = answer("200 OK", "", &format!(r#"{{"taken": ["{}", "0000000000000000"]}}"#, id("a")));
        let second = answer("200 OK", "", &format!(r#"{{"taken": [{{"id": "{}", "account_id": "acme"}}]}}"#, id("b")));
        let (address, requests) = receiver(vec![delete.clone(), first, delete, second]);
        let report = shell.json(&["outbox", "run", "--once", "--sink", &address]);
        assert_eq!((&report["delivered"], &report["retried"]), (&1.into(), &1.into()), "{report}");
        assert!(
            within(20, || shell.json(&["outbox", "run", "--once", "--sink", &address])["delivered"] == 1),
            "it comes again"
        );
        let requests = requests.lock().unwrap();
        let upserts: Vec<usize> = requests
            .iter()
            .filter(|(_, body)| body["operation"] == "upsert")
            .map(|(_, body)| body["records"].as_array().unwrap().len())
            .collect();
        assert_eq!(upserts, [2, 1], "only what was not confirmed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_each_sink_has_a_stream_of_its_own_and_gets_everything() {
    for shell in each().await {
        let files = ["one.jsonl", "two.jsonl"].map(|name| shell.folder.path().join(name));
        let sinks = files.clone().map(|file| format!("file:{}", file.display()));
        let held = |at: usize| {
            let held = FileSink::replay(&files[at]).unwrap_or_else(|e| panic!("{e}"));
            let mut uris: Vec<String> = held.values().map(|record| record.uri.clone()).collect();
            uris.sort_unstable();
            uris
        };
        let places = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| format!("ctx://acme/resources/{name}/content.md")).collect()
        };
        // What was there before the stream was made, and what a command's own delivery has taken already.
        shell.ok(&["write", "ctx://acme/resources/a", "text"]);
        shell.ok(&["outbox", "run", "--once", "--sink", &sinks[0]]);
        assert_eq!(held(0), places(&["a"]));
        shell.ok(&["write", "ctx://acme/resources/b", "text"]);
        shell.ok(&["mv", "ctx://acme/resources/a", "ctx://acme/resources/c"]);
        assert_eq!(shell.found("text"), 2, "the embedded index is up to date");
        shell.ok(&["outbox", "run", "--once", "--sink", &sinks[1]]);
        shell.ok(&["write", "ctx://acme/resources/d", "text"]);
        shell.ok(&["rm", "ctx://acme/resources/b"]);
        for (at, sink) in sinks.iter().enumerate() {
            shell.ok(&["outbox", "run", "--once", "--sink", sink]);
            assert_eq!(held(at), places(&["c", "d"]), "{sink}");
        }
        assert_eq!(shell.json(&["outbox", "streams"]).as_array().map(Vec::len), Some(2));
        assert_eq!(shell.json(&["outbox", "status"])["pending"], 0);
        // A stream that ends takes along what waits in it.
        shell.ok(&["write", "ctx://acme/resources/e", "text"]);
        for stream in shell.json(&["outbox", "streams"]).as_array().unwrap() {
            assert_eq!(stream["waiting"], 1, "{stream}");
            shell.ok(&["outbox", "streams", "--forget", stream["name"].as_str().unwrap()]);
        }
        assert_eq!(shell.json(&["outbox", "status"])["pending"], 0);
        let (code, message) = shell.fails(&["outbox", "streams", "--forget", "context.no"]);
        assert!(code == 2 && message.contains("there is no stream"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_a_running_sink_gets_what_commands_write_meanwhile() {
    for shell in each().await {
        let file = shell.folder.path().join("records.jsonl");
        let sink = format!("file:{}", file.display());
        shell.ok(&["write", "ctx://acme/resources/first", "text"]);
        let running =
            shell.command(&["outbox", "run", "--poll", "100ms", "--sink", &sink]).stdout(Stdio::piped()).spawn();
        let running = Running(running.expect("ctx runs"));
        assert!(
            within(20, || shell.json(&["outbox", "streams"]).as_array().map(Vec::len) == Some(1)),
            "its stream is there"
        );
        for n in 0..5 {
            shell.ok(&["write", &format!("ctx://acme/resources/n{n}"), "text"]);
        }
        assert!(within(20, || FileSink::replay(&file).is_ok_and(|held| held.len() == 6)), "it gets them all");
        drop(running);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_what_a_receiver_says_is_shown_without_control_characters() {
    for shell in each().await {
        shell.ok(&["write", "ctx://acme/resources/a", "text"]);
        let id = context_store::record::record_id("ctx://acme/resources/a", context_store::Level::Content);
        let reason = r"\u0000 \u001b[31mred\u0007 \u202eturned\r\nnext";
        let no = answer("200 OK", "", &format!(r#"{{"refused": [{{"id": "{id}", "reason": "{reason}"}}]}}"#));
        let (address, _) = receiver(vec![answer("200 OK", "", TAKEN), no]);
        assert_eq!(shell.json(&["outbox", "run", "--once", "--sink", &address])["dead"], 1);
        let letters = shell.json(&["outbox", "dead", "list"]);
        assert!(
            letters[0]["error"].as_str().is_some_and(|error| error.ends_with(": [31mred turned next")),
            "{letters}"
        );
        let id = letters[0]["id"].to_string();
        for text in [shell.ok(&["outbox", "dead", "list"]), shell.ok(&["outbox", "dead", "show", &id])] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_the_command_ranks_with_an_embedding_model_and_does_not_depend_on_it() {
    let shell = Shell::sqlite().in_environment();
    let vector =
        |numbers: &str| answer("200 OK", "", &format!(r#"{{"data": [{{"index": 0, "embedding": {numbers}}}]}}"#));
    let (address, requests) =
        receiver(vec![vector("[1, 0]"), vector("[0, 1]"), vector("[1, 0]"), answer("401 Unauthorized", "", "")]);
    let with_model = |arguments: &[&str]| {
        let mut command = shell.command(arguments);
        command.envs([
            ("CTX_EMBEDDER", address.as_str()),
            ("CTX_EMBEDDER_MODEL", "tiny"),
            ("CTX_EMBEDDER_DIMENSIONS", "2"),
        ]);
        command.env("CTX_EMBEDDER_KEY", "k-12345").output().expect("ctx runs")
    };
    for (name, text) in [("near", "a river far away"), ("far", "river")] {
        let written = with_model(&["write", &format!("ctx://acme/resources/{name}"), text]);
        assert!(written.status.success() && written.stderr.is_empty(), "{}", String::from_utf8_lossy(&written.stderr));
    }
    let names = |output: &std::process::Output| -> Vec<String> {
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        found["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|hit| hit["uri"].as_str().expect("a URI").to_owned())
            .collect()
    };
    // Places 2 and 1 of the two orders, or 1 and 2: as good, and then by address. By words alone the shorter text is first.
    let found = with_model(&["search", "--account", "acme", "--json", "river", "--limit", "5"]);
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    assert_eq!(names(&found), ["ctx://acme/resources/far", "ctx://acme/resources/near"]);
    let sent: Vec<(bool, Value)> = requests
        .lock()
        .unwrap()
        .iter()
        .map(|(headers, body)| (headers.iter().any(|header| header == "authorization: bearer k-12345"), body.clone()))
        .collect();
    assert_eq!(sent.len(), 3, "two texts and a question: {sent:?}");
    assert!(sent.iter().all(|(has_key, body)| *has_key && body["model"] == "tiny"), "{sent:?}");
    assert_eq!(sent[0].1["input"], serde_json::json!(["near\n\na river far away"]));
    assert_eq!(sent[2].1["input"], serde_json::json!(["river"]));

    // From here on the service refuses the key: what is written is written and found by its words, and what waits is told.
    let written = with_model(&["write", "ctx://acme/resources/late", "a late river"]);
    let said = String::from_utf8_lossy(&written.stderr).into_owned();
    assert!(written.status.success() && said.contains("the vectors wait") && said.contains("401"), "{said}");
    assert!(!said.contains("k-12345"), "{said}");
    let failed = with_model(&["search", "--account", "acme", "--json", "river"]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains("\"embedding\"") && said.contains("401"), "{said}");
    let found = with_model(&["search", "--account", "acme", "--json", "--words", "river"]);
    assert_eq!(names(&found).len(), 3);
    let streams = shell.json(&["outbox", "streams"]);
    assert_eq!((&streams[0]["sink"], &streams[0]["waiting"]), (&"vectors:tiny/2".into(), &1.into()), "{streams}");

    // What is missing is named before anything is opened.
    let output = shell.command(&["search", "x", "--embedder", &address]).output().expect("ctx runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && said.contains("--embedder-model NAME (or CTX_EMBEDDER_MODEL)"),
        "{said}"
    );
}
