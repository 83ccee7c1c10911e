//! Ranks the index's records for a question: BM25 over `index_terms`, the same statements on both backends (W5).
//!
//! Two statements. The first counts how many records of the caller's own spaces have each term, from which comes what a
//! term is worth; the second adds up, record by record, and joins the best with their nodes. Both start from the key
//! `(space, term)`: what is not the caller's to see is neither read nor counted, so that neither a score nor the time that it
//! takes tells of it (W7). Whether a node is active and whose it is now is asked of `nodes`.
//!
//! A term that nearly every record has is worth little and costs most. So the records of the rarer terms come first, and the
//! common ones only add to these. Each row carries the most that a record not looked at could have; where the page
//! does not lie above that, everything is looked at ([`Attempt`]). The answer is the same either way.

use std::collections::HashMap;

use sea_orm::{FromQueryResult, prelude::DateTimeUtc, prelude::Uuid};
use sea_session::prelude::*;

use crate::{
    dialect::{Dialect, Terms},
    error::StoreError,
    sql::{Sql, in_spaces, text},
    uri::Uri,
    words::{Demand, Marks, Phrase, Question, is_stop_word},
};

/// How soon a second occurrence counts for less, and how much longer records count for less.
const K1: f64 = 0.9;
const B: f64 = 0.4;

/// What a part of a word, or its form in another language, is worth beside the word itself.
const OTHER_FORM: f64 = 0.6;

/// Rows of terms that are added up before common terms are set aside.
const ROWS: i64 = 15_000;

/// Words that one `…*` stands for at most: the most frequent.
const COMPLETIONS: i64 = 100;

/// Records that are looked at where the first look was too short.
const MANY: i64 = 5_000;

/// How many of the best are ranked a second time, and how few are too few for it.
const RERANKED: i64 = 200;
const ENOUGH: usize = 10;

/// Whose words are taken for it, how many, and what they are worth beside the question's own.
const FEEDBACK_RECORDS: usize = 5;
const FEEDBACK_TERMS: usize = 20;
const FEEDBACK: f64 = 0.2;

/// The longest text whose words are taken, and how many of its words are looked at.
const SHORT: i32 = 400;
const LOOKED_AT: usize = 200;

/// What a search is limited to, besides its words.
pub(super) struct Scope<'o> {
    pub(super) account: &'o str,
    /// The owner spaces; all of the account's for none.
    pub(super) spaces: Option<Vec<String>>,
    pub(super) within: Option<&'o Uri>,
    pub(super) category: Option<&'o str>,
    pub(super) node_type: Option<&'o str>,
    /// A key of the metadata and the scalar that it must have.
    pub(super) metadata: Vec<(&'o str, &'o serde_json::Value)>,
    pub(super) since: Option<DateTimeUtc>,
    pub(super) until: Option<DateTimeUtc>,
}

impl Scope<'_> {
    /// Whether it leaves out nodes that the caller could see.
    fn is_filtered(&self) -> bool {
        self.within.is_some()
            || self.category.is_some()
            || self.node_type.is_some()
            || !self.metadata.is_empty()
            || self.since.is_some()
            || self.until.is_some()
    }

    /// Adds that a column is one of the spaces, in a form that becomes a condition of an index.
    fn in_spaces(&self, sql: &mut Sql, column: &str) {
        in_spaces(sql, column, self.account, self.spaces.as_deref());
    }

    /// Adds that no text of `nodes n` has any of this.
    pub(super) fn leave_out(&self, sql: &mut Sql, without: &[Demand]) {
        for demand in without {
            sql.push(" AND NOT EXISTS (SELECT 1 FROM index_records x WHERE x.account_id = ").bind(self.account);
            sql.push(" AND x.node_id = n.id AND ");
            match demand {
                Demand::Word(word) => {
                    sql.push("EXISTS (SELECT 1 FROM index_terms t WHERE ");
                    self.in_spaces(sql, "t.space_id");
                    sql.push(" AND t.term = ").bind(word.as_str()).push(" AND t.record = x.id)");
                }
                Demand::Phrase(stream) => has_words(sql, "x", stream),
            }
            sql.push(")");
        }
    }

    /// Adds the conditions on `nodes n`.
    pub(super) fn conditions(&self, sql: &mut Sql) {
        sql.push(" AND n.status = 'active' AND n.account_id = ").bind(self.account);
        sql.and_owned("n.owner_space", self.spaces.as_deref());
        if let Some(within) = self.within {
            let (low, high) = within.below();
            sql.with(" AND (n.uri = ? OR (n.uri >= ? AND n.uri < ?))", [text(within.as_str()), text(low), text(high)]);
        }
        if let Some(category) = self.category {
            sql.push(" AND n.category = ").bind(category);
        }
        if let Some(node_type) = self.node_type {
            sql.push(" AND n.node_type = ").bind(node_type);
        }
        if let Some(since) = self.since {
            sql.push(" AND n.updated_at >= ").bind(since);
        }
        if let Some(until) = self.until {
            sql.push(" AND n.updated_at < ").bind(until);
        }
        for (key, value) in &self.metadata {
            (sql.dialect().has_metadata)(sql, key, value);
        }
    }
}

/// Adds that the words of a record stand in this order.
pub(super) fn has_words(sql: &mut Sql, record: &str, stream: &str) {
    sql.say(|d| d.position).push(&format!("({record}.words, ")).bind(stream).push(") > 0");
}

/// A term of the question, as the index has it.
#[derive(Clone, Debug)]
struct Term {
    term: String,
    /// Records that have it.
    records: i64,
    /// How many of the question's words it stands for, weighed.
    share: f64,
}

/// A question and what its terms are worth here.
pub(super) struct Ranking<'q> {
    question: &'q Question,
    /// The rarest first, but for the required one.
    terms: Vec<Term>,
    /// A term that every answer has.
    required: Option<String>,
    records: i64,
    mean_length: f64,
}

/// How much of the index one statement looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// The best so many records that have one of the rarer terms.
    Best(i64),
    /// All that match.
    All,
}

/// A record that matches.
#[derive(Clone, Debug, FromQueryResult)]
pub(super) struct Ranked {
    pub(super) record: i64,
    pub(super) id: Uuid,
    pub(super) uri: String,
    pub(super) score: f64,
    /// The least that a record had that was looked at; 0 if all were.
    floor: f64,
}

impl Ranked {
    pub(super) fn before(&self, other: &Self) -> std::cmp::Ordering {
        other.score.total_cmp(&self.score).then_with(|| self.uri.cmp(&other.uri))
    }
}

/// How many records have each term, and how many records and words there are; a term that none has is left out. Counts no
/// further than `most`.
async fn counts(
    s: &mut Session,
    scope: &Scope<'_>,
    terms: &[&str],
    most: Option<i64>,
) -> Result<(HashMap<String, i64>, (i64, i64)), StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        number: i32,
        records: i64,
        words: i64,
    }
    let mut counts = HashMap::with_capacity(terms.len());
    let mut totals = (0, 0);
    if terms.is_empty() {
        return Ok((counts, totals));
    }
    let mut sql = Sql::of(s);
    let crate::dialect::Dialect { correlated_tables, big, .. } = *sql.dialect();
    sql.push("WITH q(number, term) AS (");
    for (n, term) in terms.iter().enumerate() {
        sql.begin_row(n).push(&n.to_string()).push(", ").bind_text(term).end_row();
    }
    sql.push(") SELECT q.number, (SELECT count(*) FROM ");
    // Where the limit cannot be had, all are counted.
    sql.push(if correlated_tables { "(SELECT 1 FROM index_terms t WHERE " } else { "index_terms t WHERE " });
    scope.in_spaces(&mut sql, "t.space_id");
    sql.push(" AND t.term = q.term");
    if let Some(most) = most.filter(|_| correlated_tables) {
        sql.push(" LIMIT ").bind(most);
    }
    sql.push(if correlated_tables { ") counted)" } else { ")" });
    sql.push(&format!(
        " AS records, CAST(0 AS {big}) AS words FROM q UNION ALL SELECT -1, CAST(coalesce(sum(t.records), 0) AS {big})"
    ));
    sql.push(&format!(", CAST(coalesce(sum(t.words), 0) AS {big}) FROM index_totals t WHERE "));
    scope.in_spaces(&mut sql, "t.space_id");
    for row in Row::find_by_statement(sql.finish()).all(s).await? {
        match usize::try_from(row.number) {
            Ok(n) if row.records > 0 => {
                counts.insert(terms[n].to_owned(), row.records);
            }
            Ok(_) => {}
            Err(_) => totals = (row.records, row.words),
        }
    }
    Ok((counts, totals))
}

/// Sums of floating numbers differ in their last digits with the order of adding up.
fn rounded(score: f64) -> f64 {
    (score * 1e6).round() / 1e6
}

impl<'q> Ranking<'q> {
    /// Asks what the terms are worth; none if no text of the caller's has one of them.
    pub(super) async fn of(
        s: &mut Session,
        scope: &Scope<'_>,
        question: &'q Question,
    ) -> Result<Option<Self>, StoreError> {
        let mut terms: Vec<&str> = question.groups.iter().flat_map(|group| &group.terms).map(String::as_str).collect();
        terms.extend(question.phrases.iter().flat_map(|phrase| &phrase.terms).map(String::as_str));
        terms.sort_unstable();
        terms.dedup();
        let (mut counts, (records, words)) = counts(s, scope, &terms, None).await?;
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let mean_length = (words as f64 / records.max(1) as f64).max(1.0);
        let mut ranking = Self { question, terms: Vec::new(), required: None, records, mean_length };
        let mut shares: HashMap<String, f64> = HashMap::new();
        let mut completions = Vec::with_capacity(question.groups.len());
        for group in &question.groups {
            let more = if group.prefix { ranking.completions(s, scope, &group.terms[0]).await? } else { Vec::new() };
            completions.push(more);
        }
        let groups = || question.groups.iter().zip(&completions);
        let is_there = |terms: &[String]| terms.iter().any(|term| counts.contains_key(term));
        let any = groups().any(|(group, more)| !more.is_empty() || (!group.stop && is_there(&group.terms)));
        for (group, more) in groups().filter(|(group, _)| !group.stop || !any) {
            for (place, term) in group.terms.iter().enumerate() {
                if counts.contains_key(term) {
                    let share = shares.entry(term.clone()).or_default();
                    *share = share.max(if place == 0 { 1.0 } else { OTHER_FORM });
                }
            }
            for (term, records) in more {
                counts.insert(term.clone(), *records);
                shares.entry(term.clone()).or_insert(OTHER_FORM);
            }
        }
        // Every answer has the phrase's words, stop words or not: the rarest of them brings all of these in.
        let rarest = |phrase: &Phrase| phrase.terms.iter().min_by_key(|term| (counts.get(*term), *term)).cloned();
        ranking.required = question.phrases.iter().filter_map(rarest).min_by_key(|term| counts.get(term).copied());
        if let Some(term) = &ranking.required {
            shares.entry(term.clone()).or_insert(OTHER_FORM);
        }
        ranking.terms = shares
            .into_iter()
            .map(|(term, share)| Term { records: counts.get(&term).copied().unwrap_or_default(), term, share })
            .collect();
        // By name where they are as rare, so that the order of adding up is the same on every machine.
        let required = ranking.required.clone();
        let key = |term: &Term| (required.as_ref() != Some(&term.term), term.records);
        ranking.terms.sort_unstable_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.term.cmp(&b.term)));
        let has_all = |phrase: &Phrase| phrase.terms.iter().all(|term| counts.contains_key(term));
        let possible = !ranking.terms.is_empty() && question.phrases.iter().all(has_all);
        Ok(possible.then_some(ranking))
    }

    /// The terms that begin so, the most frequent first. Not those of other languages, which begin with their mark.
    async fn completions(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        beginning: &str,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        #[derive(FromQueryResult)]
        struct Row {
            term: String,
            records: i64,
        }
        let mut sql = Sql::of(s);
        sql.push("SELECT t.term, count(*) AS records FROM index_terms t WHERE ");
        scope.in_spaces(&mut sql, "t.space_id");
        sql.with(" AND t.term >= ? AND t.term < ?", [text(beginning), text(format!("{beginning}\u{10ffff}"))]);
        sql.push(" AND t.term NOT LIKE '%=%' GROUP BY t.term ORDER BY records DESC, t.term LIMIT ").bind(COMPLETIONS);
        Ok(Row::find_by_statement(sql.finish()).all(s).await?.into_iter().map(|row| (row.term, row.records)).collect())
    }

    /// What a term is worth: more the rarer it is.
    fn worth(&self, term: &Term) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rank")]
        let (all, having) = (self.records.max(term.records) as f64, term.records as f64);
        term.share * (1.0 + (all - having + 0.5) / (having + 0.5)).ln()
    }

    /// What is marked in a snippet.
    pub(super) fn marks(&self) -> Marks {
        let prefixes = self.question.groups.iter().filter(|group| group.prefix).map(|group| group.terms[0].clone());
        Marks {
            terms: self.terms.iter().map(|term| (term.term.clone(), self.worth(term))).collect(),
            prefixes: prefixes.collect(),
        }
    }

    /// The nodes that match, best first, each by its best record: at least `wanted` of those that `counts` takes, or all there
    /// are. None if nothing matches at all.
    ///
    /// The best are ranked a second time, by the words that the first few of them have in common ([`Ranking::feedback`]). That
    /// only adds to their scores, so they stay before the others, and a later page goes on where this one ended.
    pub(super) async fn best(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        wanted: usize,
        counts: impl Fn(&Ranked) -> bool,
    ) -> Result<Option<Vec<Ranked>>, StoreError> {
        let narrow = scope.is_filtered() || !self.question.phrases.is_empty() || !self.question.without.is_empty();
        // What is looked at first must not depend on the page: every page ranks the same nodes a second time.
        let attempts = [if narrow { MANY } else { 60 + RERANKED }, MANY];
        let attempts = attempts.into_iter().skip(usize::from(narrow)).map(Attempt::Best).chain([Attempt::All]);
        let mut reranked: Option<HashMap<Uuid, f64>> = None;
        for attempt in attempts {
            let mut rows = self.attempt(s, scope, attempt).await?;
            if reranked.is_none() && (rows.len() >= ENOUGH || attempt == Attempt::All) {
                let best = &rows[..rows.len().min(usize::try_from(RERANKED).unwrap_or(usize::MAX))];
                reranked = Some(self.feedback(s, scope, best).await?);
            }
            if let Some(reranked) = &reranked {
                for row in &mut rows {
                    row.score = rounded(row.score + reranked.get(&row.id).copied().unwrap_or_default());
                }
                rows.sort_unstable_by(Ranked::before);
            }
            let nothing = rows.is_empty();
            rows.retain(|row| counts(row));
            if attempt == Attempt::All {
                return Ok((!nothing).then_some(rows));
            }
            if rows.len() >= wanted {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    /// What the best records gain by the words that the first few have in common: pseudo-relevance feedback. A text that
    /// answers a question often has the words of the other answers rather than those of the question. Only short texts
    /// say what they are about in few words; by node.
    async fn feedback(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        best: &[Ranked],
    ) -> Result<HashMap<Uuid, f64>, StoreError> {
        if best.len() < ENOUGH {
            return Ok(HashMap::new());
        }
        let common = self.common_words(s, scope, &best[..FEEDBACK_RECORDS]).await?;
        let Some(most) = common.first().map(|(_, weight)| *weight) else { return Ok(HashMap::new()) };
        #[derive(FromQueryResult)]
        struct Gain {
            record: i64,
            score: f64,
        }
        let mut sql = Sql::of(s);
        sql.push("WITH q(term, worth) AS (");
        for (n, (term, weight)) in common.iter().enumerate() {
            let worth = self.worth(term) * FEEDBACK * weight / most;
            sql.begin_row(n).bind_text(&term.term).push(", ").bind_as(worth, |d| d.real).end_row();
        }
        sql.push(") SELECT t.record, sum(");
        self.rank(&mut sql, "q");
        sql.push(") AS score FROM q CROSS JOIN ");
        self.rows_of(&mut sql, scope, "q", None);
        // Not by the key: the few rows of each term are read once, and most are none of these records.
        sql.say(|d| d.and_terms)
            .say(|d| d.not_by)
            .is_in("t.record", best.iter().map(|row| row.record))
            .push(" GROUP BY t.record");
        let gains = Gain::find_by_statement(sql.finish()).all(s).await?;
        let node_of: HashMap<i64, Uuid> = best.iter().map(|row| (row.record, row.id)).collect();
        Ok(gains.into_iter().filter_map(|gain| Some((*node_of.get(&gain.record)?, gain.score))).collect())
    }

    /// The words that say most about these records and are none of the question's, with their weights; the most first.
    async fn common_words(
        &self,
        s: &mut Session,
        scope: &Scope<'_>,
        first: &[Ranked],
    ) -> Result<Vec<(Term, f64)>, StoreError> {
        #[derive(FromQueryResult)]
        struct Row {
            id: i64,
            length: i32,
            terms: serde_json::Value,
        }
        let mut sql = Sql::of(s);
        sql.push("SELECT r.id, r.length, r.terms FROM index_records r WHERE ");
        sql.say(|d| d.not_by).push("r.account_id = ").bind(scope.account);
        sql.push(&format!(" AND r.length BETWEEN 1 AND {SHORT} AND "))
            .is_in("r.id", first.iter().map(|row| row.record));
        let mut rows = Row::find_by_statement(sql.finish()).all(s).await?;
        rows.sort_unstable_by_key(|row| first.iter().position(|one| one.record == row.id));
        let total: f64 = first.iter().map(|row| row.score).sum();
        let mut weights: HashMap<String, f64> = HashMap::new();
        for row in rows {
            let score = first.iter().find(|one| one.record == row.id).map_or(0.0, |one| one.score);
            let serde_json::Value::Object(terms) = (super::dialect(s).terms_of)(row.terms) else { continue };
            for (term, frequency) in terms {
                if self.terms.iter().any(|own| own.term == term) || term.contains('=') || is_stop_word(&term, None) {
                    continue;
                }
                let frequency = frequency.as_f64().unwrap_or(1.0).min(2.0);
                *weights.entry(term).or_default() += score / total * frequency / f64::from(row.length);
            }
        }
        let mut weights: Vec<(String, f64)> = weights.into_iter().collect();
        weights.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        weights.truncate(LOOKED_AT);
        // A term that very many have tells nothing, and is not counted to the end.
        let most = (self.records / 4).clamp(100, 1_000);
        let terms: Vec<&str> = weights.iter().map(|(term, _)| term.as_str()).collect();
        let (counts, _) = counts(s, scope, &terms, Some(most)).await?;
        let mut common: Vec<(Term, f64)> = weights
            .into_iter()
            .filter_map(|(term, weight)| {
                let records = counts.get(&term).copied().filter(|records| *records < most)?;
                let term = Term { term, records, share: 1.0 };
                let weight = weight * self.worth(&term);
                Some((term, weight))
            })
            .collect();
        common.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.term.cmp(&b.0.term)));
        common.truncate(FEEDBACK_TERMS);
        Ok(common)
    }

    /// One look, best first and each node once; of a look at a part only what nothing else can be above.
    async fn attempt(&self, s: &mut Session, scope: &Scope<'_>, attempt: Attempt) -> Result<Vec<Ranked>, StoreError> {
        let leading = self.leading(attempt);
        let (leading, following) = self.terms.split_at(leading);
        let unseen: f64 = following.iter().map(|term| self.worth(term) * (K1 + 1.0)).sum();
        let sql = self.statement(super::dialect(s), scope, leading, following, attempt);
        let mut rows = Ranked::find_by_statement(sql.finish()).all(s).await?;
        if let Attempt::Best(_) = attempt {
            rows.retain(|row| row.score > row.floor + unseen + 1e-9);
        }
        rows.iter_mut().for_each(|row| row.score = rounded(row.score));
        rows.sort_unstable_by(Ranked::before);
        let mut seen = std::collections::HashSet::with_capacity(rows.len());
        rows.retain(|row| seen.insert(row.id));
        Ok(rows)
    }

    /// How many of the terms, the rarest first, bring records in; the others only add to these.
    fn leading(&self, attempt: Attempt) -> usize {
        if self.required.is_some() {
            return 1;
        }
        if attempt == Attempt::All {
            return self.terms.len();
        }
        let mut rows = 0;
        let within = |term: &&Term| {
            rows += term.records;
            rows <= ROWS
        };
        self.terms.iter().take_while(within).count().max(1)
    }

    fn statement(
        &self,
        dialect: &'static Dialect,
        scope: &Scope<'_>,
        leading: &[Term],
        following: &[Term],
        attempt: Attempt,
    ) -> Sql {
        let mut sql = Sql::new(dialect);
        sql.push("WITH q(term, worth) AS (");
        self.values(&mut sql, leading);
        if !following.is_empty() {
            sql.push("), q2(term, worth) AS (");
            self.values(&mut sql, following);
        }
        sql.push("), matched AS (SELECT t.record, sum(");
        self.rank(&mut sql, "q");
        sql.push(") AS score FROM q CROSS JOIN ");
        self.rows_of(&mut sql, scope, "q", None);
        sql.push(" GROUP BY t.record), top AS ");
        sql.say(|d| d.materialized).push("(SELECT m.record, m.score FROM matched m");
        let mut first = true;
        for phrase in &self.question.phrases {
            sql.push(if first { " WHERE " } else { " AND " });
            first = false;
            sql.push("EXISTS (SELECT 1 FROM index_records p WHERE p.id = m.record AND ");
            has_words(&mut sql, "p", &phrase.stream);
            sql.push(")");
        }
        if let Attempt::Best(best) = attempt {
            sql.push(" ORDER BY m.score DESC, m.record LIMIT ").bind(best);
        }
        sql.push(")");
        if !following.is_empty() {
            sql.push(", more AS ").say(|d| d.materialized).push("(SELECT t.record, sum(");
            self.rank(&mut sql, "q2");
            sql.push(") AS score FROM top b CROSS JOIN q2 CROSS JOIN ");
            self.rows_of(&mut sql, scope, "q2", Some("b.record"));
            sql.push(" GROUP BY t.record)");
        }
        sql.push(" SELECT b.record, n.id, n.uri, b.score");
        if !following.is_empty() {
            sql.push(" + coalesce((SELECT o.score FROM more o WHERE o.record = b.record), 0.0)");
        }
        sql.push(" AS score, ");
        match attempt {
            Attempt::Best(best) => {
                sql.push("CASE WHEN (SELECT count(*) FROM top) < ").bind(best);
                sql.push(" THEN 0.0 ELSE (SELECT min(x.score) FROM top x) END AS floor");
            }
            Attempt::All => {
                sql.push("CAST(0 AS ").say(|d| d.real).push(") AS floor");
            }
        }
        sql.push(
            " FROM top b CROSS JOIN index_records r CROSS JOIN nodes n WHERE r.id = b.record AND n.id = r.node_id",
        );
        sql.push(" AND ").say(|d| d.not_by).push("r.account_id = ").bind(scope.account);
        scope.conditions(&mut sql);
        scope.leave_out(&mut sql, &self.question.without);
        sql
    }

    fn values(&self, sql: &mut Sql, terms: &[Term]) {
        for (n, term) in terms.iter().enumerate() {
            sql.begin_row(n).bind_text(&term.term).push(", ").bind_as(self.worth(term), |d| d.real).end_row();
        }
    }

    /// BM25's part for one term of one record.
    fn rank(&self, sql: &mut Sql, q: &str) {
        let (gain, flat, slope) = (K1 + 1.0, K1 * (1.0 - B), K1 * B / self.mean_length);
        sql.push(&format!("{q}.worth * t.frequency * {gain:?} / (t.frequency + {flat:?} + t.length * "));
        sql.bind_as(slope, |d| d.real).push(")");
    }

    /// The rows of a term, of one record if it is given.
    fn rows_of(&self, sql: &mut Sql, scope: &Scope<'_>, question: &str, record: Option<&str>) {
        let spaces = scope.spaces.as_deref();
        (sql.dialect().terms)(sql, Terms { account: scope.account, spaces, question, record });
    }
}
