//! What all pages have: head, navigation, and the page of an error.

use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use sea_session_axum::UnitRejection;

use super::{shown, to};
use crate::{
    error::StoreError,
    serve::{Here, problem::Refusal},
    uri::Uri,
};

/// Where a page belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Browse,
    Search,
    Live,
    None,
}

/// A page with its frame.
pub(super) fn page(here: &Here, section: Section, title: &str, content: Markup) -> Html<String> {
    Html(framed(section, title, here.callers.ask_for_tokens(), content).into_string())
}

pub(super) fn framed(section: Section, title: &str, signed_in: bool, content: Markup) -> Markup {
    let link = |to: &str, name: &str, of: Section| {
        html! { a href=(to) aria-current=[(of == section).then_some("page")] { (name) } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (shown(title)) " – context store" }
                link rel="stylesheet" href="/assets/style.css";
                link rel="icon" href="/assets/icon.svg";
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    nav aria-label="Pages" {
                        (link("/", "Browse", Section::Browse))
                        (link("/search", "Search", Section::Search))
                        (link("/live", "Outbox", Section::Live))
                    }
                    @if signed_in && section != Section::None {
                        form method="post" action="/sign-out" { button { "Sign out" } }
                    }
                }
                main #content tabindex="-1" {
                    h1 { (shown(title)) }
                    (content)
                }
            }
        }
    }
}

/// The folders above a place, and the place.
pub(super) fn crumbs(uri: &Uri) -> Markup {
    let mut above: Vec<Uri> = std::iter::successors(uri.parent(), Uri::parent).collect();
    above.reverse();
    html! {
        nav.crumbs aria-label="Folders above" {
            ol {
                @for folder in &above { li { a href=(to("browse", folder)) { (shown(&folder.name())) } } }
                li { a href=(to("browse", uri)) aria-current="location" { (shown(&uri.name())) } }
            }
        }
    }
}

/// An error as a page.
#[derive(Debug)]
pub(super) enum Broken {
    Refused(Refusal),
    NoUnit(UnitRejection),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Broken::Refused(error.into())
    }
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Broken::Refused(refusal)
    }
}

impl From<UnitRejection> for Broken {
    fn from(rejection: UnitRejection) -> Self {
        Broken::NoUnit(rejection)
    }
}

impl IntoResponse for Broken {
    fn into_response(self) -> Response {
        let (status, title, detail, cause) = match self {
            Broken::Refused(refusal) => {
                let (status, title, detail) = (refusal.status, refusal.title, refusal.detail.clone());
                // Logged there, and for layers outside in its extensions.
                (status, title, detail, refusal.into_response())
            }
            Broken::NoUnit(rejection) => {
                let cause = rejection.into_response();
                (cause.status(), cause.status().canonical_reason().unwrap_or("Error"), None, cause)
            }
        };
        let content = html! { @if let Some(detail) = detail { p { (shown(&detail)) } } };
        let mut response = answered(status, framed(Section::None, title, false, content));
        *response.extensions_mut() = cause.extensions().clone();
        response
    }
}

/// A page with a status.
pub(super) fn answered(status: StatusCode, page: Markup) -> Response {
    (status, Html(page.into_string())).into_response()
}
