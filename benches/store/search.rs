//! A search by hand: the statements that the store sends, as one writes them who knows the schema and the question.

use std::collections::{BTreeMap, HashMap};

use context_store::record::Analyzed;
use sea_orm::prelude::Uuid;
use sea_orm::sqlx::{self, AssertSqlSafe, Row};

/// What BM25 is computed with.
struct Counts {
    /// Word and worth, the rarest first.
    words: Vec<(String, f64)>,
    records: f64,
    mean: f64,
}

fn idf(records: f64, having: f64) -> f64 {
    (1.0 + (records - having + 0.5) / (having + 0.5)).ln()
}

/// A numbered placeholder for each of so many values, from `first` on.
fn places(first: usize, values: usize) -> String {
    (first..first + values).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// `($1, $2), ($3, $4)`: words with what each is worth.
fn pairs(first: usize, values: usize) -> String {
    let pair =
        |n: usize| format!("(CAST(${} AS text), CAST(${} AS double precision))", first + 2 * n, first + 2 * n + 1);
    (0..values).map(pair).collect::<Vec<_>>().join(", ")
}

fn rank(mean: f64) -> String {
    format!("sum(q.worth * t.frequency * 1.9 / (t.frequency + 0.54 + t.length * {:?}))", 0.36 / mean)
}

/// The words that the first few have in common, with their weights.
fn common(first: &[(f64, BTreeMap<String, u32>, f64)], own: &[String]) -> Vec<(String, f64)> {
    let total: f64 = first.iter().map(|(score, _, _)| score).sum();
    let mut weights: HashMap<&str, f64> = HashMap::new();
    for (score, terms, length) in first {
        for (term, frequency) in terms.iter().filter(|(term, _)| !own.contains(term)) {
            *weights.entry(term).or_default() += score / total * f64::from(*frequency).min(2.0) / length;
        }
    }
    let mut weights: Vec<(String, f64)> = weights.into_iter().map(|(term, weight)| (term.to_owned(), weight)).collect();
    weights.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    weights.truncate(200);
    weights
}

/// The text around the first of the words.
fn marked(body: &str, words: &[String]) -> String {
    let lower = body.to_lowercase();
    let at = words.iter().filter_map(|word| Some((lower.find(word.as_str())?, word.len()))).min();
    match at {
        Some((at, length)) => {
            let end = body.len().min(at + 120);
            format!("{}[{}]{}", &body[at.saturating_sub(40)..at], &body[at..at + length], &body[at + length..end])
        }
        None => body.chars().take(160).collect(),
    }
}

macro_rules! search_on {
    ($name:ident, $connection:ty, $in:expr, $lateral:expr) => {
        pub async fn $name(connection: &mut $connection, account: &str, words: &[String]) -> usize {
            const SPACES: &str = "SELECT s.id FROM index_spaces s WHERE s.account_id = $1 AND s.owner_space IN ('user:alice', 'shared')";
            let spaces = |column: &str| format!("{column} {}", $in.replace("{}", SPACES));
            let column = if $in.starts_with("IN") { "t.space_id" } else { "i.space_id" };
            let rows = |extra: &str| $lateral.replace("{spaces}", &spaces(column)).replace("{extra}", extra);
            let counted = async |connection: &mut $connection, words: &[String], most: &str| {
                let list = (0..words.len()).map(|n| format!("({n}, CAST(${} AS text))", n + 2)).collect::<Vec<_>>().join(", ");
                let sql = format!(
                    "WITH q(n, term) AS (VALUES {list}) SELECT q.n, (SELECT count(*) FROM (SELECT 1 FROM index_terms i WHERE {} AND i.term = q.term {most}) c), CAST(0 AS bigint) FROM q \
                     UNION ALL SELECT -1, CAST(coalesce(sum(i.records), 0) AS bigint), CAST(coalesce(sum(i.words), 0) AS bigint) FROM index_totals i WHERE {}",
                    spaces("i.space_id"), spaces("i.space_id")
                );
                let query = words.iter().fold(sqlx::query(AssertSqlSafe(sql)).bind(account), |query, word| query.bind(word));
                let rows = query.fetch_all(&mut *connection).await.expect("counts");
                rows.iter().map(|row| (row.get::<i32, _>(0), row.get::<i64, _>(1), row.get::<i64, _>(2))).collect::<Vec<_>>()
            };
            let rows_of_words = counted(connection, words, "").await;
            let (_, records, length) = *rows_of_words.last().expect("the totals");
            let mut counts = Counts { words: Vec::new(), records: records as f64, mean: length as f64 / records.max(1) as f64 };
            for (n, having, _) in &rows_of_words[..words.len()] {
                counts.words.push((words[*n as usize].clone(), idf(counts.records, *having as f64)));
            }
            let n = counts.words.len();
            let sql = format!(
                "WITH q(term, worth) AS (VALUES {}), top AS MATERIALIZED (SELECT t.record, {} AS score FROM q CROSS JOIN {} GROUP BY t.record ORDER BY score DESC, t.record LIMIT 260) \
                 SELECT b.record, n.id, n.uri, b.score FROM top b CROSS JOIN index_records r CROSS JOIN nodes n WHERE r.id = b.record AND n.id = r.node_id AND n.status = 'active' \
                 AND n.account_id = $1 AND n.owner_space IN ('user:alice', 'shared') ORDER BY b.score DESC, n.uri",
                pairs(2, n), rank(counts.mean), rows("")
            );
            let query = sqlx::query(AssertSqlSafe(sql)).bind(account);
            let query = counts.words.iter().fold(query, |query, (word, worth)| query.bind(word).bind(worth));
            let found = query.fetch_all(&mut *connection).await.expect("a ranking");
            let mut found: Vec<(i64, Uuid, String, f64)> =
                found.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect();
            found.truncate(200);
            if found.len() >= 10 {
                let sql = format!("SELECT r.id, r.length, r.terms FROM index_records r WHERE r.length BETWEEN 1 AND 400 AND r.id IN ({})", places(1, 5));
                let query = found[..5].iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, row| query.bind(row.0));
                let first: Vec<(f64, BTreeMap<String, u32>, f64)> = query.fetch_all(&mut *connection).await.expect("words").iter().map(|row| {
                    let id: i64 = row.get(0);
                    let terms: serde_json::Value = row.get(2);
                    let terms: BTreeMap<String, u32> = serde_json::from_value(terms).expect("terms");
                    let score = found.iter().find(|one| one.0 == id).map_or(0.0, |one| one.3);
                    (score, terms, f64::from(row.get::<i32, _>(1)))
                }).collect();
                let weights = common(&first, words);
                let names: Vec<String> = weights.iter().map(|(term, _)| term.clone()).collect();
                if !names.is_empty() {
                    let most = (records / 4).clamp(100, 1_000);
                    let rare = counted(connection, &names, &format!("LIMIT {most}")).await;
                    let mut gains: Vec<(String, f64, f64)> = rare[..names.len()].iter().filter(|(_, having, _)| *having < most).map(|(n, having, _)| {
                        let worth = idf(counts.records, *having as f64);
                        (names[*n as usize].clone(), worth, worth * weights[*n as usize].1)
                    }).collect();
                    gains.sort_unstable_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
                    gains.truncate(20);
                    if let Some(best) = gains.first().map(|gain| gain.2) {
                        let sql = format!(
                            "WITH q(term, worth) AS (VALUES {}) SELECT t.record, {} FROM q CROSS JOIN {} GROUP BY t.record",
                            pairs(2, gains.len()), rank(counts.mean),
                            if $in.starts_with("IN") {
                                rows(&format!(" AND +t.record IN ({})", places(2 + 2 * gains.len(), found.len())))
                            } else {
                                format!("{} WHERE t.record IN ({})", rows(""), places(2 + 2 * gains.len(), found.len()))
                            }
                        );
                        let query = sqlx::query(AssertSqlSafe(sql)).bind(account);
                        let query = gains.iter().fold(query, |query, (term, worth, weight)| query.bind(term).bind(worth * 0.2 * weight / best));
                        let query = found.iter().fold(query, |query, row| query.bind(row.0));
                        for row in query.fetch_all(&mut *connection).await.expect("gains") {
                            let (record, gain): (i64, f64) = (row.get(0), row.get(1));
                            found.iter_mut().filter(|one| one.0 == record).for_each(|one| one.3 += gain);
                        }
                        found.sort_unstable_by(|a, b| b.3.total_cmp(&a.3).then_with(|| a.2.cmp(&b.2)));
                    }
                }
            }
            found.truncate(10);
            if found.is_empty() {
                return 0;
            }
            let sql = format!("SELECT r.id, r.title, substr(r.body, 1, 200000) FROM index_records r WHERE r.id IN ({})", places(1, found.len()));
            let query = found.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, row| query.bind(row.0));
            let texts = query.fetch_all(&mut *connection).await.expect("texts");
            texts.iter().map(|row| marked(&row.get::<String, _>(2), words)).filter(|shown| !shown.is_empty()).count()
        }
    };
}

search_on!(
    on_postgres,
    sqlx::PgConnection,
    "= ANY (ARRAY({}))",
    "LATERAL (SELECT i.record, i.frequency, i.length FROM index_terms i WHERE {spaces} AND i.term = q.term OFFSET 0) t"
);
search_on!(on_sqlite, sqlx::SqliteConnection, "IN ({})", "index_terms t WHERE {spaces} AND t.term = q.term{extra}");

/// The words of a question that has no stop words.
pub fn words_of(analyzed: &Analyzed) -> Vec<String> {
    analyzed.terms.keys().cloned().collect()
}
