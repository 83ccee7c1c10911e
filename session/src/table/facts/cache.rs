//! The facts of a pool's tables, and what makes them doubtful.

use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use super::TableFacts;
use crate::table::meta::TableMeta;

/// Roles and search paths whose facts are kept apart; more of them are asked about each time.
const MOST_SCOPES: usize = 1_024;

/// What is known of the tables of one pool, as one role sees them along one search path.
#[derive(Debug, Default)]
pub(crate) struct FactsCache {
    known: RwLock<FxHashMap<usize, Arc<TableFacts>>>,
    scopes: RwLock<FxHashMap<String, Arc<FactsCache>>>,
}

/// Settings that decide which table a name means, or what its user may do.
const DECIDING: [&str; 4] = ["role", "session_authorization", "search_path", "row_security"];

impl FactsCache {
    pub(crate) fn get(&self, table: &'static TableMeta) -> Option<Arc<TableFacts>> {
        self.known.read().get(&place(table)).cloned()
    }

    pub(crate) fn put(&self, table: &'static TableMeta, facts: Arc<TableFacts>) {
        self.known.write().insert(place(table), facts);
    }

    /// A table may have changed: the next write asks again.
    pub(crate) fn forget(&self, table: &'static TableMeta) {
        self.known.write().remove(&place(table));
    }

    /// Any table may have changed.
    pub(crate) fn forget_all(&self) {
        self.known.write().clear();
        self.scopes.read().values().for_each(|scope| scope.forget_all());
    }

    /// The facts as a unit with these settings of its own sees them.
    pub(crate) fn scope<'s>(self: &Arc<Self>, settings: impl Iterator<Item = &'s (String, String)>) -> Arc<Self> {
        let deciding = settings.filter(|(key, _)| DECIDING.contains(&key.to_ascii_lowercase().as_str()));
        let name: String = deciding.map(|(key, value)| format!("{key}={value}\n")).collect();
        if name.is_empty() { self.clone() } else { self.named(name) }
    }

    /// The facts as a unit sees them that runs on a replica: its catalogue may be that of a while ago (U9).
    pub(crate) fn on_replica(self: &Arc<Self>) -> Arc<Self> {
        self.named("on a replica".to_owned())
    }

    fn named(&self, name: String) -> Arc<Self> {
        if let Some(scope) = self.scopes.read().get(&name) {
            return scope.clone();
        }
        let mut scopes = self.scopes.write();
        if scopes.len() >= MOST_SCOPES {
            return Arc::default();
        }
        scopes.entry(name).or_default().clone()
    }
}

fn place(table: &'static TableMeta) -> usize {
    std::ptr::from_ref(table).addr()
}

/// Words that a statement begins with which may change a table, or which table a name means. Statements that only may are
/// among them: to ask once more costs little.
const ALTERING: [&str; 18] = [
    "ALTER", "CREATE", "DROP", "SET", "RESET", "GRANT", "REVOKE", "DO", "CALL", "ATTACH", "DETACH", "PRAGMA", "IMPORT",
    "SECURITY", "REASSIGN", "DISCARD", "RENAME", "COMMENT",
];

/// Whether a text of the caller's may change what is known of tables.
pub(crate) fn alters_tables(sql: &str) -> bool {
    let words = || sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let first_of =
        |part: &str| part.split(|c: char| !c.is_ascii_alphabetic()).find(|word| !word.is_empty()).map(is_altering);
    match sql.contains([';', '/', '-']) {
        // Several statements, or comments: each word may be the first of one. A column of such a name costs one question.
        true => words().any(is_altering) || sql.contains("set_config"),
        false => first_of(sql).unwrap_or(false) || sql.contains("set_config"),
    }
}

fn is_altering(word: &str) -> bool {
    ALTERING.iter().any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::alters_tables;

    #[test]
    fn d1_texts_that_may_change_a_table_are_told_from_others() {
        for text in [
            "ALTER TABLE a ADD b int",
            "  create trigger t",
            "SELECT 1; drop table a",
            "/* x */ SET ROLE app",
            "SELECT set_config('search_path', 'b', true)",
            "-- note\nALTER TABLE a RENAME TO b",
        ] {
            assert!(alters_tables(text), "{text}");
        }
        for text in ["SELECT * FROM a", "UPDATE a SET b = 1", "insert into a values (1)", "(SELECT 1)", ""] {
            assert!(!alters_tables(text), "{text}");
        }
    }
}
