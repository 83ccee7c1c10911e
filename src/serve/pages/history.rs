//! The versions of a node.

use axum::{Extension, extract::State};
use maud::html;
use sea_session_axum::Unit;
use serde::Deserialize;

use super::{
    Here, Shown,
    frame::{Section, crumbs, page},
    more, shown, time, to,
};
use crate::{
    access::Caller,
    error::StoreError,
    page::Paging,
    serve::problem::{Params, Refusal},
    store::HistoryEntry,
    uri::Uri,
};

const A_PAGE: u64 = 50;

#[derive(Debug, Deserialize)]
pub(super) struct Place {
    uri: String,
    after: Option<String>,
}

/// `/history?uri=…`
pub(super) async fn versions(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    place: Result<Params<Place>, Refusal>,
    mut unit: Unit<'_>,
) -> Shown {
    let Params(Place { uri, after }) = place?;
    let uri = Uri::parse(&uri).map_err(StoreError::from)?;
    let history = here.store.within(&mut unit, &caller).history(&uri, &Paging { limit: A_PAGE, after }).await?;
    // Each is compared with the one that it replaced, which is the next of the list.
    let before: Vec<Option<i64>> =
        history.items.iter().skip(1).map(|older| Some(older.version)).chain([None]).collect();
    let content = html! {
        (crumbs(&uri))
        table {
            thead {
                tr {
                    th scope="col" { "Version" } th scope="col" { "Written" } th scope="col" { "Where" }
                    th scope="col" { "Replaced by" } th scope="col" { "What changed" }
                }
            }
            tbody {
                @for (entry, before) in history.items.iter().zip(&before) {
                    tr {
                        td { (entry.version) }
                        td { (time(entry.written_at)) }
                        td { code { (shown(entry.uri.as_str())) } }
                        td { (replaced_by(entry)) }
                        td {
                            @if let Some(before) = before {
                                a href=(format!("{}&from={before}&to={}", to("diff", &uri), entry.version)) {
                                    "From version " (before) " to " (entry.version)
                                }
                            } @else if history.next.is_none() { "The first that is kept" }
                        }
                    }
                }
            }
        }
        (more("history", &uri, history.next.as_deref()))
    };
    Ok(page(&here, Section::Browse, &format!("History of {}", uri.name()), content))
}

fn replaced_by(entry: &HistoryEntry) -> &'static str {
    entry.replaced_by.map_or("– (it is the current one)", crate::store::change_word)
}
