//! PostgreSQL's own search on the same texts and questions: `tsvector` of the language, any word of the question, ranked by
//! `ts_rank_cd` or `ts_rank` with each way of it to weigh a text's length.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use crate::measure::{Corpus, Measured, ask_by};

/// Function and normalisation: 0 none, 1 by the logarithm of the length, 2 by the length.
pub const WAYS: [(&str, i32); 5] =
    [("ts_rank_cd", 0), ("ts_rank_cd", 1), ("ts_rank_cd", 2), ("ts_rank", 1), ("ts_rank", 2)];

/// Creates the table.
pub async fn prepare(db: &DatabaseConnection) {
    let sql =
        "CREATE TABLE ts_texts (account text, name text, words tsvector); CREATE INDEX ON ts_texts USING gin (words)";
    db.execute_unprepared(sql).await.unwrap_or_else(|e| panic!("{e}"));
}

/// Writes a corpus's texts, the name as part of the text as the store has it.
pub async fn fill(db: &DatabaseConnection, corpus: &Corpus) {
    for text in &corpus.texts {
        let sql = "INSERT INTO ts_texts VALUES ($1, $2, to_tsvector('english', $3))";
        let values = [corpus.account.as_str().into(), text.name.as_str().into(), text.content.as_str().into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
        db.execute_raw(statement).await.unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Asks every question of a corpus.
pub async fn ask(db: &DatabaseConnection, (function, length): (&str, i32), corpus: &Corpus, measured: &mut Measured) {
    let sql = format!(
        "WITH q AS MATERIALIZED (SELECT string_agg(quote_literal(w.lexeme), ' | ')::tsquery AS any \
         FROM unnest(to_tsvector('english', $2)) w) \
         SELECT t.name FROM q, ts_texts t WHERE t.account = $1 AND t.words @@ q.any \
         ORDER BY {function}(t.words, q.any, {length}) DESC, t.name LIMIT 10"
    );
    let search = async |question: &str| {
        let values = [corpus.account.as_str().into(), question.into()];
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, &sql, values);
        let rows = db.query_all_raw(statement).await.unwrap_or_else(|e| panic!("{e}"));
        rows.iter().map(|row| row.try_get_by_index(0).unwrap_or_else(|e| panic!("{e}"))).collect()
    };
    ask_by(search, corpus, measured).await;
}
