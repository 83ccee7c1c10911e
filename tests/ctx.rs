//! The command `ctx`, as people and scripts use it.

#[path = "support/shell.rs"]
mod shell;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use shell::Shell;

/// The unpacked sources of a crate that this package depends on.
fn crate_sources(name: &str) -> PathBuf {
    // Of this platform's dependencies only: those of others need not be on this machine.
    let compiler = Command::new("rustc").arg("-vV").output().expect("rustc");
    let about = String::from_utf8_lossy(&compiler.stdout).into_owned();
    let platform = about.lines().find_map(|line| line.strip_prefix("host: ")).expect("a platform");
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", platform])
        .output()
        .expect("cargo metadata");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|package| package["name"] == name).expect("a dependency");
    Path::new(found["manifest_path"].as_str().expect("a path")).parent().expect("a folder").to_owned()
}

fn a_crate_goes_in_moves_and_is_found(shell: &Shell) {
    let sources = crate_sources("sea-orm");
    let sources = sources.to_str().expect("a path");
    let report = shell.json(&["import", sources, "ctx://acme/resources/orm"]);
    let created = report["created"].as_u64().expect("a number");
    assert!(created >= 200, "{report}");
    assert!(
        report["statements"].as_u64().expect("a number") <= 24 * report["batches"].as_u64().expect("a number"),
        "{report}"
    );
    let again = shell.json(&["import", sources, "ctx://acme/resources/orm"]);
    assert_eq!((again["created"].as_u64(), again["unchanged"].as_u64()), (Some(0), Some(created)));

    let tree = shell.ok(&["tree", "-L", "1", "ctx://acme/resources/orm"]);
    assert!(tree.contains("── src/\n") && tree.contains("── Cargo.toml\n"), "{tree}");
    let moved = shell.json(&["mv", "ctx://acme/resources/orm/src", "ctx://acme/resources/code"]);
    assert!(moved["nodes"].as_u64() > Some(50), "{moved}");
    let text = shell.ok(&["read", "ctx://acme/resources/code/lib.rs"]);
    assert_eq!(text, fs::read_to_string(Path::new(sources).join("src/lib.rs")).expect("a file"));
    let found = shell.json(&["search", "savepoint", "--in", "ctx://acme/resources/code", "--limit", "50"]);
    let hits = found["items"].as_array().expect("hits");
    assert!(!hits.is_empty());
    for hit in hits {
        let uri = hit["uri"].as_str().expect("a URI");
        let file = uri.strip_prefix("ctx://acme/resources/code/").expect("only where the files are now");
        let source = fs::read_to_string(Path::new(sources).join("src").join(file)).expect("a file");
        assert!(source.to_lowercase().contains("savepoint"), "{uri}");
    }
    let nowhere = shell.json(&["search", "savepoint", "--in", "ctx://acme/resources/orm/src"]);
    assert_eq!(nowhere["items"].as_array().map(Vec::len), Some(0));
    let status = shell.json(&["status", "--account", "acme"]);
    assert_eq!((status["active"].as_u64(), status["pending"].as_u64()), (Some(created), Some(0)));
}

#[test]
fn ctx_imports_a_crate_moves_its_src_and_finds_a_word_on_sqlite() {
    a_crate_goes_in_moves_and_is_found(&Shell::sqlite());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctx_imports_a_crate_moves_its_src_and_finds_a_word_on_postgres() {
    let shell = Shell::postgres().await;
    tokio::task::spawn_blocking(move || a_crate_goes_in_moves_and_is_found(&shell)).await.expect("the test's body");
}

#[cfg(unix)]
#[test]
fn v12_odd_files_are_taken_or_refused_one_by_one() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let shell = Shell::sqlite();
    let folder = shell.folder.path().join("odd");
    fs::create_dir_all(folder.join("deep/er")).expect("a folder");
    let taken = [
        "100%_x.txt",
        "a b.txt",
        "quote'\".txt",
        r"back\slash.txt",
        "crab 🦀.txt",
        "deep/er/.hidden",
        "question?#.txt",
        "%41.txt",
        "Zürich.txt",
    ];
    for name in taken {
        fs::write(folder.join(name), format!("I am {name}")).expect("a file");
    }
    fs::write(folder.join("empty.txt"), "").expect("a file");
    fs::write(folder.join("exactly.txt"), "x".repeat(1 << 20)).expect("a file");
    let refused = [
        ("binary.bin", b"a\0b".to_vec(), "NUL"),
        ("latin1.txt", b"caf\xe9".to_vec(), "not UTF-8 at byte 3"),
        ("large.txt", vec![b'x'; (1 << 20) + 1], "more than"),
        ("new\nline.txt", b"x".to_vec(), "control character"),
    ];
    for (name, bytes, _) in &refused {
        fs::write(folder.join(name), bytes).expect("a file");
    }
    fs::write(folder.join(OsStr::from_bytes(b"caf\xe9.txt")), "x").expect("a file");
    // The same name in two spellings, which this file system keeps apart and a URI does not.
    fs::write(folder.join("Zu\u{308}rich.txt"), "decomposed").expect("a file");
    std::os::unix::fs::symlink("a b.txt", folder.join("link.txt")).expect("a link");

    let report = shell.json(&["import", "odd", "ctx://acme/resources/odd"]);
    assert_eq!(report["created"].as_u64(), Some(taken.len() as u64 + 2), "{report}");
    let reasons: Vec<(String, String)> = report["refused"]
        .as_array()
        .expect("refusals")
        .iter()
        .map(|refusal| {
            (
                refusal["path"].as_str().unwrap_or_default().to_owned(),
                refusal["reason"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    for (name, _, reason) in &refused {
        assert!(reasons.iter().any(|(path, said)| path == name && said.contains(reason)), "{name}: {reasons:?}");
    }
    assert!(reasons.iter().any(|(_, said)| said.contains("name is not UTF-8")), "{reasons:?}");
    assert!(reasons.iter().any(|(path, said)| path.contains("rich") && said.contains("same URI")), "{reasons:?}");
    assert!(reasons.iter().any(|(path, said)| path == "link.txt" && said.contains("symbolic link")), "{reasons:?}");
    assert_eq!(reasons.len(), 7, "{reasons:?}");
    assert_eq!(report["files"].as_u64(), Some(taken.len() as u64 + 2 + 7));

    assert_eq!(shell.ok(&["read", "ctx://acme/resources/odd/100%25_x.txt"]), "I am 100%_x.txt");
    assert_eq!(shell.ok(&["read", "ctx://acme/resources/odd/%2541.txt"]), "I am %41.txt");
    assert_eq!(shell.ok(&["read", "ctx://acme/resources/odd/crab 🦀.txt"]), "I am crab 🦀.txt");
    assert_eq!(shell.ok(&["read", "ctx://acme/resources/odd/empty.txt"]), "");
    let listed = shell.ok(&["ls", "ctx://acme/resources/odd"]);
    assert!(
        listed.contains("quote'\".txt\n") && listed.contains("back\\slash.txt\n") && listed.contains("deep/\n"),
        "{listed}"
    );
}

#[test]
fn bad_input_is_one_clear_sentence_and_an_exit_code() {
    let shell = Shell::sqlite();
    assert_eq!(
        shell.fails(&["ls", "ctx://acme"]),
        (1, "ctx: ctx.db: there is no context store; `ctx import` and `ctx write` make one".into())
    );
    assert_eq!(shell.fails(&["write", "file:///etc/passwd", "x"]).0, 2);
    assert!(!shell.folder.path().join("ctx.db").exists(), "nothing is made for a command that is wrong");
    shell.ok(&["write", "ctx://acme/resources/a", "text"]);

    let cases: &[(&[&str], i32, &str)] = &[
        (&["read", "http://acme/resources/a"], 2, "a context URI begins with `ctx://`"),
        (&["read", "ctx://acme/resources/../a"], 2, "`.` and `..` are not allowed"),
        (&["read", "ctx://acme/resources/none"], 3, "does not exist"),
        (&["read", "ctx://acme/users"], 2, "is a folder of the scheme and cannot be read"),
        (
            &["read", "ctx://other/resources/a", "--account", "acme"],
            4,
            "it is in the account `other`, and the caller is of `acme`",
        ),
        (
            &["write", "ctx://acme/resources/a", "x", "--user", "bob"],
            4,
            "resources are written with the role ADMIN, and the caller has Member",
        ),
        (&["write", "ctx://acme/resources/a", "x", "--expect-version", "7"], 5, "has version 1, not 7"),
        (&["mv", "ctx://acme/resources/a", "ctx://acme/resources/a/b"], 5, "the target lies inside what moves"),
        (&["import", "nowhere", "ctx://acme/resources/x"], 1, "No such file"),
        (&["search", "!?", "--account", "acme"], 2, "at least one word"),
        (&["revert", "ctx://acme/resources/a", "9"], 3, "has no version 9"),
        (&["glob", "ctx://acme/resources/[", "--account", "acme"], 2, "never closed"),
    ];
    for (arguments, code, message) in cases {
        let (found, said) = shell.fails(arguments);
        assert_eq!(found, *code, "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
    let (_, said) = shell.fails(&["read", "ctx://acme/resources/none", "--json"]);
    let error: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(error["error"]["code"], "not_found");
    assert_eq!(shell.ok(&["read", "ctx://acme/resources/a"]), "text", "nothing was half written");
}

#[test]
fn v1_an_argument_of_a_wrong_form_is_refused_where_it_stands_before_anything_is_opened() {
    let shell = Shell::sqlite();
    let good = "ctx://acme/resources/a";
    let cases: &[(&[&str], &str)] = &[
        (&["read", "tomato"], "ctx: <URI>: \"tomato\" is not a context URI: a context URI begins with `ctx://`"),
        (
            &["mv", good, "ctx://acme/elsewhere"],
            "ctx: <TO>: \"ctx://acme/elsewhere\" is not a context URI: after the account comes",
        ),
        (&["mv", "ctx://", good], "ctx: <FROM>: \"ctx://\" is not a context URI: the account is missing"),
        (&["search", "x", "--in", "acme"], "ctx: --in <WITHIN>: \"acme\" is not a context URI"),
        (
            &["ls", "ctx://acme/resources/\u{1b}[31m"],
            "ctx: <URI>: \"ctx://acme/resources/\\u{1b}[31m\" is not a context URI: it has a control character (U+001B)",
        ),
        (
            &["write", good, "x", "--meta", "novalue"],
            "ctx: --meta <KEY=VALUE>: \"novalue\" is no KEY=VALUE, the value JSON or a text",
        ),
        (&["write", good, "x", "--meta", "=1"], "ctx: --meta <KEY=VALUE>: \"=1\" is no KEY=VALUE"),
        (&["search", "x", "--since", "June"], "ctx: --since <SINCE>: \"June\" is no time: write it as 2026-01-31"),
        (&["outbox", "run", "--lease", "5 weeks"], "ctx: --lease <LEASE>: ` weeks` is no unit of time"),
        (&["import", ".", good, "--batch", "0"], "ctx: --batch <BATCH>: 0 is not in 1..=2000"),
    ];
    for (arguments, message) in cases {
        let (code, said) = shell.fails(arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        assert!(said.starts_with(message), "{arguments:?}: {said}");
    }
    let as_json = |arguments: &[&str]| -> Value {
        let (code, said) = shell.fails(arguments);
        assert_eq!(code, 2, "{said}");
        serde_json::from_str::<Value>(&said).unwrap_or_else(|e| panic!("{e}: {said}"))["error"].clone()
    };
    let error = as_json(&["read", "tomato", "--json"]);
    assert_eq!(error["code"], "invalid_uri");
    assert_eq!(error["message"], "<URI>: \"tomato\" is not a context URI: a context URI begins with `ctx://`");
    assert_eq!(as_json(&["--json", "ls", good, "--limit", "few"])["code"], "invalid_argument");
    let unknown = as_json(&["--json", "read", good, "--sideways"]);
    assert_eq!(unknown["code"], "usage");
    assert!(unknown["message"].as_str().is_some_and(|said| said.contains("--sideways")), "{unknown}");
    // What the parser itself says has several lines, and none of what was typed reaches the terminal raw.
    let output = shell.run(&["read", good, "--\u{1b}[31m"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Usage:") && !said.contains('\u{1b}'), "{said:?}");
    assert!(!shell.folder.path().join("ctx.db").exists(), "nothing is made for a command that is wrong");
}

#[test]
fn a_database_that_is_not_ours_is_left_as_it_is() {
    let shell = Shell::on("other.db");
    let path = shell.folder.path().join("other.db");
    fs::write(&path, "this is no database, only a text that is long enough to be looked at by SQLite: it reads 100 bytes of it first").expect("a file");
    let (code, said) = shell.fails(&["ls", "ctx://acme"]);
    assert_eq!(code, 1);
    assert!(said.contains("file is not a database"), "{said}");
    assert!(fs::read_to_string(&path).expect("a text").starts_with("this is no database"));
}

#[test]
fn the_commands_work_together() {
    let shell = Shell::sqlite();
    shell.ok(&["write", "ctx://acme/users/alice/memories/likes/tea", "green", "--abstract", "tea", "--user", "alice"]);
    shell.ok(&["append", "ctx://acme/users/alice/memories/likes/tea", " tea", "--user", "alice"]);
    assert_eq!(shell.ok(&["read", "ctx://acme/users/alice/memories/likes/tea"]), "green tea");
    assert_eq!(shell.ok(&["read", "ctx://acme/users/alice/memories/likes/tea", "--version", "1"]), "green");
    assert_eq!(shell.ok(&["read", "ctx://acme/users/alice/memories/likes/tea", "--level", "abstract"]), "tea");
    shell.ok(&["write", "ctx://acme/resources/cup", "a cup"]);
    shell.ok(&[
        "link",
        "ctx://acme/users/alice/memories/likes/tea",
        "ctx://acme/resources/cup",
        "--type",
        "needs",
        "--weight",
        "0.5",
    ]);
    assert!(shell.ok(&["edges", "ctx://acme/resources/cup"]).contains("needs  0.50"));
    assert!(shell.ok(&["traverse", "ctx://acme/users/alice/memories/likes/tea"]).contains("ctx://acme/resources/cup"));
    shell.ok(&["archive", "ctx://acme/resources/cup"]);
    assert_eq!(shell.fails(&["read", "ctx://acme/resources/cup"]).0, 3);
    assert_eq!(shell.ok(&["search", "cup", "--account", "acme"]), "nothing found\n");
    shell.ok(&["restore", "ctx://acme/resources/cup"]);
    assert!(shell.ok(&["search", "cup", "--account", "acme"]).contains("ctx://acme/resources/cup"));
    // W5: what a search is limited to, and what its words may be.
    let found = |arguments: &[&str]| {
        let arguments = [&["search", "--account", "acme"][..], arguments].concat();
        shell.json(&arguments)["items"].as_array().map(Vec::len)
    };
    assert_eq!(found(&["cups"]), Some(1));
    assert_eq!(found(&["-nothing cup"]), Some(1));
    assert_eq!(found(&["cup", "--type", "memory"]), Some(0));
    assert_eq!(found(&["cup", "--space", "shared", "--type", "resource", "--since", "2020-01-31"]), Some(1));
    assert_eq!(found(&["cup", "--until", "2020-01-31T00:00:00+02:00"]), Some(0));
    assert_eq!(found(&["cup", "--meta", "size=3"]), Some(0));
    assert!(shell.ok(&["search", "cup", "--account", "acme"]).contains("[cup]: "), "the name is what matches");
    assert_eq!(shell.fails(&["search", "cup", "--account", "acme", "--space", "bob"]).0, 2);
    shell.ok(&["revert", "ctx://acme/users/alice/memories/likes/tea", "1"]);
    let history = shell.json(&["history", "ctx://acme/users/alice/memories/likes/tea"]);
    assert_eq!(history["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(shell.json(&["stat", "ctx://acme/resources/cup"])["content_bytes"].as_u64(), Some(5));
    assert!(shell.ok(&["ls", "-l", "ctx://acme/resources"]).contains("resource  3        5"));
    assert_eq!(shell.fails(&["rm", "ctx://acme/users/alice/memories"]).0, 5);
    shell.ok(&["rm", "-r", "ctx://acme/users/alice/memories"]);
    let log = "ctx://acme/sessions/s1/history/0001";
    shell.ok(&["say", log, "alice", "hello there", "--user", "alice"]);
    assert_eq!(shell.fails(&["messages", log, "--user", "bob"]).0, 3);
    assert!(shell.ok(&["archive-session", log, "--user", "alice"]).contains("updated"));
    assert!(shell.ok(&["search", "hello", "--account", "acme"]).contains(log));
    shell.ok(&["export", "--archive", "ctx://acme/resources", "backup.jsonl"]);
    shell.ok(&["import", "backup.jsonl", "ctx://acme/resources/copy"]);
    assert_eq!(shell.ok(&["read", "ctx://acme/resources/copy/cup"]), "a cup");
    shell.ok(&["export", "ctx://acme/resources", "files"]);
    assert_eq!(fs::read_to_string(shell.folder.path().join("files/copy/cup")).ok().as_deref(), Some("a cup"));
    assert!(shell.ok(&["doctor", "--account", "acme"]).contains("nothing is wrong"));
    let pruned = shell.json(&["history", "--prune", "--keep", "0", "ctx://acme/resources/cup"]);
    assert!(pruned["versions"].as_u64() > Some(0), "{pruned}");
    assert!(shell.fails(&["history", "--prune", "ctx://acme/resources/cup"]).1.contains("how many versions to keep"));
    assert!(shell.ok(&["--help"]).contains("Examples:"));
    assert!(shell.ok(&["completions", "bash"]).contains("_ctx"));
}

/// Nobody listens at the port, and that is said at once: the pool would try again for half a minute.
#[test]
fn a_refused_port_is_said_at_once() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let shell = Shell::on(format!("postgres://ann:secret@127.0.0.1:{port}/memory"));
    let started = std::time::Instant::now();
    let (code, said) = shell.fails(&["status", "--account", "acme"]);
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(code, 1);
    assert!(said.contains("cannot open postgres://ann@127.0.0.1") && said.contains("refused"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn every_command_is_listed_and_has_its_help() {
    let shell = Shell::sqlite();
    let commands = [
        "stat",
        "ls",
        "tree",
        "glob",
        "read",
        "write",
        "append",
        "mv",
        "rm",
        "archive",
        "restore",
        "link",
        "unlink",
        "edges",
        "traverse",
        "history",
        "revert",
        "search",
        "import",
        "export",
        "archive-session",
        "doctor",
        "status",
        "say",
        "messages",
        "conversations",
        "completions",
    ];
    let all = shell.ok(&["--help"]);
    for command in commands {
        assert!(all.contains(&format!("\n  {command} ")), "{command} is not listed");
        let help = shell.ok(&[command, "--help"]);
        assert!(help.contains("Usage: ctx") && help.contains("--json"), "{help}");
    }
    // No colour where nobody sees it.
    shell.ok(&["write", "ctx://acme/resources/folder/a", "x"]);
    for command in [
        &["ls", "ctx://acme/resources"][..],
        &["tree", "ctx://acme/resources"],
        &["stat", "ctx://acme/resources/folder/a"],
    ] {
        assert!(!shell.ok(command).contains('\u{1b}'), "{command:?}");
    }
}

/// Names that mean something in a URI, in a shell or on a terminal.
#[cfg(unix)]
const ODD: [&str; 12] = [
    "a b",
    "a%20b",
    "a%2520b",
    "100%",
    "C#",
    "what?",
    "tab\u{a0}",
    " edges ",
    "turned\u{202e}txt",
    "zero\u{200b}width",
    "quote'\"",
    "Zürich",
];

#[cfg(unix)]
fn odd(shell: &Shell) {
    let folder = shell.folder.path().join("nm");
    fs::create_dir_all(&folder).expect("a folder");
    for name in ODD {
        fs::write(folder.join(name), format!("text of {name}")).expect("a file");
    }
    shell.ok(&["import", "nm", "ctx://g/resources/o"]);
}

#[cfg(unix)]
#[test]
fn w2_what_is_printed_as_a_name_can_be_pasted_back_as_that_name() {
    let shell = Shell::sqlite();
    odd(&shell);
    let contents = |addresses: Vec<String>| {
        let mut read: Vec<String> = addresses.iter().map(|address| shell.ok(&["read", address])).collect();
        read.sort_unstable();
        read
    };
    let mut expected: Vec<String> = ODD.iter().map(|name| format!("text of {name}")).collect();
    expected.sort_unstable();
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let below = |name: &String| format!("ctx://g/resources/o/{name}");
    let listed = lines(shell.ok(&["ls", "ctx://g/resources/o"]));
    assert_eq!(contents(listed.iter().map(below).collect()), expected, "ls");
    assert_eq!(contents(lines(shell.ok(&["glob", "ctx://g/resources/o/*"]))), expected, "glob");
    assert_eq!(contents(lines(shell.ok(&["tree", "--paths", "ctx://g"]))), expected, "tree --paths");
    assert_eq!(contents(lines(shell.ok(&["grep", "-l", "text", "ctx://g"]))), expected, "grep -l");
    let found = lines(shell.ok(&["search", "text", "--account", "g", "--limit", "50"]));
    assert_eq!(contents(found.into_iter().filter(|line| line.starts_with("ctx://")).collect()), expected, "search");
    for text in [shell.ok(&["ls", "-l", "ctx://g/resources/o"]), shell.ok(&["tree", "ctx://g"]), listed.join("\n")] {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{200b}')), "{text:?}");
    }
    // The attack: what was printed for one name is another's address.
    for address in lines(shell.ok(&["glob", "ctx://g/resources/o/a%20b"])) {
        shell.ok(&["rm", &address]);
    }
    let left = lines(shell.ok(&["ls", "ctx://g/resources/o"]));
    assert!(
        left.contains(&"a b".to_owned())
            && left.contains(&"a%252520b".to_owned())
            && !left.contains(&"a%2520b".to_owned()),
        "{left:?}"
    );
    assert_eq!(left.len(), ODD.len() - 1);
    shell.ok(&["archive", "-r", "ctx://g/resources/o"]);
    assert_eq!(shell.ok(&["ls", "ctx://g/resources/o"]), "", "it is there, and empty");
    for address in lines(shell.ok(&["ls", "--archived", "ctx://g"])) {
        shell.ok(&["restore", &address]);
    }
    assert_eq!(lines(shell.ok(&["ls", "ctx://g/resources/o"])).len(), ODD.len() - 1);
}

#[test]
fn w2_texts_of_others_do_nothing_to_a_terminal() {
    let shell = Shell::sqlite();
    let evil = "red \u{1b}[31m \u{202e}turned\u{7}";
    shell.ok(&["write", "ctx://g/resources/a", evil, "--abstract", evil]);
    shell.ok(&["write", "ctx://g/resources/b", "b"]);
    shell.ok(&["link", "ctx://g/resources/a", "ctx://g/resources/b", "--type", "t\u{1b}", "--reason", evil]);
    shell.ok(&["say", "ctx://g/sessions/s/history/1", evil, evil, "--user", "eve"]);
    for command in [
        &["edges", "ctx://g/resources/a"][..],
        &["traverse", "ctx://g/resources/b", "--direction", "in"],
        &["search", "red", "--account", "g"],
        &["grep", "red", "ctx://g"],
        &["messages", "ctx://g/sessions/s/history/1"],
    ] {
        let text = shell.ok(command);
        assert!(text.contains("red"), "{command:?}: {text:?}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{command:?}: {text:?}");
    }
    assert_eq!(shell.ok(&["read", "ctx://g/resources/a"]), evil, "a program gets the text as it is");
    let (_, said) = shell.fails(&["read", "ctx://g/resources/\u{1b}[31m"]);
    assert!(!said.chars().any(char::is_control), "{said:?}");
}

#[cfg(unix)]
#[test]
fn w3_two_spellings_of_a_name_never_overwrite_each_other_unsaid() {
    let shell = Shell::sqlite();
    let folder = shell.folder.path().join("nf");
    fs::create_dir_all(folder.join("deep/e\u{301}")).expect("a folder");
    fs::create_dir_all(folder.join("deep/\u{e9}")).expect("a folder");
    fs::write(folder.join("e\u{301}.md"), "decomposed").expect("a file");
    fs::write(folder.join("\u{e9}.md"), "composed").expect("a file");
    fs::write(folder.join("deep/e\u{301}/x.md"), "decomposed folder").expect("a file");
    fs::write(folder.join("deep/\u{e9}/x.md"), "composed folder").expect("a file");
    for n in 0..210 {
        fs::write(folder.join(format!("m{n:03}")), "x").expect("a file");
    }
    for (n, batch) in ["200", "1", "2000", "7"].into_iter().enumerate() {
        let to = format!("ctx://b/resources/nf{}", n % 2);
        let report = shell.json(&["import", "--batch", batch, "nf", &to]);
        assert_eq!(
            (report["updated"].as_u64(), report["refused"].as_array().map(Vec::len)),
            (Some(0), Some(2)),
            "{report}"
        );
        assert_eq!(report["created"].as_u64(), Some(if n < 2 { 212 } else { 0 }), "{report}");
    }
    let first = shell.ok(&["read", "ctx://b/resources/nf0/\u{e9}.md"]);
    // Another run, of a folder that has the other spelling only.
    let (one, other) = (shell.folder.path().join("one"), shell.folder.path().join("other"));
    for (folder, name, text) in [(&one, "e\u{301}.md", "decomposed"), (&other, "\u{e9}.md", "composed")] {
        fs::create_dir_all(folder).expect("a folder");
        fs::write(folder.join(name), text).expect("a file");
    }
    assert_eq!(shell.json(&["import", "one", "ctx://b/resources/c"])["created"], 1);
    let report = shell.json(&["import", "other", "ctx://b/resources/c"]);
    assert!(report["refused"][0]["reason"].as_str().is_some_and(|why| why.contains("another spelling")), "{report}");
    assert_eq!(shell.ok(&["read", "ctx://b/resources/c/\u{e9}.md"]), "decomposed");
    fs::write(one.join("e\u{301}.md"), "newer").expect("a file");
    assert_eq!(shell.json(&["import", "one", "ctx://b/resources/c"])["updated"], 1, "its own spelling goes on");
    assert_eq!(first, shell.ok(&["read", "ctx://b/resources/nf0/\u{e9}.md"]));
}

#[test]
fn w9_an_export_writes_everything_or_says_what_it_did_not() {
    let shell = Shell::sqlite();
    for (name, text) in [
        ("a", "text of a"),
        ("a/b/c", "abc"),
        ("p", "P"),
        ("p/q", "PQ"),
        ("p-q", "between"),
        ("empty", ""),
        ("empty/x", "X"),
    ] {
        shell.ok(&["write", &format!("ctx://b/resources/e/{name}"), text]);
    }
    let output = shell.run(&["export", "ctx://b/resources/e", "out"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(6), "{told}");
    let file = |name: &str| fs::read_to_string(shell.folder.path().join("out").join(name)).ok();
    assert_eq!(file("a/b/c").as_deref(), Some("abc"));
    assert_eq!(
        (file("p/q").as_deref(), file("p-q").as_deref(), file("empty/x").as_deref()),
        (Some("PQ"), Some("between"), Some("X"))
    );
    assert!(
        told.contains("refused ctx://b/resources/e/a: it is a folder as well")
            && told.contains("refused ctx://b/resources/e/p: "),
        "{told}"
    );
    assert_eq!(told.matches("refused ").count(), 2, "{told}");
    assert!(told.contains("exported 5 node(s)"), "{told}");
    // An archive keeps everything, and says so.
    assert!(shell.ok(&["export", "--archive", "ctx://b/resources/e", "all.jsonl"]).contains("exported 7 node(s)"));
    // Messages that are no text of a node yet are no file.
    shell.ok(&["say", "ctx://b/sessions/s/history/1", "eve", "hello", "--user", "eve"]);
    let output = shell.run(&["export", "ctx://b/sessions/s", "log", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), report["nodes"].as_u64()), (Some(6), Some(0)), "{report}");
    assert!(report["refused"][0]["reason"].as_str().is_some_and(|why| why.contains("its log is open")), "{report}");
}

#[test]
fn w9_an_archive_with_refused_lines_is_not_done() {
    let shell = Shell::sqlite();
    shell.ok(&["write", "ctx://b/resources/e/a", "text"]);
    shell.ok(&["export", "--archive", "ctx://b/resources/e", "all.jsonl"]);
    shell.ok(&["write", "ctx://b/resources/e/a", "other"]);
    let output = shell.run(&["import", "all.jsonl", "ctx://b/resources/e"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(6), "{told}");
    assert!(
        told.contains("refused /a: line 2: ") && told.contains("another state") && told.contains("imported 0 node(s)"),
        "{told}"
    );
}

#[test]
fn w6_globs_mean_what_they_say() {
    let shell = Shell::sqlite();
    let deep = vec!["a"; 60].join("/");
    for (name, text) in [
        (deep.as_str(), "x"),
        ("C%23/f", "x"),
        ("100%25/f", "x"),
        ("]", "x"),
        ("~", "x"),
        ("%7B", "x"),
        ("e\u{301}t\u{e9}", "x"),
        ("a_b", "x"),
        ("aXb", "x"),
    ] {
        shell.ok(&["write", &format!("ctx://d/resources/{name}"), text]);
    }
    shell.ok(&["say", "ctx://d/sessions/s/history/1", "eve", "hello", "--user", "eve"]);
    let glob = |pattern: &str| -> Vec<String> {
        let text = shell.ok(&["glob", &format!("ctx://d/{pattern}")]);
        text.lines().map(|line| line.trim_start_matches("ctx://d/").to_owned()).collect()
    };
    let started = std::time::Instant::now();
    for stars in [3, 6, 60] {
        assert!(glob(&format!("resources/{}[z]", "**/".repeat(stars))).is_empty());
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(glob("resources/[]x]"), ["resources/%5D"]);
    assert!(glob("resources/[!]a]").contains(&"resources/~".to_owned()));
    assert_eq!(glob("resources/[{]"), ["resources/%7B"]);
    assert_eq!(glob("resources/C#/*"), ["resources/C%23/f"]);
    assert_eq!(glob("resources/100%/*"), ["resources/100%25/f"]);
    assert_eq!(glob("resources/e\u{301}t?"), ["resources/%C3%A9t%C3%A9"]);
    assert_eq!(glob("resources/a_b"), ["resources/a_b"]);
    assert_eq!(glob("resources/{a_,a}[X_]b"), ["resources/aXb", "resources/a_b"]);
    assert_eq!(glob("resources/{C#,100%}/f"), ["resources/100%25/f", "resources/C%23/f"]);
    assert_eq!(glob("sessions/*"), Vec::<String>::new(), "the row that a session keeps for itself is nobody's");
    assert_eq!(glob("**/1"), ["sessions/s/history/1"]);
}

#[test]
fn w7_a_command_says_what_is_not_there_and_opens_without_migrating() {
    let shell = Shell::sqlite();
    shell.ok(&["write", "ctx://acme/resources/a", "one", "--meta", "n=1", "--meta", "who=ann"]);
    assert_eq!(
        shell.json(&["read", "ctx://acme/resources/a"])["metadata"],
        serde_json::json!({ "n": 1, "who": "ann" })
    );
    for arguments in [
        &["ls", "ctx://acme/resources/none"][..],
        &["tree", "ctx://nobody"],
        &["ls", "ctx://nobody/resources"],
        &["status", "--account", "nobody"],
        &["doctor", "--account", "nobody"],
        &["search", "one", "--account", "nobody"],
        &["grep", "one", "ctx://nobody"],
    ] {
        let (code, said) = shell.fails(arguments);
        assert!(code == 3 && said.contains("does not exist"), "{arguments:?}: {code} {said}");
    }
    assert_eq!(shell.ok(&["grep", "o.e", "ctx://acme"]), "ctx://acme/resources/a:1:one\n");
    assert_eq!(shell.run(&["grep", "-F", "o.e", "ctx://acme"]).status.code(), Some(3));
    assert_eq!(shell.ok(&["grep", "-iF", "ONE", "ctx://acme/resources/a"]), "ctx://acme/resources/a:1:one\n");
    assert!(shell.fails(&["grep", "(", "ctx://acme"]).1.contains("is no regular expression"));

    // Only onto what was seen.
    assert_eq!(shell.fails(&["write", "ctx://acme/resources/a", "x", "--create"]).0, 5);
    shell.ok(&["write", "ctx://acme/resources/new", "x", "--create"]);
    for arguments in [
        &["append", "ctx://acme/resources/a", "x", "--expect-version", "7"][..],
        &["mv", "ctx://acme/resources/a", "ctx://acme/resources/b", "--expect-version", "7"],
        &["rm", "ctx://acme/resources/a", "--expect-version", "7"],
    ] {
        let (code, said) = shell.fails(arguments);
        assert!(code == 5 && said.contains("has version 1, not 7"), "{arguments:?}: {said}");
    }
    shell.ok(&["append", "ctx://acme/resources/a", " two", "--expect-version", "1"]);
    shell.ok(&["mv", "ctx://acme/resources/a", "ctx://acme/resources/b", "--expect-version", "2"]);
    shell.ok(&["rm", "ctx://acme/resources/b", "--expect-version", "3"]);
    assert_eq!(shell.fails(&["rm", "ctx://acme/resources/b", "--expect-version", "3"]).0, 3);
    shell.ok(&["archive", "ctx://acme/resources/new"]);
    assert_eq!(shell.ok(&["ls", "--archived", "ctx://acme"]), "ctx://acme/resources/new\n");

    // One text file, and conversations as they come.
    fs::write(shell.folder.path().join("one.md"), "# One\ntext").expect("a file");
    assert_eq!(shell.json(&["import", "one.md", "ctx://acme/resources/docs", "--meta", "by=ann"])["created"], 1);
    assert_eq!(shell.json(&["import", "one.md", "ctx://acme/resources/docs/one.md"])["unchanged"], 1);
    assert_eq!(shell.json(&["read", "ctx://acme/resources/docs/one.md"])["metadata"]["by"], "ann");
    fs::write(
        shell.folder.path().join("chat.json"),
        r#"{"session_1":[{"speaker":"A","text":"hi"}],"session_1_date_time":"1:56 pm on 8 May, 2023"}"#,
    )
    .expect("a file");
    assert!(
        shell
            .ok(&["import", "chat.json", "ctx://acme/sessions/chat", "--user", "ann"])
            .contains("1 conversation(s) created")
    );
    assert_eq!(
        shell.ok(&["messages", "ctx://acme/sessions/chat/history/0001", "--user", "ann"]),
        "2023-05-08 13:56:00 A: hi\n"
    );
    fs::write(shell.folder.path().join("no.json"), r#"{"a": 1}"#).expect("a file");
    assert!(shell.fails(&["import", "no.json", "ctx://acme/sessions/no", "--user", "ann"]).1.contains("is nearest to"));
}

fn a_database_of_an_earlier_version_is_left_as_it_is(shell: &Shell, runtime: &tokio::runtime::Runtime) {
    shell.ok(&["write", "ctx://acme/resources/a", "one"]);
    // As it was before the newest migration.
    for statement in [
        "DROP INDEX nodes_active_tree_idx",
        "ALTER TABLE nodes DROP COLUMN tree_key",
        "DELETE FROM seaql_migrations WHERE version LIKE 'm20260101_000007%'",
        "DELETE FROM seaql_migrations_ledger WHERE version LIKE 'm20260101_000007%'",
    ] {
        runtime.block_on(shell.sql(statement));
    }
    for arguments in [&["read", "ctx://acme/resources/a"][..], &["write", "ctx://acme/resources/a", "two"]] {
        let (code, said) = shell.fails(arguments);
        assert!(code == 7 && said.contains("needs 1 migration(s): `ctx migrate` applies them"), "{said}");
    }
    assert!(shell.ok(&["migrate"]).contains("up to date"));
    assert_eq!(shell.ok(&["read", "ctx://acme/resources/a"]), "one");
}

#[test]
fn w7_a_database_of_an_earlier_version_is_migrated_when_asked() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    a_database_of_an_earlier_version_is_left_as_it_is(&Shell::sqlite(), &runtime);
    let shell = runtime.block_on(Shell::postgres());
    let (code, said) = shell.fails(&["ls", "ctx://acme"]);
    assert!(code == 7 && said.contains("holds no context store: `ctx migrate` makes one"), "{said}");
    a_database_of_an_earlier_version_is_left_as_it_is(&shell, &runtime);
}

#[test]
fn w8_no_error_shows_a_password_in_whatever_form_of_url() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    for url in [
        format!("postgres://ann:hunter2@127.0.0.1:{port}/memory"),
        format!("postgres://ann:hun%74er2@127.0.0.1:{port}/memory?password=hunter2"),
        format!("postgres://127.0.0.1:{port}/memory?user=ann&password=hunter2"),
        format!("postgres://127.0.0.1:{port}/memory?pass%77ord=hunter2"),
        format!("postgresql://ann:hunter2@127.0.0.1:{port}/memory?sslmode=nonsense"),
        "postgres://ann:hunter2@127.0.0.1:port/memory".into(),
        "postgres://ann:hunter2?@127.0.0.1/memory".into(),
        "postgres:ann:hunter2@127.0.0.1/memory".into(),
        "mysql://ann:hunter2@127.0.0.1/memory".into(),
        "strange://ann:hunter2@127.0.0.1/memory?password=hunter2".into(),
        "sqlite://nowhere/at/all.db?mode=ro&key=hunter2".into(),
    ] {
        for json in [&[][..], &["--json"]] {
            let (_, said) = Shell::on(url.as_str()).fails(&[&["status", "--account", "acme"], json].concat());
            assert!(!said.contains("hunter2") && !said.contains("er2"), "{url}: {said}");
        }
    }
    let shell = Shell::sqlite();
    shell.ok(&["write", "ctx://acme/resources/a", "x"]);
    for sink in [
        format!("http://ann:hunter2@127.0.0.1:{port}/x?token=hunter2"),
        "http://ann:hunter2@127.0.0.1:port/x".into(),
        "ftp://ann:hunter2@127.0.0.1/x".into(),
    ] {
        let (_, said) = shell.fails(&["outbox", "run", "--once", "--secret", "hunter2", "--sink", &sink]);
        assert!(!said.contains("hunter2"), "{said}");
    }
    assert!(!shell.ok(&["outbox", "streams"]).contains("hunter2"));
    assert!(!shell.ok(&["outbox", "streams", "--json"]).contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w8_no_debug_output_shows_a_password() {
    let sink = context_store::index::HttpSink::new("http://ann:hunter2@127.0.0.1/x?token=hunter2").expect("a sink");
    assert!(!format!("{:?}", sink.secret("hunter2")).contains("hunter2"));
    let server = sea_session::testing::cluster::fresh_database().await.unwrap_or_else(|e| panic!("{e}"));
    let role = server.create_role().await.unwrap_or_else(|e| panic!("{e}"));
    let password = role
        .url()
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('@'))
        .and_then(|(login, _)| login.split_once(':'));
    let password = password.map(|(_, password)| password.to_owned()).expect("a role with a password");
    let db = sea_session::Db::connect(role.url()).await.expect("a connection");
    let store = context_store::Store::new(db.clone());
    let shown = format!("{db:?} {store:?} {:?} {:?}", store.outbox(), db.connection());
    assert!(!shown.contains(&password), "{shown}");
    let refused = context_store::Store::connect(role.url()).await;
    assert!(matches!(&refused, Err(e) if !e.to_string().contains(&password)), "{refused:?}");
    assert!(!format!("{refused:?}").contains(&password));
}
