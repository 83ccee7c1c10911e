//! Rows that a statement brings along, under names that are not the table's (D9). Its text does not depend on how many they
//! are: arrays where the backend takes them, else tuples, as many as the next power of two. Sends nothing.

use sea_orm::{Statement, Value, sea_query::Values};

use crate::{
    connection::{
        Fetch, Message,
        text::{Text, cut_by_bytes},
    },
    dialect::{Dialect, Sets, message::Arguments},
    error::Error,
    table::{meta::TableMeta, value_ref::ValueRef},
};

/// Rows of one statement that takes arrays.
const ARRAY_ROWS: usize = 5_000;

/// Rows of one statement that takes a parameter for each value of a kind that no array holds.
const PLAIN_VALUES: usize = 10_000;

/// Rows that a statement brings along.
pub(super) struct Source {
    /// What stands before the SELECT that reads the rows; nothing where they are arrays.
    pub(super) with: String,
    /// What the rows are read from: their number, and a value a column.
    pub(super) from: String,
    /// How many tuples there are, where some are only there to fill the text up.
    filled: bool,
    sent: Sent,
}

enum Sent {
    Arrays(Arguments),
    Flat { rows: usize, values: Vec<Value>, width: usize, size: usize },
    Plain(Vec<Value>),
}

/// Rows in pieces of which one statement takes each.
pub(super) fn pieces<'r>(
    table: &TableMeta,
    dialect: &Dialect,
    columns: &[usize],
    rows: &'r [Vec<Value>],
    most_bytes: usize,
) -> impl Iterator<Item = &'r [Vec<Value>]> {
    let most = match dialect.sets {
        _ if !together(table, columns) => (PLAIN_VALUES / columns.len().max(1)).max(1),
        Sets::Arrays => ARRAY_ROWS,
        Sets::Values | Sets::Documents => dialect.chunk(usize::MAX, columns.len()),
    };
    cut_by_bytes(rows, most, most_bytes)
}

/// Whether values of these columns can be sent in the driver's own form.
pub(super) fn together(table: &TableMeta, columns: &[usize]) -> bool {
    columns.iter().all(|column| table.columns[*column].is_simple())
}

impl Source {
    /// These rows, of values of these columns.
    ///
    /// # Errors
    /// A value is not of its column's kind.
    pub(super) fn new(
        table: &TableMeta,
        dialect: &'static Dialect,
        columns: &[usize],
        rows: &[Vec<Value>],
    ) -> Result<Self, Error> {
        let (names, width) = (&table.names, columns.len());
        // MariaDB's VALUES do not take parameters as they come.
        let (before, between, after, values) = match dialect.sets {
            Sets::Arrays | Sets::Values => ("(", ", ", ")", "VALUES "),
            Sets::Documents => ("SELECT ", " UNION ALL ", "", ""),
        };
        let with = |tuples: Vec<String>| {
            let tuples = tuples.join(between);
            format!("WITH {}({}, {}) AS ({values}{tuples}) ", names.rows, names.number, names.values(width))
        };
        let sent = |column: usize, value: &Value| table.columns[column].sent(value.clone());
        match (dialect.sets, together(table, columns)) {
            (Sets::Arrays, true) => {
                let kinds: Vec<_> = columns.iter().map(|column| &table.columns[*column].kind).collect();
                let mut arguments = (dialect.rows)(rows.len(), &kinds)?;
                for row in rows {
                    for (at, (column, value)) in columns.iter().zip(row).enumerate() {
                        arguments.sink().put(at, &ValueRef::from(&sent(*column, value)))?;
                    }
                }
                let from = names.unnest_numbered(width);
                Ok(Self { with: String::new(), from, filled: false, sent: Sent::Arrays(arguments.finish()?) })
            }
            (Sets::Values | Sets::Documents, true) => {
                let size = rows.len().next_power_of_two();
                let tuple = |number: usize| format!("{before}{number}, {}{after}", vec!["?"; width].join(", "));
                let tuples = (1..=size).map(tuple).collect::<Vec<_>>();
                let values = rows.iter().flat_map(|row| columns.iter().zip(row));
                let values = values.map(|(column, value)| sent(*column, value)).collect();
                let sent = Sent::Flat { rows: rows.len(), values, width, size };
                Ok(Self { with: with(tuples), from: names.rows.clone(), filled: true, sent })
            }
            (_, false) => {
                let mut text = Text::new(dialect, "");
                let mut tuples = Vec::with_capacity(rows.len());
                for (number, row) in rows.iter().enumerate() {
                    let values = columns.iter().zip(row).map(|(column, value)| text.bind(sent(*column, value)));
                    let values = values.collect::<Vec<_>>().join(", ");
                    tuples.push(format!("{before}CAST({} AS {}), {values}{after}", number + 1, dialect.big));
                }
                let (with, from) = (with(tuples), names.rows.clone());
                Ok(Self { with, from, filled: false, sent: Sent::Plain(text.values) })
            }
        }
    }

    /// The condition that leaves out what only fills the text up, where there is such; its value is the statement's last.
    pub(super) fn only_rows(&self, table: &TableMeta) -> String {
        match self.filled {
            true => format!("{}.{} <= ?", table.names.rows, table.names.number),
            // An upsert from rows is told from a join by its WHERE.
            false => "true".to_owned(),
        }
    }

    /// The statement; `counted` says whether it has [`Source::only_rows`].
    ///
    /// # Errors
    /// A value cannot be encoded.
    pub(super) fn message<'m>(
        self,
        dialect: &'static Dialect,
        sql: String,
        counted: bool,
        fetch: Fetch,
    ) -> Result<Message<'m>, Error> {
        let arguments = match self.sent {
            Sent::Arrays(arguments) => arguments,
            Sent::Flat { rows, values, width, size } => {
                // One flat list, which asks no kinds.
                let mut arguments = (dialect.rows)(size * width + 1, &[])?;
                let sink = arguments.sink();
                values.iter().try_for_each(|value| sink.put(0, &ValueRef::from(value)))?;
                (values.len()..size * width).try_for_each(|_| sink.put(0, &ValueRef::Null))?;
                if counted {
                    sink.put(0, &ValueRef::Big(i64::try_from(rows).unwrap_or(i64::MAX)))?;
                }
                arguments.finish()?
            }
            Sent::Plain(values) => {
                let statement = Statement { sql, values: Some(Values(values)), db_backend: dialect.backend };
                return Ok(Message::Statement(statement, fetch));
            }
        };
        Ok(Message::Bound { sql: sql.into(), arguments, fetch })
    }
}
