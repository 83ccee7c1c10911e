//! "Did you mean": the nearest of the words that a macro understands.
//!
//! It never guesses wildly: a word that is not close to any gives the list instead.

/// The sentence part that helps after an unknown `word`: the nearest of `known`, or all of them.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of {}", list(known)),
    }
}

/// The nearest of `known`, if it is near enough to be meant.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let related = |k: &&&str| word.len() >= 4 && (k.starts_with(word) || word.starts_with(**k));
    let (near, _) = known
        .iter()
        .map(|k| (*k, distance(word, k)))
        .min_by_key(|(_, d)| *d)
        .filter(|(_, d)| *d <= limit)
        .or_else(|| known.iter().find(related).map(|k| (*k, 0)))?;
    Some(near)
}

/// `a`, `b` and `c`, each in backticks.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Levenshtein's distance, with one row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("retry", "retry"), 0);
    }

    #[test]
    fn a_slip_of_the_pen_is_understood_and_nonsense_is_not() {
        let known = ["retry", "isolation", "read_only"];
        assert_eq!(hint("rety", &known), "did you mean `retry`?");
        assert_eq!(hint("readonly", &known), "did you mean `read_only`?");
        assert_eq!(hint("isolation_level", &known), "did you mean `isolation`?");
        assert_eq!(hint("colour", &known), "write one of `retry`, `isolation` or `read_only`");
    }
}
