//! INSERT (F2): the ways in which a set may go, and what comes back (D2, D3).
//!
//! A set goes together only where each row's key is known before it is written: brought along, or made beforehand by the
//! very expression that its column's default is. Otherwise rows go one by one, each answering for itself.

use std::sync::Arc;

use sea_orm::{QueryResult, Value};

use super::{
    Flush,
    back::{Back, Wanted, unasked},
    pieces::{Chunks, arrays, flat},
    plan::Kind,
    rows::NamedRows,
    set::{Drawn, Places, RowSet, Window},
};
use crate::{
    connection::{Fetch, Message, text::Text},
    dialect::{Dialect, Sets, message::Arguments},
    error::Error,
    stats::Path,
    table::{
        columns::ColumnSet,
        facts::{Draw, Identity, Rowid},
        kinds::ColumnKind,
        meta::TableMeta,
        sql::quote,
        texts::{ChangeForm, ChangeText},
        value::{as_integer, integer, number_array},
    },
};

/// Rows of one PostgreSQL statement: the arrays stay small enough to be built and parsed in cache.
const ROWS_A_STATEMENT: usize = 2_000;

/// From this many rows on a round trip that draws their keys pays for itself.
const DRAWN_ROWS: usize = 500;

/// How the rows of a set come in.
enum Way {
    /// One by one.
    Single,
    /// Together: every key is known, or nobody asks for it.
    Known,
    /// Together, their keys made by these defaults (PostgreSQL).
    Draw(Vec<(usize, Draw)>),
    /// Together, numbered on from the last row of the table (SQLite).
    Rowid(Rowid),
    /// Together; the answer tells each row's key beside what it was sent with, and that is found again in these columns (MariaDB).
    Recognized(Vec<usize>),
}

/// The texts of a set's INSERT.
pub(super) struct InsertTexts<'s, 'a> {
    pub(super) set: &'s RowSet<'a>,
    pub(super) dialect: &'static Dialect,
    pub(super) back: &'s Back,
}

impl RowSet<'_> {
    /// The one place that chooses how rows come in (D2); `docs/book/src/paths.md` shows it as a table.
    fn way(&self, dialect: &Dialect) -> Way {
        let (table, facts) = (self.table, &self.facts);
        let is_asked_for = |key: &usize| !self.columns.contains(key) && !self.is_appended();
        let unset: Vec<usize> = table.keys.iter().copied().filter(is_asked_for).collect();
        let travels = |column: &usize| table.columns[*column].is_simple();
        let together = self.len() > 1
            && !facts.insert.row_by_row
            && !self.columns.is_empty()
            && self.columns.iter().chain(&table.keys).all(travels)
            && self.keeps_keys()
            && (self.kind != Kind::Switch || dialect.on_conflict);
        match (together, &unset[..]) {
            (false, _) => Way::Single,
            (true, []) => Way::Known,
            (true, _) if dialect.sets == Sets::Documents => match facts.insert.mute {
                false => self.recognized_by().map_or(Way::Single, Way::Recognized),
                true => Way::Single,
            },
            (true, _) if self.kind == Kind::Switch => Way::Single,
            (true, [key]) if dialect.sets == Sets::Values => match facts.rowid {
                Some(rowid) if rowid.column == *key => Way::Rowid(rowid),
                _ => Way::Single,
            },
            (true, keys) => {
                let draw = |key: &usize| Some((*key, facts.columns[*key].draw.clone()?));
                keys.iter().map(draw).collect::<Option<Vec<_>>>().map_or(Way::Single, Way::Draw)
            }
        }
    }
}

impl Flush<'_> {
    pub(super) async fn insert(&mut self, mut set: RowSet<'_>) -> Result<(), Error> {
        if set.kind == Kind::Switch {
            self.confirm(&set).await?;
        }
        match set.way(self.connection.dialect()) {
            Way::Single => self.insert_single(&set, 0).await,
            Way::Known => self.insert_known(set, 0).await,
            Way::Recognized(columns) => self.insert_recognized(&set, &columns).await,
            Way::Rowid(rowid) => self.insert_numbered(set, rowid).await,
            Way::Draw(keys) if set.len() < DRAWN_ROWS => self.insert_drawing(set, &keys).await,
            Way::Draw(keys) => {
                set.drawn = self.drawn(&set, &keys).await?;
                match set.drawn {
                    Some(_) => self.insert_known(set, 0).await,
                    None => self.insert_afresh(set).await,
                }
            }
        }
    }

    /// The table has changed since its facts were asked for, and nothing of the set was sent yet: one by one is right for every
    /// table.
    async fn insert_afresh(&mut self, mut set: RowSet<'_>) -> Result<(), Error> {
        self.connection.doubt_facts(set.table);
        set.facts = self.connection.table_facts(set.table).await?;
        set.drawn = None;
        self.insert_single(&set, 0).await
    }

    /// Rows from `from` on, one by one: each answers with what it became.
    async fn insert_single(&mut self, set: &RowSet<'_>, from: usize) -> Result<(), Error> {
        let dialect = self.connection.dialect();
        let wanted = set.wanted()?;
        let texts = InsertTexts { set, dialect, back: &wanted.back };
        let places: Places = set.new_values().collect();
        for row in from..set.len() {
            let window = set.window(row, row + 1);
            if set.kind == Kind::Switch && !dialect.on_conflict && self.replace(&texts, row).await? {
                continue;
            }
            let xid = self.wants_xid();
            let sql = texts.alone(xid, wanted.odd);
            let fetch = if xid || wanted.back != Back::Nothing { Fetch::One } else { Fetch::Nothing };
            let reply = self.send_row(window, sql, &places, fetch).await?;
            let written = reply.affected();
            let counted = if wanted.apart && set.facts.insert.mute { reply.last_number() } else { 0 };
            let answer = reply.rows();
            self.learn_xid(&answer, xid);
            expect_rows(window, 1, written)?;
            if wanted.apart {
                let read = self.read_by(set, row, set.key_after(row, counted)?).await?;
                self.tell(set, row, &Back::Row, read.first())?;
            } else {
                self.tell(set, row, &wanted.back, answer.first())?;
            }
        }
        self.connection.counters().path(Path::Single, set.len() - from);
        match wanted.again {
            true => self.read_again(set).await,
            false => Ok(()),
        }
    }

    /// Rows whose keys are known.
    async fn insert_known(&mut self, set: RowSet<'_>, from: usize) -> Result<(), Error> {
        let wanted = set.wanted()?;
        let dialect = self.connection.dialect();
        if dialect.sets != Sets::Arrays {
            return self.insert_values(&set, &wanted, from).await;
        }
        if wanted.back == Back::Nothing
            && let Some(form) = super::copy::CopyForm::of(&set, dialect)
        {
            if !self.may_copy(&form, &set).await? {
                return self.insert_afresh(set).await;
            }
            self.copy_in(&form, &set).await?;
            return self.all_told(set.window(0, set.len()));
        }
        let texts = InsertTexts { set: &set, dialect: self.connection.dialect(), back: &wanted.back };
        let places: Places = set.new_values().collect();
        let mut at = from;
        while at < set.len() {
            let (to, arguments) = arrays(&set, texts.dialect, at, ROWS_A_STATEMENT, &places)?;
            let window = set.window(at, to);
            self.insert_arrays(&texts, window, arguments).await?;
            at = to;
        }
        self.connection.counters().path(Path::Arrays, set.len());
        Ok(())
    }

    async fn insert_arrays(
        &mut self,
        texts: &InsertTexts<'_, '_>,
        window: Window<'_, '_>,
        arguments: Arguments,
    ) -> Result<(), Error> {
        let (table, xid) = (window.set.table, self.wants_xid());
        let insert = texts.arrays();
        let expected = window.len() as u64;
        if *texts.back != Back::Nothing {
            let list = texts.back.list(table, texts.dialect, true).join(", ");
            let sql = format!("{insert} RETURNING {list}{}", texts.dialect.and_xid(xid));
            let message = Message::Bound { sql: sql.into(), arguments, fetch: Fetch::All };
            let answer = self.send(table, &window, message).await?.rows();
            self.learn_xid(&answer, xid);
            expect_rows(window, expected, answer.len() as u64)?;
            return self.tell_by_key(window, texts.back, &answer);
        }
        let written = match xid {
            false => {
                let message = Message::Bound { sql: insert.into(), arguments, fetch: Fetch::Nothing };
                self.send(table, &window, message).await?.affected()
            }
            true => {
                let told = texts.dialect.and_xid(true);
                let sql = format!("WITH written AS ({insert} RETURNING 1) SELECT count(*){told} FROM written");
                let message = Message::Bound { sql: sql.into(), arguments, fetch: Fetch::One };
                let answer = self.send(table, &window, message).await?.rows();
                self.learn_xid(&answer, xid);
                counted(&answer)?
            }
        };
        expect_rows(window, expected, written)?;
        self.all_told(window)
    }

    /// Rows whose keys the database makes in the statement that inserts them (PostgreSQL): each draws its own before it is
    /// inserted, so that the answer says which row got which.
    async fn insert_drawing(&mut self, set: RowSet<'_>, keys: &[(usize, Draw)]) -> Result<(), Error> {
        let table = set.table;
        let wanted = set.wanted()?;
        let texts = InsertTexts { set: &set, dialect: self.connection.dialect(), back: &wanted.back };
        let places: Places = set.new_values().collect();
        let mut at = 0;
        while at < set.len() {
            let (to, arguments) = arrays(&set, texts.dialect, at, ROWS_A_STATEMENT, &places)?;
            let (window, xid) = (set.window(at, to), self.wants_xid());
            let sql = texts.drawing(keys, xid);
            let message = Message::Bound { sql: sql.into(), arguments, fetch: Fetch::All };
            let answer = self.send(table, &window, message).await?.rows();
            self.learn_xid(&answer, xid);
            expect_rows(window, window.len() as u64, answer.len() as u64)?;
            let mut told = vec![false; window.len()];
            for row in &answer {
                let number: i64 = row.try_get_by_index(0)?;
                let place = usize::try_from(number - 1).ok().filter(|place| told.get(*place) == Some(&false));
                let place = place.ok_or_else(|| unasked(window))?;
                told[place] = true;
                self.tell(&set, at + place, &wanted.back, Some(row))?;
            }
            at = to;
        }
        self.connection.counters().path(Path::Arrays, set.len());
        Ok(())
    }

    /// Keys for all rows of a set, made by the defaults of their columns in a round trip of its own; `None` if the table has
    /// changed since its facts were asked for.
    async fn drawn(&mut self, set: &RowSet<'_>, keys: &[(usize, Draw)]) -> Result<Option<Drawn>, Error> {
        let (table, xid) = (set.table, self.wants_xid());
        let columns: Vec<usize> = keys.iter().map(|(key, _)| *key).collect();
        let whole = keys.iter().all(|(key, _)| ColumnKind::of(&table.columns[*key].kind).is_integer());
        let made = keys.iter().enumerate().map(|(at, (key, draw))| match whole {
            true => format!("array_agg(({})::int8) AS {}", draw.expression, table.names.bare(at)),
            false => format!("({}) AS {}", draw.expression, table.columns[*key].quoted()),
        });
        let made = made.collect::<Vec<_>>().join(", ");
        let dialect = self.connection.dialect();
        let Some(recheck) = dialect.recheck else { return Ok(None) };
        let mut text = Text::new(dialect, "");
        let count = text.bind(Value::BigInt(i64::try_from(set.len()).ok()));
        let tables = text.bind(number_array(set.facts.tree.iter().copied()));
        let mut bind = |number: i64| text.bind(number.into());
        let still =
            keys.iter().map(|(_, draw)| (recheck.still_default)(draw.default, &tables, &mut bind)).collect::<Vec<_>>();
        text.sql = format!(
            "SELECT {made}{} FROM generate_series(1, {count}::int8) WHERE {} AND {}",
            dialect.and_xid(xid && whole),
            still.join(" AND "),
            (recheck.undisturbed)(&tables)
        );
        let answer = self.send(table, &set.window(0, set.len()), text.message(Fetch::All)).await?.rows();
        self.learn_xid(&answer, xid && whole);
        let mut values: Vec<Value> = Vec::with_capacity(set.len() * columns.len());
        if whole {
            let numbers = |at| -> Result<Vec<i64>, Error> {
                let drawn: Option<Vec<i64>> = answer.first().map(|row| row.try_get_by_index(at)).transpose()?.flatten();
                Ok(drawn.unwrap_or_default())
            };
            let drawn = (0..keys.len()).map(numbers).collect::<Result<Vec<_>, Error>>()?;
            let rows = drawn.iter().map(Vec::len).min().unwrap_or_default();
            let value = |at: usize, row: usize| integer(&table.columns[columns[at]].kind, drawn[at][row]);
            values.extend(
                (0..rows).flat_map(|row| (0..keys.len()).map(move |at| (at, row))).map(|(at, row)| value(at, row)),
            );
        } else {
            for row in &answer {
                for column in &columns {
                    values.push(table.columns[*column].decode(row)?);
                }
            }
        }
        Ok((values.len() == set.len() * columns.len()).then(|| Drawn::new(columns, values)))
    }

    /// Many rows in one text of VALUES, their keys known (SQLite).
    async fn insert_values(&mut self, set: &RowSet<'_>, wanted: &Wanted, from: usize) -> Result<(), Error> {
        let table = set.table;
        let texts = InsertTexts { set, dialect: self.connection.dialect(), back: &wanted.back };
        let places: Places = set.new_values().collect();
        let mut chunks =
            Chunks::new(set, texts.dialect, from, texts.dialect.chunks(set.len() - from, places.len()), places);
        while let Some((window, arguments)) = chunks.take()? {
            let sql = texts.values(window.len());
            let fetch = if wanted.back == Back::Nothing { Fetch::Nothing } else { Fetch::All };
            let sent = self.send(table, &window, Message::Bound { sql: sql.into(), arguments, fetch });
            let reply = chunks.encode_while(sent).await?;
            expect_rows(window, window.len() as u64, reply.affected())?;
            match fetch {
                Fetch::Nothing => self.all_told(window)?,
                _ => self.tell_by_key(window, &wanted.back, &reply.rows())?,
            }
        }
        self.connection.counters().path(Path::Chunks, set.len() - from);
        match wanted.again {
            true => self.read_again(set).await,
            false => Ok(()),
        }
    }

    /// Rows that SQLite numbers: they are given the numbers that it would give them, in the statement that inserts them. The
    /// first chunk finds the last number that was given away, and whether so many more are left; the others go on from it.
    async fn insert_numbered(&mut self, mut set: RowSet<'_>, rowid: Rowid) -> Result<(), Error> {
        let (table, count) = (set.table, set.len());
        let wanted = set.wanted()?;
        let places: Places = set.new_values().collect();
        let dialect = self.connection.dialect();
        let (first, arguments) = flat(&set, dialect, 0, dialect.chunk(count, places.len() + 1), &places)?;
        let sql = InsertTexts { set: &set, dialect, back: &wanted.back }.numbered(rowid, first, count);
        let message = Message::Bound { sql: sql.into(), arguments, fetch: Fetch::All };
        let answer = self.send(table, &set.window(0, first), message).await?.rows();
        if answer.is_empty() {
            // No such numbers are left in order: SQLite looks for free ones, row by row.
            return self.insert_single(&set, 0).await;
        }
        expect_rows(set.window(0, first), first as u64, answer.len() as u64)?;
        let number = |row: &QueryResult| {
            let key = table.columns[rowid.column].decode(row)?;
            as_integer(&key).ok_or_else(|| unasked(set.window(0, first)))
        };
        let numbers = answer.iter().map(number).collect::<Result<Vec<i64>, Error>>()?;
        // Row n of the statement has the number `last + n`.
        let last = numbers.iter().min().map_or(0, |least| least - 1);
        let mut told = vec![false; first];
        for (number, row) in numbers.iter().zip(&answer) {
            let place = usize::try_from(number - last - 1).ok().filter(|place| told.get(*place) == Some(&false));
            let place = place.ok_or_else(|| unasked(set.window(0, first)))?;
            told[place] = true;
            self.tell(&set, place, &wanted.back, Some(row))?;
        }
        self.connection.counters().path(Path::Chunks, first);
        if first == count {
            return Ok(());
        }
        let kind = &table.columns[rowid.column].kind;
        let values = (last + 1..).take(count).map(|number| integer(kind, number)).collect();
        set.drawn = Some(Drawn::new([rowid.column], values));
        self.insert_known(set, first).await
    }
}

fn counted(answer: &[QueryResult]) -> Result<u64, Error> {
    let count: Option<i64> = answer.first().map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default())
}

pub(super) fn expect_rows(window: Window<'_, '_>, expected: u64, found: u64) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    let what = format!(
        "{expected} rows were to be inserted, {found} were; a rule or trigger of the table drops or adds rows (nothing was sent again)"
    );
    Err(Error::diverted(window.place(window.set.table), what))
}

// ---- texts ---------------------------------------------------------------------------------------------------------

impl InsertTexts<'_, '_> {
    pub(super) fn table(&self) -> &TableMeta {
        self.set.table
    }

    fn names_of(&self, columns: impl Iterator<Item = usize>) -> String {
        columns.map(|c| self.table().columns[c].quoted()).collect::<Vec<_>>().join(", ")
    }

    /// The columns that are written.
    pub(super) fn written(&self) -> String {
        self.names_of(self.set.written())
    }

    /// `RETURNING` of what is to come back; nothing where nothing is.
    fn returning(&self, with_key: bool) -> String {
        match &self.back.list(self.table(), self.dialect, with_key)[..] {
            [] => String::new(),
            list => format!(" RETURNING {}", list.join(", ")),
        }
    }

    /// A row switch keeps the row and replaces every other column, defaults included (`excluded` holds them). What the
    /// database computes follows from them (D4).
    fn on_conflict(&self) -> String {
        if self.set.kind != Kind::Switch || !self.dialect.on_conflict {
            return String::new();
        }
        let (table, facts) = (self.table(), &self.set.facts);
        // Where the key may be another spelling of the row's it is replaced as well (D5).
        let folds = facts.folds(&table.keys);
        let replaced = |c: &usize| (folds || !table.keys.contains(c)) && !facts.columns[*c].generated;
        let others = (0..table.columns.len()).filter(replaced);
        let others: Vec<String> = others.map(|c| format!("{0} = excluded.{0}", table.columns[c].quoted())).collect();
        let keys = self.names_of(table.keys.iter().copied());
        match others.is_empty() {
            true => format!(" ON CONFLICT ({keys}) DO NOTHING"),
            false => format!(" ON CONFLICT ({keys}) DO UPDATE SET {}", others.join(", ")),
        }
    }

    /// The values of the columns that are written, as the table takes them.
    pub(super) fn saved(&self, value: impl Fn(usize) -> String) -> String {
        let save = |(at, c): (usize, usize)| self.table().columns[c].save(self.dialect, &value(at));
        self.set.written().enumerate().map(save).collect::<Vec<_>>().join(", ")
    }

    /// One row; the text is built once where it depends on nothing but the columns.
    fn alone(&self, xid: bool, odd: bool) -> Arc<str> {
        let build = || {
            let back = self.returning(false);
            let row = self.one();
            match back.is_empty() {
                true => self.dialect.telling_xid(row, xid),
                false => format!("{row}{back}{}", self.dialect.and_xid(xid)),
            }
        };
        if odd || self.set.kind != Kind::Insert || !ColumnSet::tells_apart(self.table().columns.len()) {
            return build().into();
        }
        let written = self.set.columns.iter().copied().collect();
        let what = ChangeText { dialect: self.dialect.number(), form: ChangeForm::New, written, versioned: false, xid };
        self.set.facts.texts.change(what, build)
    }

    fn one(&self) -> String {
        let table = &self.table().table;
        if self.set.columns.is_empty() {
            let nothing = if self.dialect.sets == Sets::Documents { "() VALUES ()" } else { "DEFAULT VALUES" };
            return format!("INSERT INTO {table} {nothing}{}", self.on_conflict());
        }
        let values = self.saved(|at| match self.dialect.sets {
            Sets::Values | Sets::Documents => "?".to_owned(),
            Sets::Arrays => self.dialect.parameter(at + 1),
        });
        format!("INSERT INTO {table} ({}) VALUES ({values}){}", self.written(), self.on_conflict())
    }

    /// So many rows in one text (SQLite).
    fn values(&self, rows: usize) -> String {
        let tuple = format!("({})", self.saved(|_| "?".to_owned()));
        let tuples = vec![&*tuple; rows].join(", ");
        let (table, conflict, back) = (&self.table().table, self.on_conflict(), self.returning(true));
        format!("INSERT INTO {table} ({}) VALUES {tuples}{conflict}{back}", self.written())
    }

    /// So many rows of `all`, with the numbers that SQLite would give them (SQLite).
    fn numbered(&self, rowid: Rowid, rows: usize, all: usize) -> String {
        let (table, names) = (self.table(), &self.table().names);
        let key = table.columns[rowid.column].quoted();
        let highest = format!("(SELECT max({key}) FROM {})", table.table);
        let last = match rowid.autoincrement {
            false => format!("coalesce({highest}, 0)"),
            true => {
                // The file that the table is in, whatever name leads to it.
                let schema = match &self.set.facts.identity {
                    Some(Identity::Named { schema, .. }) if schema != "main" => format!("{}.", quote(schema)),
                    _ => String::new(),
                };
                let name = table.entity.replace('\'', "''");
                let given = format!("(SELECT seq FROM {schema}sqlite_sequence WHERE name = '{name}' COLLATE NOCASE)");
                format!("max(coalesce({highest}, 0), coalesce({given}, 0))")
            }
        };
        let width = self.set.columns.len();
        let tuple = |n: usize| format!("({n}, {})", vec!["?"; width].join(", "));
        let tuples = (1..=rows).map(tuple).collect::<Vec<_>>().join(", ");
        let (u, n) = (&names.rows, &names.number);
        format!(
            "INSERT INTO {} ({key}, {}) WITH {u}({n}, {}) AS (VALUES {tuples}) SELECT {last} + {u}.{n}, {} FROM {u} \
             WHERE {last} <= {} - {all}{}",
            table.table,
            self.written(),
            names.values(width),
            self.saved(|at| names.value(at)),
            i64::MAX,
            self.returning(true),
        )
    }

    /// Many rows as arrays (PostgreSQL), without what is to come back. The text does not depend on the number of rows.
    fn arrays(&self) -> String {
        let (names, width) = (&self.table().names, self.set.written().count());
        format!(
            "INSERT INTO {} ({}){} SELECT {} FROM {}{}",
            self.table().table,
            self.written(),
            if self.set.drawn.is_some() { " OVERRIDING SYSTEM VALUE" } else { "" },
            self.saved(|at| names.value(at)),
            names.unnest(width),
            self.on_conflict()
        )
    }

    /// Many rows as arrays whose keys are made by their defaults in the same statement (PostgreSQL).
    fn drawing(&self, keys: &[(usize, Draw)], xid: bool) -> String {
        let (table, names, width) = (self.table(), &self.table().names, self.set.columns.len());
        let (u, number, out, input) = (&names.rows, &names.number, &names.out, &names.missing);
        let drawn = |at: usize| names.bare(width + at);
        let made = keys.iter().enumerate().map(|(at, (_, draw))| format!("({}) AS {}", draw.expression, drawn(at)));
        let key_names = self.names_of(keys.iter().map(|(key, _)| *key));
        let key_values = (0..keys.len()).map(|at| format!("{input}.{}", drawn(at))).collect::<Vec<_>>().join(", ");
        let same = table.keys.iter().map(|key| {
            let place = match keys.iter().position(|(made, _)| made == key) {
                Some(at) => format!("{input}.{}", drawn(at)),
                None => {
                    let at = self.set.columns.iter().position(|c| c == key).unwrap_or_default();
                    table.columns[*key].save(self.dialect, &format!("{input}.{}", names.bare(at)))
                }
            };
            format!("{out}.{} = {place}", table.columns[*key].quoted())
        });
        let same = same.collect::<Vec<_>>().join(" AND ");
        format!(
            "WITH {input} AS MATERIALIZED (SELECT {}, {u}.* FROM {}), \
             {out} AS (INSERT INTO {} ({key_names}, {}) OVERRIDING SYSTEM VALUE SELECT {key_values}, {} FROM {input} \
             ORDER BY {input}.{number}{}{}) SELECT {input}.{number}, {out}.* FROM {out} JOIN {input} ON {same}",
            made.collect::<Vec<_>>().join(", "),
            names.unnest_numbered(width),
            table.table,
            self.written(),
            self.saved(|at| format!("{input}.{}", names.bare(at))),
            self.returning(true),
            self.dialect.and_xid(xid),
        )
    }
}
