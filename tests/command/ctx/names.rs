//! Names and texts that others chose (W2, W3).

use super::*;

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
