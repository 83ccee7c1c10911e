//! What comes back with a write, and how it reaches its object: always by what the database says of that row (D3, D4).

use rustc_hash::FxHashMap;
use sea_orm::{QueryResult, Value, sea_query::Values};
use smallvec::SmallVec;

use super::{
    Flush,
    plan::{Kind, Part},
    rows::NamedRows,
    set::{Drawn, MANY_ROWS, RowSet, RowSource, Window},
};
use crate::{
    connection::{Fetch, Message, text::Text},
    dialect::{
        Dialect, Sets,
        documents::{self, DocumentRows},
    },
    error::Error,
    objects::row::Returned,
    table::{facts::Stored, meta::TableMeta, row_sink::RowSink, value_ref::ValueRef},
};

/// What a write is to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Back {
    Nothing,
    /// These columns, each read by itself.
    Columns(Vec<usize>),
    /// The whole row: one of the columns can only be read with its model.
    Row,
}

/// What was told of a row, by column: mostly its key.
pub(super) type Told = SmallVec<[(usize, Value); 1]>;

/// What is to be known of a set's rows after they were written.
pub(super) struct Wanted {
    pub(super) back: Back,
    /// The columns hold something for some row that its facts do not tell: the text depends on the values.
    pub(super) odd: bool,
    /// A trigger may write after RETURNING was told: the rows are read once more.
    pub(super) again: bool,
    /// The statement may not be asked: each new row is read by its key.
    pub(super) apart: bool,
}

impl Back {
    fn of(table: &TableMeta, columns: Vec<usize>) -> Self {
        match columns {
            none if none.is_empty() => Back::Nothing,
            all if all.iter().all(|column| table.columns[*column].is_simple()) => Back::Columns(all),
            _ => Back::Row,
        }
    }

    /// The list of what is selected, key first if the rows are told apart by it; empty for nothing.
    pub(super) fn list(&self, table: &TableMeta, dialect: &Dialect, with_key: bool) -> Vec<String> {
        let select = |column: &usize| table.columns[*column].select(dialect).to_owned();
        match self {
            Back::Nothing => Vec::new(),
            Back::Row => (0..table.columns.len()).map(|column| select(&column)).collect(),
            Back::Columns(columns) => {
                let keys = table.keys.iter().filter(|key| with_key && !columns.contains(key));
                keys.chain(columns).map(select).collect()
            }
        }
    }

    /// The values of an answer's row, unless it is to be read whole.
    pub(super) fn values(&self, table: &TableMeta, row: &QueryResult) -> Result<Told, Error> {
        let Back::Columns(columns) = self else { return Ok(Told::new()) };
        columns.iter().map(|c| Ok((*c, table.columns[*c].decode(row)?))).collect()
    }
}

impl RowSet<'_> {
    /// What has to come back with the set's rows.
    pub(super) fn wanted(&self) -> Result<Wanted, Error> {
        if self.is_appended() {
            return Ok(Wanted { back: Back::Nothing, odd: false, again: false, apart: false });
        }
        let wanted = self.wanted_of_the_statement()?;
        let event = if self.kind == Kind::Update { self.facts.update } else { self.facts.insert };
        if !event.mute || wanted.back == Back::Nothing || self.kind == Kind::Delete {
            return Ok(wanted);
        }
        // The server knows no RETURNING here: rows are read afterwards, those without a key each after it was written.
        let told = self.kind == Kind::Update || self.table.keys.iter().all(|key| self.columns.contains(key));
        Ok(Wanted { back: Back::Nothing, odd: wanted.odd, again: told, apart: !told })
    }

    fn wanted_of_the_statement(&self) -> Result<Wanted, Error> {
        let (table, facts) = (self.table, &self.facts);
        let every = || (0..table.columns.len()).filter(|column| table.columns[*column].held);
        let event = match self.kind {
            Kind::Insert | Kind::Switch => facts.insert,
            Kind::Update => facts.update,
            Kind::Delete if facts.uncounted => {
                return Ok(Wanted {
                    back: Back::of(table, table.keys.clone()),
                    odd: false,
                    again: false,
                    apart: false,
                });
            }
            Kind::Delete => return Ok(Wanted { back: Back::Nothing, odd: false, again: false, apart: false }),
        };
        // Half of a row that a cycle has cut in two is read with the other half.
        if self.part == Part::Open {
            return Ok(Wanted { back: Back::Nothing, odd: false, again: false, apart: false });
        }
        if self.kind == Kind::Update && event.rewrites && self.len() >= MANY_ROWS {
            // Counted first, and read afterwards.
            return Ok(Wanted { back: Back::Nothing, odd: false, again: true, apart: false });
        }
        let told = self.kind == Kind::Update || self.table.keys.iter().all(|key| self.columns.contains(key));
        if event.instead && told {
            // The statement may not be asked; the row is found by its key.
            let update = self.kind == Kind::Update;
            return Ok(Wanted { back: Back::Nothing, odd: false, again: update, apart: !update });
        }
        if event.row_by_row || event.rewrites {
            let back = Back::of(table, every().collect());
            return Ok(Wanted { back, odd: false, again: event.changes_afterwards, apart: false });
        }
        let written = |column: &usize| self.columns.contains(column);
        let made = self.drawn.as_ref().map_or(&[][..], Drawn::columns);
        let filled_in = |column: &usize| match self.kind {
            Kind::Update => facts.columns[*column].generated || facts.columns[*column].touched && !written(column),
            _ => !written(column) && !made.contains(column),
        };
        let odd = self.oddly_stored()?;
        let changed = |column: &usize| {
            written(column) && (facts.columns[*column].stored == Stored::Unknown || odd.contains(column))
        };
        // Of most sets nothing comes back: no list is made for that.
        let columns = every().filter(|column| filled_in(column) || changed(column)).collect();
        Ok(Wanted { back: Back::of(table, columns), odd: !odd.is_empty(), again: false, apart: false })
    }

    /// Whether the database keeps each key as it was sent, so that rows are told apart by it.
    pub(super) fn keeps_keys(&self) -> bool {
        let stored = |key: &usize| self.facts.columns[*key].stored;
        let spaces = |key: &&usize| stored(key) == Stored::UnlessSpaces && self.columns.contains(key);
        let odd = match self.table.keys.iter().any(|key| spaces(&key)) {
            true => self.oddly_stored().ok(),
            false => None,
        };
        let kept = |key: &usize| odd.as_ref().is_some_and(|odd| spaces(&key) && !odd.contains(key));
        self.table.keys.iter().all(|key| stored(key) == Stored::AsSent || kept(key))
    }
}

impl Flush<'_> {
    /// One row was written; the answer's row tells the rest.
    pub(super) fn tell(
        &mut self,
        set: &RowSet<'_>,
        row: usize,
        back: &Back,
        answer: Option<&QueryResult>,
    ) -> Result<(), Error> {
        if let (Back::Row, Some(answer)) = (back, answer) {
            return self.row_written(set, row, Some(&Returned::Row(answer)));
        }
        let mut values = answer.map_or_else(|| Ok(Told::new()), |answer| back.values(set.table, answer))?;
        if let Some(drawn) = &set.drawn {
            values.extend(drawn.columns().iter().copied().zip(drawn.row(row).iter().cloned()));
        }
        let returned = (!values.is_empty()).then_some(Returned::Values(&values));
        self.row_written(set, row, returned.as_ref())
    }

    /// Rows were written of which nothing had to come back.
    pub(super) fn all_told(&mut self, window: Window<'_, '_>) -> Result<(), Error> {
        let (set, mut rows) = (window.set, window.from..window.to);
        match set.drawn {
            None => rows.try_for_each(|row| self.row_written(set, row, None)),
            Some(_) => rows.try_for_each(|row| self.tell(set, row, &Back::Nothing, None)),
        }
    }

    /// Rows were written whose keys are known; each row of the answer says by its key which one it is.
    pub(super) fn tell_by_key(
        &mut self,
        window: Window<'_, '_>,
        back: &Back,
        answer: &[QueryResult],
    ) -> Result<(), Error> {
        let (set, table) = (window.set, window.set.table);
        let keys = (window.from..window.to).map(|row| Ok((set.new_key(row)?, row)));
        let mut by_key: FxHashMap<Vec<Value>, usize> = keys.collect::<Result<_, Error>>()?;
        for row in answer {
            let at = by_key.remove(&table.key_of_row(row)?).ok_or_else(|| unasked(window))?;
            self.tell(set, at, back, Some(row))?;
        }
        // Of a row that was found to be gone nothing came back.
        let gone = |row: &usize| set.kind == Kind::Update && set.object(*row).is_some_and(|object| object.is_gone());
        match by_key.values().all(gone) {
            true => Ok(()),
            false => Err(unasked(window)),
        }
    }

    fn row_written(&mut self, set: &RowSet<'_>, row: usize, returned: Option<&Returned<'_>>) -> Result<(), Error> {
        let micros = &set.facts.micros;
        if self.found_gone && set.kind == Kind::Update && set.object(row).is_some_and(|object| object.is_gone()) {
            return Ok(());
        }
        match (&set.rows, set.part) {
            (_, Part::Open) | (RowSource::Appended(_), _) => Ok(()),
            (RowSource::Objects(objects), _) => self.object_written(objects[row], set.row_kind(), returned, micros),
            (RowSource::Planned { rows, members }, Part::Whole) => members[rows.ops[row]]
                .iter()
                .try_for_each(|(object, kind)| self.object_written(object, *kind, returned, micros)),
            (RowSource::Planned { rows, members }, Part::Close) => {
                let values = || set.columns.iter().copied().zip(rows.values[row].iter().cloned());
                members[rows.ops[row]].iter().try_for_each(|(object, _)| object.closed(&mut values(), returned))
            }
        }
    }

    /// Reads a new row by the key that it was sent with.
    pub(super) async fn read_new(&mut self, set: &RowSet<'_>, row: usize) -> Result<Vec<QueryResult>, Error> {
        self.read_by(set, row, set.new_key(row)?).await
    }

    /// Reads a new row by its key.
    pub(super) async fn read_by(
        &mut self,
        set: &RowSet<'_>,
        row: usize,
        key: Vec<Value>,
    ) -> Result<Vec<QueryResult>, Error> {
        let message = read_values(set, self.connection.dialect(), &[(row, key)]);
        Ok(self.send(set.table, &set.window(row, row + 1), message).await?.rows())
    }

    /// Reads the rows of a set once more: a trigger may have written to them after RETURNING was told.
    pub(super) async fn read_again(&mut self, set: &RowSet<'_>) -> Result<(), Error> {
        let (table, dialect) = (set.table, self.connection.dialect());
        let rows: Vec<(usize, Vec<Value>)> =
            (0..set.len()).filter_map(|row| Some((row, set.current_key(row)?))).collect();
        let of_documents = |key: &usize| dialect.sets != Sets::Documents || set.facts.columns[*key].document.is_some();
        let together = table.keys.iter().all(|key| table.columns[*key].is_simple() && of_documents(key));
        let most = match (together, dialect.sets) {
            (false, _) => 1,
            (true, Sets::Values) => dialect.chunk(rows.len(), table.keys.len() + 1),
            (true, Sets::Arrays | Sets::Documents) => 1_000,
        };
        for some in rows.chunks(most) {
            let message = match dialect.sets {
                Sets::Arrays if together => read_arrays(set, dialect, some)?,
                Sets::Documents if together => read_document(set, dialect, some)?,
                _ => read_values(set, dialect, some),
            };
            let answer = self.send(table, &set.window(0, set.len()), message).await?.rows();
            let mut missing: Vec<bool> = vec![true; some.len()];
            for row in &answer {
                let number: i64 = row.try_get_by_index(0)?;
                let at = usize::try_from(number - 1).ok().filter(|at| *at < some.len());
                let at = at.ok_or_else(|| unasked(set.window(0, set.len())))?;
                missing[at] = false;
                if let Some(object) = set.object(some[at].0) {
                    object.told_again(row, self.map)?;
                }
            }
            // A trigger has deleted it again, or given it another key (D7).
            for (row, _) in some.iter().zip(missing).filter(|(_, missing)| *missing).map(|(row, _)| row) {
                if let Some(object) = set.object(*row) {
                    self.vanished(object);
                }
            }
        }
        Ok(())
    }
}

/// The rows of these keys, each with its number.
fn read_text(set: &RowSet<'_>, dialect: &Dialect, source: &str, in_document: bool) -> String {
    let (table, names) = (set.table, &set.table.names);
    let same = table.keys.iter().enumerate().map(|(at, key)| {
        let meta = &table.columns[*key];
        let value = match in_document {
            true => documents::value(names, &set.facts, at, *key),
            false => names.value(at),
        };
        let value = meta.save(dialect, &value);
        format!("{}.{} = {}", table.table, meta.quoted(), set.facts.compared(*key, &value))
    });
    format!(
        "SELECT CAST({}.{} AS {}), {} FROM {source} JOIN {} ON {}",
        names.rows,
        names.number,
        dialect.big,
        Back::Row.list(table, dialect, false).join(", "),
        table.table,
        same.collect::<Vec<_>>().join(" AND ")
    )
}

fn read_arrays<'m>(set: &RowSet<'_>, dialect: &Dialect, rows: &[(usize, Vec<Value>)]) -> Result<Message<'m>, Error> {
    let (table, names) = (set.table, &set.table.names);
    let kinds: Vec<_> = table.keys.iter().map(|key| &table.columns[*key].kind).collect();
    let mut arguments = (dialect.rows)(rows.len(), &kinds)?;
    for (_, key) in rows {
        key.iter().enumerate().try_for_each(|(at, value)| arguments.sink().put(at, &ValueRef::from(value)))?;
    }
    let source = names.unnest_numbered(table.keys.len());
    let sql = read_text(set, dialect, &source, false);
    Ok(Message::Bound { sql: sql.into(), arguments: arguments.finish()?, fetch: Fetch::All })
}

fn read_document<'m>(set: &RowSet<'_>, dialect: &Dialect, rows: &[(usize, Vec<Value>)]) -> Result<Message<'m>, Error> {
    let table = set.table;
    let mut sink = DocumentRows::new();
    for (_, key) in rows {
        sink.begin_row();
        key.iter().enumerate().try_for_each(|(at, value)| sink.put(at, &ValueRef::from(value)))?;
    }
    let source = documents::table(&table.names, &set.facts, table.keys.iter().copied());
    let source = source.ok_or_else(|| Error::usage(format!("{}: its key has no form in a document", table.entity)))?;
    let sql = read_text(set, dialect, &source, true);
    Ok(Message::Built { sql: sql.into(), values: Values(vec![sink.finish().into()]), fetch: Fetch::All })
}

fn read_values<'m>(set: &RowSet<'_>, dialect: &'static Dialect, rows: &[(usize, Vec<Value>)]) -> Message<'m> {
    let (table, names) = (set.table, &set.table.names);
    let mut text = Text::new(dialect, "");
    let tuples = rows.iter().enumerate().map(|(at, (_, key))| {
        let values = key.iter().map(|value| text.bind(value.clone())).collect::<Vec<_>>();
        format!("(CAST({} AS {}), {})", at + 1, dialect.big, values.join(", "))
    });
    let tuples: Vec<String> = tuples.collect();
    let called = std::iter::once(names.number.clone()).chain((0..table.keys.len()).map(|at| names.bare(at)));
    let source = dialect.rows_of(&names.rows, &called.collect::<Vec<_>>(), &tuples);
    text.sql = read_text(set, dialect, &source, false);
    text.message(Fetch::All)
}

/// The database answered with rows that nobody has sent, or not with all that were: nothing is sent again because of it.
pub(super) fn unasked(window: Window<'_, '_>) -> Error {
    let what = "the database's answer does not say what became of each row (a trigger, rule or view may change keys); nothing was sent again";
    Error::diverted(window.place(window.set.table), what)
}
