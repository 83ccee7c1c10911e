//! Databases that are not there, not ours, or of an earlier version (W7).

use super::*;

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
