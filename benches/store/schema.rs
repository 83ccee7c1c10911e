//! What both sides find: 100,000 nodes in a tree of folders that are implied, with a word that a hundredth of them have.

/// A folder of a hundred nodes.
pub const FOLDER: &str = "ctx://bench/resources/tree/d3/e42";
/// A folder of a hundred folders of a hundred nodes.
pub const IMPLIED: &str = "ctx://bench/resources/tree/d3";
/// Where it moves to.
pub const AWAY: &str = "ctx://bench/resources/away/moved";

/// The URI of node `n`.
pub fn node(n: usize) -> String {
    format!("ctx://bench/resources/tree/d{}/e{}/n{}", n / 10_000, n / 100 % 100, n % 100)
}

/// A word that every hundredth node has.
pub fn word(n: usize) -> String {
    format!("term{}", n % 100)
}

/// The text of node `n`: 600 bytes.
pub fn content(n: usize) -> String {
    format!("{} {} {}", word(n), n, "the quick brown fox jumps over the lazy dog ".repeat(13))
}
