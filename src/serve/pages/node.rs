//! A place of the store: the node that is there, what lies below it, and its edges.

use axum::{Extension, extract::State};
use maud::{Markup, html};
use sea_session_axum::Unit;
use serde::Deserialize;

use super::{
    Here, Shown, encoded,
    frame::{Section, crumbs, page},
    more,
    picture::picture,
    shown, time, to,
};
use crate::{
    access::Caller,
    error::StoreError,
    node::{Entry, Node},
    page::{Page, Paging},
    printable::printable,
    serve::problem::{Params, Refusal},
    store::{Direction, Edge},
    uri::{Kind, Uri},
};

/// Children on one page.
const A_PAGE: u64 = 100;

/// Edges on one page.
const EDGES: u64 = 24;

/// The longest text that is shown, in characters: the interface has all of it.
const LONGEST: usize = 200_000;

#[derive(Debug, Deserialize)]
pub(super) struct Place {
    uri: String,
    after: Option<String>,
}

/// `/browse?uri=…`
pub(super) async fn browse(
    State(here): State<Here>,
    Extension(caller): Extension<Caller>,
    place: Result<Params<Place>, Refusal>,
    mut unit: Unit<'_>,
) -> Shown {
    let Params(Place { uri, after }) = place?;
    let uri = Uri::parse(&uri).map_err(StoreError::from)?;
    let mut within = here.store.within(&mut unit, &caller);
    let node = match within.read(&uri).await {
        Ok(node) => Some(node),
        Err(StoreError::NotFound { .. } | StoreError::NotANode { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let edges = match &node {
        Some(_) => within.edges(&uri, Direction::Both, &Paging::first(EDGES)).await?,
        None => Page::default(),
    };
    let holds_something = !matches!(uri.levels_below(), Some(0));
    let children = match holds_something {
        true => within.list_children(&uri, &Paging { limit: A_PAGE, after }).await?,
        false => Page::default(),
    };
    if node.is_none() && children.items.is_empty() && uri.kind() != Kind::Account {
        return Err(StoreError::not_found(&uri).into());
    }
    let content = html! {
        (crumbs(&uri))
        p.address { code { (shown(uri.as_str())) } }
        @if let Some(node) = &node { (texts(node)) }
        @if !children.items.is_empty() || node.is_none() { (list(&uri, &children)) }
        @if !edges.items.is_empty() { (relations(&uri, &edges)) }
    };
    Ok(page(&here, Section::Browse, &uri.name(), content))
}

fn texts(node: &Node) -> Markup {
    html! {
        dl.facts {
            div { dt { "Type" } dd { (node.node_type) } }
            div { dt { "Version" } dd { (node.version) " (" a href=(to("history", &node.uri)) { "history" } ")" } }
            div { dt { "Changed" } dd { (time(node.updated_at)) } }
            div { dt { "Space" } dd { (shown(&node.owner_space)) } }
        }
        @for (heading, text) in [("Abstract", &node.r#abstract), ("Overview", &node.overview), ("Content", &node.content)] {
            @if !text.is_empty() {
                section {
                    h2 { (heading) }
                    (text_block(heading, text))
                }
            }
        }
        @if node.metadata.as_object().is_some_and(|object| !object.is_empty()) {
            section {
                h2 { "Metadata" }
                (text_block("Metadata", &format!("{:#}", node.metadata)))
            }
        }
    }
}

/// A text as it is, wrapped. It can be scrolled by keyboard.
fn text_block(name: &str, text: &str) -> Markup {
    let cut = text.char_indices().nth(LONGEST).map(|(at, _)| at);
    html! {
        pre tabindex="0" role="region" aria-label=(name) { (printable(&text[..cut.unwrap_or(text.len())])) }
        @if cut.is_some() { p { "The rest is not shown: the JSON interface has all of it." } }
    }
}

fn list(uri: &Uri, children: &Page<Entry>) -> Markup {
    html! {
        section {
            h2 { "What lies here" }
            @if children.items.is_empty() { p { "Nothing yet." } }
            @else {
                table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Abstract" } th scope="col" { "Changed" } } }
                    tbody {
                        @for entry in &children.items {
                            tr {
                                td {
                                    a href=(to("browse", &entry.uri)) { (shown(&entry.name)) @if entry.is_folder { "/" } }
                                }
                                td { @if let Some(node) = &entry.node { (shown(&node.r#abstract)) } }
                                td { @if let Some(node) = &entry.node { (time(node.updated_at)) } }
                            }
                        }
                    }
                }
            }
            (more("browse", uri, children.next.as_deref()))
        }
    }
}

fn relations(uri: &Uri, edges: &Page<Edge>) -> Markup {
    html! {
        section {
            h2 { "Edges" }
            (picture(uri, &edges.items))
            table {
                thead {
                    tr {
                        th scope="col" { "From" } th scope="col" { "Type" } th scope="col" { "To" }
                        th scope="col" { "Weight" } th scope="col" { "Why" }
                    }
                }
                tbody {
                    @for edge in &edges.items {
                        tr {
                            td { (end(uri, &edge.from)) }
                            td { (shown(&edge.edge_type)) }
                            td { (end(uri, &edge.to)) }
                            td { (edge.weight) }
                            td { (shown(&edge.reason)) }
                        }
                    }
                }
            }
            @if edges.next.is_some() {
                p { "The strongest " (EDGES) " are shown: " code { "/api/v1/edges?uri=" (encoded(uri.as_str())) } " has all." }
            }
        }
    }
}

/// An end of an edge: a link, unless it is this node.
fn end(here: &Uri, uri: &Uri) -> Markup {
    html! {
        @if uri == here { "this node" }
        @else { a href=(to("browse", uri)) title=(shown(uri.as_str())) { (shown(&uri.name())) } }
    }
}
