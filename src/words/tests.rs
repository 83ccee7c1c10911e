use super::*;

fn terms(text: &str) -> Vec<String> {
    analyze("", text).terms.into_keys().collect()
}

/// Whether a text is found by a question of one word.
fn finds(text: &str, word: &str) -> bool {
    let held = analyze("", text).terms;
    Question::parse(word).is_ok_and(|question| {
        question.groups.iter().any(|group| {
            group.terms.iter().any(|term| {
                held.contains_key(term) || (group.prefix && held.keys().any(|held| held.starts_with(term.as_str())))
            })
        })
    })
}

#[test]
fn w5_spellings_of_one_word_are_one() {
    for (text, word) in [
        ("İstanbul güzel", "istanbul"),
        ("istanbul", "İSTANBUL"),
        ("ISPARTA", "ısparta"),
        ("cafe\u{301} noir", "café"),
        ("un café", "cafe"),
        ("Große Straße", "STRASSE"),
        ("ΟΔΟΣ", "οδός"),
        ("ο δρόμος", "ΔΡΟΜΟΣ"),
        ("Ёлка", "елка"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "width"),
        ("ﾃﾚﾋﾞ", "テレビ"),
        ("مُحَمَّد", "محمد"),
        ("שָׁלוֹם", "שלום"),
        ("smørrebrød", "smorrebrod"),
        ("co\u{ad}operate", "cooperate"),
    ] {
        assert!(finds(text, word), "{word} in {text}: {:?}", terms(text));
    }
}

#[test]
fn w5_forms_of_one_word_are_one() {
    for (text, word) in [
        ("I went there", "going"),
        ("the children ate", "kid"),
        ("several policies", "policy"),
        ("my mum", "mother"),
        ("a favourite colour", "favorite"),
        ("Die Häuser sind alt und das ist schön", "Haus"),
        ("Das Haus ist alt und das ist schön", "Häuser"),
        ("les maisons sont dans la rue", "maison"),
        ("il y a des chevaux dans la prairie", "chevaux"),
        ("las canciones de la noche", "canción"),
        ("красивые книги лежали", "книга"),
        ("two dogs", "2"),
        ("the migration", "migrati*"),
        ("the migration", "mig*"),
        ("she is running", "runnin*"),
    ] {
        assert!(finds(text, word), "{word} in {text}: {:?}", terms(text));
    }
    assert!(!finds("a planet", "plan"), "two words of one beginning");
}

#[test]
fn w5_code_words_are_split_and_kept_whole() {
    for (text, word) in [
        ("fn readHTTPBody()", "body"),
        ("fn readHTTPBody()", "http"),
        ("fn readHTTPBody()", "readhttpbody"),
        ("fn read_http_body()", "body"),
        ("fn read_http_body()", "read_http_body"),
        ("use std::collections::HashMap;", "hashmap"),
        ("use std::collections::HashMap;", "map"),
        ("use std::collections::HashMap;", "std::collections::hashmap"),
        ("see src/store/lib.rs:12", "lib.rs"),
        ("see src/store/lib.rs", "src/store/lib.rs"),
        ("a well-known kebab-case", "kebab"),
        ("written in C++ and C#", "c++"),
        ("written in C++ and C#.", "c#"),
        ("a sha256 sum", "sha"),
        ("ctx@acme.example", "acme"),
        ("version 3.14.15", "3.14.15"),
        ("O'Brien's house", "brien"),
        ("l’arbre est dans la forêt", "arbre"),
    ] {
        assert!(finds(text, word), "{word} in {text}: {:?}", terms(text));
    }
    let whole = Question::parse("readHTTPBody").expect("a question");
    assert!(whole.groups[0].terms.contains(&"readhttpbodi".to_owned()), "{whole:?}");
    // A checksum is not taken to pieces.
    assert_eq!(terms("0a1062884082b7e6"), ["0a1062884082b7e6"]);
}

#[test]
fn w5_scripts_without_spaces_are_found_by_any_two_neighbours() {
    for (text, word) in [
        ("我喜欢在早上喝绿茶", "绿茶"),
        ("我喜欢在早上喝绿茶", "茶"),
        ("我喜欢在早上喝绿茶", "我"),
        ("東京タワーに行きました", "タワー"),
        ("ที่บ้านของฉัน", "บ้าน"),
        ("ខ្ញុំស្រឡាញ់ភាសាខ្មែរ", "ភាសា"),
        ("고양이가 잔다", "고양이"),
        ("हिन्दी भाषा", "हिन्दी"),
        ("বাংলা ভাষা", "বাংলা"),
        ("தமிழ் மொழி", "மொழி"),
    ] {
        assert!(finds(text, word), "{word} in {text}: {:?}", terms(text));
    }
    assert!(!finds("हिन्दी", "हिन"), "a mark belongs to its word");
}

#[test]
fn w5_a_question_says_what_may_must_and_must_not_be_there() {
    let question = Question::parse(r#"what about "support group" -draft -"first try" migrat* -5"#).expect("a question");
    let shown: Vec<(&str, bool, bool)> =
        question.groups.iter().map(|group| (group.terms[0].as_str(), group.stop, group.prefix)).collect();
    assert_eq!(
        shown,
        [
            ("what", true, false),
            ("about", true, false),
            ("support", false, false),
            ("group", false, false),
            ("migrat", false, true),
            ("5", false, false)
        ]
    );
    assert_eq!(question.phrases.len(), 1);
    assert_eq!((question.phrases[0].stream.as_str(), question.phrases[0].terms.len()), (" support group ", 2));
    assert_eq!(question.without, [Demand::Word("draft".into()), Demand::Phrase(" first try ".into())]);
    for nothing in ["", "!?", "-only", "\"\"", " - ", "*"] {
        let refused = Question::parse(nothing).expect_err(nothing).to_string();
        assert!(refused.contains("at least one word"), "{refused}");
    }
    // A quote that is not closed, and one inside of a word, are ordinary characters.
    assert_eq!(Question::parse("\"open").expect("a question").phrases, []);
    assert_eq!(Question::parse("12\" disk").expect("a question").phrases, []);
}

#[test]
fn w5_a_snippet_shows_where_the_words_are() {
    let marks = |words: &[&str]| Marks {
        terms: words
            .iter()
            .flat_map(|word| Question::parse(word).expect("a question").groups)
            .map(|group| (group.terms[0].clone(), 1.0))
            .collect(),
        prefixes: Vec::new(),
    };
    let text = format!("{} The children\nwere at the lake. {}", "nothing here ".repeat(50), "and more ".repeat(50));
    let shown = snippet(&text, &marks(&["child", "lakes"]));
    assert!(shown.contains("The [children] were at the [lake]."), "{shown}");
    assert!(shown.starts_with('…') && shown.ends_with('…') && shown.chars().count() < 180, "{shown}");
    assert_eq!(snippet("我喜欢在早上喝绿茶", &marks(&["绿茶"])), "我喜欢在早上喝[绿茶]");
    assert_eq!(marked("read_me-first.md", &marks(&["me"])), "read_[me]-first.md");
    assert_eq!(snippet("short", &marks(&["none"])), "short");
    let wide = "e\u{301}".repeat(3_000);
    assert!(snippet(&wide, &marks(&["none"])).chars().count() < 180);
}

#[test]
fn w5_any_text_is_taken_apart_without_a_panic() {
    let mut random = fastrand::Rng::with_seed(11);
    let signs: Vec<char> = "aZé ß9_-.:/'\"*\u{301}\u{200d}中文ท่か\u{3099}가각ह्न\u{0}\n😀ǅﬁ１Ⅷ²".chars().collect();
    for _ in 0..20_000 {
        let text: String = (0..random.usize(0..24)).map(|_| signs[random.usize(..signs.len())]).collect();
        let mut at = 0;
        for word in words(&text) {
            assert!(word.range.start >= at && text.get(word.range.clone()).is_some(), "{text:?} {word:?}");
            assert!(
                word.terms
                    .iter()
                    .all(|term| !term.is_empty() && term.len() <= LONGEST_TERM && !term.contains([' ', '"', '\0'])),
                "{text:?} {word:?}"
            );
            assert!(!word.surface.contains(' '), "{text:?} {word:?}");
            at = word.range.start;
        }
        if let Ok(question) = Question::parse(&text) {
            let marks = Marks {
                terms: question.groups.iter().map(|group| (group.terms[0].clone(), 1.0)).collect(),
                prefixes: vec!["a".into()],
            };
            snippet(&text, &marks);
            marked(&text, &marks);
        }
    }
}
