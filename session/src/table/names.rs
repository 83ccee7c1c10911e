//! What statements call what they bring along: names of ours, which are never those of users (D9). Knows no values.

use super::columns::ColumnMeta;

/// What a statement calls the rows that it brings along. Users choose the names of tables and columns, so these are names
/// that this table and its columns do not have (D9).
#[derive(Debug)]
pub(crate) struct Names {
    /// The rows.
    pub(crate) rows: String,
    /// The number of each, from 1.
    pub(crate) number: String,
    /// What was written of them.
    pub(crate) out: String,
    /// The rows once more, to look for those that are missing.
    pub(crate) missing: String,
}

impl Names {
    pub(crate) fn unlike(table: &str, columns: &[ColumnMeta]) -> Self {
        let taken = |prefix: &str| {
            let ours = |name: &str| {
                let name = name.to_lowercase();
                name.strip_prefix(prefix).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with('_') || rest.bytes().all(|b| b.is_ascii_digit())
                })
            };
            ours(table) || columns.iter().any(|column| ours(column.name))
        };
        let mut rows = "u".to_owned();
        while taken(&rows) {
            rows.insert_str(0, "sea_session_");
        }
        Names { number: format!("{rows}_ord"), out: format!("{rows}_out"), missing: format!("{rows}_missing"), rows }
    }

    /// The name of the value at this place of a row.
    pub(crate) fn bare(&self, at: usize) -> String {
        format!("{}{at}", self.rows)
    }

    /// The value at this place of a row.
    pub(crate) fn value(&self, at: usize) -> String {
        format!("{0}.{0}{at}", self.rows)
    }

    /// The names of so many values.
    pub(crate) fn values(&self, width: usize) -> String {
        (0..width).map(|at| self.bare(at)).collect::<Vec<_>>().join(", ")
    }

    /// Rows of arrays of so many columns (PostgreSQL).
    pub(crate) fn unnest(&self, width: usize) -> String {
        format!("UNNEST({}) AS {}({})", Self::parameters(width), self.rows, self.values(width))
    }

    /// As [`Names::unnest`], each with its number.
    pub(crate) fn unnest_numbered(&self, width: usize) -> String {
        let parameters = Self::parameters(width);
        format!("UNNEST({parameters}) WITH ORDINALITY AS {}({}, {})", self.rows, self.values(width), self.number)
    }

    /// `$1, $2, …`.
    pub(crate) fn parameters(width: usize) -> String {
        (1..=width).map(|at| format!("${at}")).collect::<Vec<_>>().join(", ")
    }
}
