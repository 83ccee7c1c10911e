//! What is refused, and what its sentence never shows (W8).

use super::*;

#[test]
fn bad_input_is_one_clear_sentence_and_an_exit_code() {
    let shell = Shell::sqlite();
    assert_eq!(
        shell.fails(&["ls", "ctx://acme"]),
        (
            1,
            "ctx: ctx.db: there is no context store; `ctx import` and `ctx write` make one (see errors/store-io)"
                .into()
        )
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
