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

/// Notes in an account of their own, of words that are as often as words are.
pub const NOTES: usize = 12_000;

/// The `n`th word of a vocabulary.
fn vocable(n: usize) -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "ko", "li", "mun", "tes", "ra", "vel", "do", "sip", "gor", "na", "fe", "lum", "tak", "ri", "bos", "hu",
        "wen", "ja", "pod",
    ];
    format!("{}{}{}", SYLLABLES[n % 20], SYLLABLES[n / 20 % 20], SYLLABLES[n / 400 % 20])
}

/// A word, the `n`th about as often as one in `n`.
fn some_vocable(random: &mut fastrand::Rng) -> String {
    let words = 6_000_f64;
    vocable((words.powf(random.f64()) - 1.0) as usize)
}

/// The text of a note.
pub fn note(n: usize) -> String {
    let mut random = fastrand::Rng::with_seed(n as u64);
    (0..40).map(|_| some_vocable(&mut random)).collect::<Vec<_>>().join(" ")
}

/// A question of six words.
pub fn question(n: usize) -> String {
    let mut random = fastrand::Rng::with_seed(1_000_000 + n as u64);
    (0..6).map(|_| some_vocable(&mut random)).collect::<Vec<_>>().join(" ")
}
