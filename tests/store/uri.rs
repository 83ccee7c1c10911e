//! V1: the forms of context URIs, their one canonical form, and what is refused and why.

use context_store::uri::{Kind, MAX_URI_BYTES, NodeType, Owner, Uri, UriReason};
use proptest::prelude::*;

fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap_or_else(|e| panic!("{e}"))
}

fn reason(text: &str) -> UriReason {
    match Uri::parse(text) {
        Ok(uri) => panic!("{text:?} was taken as {uri}"),
        Err(e) => e.reason,
    }
}

#[test]
fn v1_all_forms_of_the_scheme() {
    let forms = [
        ("ctx://acme", Kind::Account),
        ("ctx://acme/users", Kind::Spaces),
        ("ctx://acme/users/alice", Kind::Space),
        ("ctx://acme/users/alice/memories", Kind::Memories),
        ("ctx://acme/users/alice/memories/likes", Kind::Category),
        ("ctx://acme/users/alice/memories/likes/tea", Kind::Memory),
        ("ctx://acme/users/alice/memories/profile", Kind::Profile),
        ("ctx://acme/agents/bot/memories", Kind::Memories),
        ("ctx://acme/agents/bot/memories/cases", Kind::Category),
        ("ctx://acme/agents/bot/memories/cases/one", Kind::Memory),
        ("ctx://acme/agents/bot/skills", Kind::Skills),
        ("ctx://acme/agents/bot/skills/cooking", Kind::Skill),
        ("ctx://acme/sessions/s1/history", Kind::History),
        ("ctx://acme/sessions/s1/history/0001", Kind::Archive),
        ("ctx://acme/sessions/s1/state", Kind::State),
        ("ctx://acme/sessions/s1/state.json", Kind::State),
        ("ctx://acme/resources", Kind::Resource),
        ("ctx://acme/resources/a/b/c/d/e/f", Kind::Resource),
    ];
    for (text, kind) in forms {
        let parsed = uri(text);
        assert_eq!(parsed.kind(), kind, "{text}");
        assert_eq!(parsed.to_string(), text);
    }
}

#[test]
fn v1_places_outside_the_scheme_are_refused() {
    for text in [
        "ctx://acme/teams/a",
        "ctx://acme/users/alice/notes",
        "ctx://acme/users/alice/skills",
        "ctx://acme/users/alice/memories/likes/tea/green",
        "ctx://acme/users/alice/memories/profile/name",
        "ctx://acme/agents/bot/skills/cooking/soup",
        "ctx://acme/sessions/s1/history/a/b",
        "ctx://acme/sessions/s1/state/x",
        "ctx://acme/sessions/s1/log",
    ] {
        assert!(matches!(reason(text), UriReason::Form(_)), "{text}");
    }
}

#[test]
fn v1_malformed_text_is_refused_with_its_own_reason() {
    assert_eq!(reason("http://acme/resources"), UriReason::Scheme);
    assert_eq!(reason("resources/a"), UriReason::Scheme);
    assert_eq!(reason(""), UriReason::Scheme);
    assert_eq!(reason("ctx://"), UriReason::NoAccount);
    assert_eq!(reason("ctx:///"), UriReason::NoAccount);
    assert_eq!(reason("ctx:///resources"), UriReason::EmptySegment);
    assert_eq!(reason("ctx://acme/resources//a"), UriReason::EmptySegment);
    assert_eq!(reason("ctx://acme/resources/a//"), UriReason::EmptySegment);
    assert_eq!(reason("ctx://acme/resources/../users"), UriReason::DotSegment);
    assert_eq!(reason("ctx://acme/resources/."), UriReason::DotSegment);
    assert_eq!(reason("ctx://acme/resources/%2e%2E/x"), UriReason::DotSegment);
    assert_eq!(reason("ctx://acme/resources/a\n"), UriReason::FinalNewline);
    assert_eq!(reason("ctx://acme/resources/a\nb"), UriReason::Control(0x0A));
    assert_eq!(reason("ctx://acme/resources/a%00b"), UriReason::Control(0));
    assert_eq!(reason("ctx://acme/resources/a%0A"), UriReason::Control(0x0A));
    assert_eq!(reason("ctx://acme/resources/a\u{85}b"), UriReason::Control(0x85));
    assert_eq!(reason("ctx://acme/resources/a\u{2028}b"), UriReason::Control(0x2028));
    assert_eq!(reason("ctx://acme/resources/100%"), UriReason::BadPercent);
    assert_eq!(reason("ctx://acme/resources/%zz"), UriReason::BadPercent);
    assert_eq!(reason("ctx://acme/resources/%+1"), UriReason::BadPercent);
    assert_eq!(reason("ctx://acme/resources/%FF"), UriReason::NotUtf8);
    assert_eq!(reason("ctx://acme/resources/a%2Fb"), UriReason::EncodedSlash);
    assert_eq!(reason("ctx://acme/resources/a?b"), UriReason::QueryOrFragment('?'));
    assert_eq!(reason("ctx://acme/resources/a#b"), UriReason::QueryOrFragment('#'));
}

#[test]
fn v1_the_longest_uri_has_1024_bytes() {
    let base = "ctx://acme/resources/";
    let longest = format!("{base}{}", "a".repeat(MAX_URI_BYTES - base.len()));
    assert_eq!(uri(&longest).as_str().len(), 1024);
    assert_eq!(reason(&format!("{longest}a")), UriReason::TooLong(1025));
    // The bound is on the canonical form: an umlaut takes six bytes of it.
    let umlauts = format!("{base}{}", "ä".repeat(200));
    assert_eq!(reason(&umlauts), UriReason::TooLong(base.len() + 1200));
}

#[test]
fn v1_spellings_of_one_name_are_one_uri() {
    let canonical = "ctx://acme/resources/Z%C3%BCrich%20%28a%29";
    for text in [
        canonical,
        "ctx://acme/resources/Zürich (a)",
        "ctx://acme/resources/Zu\u{308}rich (a)",
        "CTX://acme/resources/Z%c3%bcrich%20(a)",
        "ctx://acme/%72esources/Zürich (a)/",
    ] {
        assert_eq!(uri(text).as_str(), canonical, "{text}");
    }
    assert_eq!(uri(canonical).pretty(), "ctx://acme/resources/Zürich (a)");
}

#[test]
fn v1_the_message_shows_what_was_given_and_says_why() {
    let message = Uri::parse("ctx://acme/resources/a\n").expect_err("a newline").to_string();
    assert_eq!(message, r#""ctx://acme/resources/a\n" is not a context URI: it ends with a newline"#);
    let message = Uri::parse("ctx://acme/resources/a?b").expect_err("a query").to_string();
    assert!(message.ends_with("`?` must be written `%3F`: a context URI has no query and no fragment"), "{message}");
}

#[test]
fn v1_parents_children_and_names() {
    let file = uri("ctx://acme/resources/src").child("100%_a\\b.rs").expect("a name");
    assert_eq!(file.as_str(), "ctx://acme/resources/src/100%25_a%5Cb.rs");
    assert_eq!(file.name(), "100%_a\\b.rs");
    assert_eq!(file.parent(), Some(uri("ctx://acme/resources/src")));
    assert_eq!(uri("ctx://acme").parent(), None);
    assert_eq!(uri("ctx://acme").name(), "acme");
    assert!(uri("ctx://acme/resources").child("..").is_err());
    assert!(uri("ctx://acme/resources").child("a/b").is_err());
    assert!(uri("ctx://acme/users/u/memories/likes/tea").child("x").is_err());
}

#[test]
fn v6_folders_are_compared_by_whole_segments() {
    let folder = uri("ctx://acme/resources/a_b");
    assert!(uri("ctx://acme/resources/a_b/c").starts_with_folder(&folder));
    assert!(folder.starts_with_folder(&folder));
    assert!(!folder.is_below(&folder));
    for neighbour in ["ctx://acme/resources/a_bc", "ctx://acme/resources/aXb/c", "ctx://acme/resources/a_b-c"] {
        assert!(!uri(neighbour).starts_with_folder(&folder), "{neighbour}");
    }
}

#[test]
fn v3_owner_category_and_type_follow_from_the_uri() {
    let memory = uri("ctx://acme/users/alice/memories/likes/tea");
    assert_eq!(memory.owner(), Owner::User("alice".into()));
    assert_eq!(memory.owner().space().as_deref(), Some("user:alice"));
    assert_eq!(memory.category(), Some("likes"));
    assert_eq!(memory.node_type(), Some(NodeType::Memory));
    let profile = uri("ctx://acme/users/alice/memories/profile");
    assert_eq!(profile.category(), Some("profile"));
    let skill = uri("ctx://acme/agents/bot/skills/cooking");
    assert_eq!((skill.owner().space().as_deref(), skill.category()), (Some("agent:bot"), None));
    assert_eq!(skill.node_type(), Some(NodeType::Skill));
    let resource = uri("ctx://acme/resources/memories/likes/tea");
    assert_eq!((resource.owner(), resource.category()), (Owner::Shared, None));
    let archive = uri("ctx://acme/sessions/s1/history/0001");
    assert_eq!((archive.owner(), archive.owner().space()), (Owner::Session("s1".into()), None));
    assert_eq!(archive.session_root(), Some(uri("ctx://acme/sessions/s1")));
    // A comma separates spaces in a setting of the database: no space has one.
    assert_eq!(uri("ctx://acme/users/a,b/memories").owner().space().as_deref(), Some("user:a%2Cb"));
}

#[test]
fn v7_rebase_replaces_the_moved_part_only() {
    let (from, to) = (uri("ctx://acme/resources/a"), uri("ctx://acme/resources/b/c"));
    let moved = uri("ctx://acme/resources/a/x/a").rebase(&from, &to);
    assert_eq!(moved.map(|u| u.to_string()).as_deref(), Ok("ctx://acme/resources/b/c/x/a"));
    assert!(uri("ctx://acme/resources/ab/x").rebase(&from, &to).is_err());
}

/// A plain name: anything but what a segment can never be.
fn name() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 1..12).prop_map(|chars| chars.into_iter().collect::<String>()).prop_filter(
        "a name that a segment can be",
        |name| {
            name != "."
                && name != ".."
                && !name.chars().any(|c| c == '/' || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        },
    )
}

fn resource() -> impl Strategy<Value = Uri> {
    (name(), proptest::collection::vec(name(), 0..5)).prop_filter_map("within the bound", |(account, names)| {
        let root = Uri::account_root(&account).ok()?.child("resources").ok()?;
        names.iter().try_fold(root, |folder, name| folder.child(name)).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn v1_parse_of_the_text_is_the_uri(uri in resource()) {
        let text = uri.to_string();
        prop_assert_eq!(Uri::parse(&text), Ok(uri.clone()));
        // The readable spelling is read back too, unless a name has what must be written encoded.
        if !uri.pretty().contains(['%', '?', '#']) {
            prop_assert_eq!(Uri::parse(&uri.pretty()), Ok(uri));
        }
    }

    #[test]
    fn v1_what_is_taken_is_canonical_afterwards(text in "(ctx|CTX|Ctx)://[ -~äöü%]{0,40}") {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(Uri::parse(uri.as_str()).map(|again| again.to_string()), Ok(uri.to_string()));
            prop_assert!(!uri.as_str().ends_with('/'));
        }
    }

    #[test]
    fn v1_any_text_is_taken_or_refused_but_never_panics(text in any::<String>()) {
        let _ = Uri::parse(&text).map(|uri| uri.to_string());
        let _ = Uri::parse(&format!("ctx://{text}")).map(|uri| uri.to_string());
    }

    #[test]
    fn v6_the_range_below_holds_exactly_what_lies_below(folder in resource(), other in resource(), more in proptest::collection::vec(name(), 0..3)) {
        let (from, to) = folder.below();
        let in_range = |uri: &Uri| uri.as_str() >= from.as_str() && uri.as_str() < to.as_str();
        let inside = more.iter().try_fold(folder.clone(), |uri, name| uri.child(name));
        for candidate in [Some(other), inside.ok(), folder.parent(), Some(folder.clone())].into_iter().flatten() {
            prop_assert_eq!(in_range(&candidate), candidate.is_below(&folder), "{} in {}", candidate, folder);
        }
        // Neighbours in byte order on both sides.
        for neighbour in [format!("{folder}-"), format!("{folder}."), format!("{folder}~"), format!("{folder}0"), format!("{folder}%25")] {
            if let Ok(neighbour) = Uri::parse(&neighbour) {
                prop_assert!(!in_range(&neighbour), "{} in {}", neighbour, folder);
            }
        }
    }

    #[test]
    fn v1_child_and_parent_undo_each_other(folder in resource(), name in name()) {
        if let Ok(child) = folder.child(&name) {
            prop_assert_eq!(child.parent(), Some(folder.clone()));
            prop_assert!(child.is_below(&folder));
            prop_assert_eq!(folder.child(&child.name()), Ok(child));
        }
    }
}
