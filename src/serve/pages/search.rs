//! Search, as a form that needs no script.

use axum::{Extension, extract::State};
use maud::{Markup, html};
use sea_session_axum::Unit;
use serde::Deserialize;

use super::{
    Here, Shown, encoded,
    frame::{Section, page},
    shown, to,
};
use crate::{
    access::Caller,
    error::StoreError,
    page::{Page, Paging},
    serve::problem::{Params, Refusal},
    store::{Hit, SearchOptions},
    uri::Uri,
};

const A_PAGE: u64 = 20;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Question {
    #[serde(default)]
    q: String,
    #[serde(default, rename = "in")]
    within: String,
    after: Option<String>,
}

/// `/search?q=…&in=…`
pub(super) async fn find(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    question: Result<Params<Question>, Refusal>,
    mut unit: Unit<'_>,
) -> Shown {
    let Params(Question { q, within: folder, after }) = question?;
    let folder = folder.trim();
    let within = if folder.is_empty() { None } else { Some(Uri::parse(folder).map_err(StoreError::from)?) };
    let asked = !q.trim().is_empty();
    let hits = match asked {
        true => {
            let options = SearchOptions {
                within,
                words_only: true,
                paging: Paging { limit: A_PAGE, after },
                ..Default::default()
            };
            here.store.within(&mut unit, &caller).search(&q, &options).await?
        }
        false => Page::default(),
    };
    let content = html! {
        form.search role="search" method="get" action="/search" {
            label for="q" { "Question" }
            input #q name="q" type="search" value=(q) required;
            label for="in" { "Only below (an address, may be empty)" }
            input #in name="in" type="text" value=(folder) placeholder="ctx://…" autocomplete="off";
            button { "Search" }
        }
        @if asked { (results(&q, folder, &hits)) }
    };
    Ok(page(&here, Section::Search, "Search", content))
}

fn results(q: &str, folder: &str, hits: &Page<Hit>) -> Markup {
    html! {
        h2 { "What was found" }
        @if hits.items.is_empty() { p role="status" { "Nothing answers that." } }
        ol.hits {
            @for hit in &hits.items {
                li {
                    a href=(to("browse", &hit.uri)) { (marked(&hit.title)) }
                    p.address { (shown(hit.uri.as_str())) }
                    p { (marked(&hit.snippet)) }
                }
            }
        }
        @if let Some(next) = &hits.next {
            p {
                a rel="next" href=(format!("/search?q={}&in={}&after={}", encoded(q), encoded(folder), encoded(next))) { "More" }
            }
        }
    }
}

/// Words between `[` and `]` as marks. A bracket of the text's own may be taken for one, which then marks too much and
/// does nothing else.
fn marked(text: &str) -> Markup {
    let text = shown(text);
    let mut parts = text.split('[');
    let before = parts.next().unwrap_or_default();
    html! {
        (before)
        @for part in parts {
            @match part.split_once(']') {
                Some((word, after)) => { mark { (word) } (after) }
                None => { "[" (part) }
            }
        }
    }
}
