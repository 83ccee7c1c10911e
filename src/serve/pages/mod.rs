//! Pages for people: the tree, a node, its edges as a picture, its history with differences, search, and the outbox live.
//!
//! What they are for: to look. They change nothing, so that a cookie is enough to read them and no form can be abused. Each is
//! one unit of work that only reads ([`UnitLayer`]), so what a page shows was there at one moment. They are made here,
//! need no script but for the live view, and write every text of others as text (`maud` escapes, [`printable_line`] shows what
//! would hide).

mod differences;
mod frame;
mod history;
mod node;
mod picture;
mod search;
mod sign_in;

use axum::{
    Extension, Router,
    extract::State,
    http::{header, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sea_session::UnitOptions;
use sea_session_axum::{Unit, UnitLayer};

use self::frame::{Broken, Section, page};
use super::Here;
use crate::{access::Caller, printable::printable_line, uri::Uri};

pub(super) use self::sign_in::sign_in_first;

/// What the handler of a page gives.
type Shown = Result<Html<String>, Broken>;

/// The pages that show something of the store.
pub(super) fn routes(here: &Here) -> Router<Here> {
    let store = here.store.clone();
    let units = UnitLayer::new(here.store.db().clone()).options(move |parts: &Parts, unit: UnitOptions| {
        match parts.extensions.get::<Caller>() {
            Some(caller) => store.bound(caller).read_only(),
            None => unit,
        }
    });
    Router::new()
        .route("/", get(root))
        .route("/browse", get(node::browse))
        .route("/history", get(history::versions))
        .route("/diff", get(differences::show))
        .route("/search", get(search::find))
        .route("/live", get(live))
        .layer(units)
}

/// What anybody may have: the form to sign in, the style, the script of the live view.
pub(super) fn open_routes() -> Router<Here> {
    let asset = |kind: &'static str, text: &'static str| {
        get(async move || ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text))
    };
    Router::new()
        .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
        .route("/sign-out", axum::routing::post(sign_in::sign_out))
        .route("/assets/style.css", asset("text/css; charset=utf-8", include_str!("style.css")))
        .route("/assets/icon.svg", asset("image/svg+xml", include_str!("icon.svg")))
        .route("/assets/live.js", asset("text/javascript; charset=utf-8", include_str!("live.js")))
}

/// The caller's account.
async fn root(Extension(caller): Extension<Caller>) -> Result<Response, Broken> {
    let account = Uri::account_root(caller.account()).map_err(|e| Broken::from(crate::StoreError::from(e)))?;
    Ok(Redirect::to(&to("browse", &account)).into_response())
}

/// The outbox: how far the index is behind, kept up to date by the script where there is one.
async fn live(State(here): State<Here>, Extension(caller): Extension<Caller>, mut unit: Unit<'_>) -> Shown {
    let backlog = here.store.within(&mut unit, &caller).backlog().await?;
    let rows = [
        ("pending", "Changes that wait for the index", backlog.pending),
        ("dead", "Changes that were given up", backlog.dead),
        ("index_records", "Texts in the index", backlog.index_records),
    ];
    Ok(page(
        &here,
        Section::Live,
        "The outbox",
        html! {
            p { "Every change leaves an event, and the dispatcher takes the events to the search index." }
            dl.numbers #numbers data-events="/live/events" {
                @for (name, label, number) in rows {
                    div { dt { (label) } dd data-number=(name) { (number) } }
                }
            }
            p #state role="status" { "As it was when the page was loaded." }
            p { a href="/live" { "Look again" } }
            script src="/assets/live.js" defer {}
        },
    ))
}

/// The address of a page about a node.
fn to(page: &str, uri: &Uri) -> String {
    format!("/{page}?uri={}", encoded(uri.as_str()))
}

/// A value of a query.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A name as it may be shown on a line.
fn shown(text: &str) -> String {
    printable_line(text).into_owned()
}

/// A time to the second.
fn time(at: chrono::DateTime<chrono::Utc>) -> Markup {
    let exact = at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    html! { time datetime=(exact) { (at.format("%Y-%m-%d %H:%M:%S UTC").to_string()) } }
}

/// The link to the next page of a listing.
fn more(page: &str, uri: &Uri, next: Option<&str>) -> Markup {
    html! {
        @if let Some(next) = next {
            p { a rel="next" href=(format!("{}&after={}", to(page, uri), encoded(next))) { "More" } }
        }
    }
}
