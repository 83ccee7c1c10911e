//! The command `ctx`, as people and scripts use it.

mod databases;
mod names;
mod refusals;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::shell::Shell;

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
    let page = shell.ok(&["man"]);
    assert!(page.contains(".TH ctx 1") && page.contains("ctx\\-search(1)") && page.contains("Exit codes"), "{page}");
    let page = shell.ok(&["man", "search"]);
    assert!(page.contains(".TH ctx-search 1") && page.contains("\\-\\-limit"), "{page}");
    assert!(shell.fails(&["man", "brew"]).1.contains("ctx has no command `brew`"));
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
        "man",
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
