//! The pages: what they show, that texts of others stay texts, and that nothing needs a script.

use axum::http::header;
use serde_json::json;

use crate::asking::{ALICE, App, at, encoded};

/// A name and a text that would be something else if they were not written as text.
const NAME: &str = "ctx://acme/resources/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E";
const TEXT: &str = "</pre><script>alert(1)</script><a href=\"javascript:alert(2)\" onclick='x'>\u{1b}[31m\u{202e}";

/// The tags of a page, without the values of their attributes.
fn tags(page: &str) -> Vec<String> {
    let tag = |rest: &str| {
        let (mut tag, mut quoted) = (String::new(), false);
        for c in rest.chars() {
            match c {
                '"' => quoted = !quoted,
                '>' if !quoted => return tag,
                _ if quoted => {}
                c => tag.push(c),
            }
        }
        panic!("a tag that does not end in {page}")
    };
    page.split('<').skip(1).map(tag).collect()
}

/// No tag that is not ours, no script but ours, no style and no handler in a tag, nothing that hides.
#[track_caller]
fn holds_no_code(page: &str) {
    const OURS: &str = " !DOCTYPE html head meta title link body a header nav form button main h1 h2 p code dl dt dd div section pre table \
         thead tbody tr th td ol li time svg defs marker path line text rect g script label input mark del ins span ";
    let tags = tags(page);
    assert!(tags.len() > 20, "{page}");
    for tag in tags {
        let mut words = tag.trim_start_matches('/').split_whitespace();
        let name = words.next().unwrap_or_default();
        assert!(OURS.contains(&format!(" {name} ")), "<{tag}> in {page}");
        let bad = words.find(|word| word.starts_with("on") || word.starts_with("style"));
        assert_eq!(bad, None, "<{tag}> in {page}");
    }
    assert_eq!(
        page.matches("<script").count(),
        page.matches("<script src=\"/assets/live.js\" defer>").count(),
        "{page}"
    );
    for forbidden in ["href=\"javascript", "\u{1b}", "\u{202e}"] {
        assert!(!page.contains(forbidden), "{forbidden:?} in {page}");
    }
}

#[tokio::test]
async fn texts_of_others_stay_texts_on_every_page() {
    let app = App::sqlite().await;
    let links = json!([{ "to": NAME, "edge_type": TEXT, "reason": TEXT }]);
    app.put(NAME, json!({ "content": "before", "abstract": "b" })).await;
    app.put(NAME, json!({ "content": TEXT, "abstract": TEXT, "overview": TEXT, "metadata": { TEXT: TEXT } })).await;
    app.put("ctx://acme/resources/b", json!({ "content": "alert", "links": links })).await;
    app.test.store.drain().await.unwrap();
    for path in [
        at("/browse", NAME),
        at("/browse", "ctx://acme/resources"),
        at("/browse", "ctx://acme/resources/b"),
        at("/history", NAME),
        format!("{}&from=1&to=2", at("/diff", NAME)),
        format!("/search?q={}", encoded("alert <b>")),
        format!("/search?q={}&in={}", encoded("\"><script>alert(3)</script>"), encoded("ctx://acme/resources")),
        "/live".to_owned(),
    ] {
        let page = app.get(ALICE, &path).await.is(200);
        holds_no_code(&page.text);
        assert_eq!(page.header(header::CONTENT_TYPE), "text/html; charset=utf-8");
        let policy = page.header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!((page.header("x-content-type-options"), page.header("referrer-policy")), ("nosniff", "same-origin"));
    }
    for (path, status) in [(at("/browse", "<script>"), 400), (at("/history", "ctx://acme/resources/<b>"), 404)] {
        holds_no_code(&app.get(ALICE, &path).await.is(status).text);
    }
}

#[tokio::test]
async fn a_place_is_shown_with_what_is_above_it_below_it_and_beside_it() {
    let app = App::sqlite().await;
    app.put("ctx://acme/resources/a", json!({ "content": "first", "abstract": "the letter" })).await;
    app.put("ctx://acme/resources/a/below", json!({ "content": "x" })).await;
    let links = json!([{ "to": "ctx://acme/resources/a", "edge_type": "about", "weight": 0.5 }]);
    app.put("ctx://acme/resources/b", json!({ "content": "x", "links": links })).await;
    let page = app.get(ALICE, &at("/browse", "ctx://acme/resources/a")).await.is(200).text;
    let below = at("/browse", "ctx://acme/resources/a/below").replace('&', "&amp;");
    let beside = at("/browse", "ctx://acme/resources/b").replace('&', "&amp;");
    let above = at("/browse", "ctx://acme/resources").replace('&', "&amp;");
    for expected in [
        "<h1>a</h1>",
        "first",
        "the letter",
        &format!("<a href=\"{below}\">below</a>"),
        &format!("<a href=\"{beside}\" aria-label=\"about from b\">"),
        &format!("<li><a href=\"{above}\">resources</a></li>"),
        "<svg class=\"edges\"",
        "0.5",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    // A folder that is there because something lies below it, and one where nothing is.
    assert!(app.get(ALICE, &at("/browse", "ctx://acme/resources")).await.is(200).text.contains("What lies here"));
    let missing = app.get(ALICE, &at("/browse", "ctx://acme/resources/none")).await.is(404);
    assert!(missing.text.contains("does not exist") && missing.text.contains("<nav"), "{missing:?}");
    app.get(ALICE, "/browse?uri=nothing").await.is(400);
    assert_eq!(app.get(ALICE, "/").await.is(303).header(header::LOCATION), at("/browse", "ctx://acme"));
}

#[tokio::test]
async fn a_long_folder_is_shown_page_by_page() {
    let app = App::sqlite().await;
    for n in 0..101 {
        app.put(&format!("ctx://acme/resources/many/{n:03}"), json!({ "content": "x" })).await;
    }
    let first = app.get(ALICE, &at("/browse", "ctx://acme/resources/many")).await.is(200).text;
    assert!(first.contains(">099</a>") && !first.contains(">100</a>"));
    let next = first.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    let second = app.get(ALICE, &next).await.is(200).text;
    assert!(second.contains(">100</a>") && !second.contains(">099</a>") && !second.contains("rel=\"next\""));
}

#[tokio::test]
async fn history_shows_what_changed_from_version_to_version() {
    let app = App::sqlite().await;
    let uri = "ctx://acme/resources/a";
    app.put(uri, json!({ "content": "one\ntwo\nthree\n" })).await;
    app.put(uri, json!({ "content": "one\n2\nthree\n" })).await;
    let history = app.get(ALICE, &at("/history", uri)).await.is(200).text;
    let link = format!("{}&from=1&to=2", at("/diff", uri)).replace('&', "&amp;");
    assert!(history.contains(&format!("href=\"{link}\"")), "{link} in {history}");
    let diff = app.get(ALICE, &format!("{}&from=1&to=2", at("/diff", uri))).await.is(200).text;
    let sign = |sign: &str| format!("<span class=\"sign\" aria-hidden=\"true\">{sign}</span>");
    for expected in [
        format!("<del>{}two</del>", sign("− ")),
        format!("<ins>{}2</ins>", sign("+ ")),
        format!("{}one</span>", sign("  ")),
    ] {
        assert!(diff.contains(&expected), "{expected} in {diff}");
    }
    assert!(
        app.get(ALICE, &format!("{}&from=2&to=2", at("/diff", uri)))
            .await
            .is(200)
            .text
            .contains("The texts are the same.")
    );
    app.get(ALICE, &format!("{}&from=1&to=9", at("/diff", uri))).await.is(404);
}

#[tokio::test]
async fn search_marks_the_words_and_says_when_there_is_nothing() {
    let app = App::sqlite().await;
    app.put("ctx://acme/resources/a", json!({ "content": "green tea in the morning" })).await;
    app.test.store.drain().await.unwrap();
    assert!(!app.get(ALICE, "/search").await.is(200).text.contains("What was found"));
    let found = app.get(ALICE, "/search?q=tea&in=").await.is(200).text;
    assert!(found.contains("<mark>tea</mark>") && found.contains(&at("/browse", "ctx://acme/resources/a")), "{found}");
    assert!(app.get(ALICE, "/search?q=coffee").await.is(200).text.contains("Nothing answers that."));
    app.get(ALICE, "/search?q=tea&in=nowhere").await.is(400);
}

#[tokio::test]
async fn style_and_script_are_files_of_ours() {
    let app = App::sqlite().await;
    for (path, kind) in [
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/assets/live.js", "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        assert_eq!(app.get("", path).await.is(200).header(header::CONTENT_TYPE), kind);
    }
    let page = app.get(ALICE, "/live").await.is(200).text;
    assert!(
        page.contains("<dd data-number=\"pending\">0</dd>") && page.contains("<script src=\"/assets/live.js\" defer>")
    );
}
