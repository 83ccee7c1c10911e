//! The edges of a node as a picture: the node in the middle, what leads to it on the left, where it leads on the right.
//!
//! Plain SVG in the page. Each node beside is a link; the table below the picture says the same in words.

use maud::{Markup, html};

use super::{shown, to};
use crate::{store::Edge, uri::Uri};

const WIDTH: usize = 760;
const ROW: usize = 44;
const BOX: (usize, usize) = (200, 30);
/// The longest name in a box, in characters.
const LONGEST: usize = 24;

/// A node beside the one in the middle.
struct Beside<'e> {
    uri: &'e Uri,
    edge: &'e Edge,
    y: usize,
}

pub(super) fn picture(uri: &Uri, edges: &[Edge]) -> Markup {
    let beside = |out: bool| -> Vec<Beside<'_>> {
        let ends = edges.iter().filter(|edge| edge.from != edge.to).filter(|edge| (&edge.from == uri) == out);
        let ends = ends.map(|edge| (if out { &edge.to } else { &edge.from }, edge));
        ends.enumerate().map(|(at, (uri, edge))| Beside { uri, edge, y: at * ROW + ROW / 2 }).collect()
    };
    let (left, right) = (beside(false), beside(true));
    let height = left.len().max(right.len()).max(1) * ROW;
    let middle = height / 2;
    html! {
        svg.edges viewBox=(format!("0 0 {WIDTH} {height}")) role="group" aria-label="The edges as a picture" {
            defs {
                marker #arrow viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto" {
                    path d="M0 0 L10 5 L0 10 z" {}
                }
            }
            @for one in &left { (line((BOX.0, one.y), ((WIDTH - BOX.0) / 2, middle), one.edge)) }
            @for one in &right { (line(((WIDTH + BOX.0) / 2, middle), (WIDTH - BOX.0, one.y), one.edge)) }
            g.here { (name_box((WIDTH - BOX.0) / 2, middle, uri)) }
            @for one in &left { (linked(0, one, "from")) }
            @for one in &right { (linked(WIDTH - BOX.0, one, "to")) }
        }
    }
}

/// An edge, the thicker the stronger.
fn line(from: (usize, usize), to: (usize, usize), edge: &Edge) -> Markup {
    html! {
        line x1=(from.0) y1=(from.1) x2=(to.0) y2=(to.1) stroke-width=(format!("{:.1}", 1.0 + 2.0 * edge.weight))
            marker-end="url(#arrow)" {}
        text.type x=((from.0 + to.0) / 2) y=((from.1 + to.1) / 2 - 4) text-anchor="middle" { (short(&edge.edge_type)) }
    }
}

fn linked(x: usize, one: &Beside<'_>, way: &str) -> Markup {
    let name = format!("{} {way} {}", shown(&one.edge.edge_type), shown(&one.uri.name()));
    html! { a href=(to("browse", one.uri)) aria-label=(name) { (name_box(x, one.y, one.uri)) } }
}

fn name_box(x: usize, y: usize, uri: &Uri) -> Markup {
    html! {
        rect x=(x + 1) y=(y - BOX.1 / 2) width=(BOX.0 - 2) height=(BOX.1) rx="6" {}
        text x=(x + BOX.0 / 2) y=(y + 5) text-anchor="middle" { (short(&uri.name())) }
    }
}

fn short(name: &str) -> String {
    let name = shown(name);
    match name.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name,
    }
}
