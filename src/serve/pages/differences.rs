//! What changed from one version of a node to another, line by line.

use std::time::Duration;

use axum::{Extension, extract::State};
use maud::{Markup, html};
use sea_session_axum::Unit;
use serde::Deserialize;
use similar::{ChangeTag, TextDiff};

use super::{
    Here, Shown,
    frame::{Section, crumbs, page},
    shown, to,
};
use crate::{
    access::Caller,
    error::StoreError,
    serve::problem::{Params, Refusal},
    store::VersionedNode,
    uri::Uri,
};

/// Lines around a change that are shown.
const AROUND: usize = 3;

/// Lines that are shown of a text.
const LINES: usize = 2000;

/// How long is tried to find the shortest difference of two texts.
const PATIENCE: Duration = Duration::from_millis(300);

#[derive(Debug, Deserialize)]
pub(super) struct Versions {
    uri: String,
    from: i64,
    to: i64,
}

/// `/diff?uri=…&from=…&to=…`
pub(super) async fn show(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    versions: Result<Params<Versions>, Refusal>,
    mut unit: Unit<'_>,
) -> Shown {
    let Params(Versions { uri, from, to: newer }) = versions?;
    let uri = Uri::parse(&uri).map_err(StoreError::from)?;
    let mut within = here.store.within(&mut unit, &caller);
    let (old, new) = (within.read_version(&uri, from).await?, within.read_version(&uri, newer).await?);
    let changed: Vec<Markup> = texts(&old)
        .into_iter()
        .zip(texts(&new))
        .filter(|((_, old), (_, new))| old != new)
        .map(|((name, old), (_, new))| section(name, &old, &new))
        .collect();
    let content = html! {
        (crumbs(&uri))
        p { "From version " (from) " to version " (newer) ". " a href=(to("history", &uri)) { "All versions" } }
        @if old.uri != new.uri {
            p { "It was moved from " code { (shown(old.uri.as_str())) } " to " code { (shown(new.uri.as_str())) } "." }
        }
        @if changed.is_empty() { p { "The texts are the same." } }
        @for one in &changed { (one) }
    };
    Ok(page(&here, Section::Browse, &format!("Changes of {}", uri.name()), content))
}

fn texts(version: &VersionedNode) -> [(&'static str, String); 4] {
    [
        ("Abstract", version.r#abstract.clone()),
        ("Overview", version.overview.clone()),
        ("Content", version.content.clone()),
        ("Metadata", format!("{:#}\n", version.metadata)),
    ]
}

/// The lines that are others, with some around them. What was there and what is now is told by signs and words, not by
/// colour alone.
fn section(name: &str, old: &str, new: &str) -> Markup {
    let difference = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    let groups = difference.grouped_ops(AROUND);
    let mut left = LINES;
    html! {
        section {
            h2 { (name) }
            div.diff tabindex="0" role="region" aria-label=(format!("{name}: what changed")) {
                @for (at, group) in groups.iter().enumerate() {
                    @if at > 0 { p.gap { "…" } }
                    @for operation in group {
                        @for change in difference.iter_changes(operation) {
                            @if left > 0 { (line(change.tag(), change.value(), &mut left)) }
                        }
                    }
                }
            }
            @if left == 0 { p { "The rest is not shown: the JSON interface has both versions." } }
        }
    }
}

fn line(tag: ChangeTag, text: &str, left: &mut usize) -> Markup {
    *left -= 1;
    let text = shown(text.trim_end_matches(['\n', '\r']));
    match tag {
        ChangeTag::Delete => html! { del { span.sign aria-hidden="true" { "− " } (text) } },
        ChangeTag::Insert => html! { ins { span.sign aria-hidden="true" { "+ " } (text) } },
        ChangeTag::Equal => html! { span.same { span.sign aria-hidden="true" { "  " } (text) } },
    }
}
