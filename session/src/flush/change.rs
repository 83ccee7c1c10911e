//! UPDATE and DELETE (F2), each row matched on its key, its loaded version (O1) and what was read (P1). A row count that
//! differs names the row that is to blame (F8).

use sea_orm::{QueryResult, sea_query::Values};

use super::{
    Flush,
    back::{Back, unasked},
    change_texts::{ChangeTexts, HANDFUL},
    pieces::{Chunks, arrays, documents, named},
    plan::{Kind, Part},
    rows::NamedRows,
    set::{Found, MANY_ROWS, Places, RowSet, RowSource, Window},
};
use crate::{
    connection::{Fetch, Message, text::Text},
    dialect::{Dialect, Sets, message::Arguments},
    error::Error,
    objects::row::Put,
    stats::Path,
    table::{texts::ChangeForm, value::as_integer},
};

/// Rows of one PostgreSQL statement.
const UPDATED_ROWS: usize = 5_000;
const DELETED_ROWS: usize = 10_000;

/// Up to so many changed rows answer one by one.
const FEW_ROWS: usize = 32;

/// The savepoint around a set of changes; those of blocks have numbers.
const SET: &str = "sea_session_set";

/// How many rows a write has changed, and the first that it has not, where that is known.
struct Changed {
    rows: u64,
    missing: Option<usize>,
}

impl From<u64> for Changed {
    fn from(rows: u64) -> Self {
        Self { rows, missing: None }
    }
}

impl RowSet<'_> {
    /// Whether foreign keys have anything to say of the change: not of one that writes no column which refers or is referred to.
    fn moves_references(&self) -> bool {
        let facts = &self.facts;
        let named = |column: &usize, names: &[String]| {
            names.iter().any(|name| name.eq_ignore_ascii_case(self.table.columns[*column].name))
        };
        let moves = |column: &usize| {
            facts.actions.iter().chain(&facts.refusing).any(|action| {
                let own = Some(&action.child) == facts.identity.as_ref();
                named(column, &action.to) || own && named(column, &action.from)
            })
        };
        self.kind != Kind::Update || self.columns.iter().any(moves)
    }

    /// Whether rows may be changed together (D2).
    fn goes_together(&self, dialect: &Dialect) -> bool {
        let event = if self.kind == Kind::Delete { self.facts.delete } else { self.facts.update };
        if dialect.acts_within_statements && self.facts.acts_on_itself() && self.moves_references() {
            return false;
        }
        let travels = |put: Put| {
            self.table.columns[put.column()].is_simple()
                && (dialect.sets != Sets::Documents || self.facts.columns[put.column()].document.is_some())
        };
        self.len() > 1 && !event.row_by_row && self.found_by().chain(self.new_values()).all(travels)
    }
}

impl Flush<'_> {
    pub(super) async fn change(&mut self, set: &RowSet<'_>) -> Result<(), Error> {
        let dialect = self.connection.dialect();
        let wanted = set.wanted()?;
        let texts = ChangeTexts { set, dialect, back: &wanted.back, odd: wanted.odd };
        // Where an answer is matched by its key, the database must keep keys as they are sent.
        let matched = dialect.sets == Sets::Arrays || wanted.back == Back::Nothing || set.keeps_keys();
        match (set.goes_together(dialect) && matched, dialect.sets) {
            (false, _) => {
                let alone: Places = set.new_values().chain(set.found_by()).collect();
                for row in 0..set.len() {
                    self.change_alone(&texts, row, &alone).await?;
                }
                self.connection.counters().path(Path::Single, set.len());
            }
            (true, Sets::Values) => self.change_values(&texts).await?,
            (true, Sets::Arrays) => self.change_arrays(&texts).await?,
            (true, Sets::Documents) => self.change_documents(&texts).await?,
        }
        match wanted.again {
            true => self.read_again(set).await,
            false => Ok(()),
        }
    }

    async fn change_alone(&mut self, texts: &ChangeTexts<'_, '_>, row: usize, places: &[Put]) -> Result<(), Error> {
        let (window, xid) = (texts.set.window(row, row + 1), self.wants_xid());
        let fetch = if xid || *texts.back != Back::Nothing { Fetch::One } else { Fetch::Nothing };
        let reply = self.send_row(window, texts.text(ChangeForm::One, xid), places, fetch).await?;
        let changed = Changed::from(reply.affected());
        let answer = reply.rows();
        self.learn_xid(&answer, xid);
        self.expect_all(texts, window, changed).await?;
        self.tell(texts.set, row, texts.back, answer.first())
    }

    /// Many rows in texts of VALUES (SQLite).
    async fn change_values(&mut self, texts: &ChangeTexts<'_, '_>) -> Result<(), Error> {
        let (set, table) = (texts.set, texts.set.table);
        let places: Places = set.found_by().chain(set.new_values()).collect();
        let alone: Places = set.new_values().chain(set.found_by()).collect();
        let mut chunks = Chunks::new(set, texts.dialect, 0, texts.dialect.chunks(set.len(), places.len()), places);
        let fetch = if *texts.back == Back::Nothing { Fetch::Nothing } else { Fetch::All };
        while let Some((window, arguments)) = chunks.take()? {
            if window.len() == 1 {
                self.change_alone(texts, window.from, &alone).await?;
                self.connection.counters().path(Path::Single, 1);
                continue;
            }
            let message = Message::Bound { sql: texts.values(window.len()).into(), arguments, fetch };
            let reply = chunks.encode_while(self.send(table, &window, message)).await?;
            self.connection.counters().path(Path::Chunks, window.len());
            self.expect_all(texts, window, reply.affected().into()).await?;
            match fetch {
                Fetch::Nothing => self.all_told(window)?,
                _ => self.tell_by_key(window, texts.back, &reply.rows())?,
            }
        }
        Ok(())
    }

    /// Many rows as arrays (PostgreSQL).
    async fn change_arrays(&mut self, texts: &ChangeTexts<'_, '_>) -> Result<(), Error> {
        let set = texts.set;
        let places: Places = set.found_by().chain(set.new_values()).collect();
        let alone: Places = set.new_values().chain(set.found_by()).collect();
        let most = if set.kind == Kind::Delete { DELETED_ROWS } else { UPDATED_ROWS };
        let mut at = 0;
        while at < set.len() {
            if at + 1 == set.len() {
                self.change_alone(texts, at, &alone).await?;
                self.connection.counters().path(Path::Single, 1);
                return Ok(());
            }
            let (to, arguments) = arrays(set, texts.dialect, at, most, &places)?;
            let window = set.window(at, to);
            match texts.back {
                Back::Nothing => {
                    let again = || arrays(set, texts.dialect, at, to - at, &places).map(|(_, arguments)| arguments);
                    let changed = self.send_counting(texts, window, arguments, again).await?;
                    self.expect_all(texts, window, changed).await?;
                    self.all_told(window)?;
                }
                _ => self.send_asking(texts, window, arguments).await?,
            }
            self.connection.counters().path(Path::Arrays, window.len());
            at = to;
        }
        Ok(())
    }

    /// Many rows as documents that the statement reads as tables, or a handful by their values (MariaDB, MySQL).
    async fn change_documents(&mut self, texts: &ChangeTexts<'_, '_>) -> Result<(), Error> {
        let (set, table) = (texts.set, texts.set.table);
        let places: Places = set.found_by().chain(set.new_values()).collect();
        let alone: Places = set.new_values().chain(set.found_by()).collect();
        let most = if set.kind == Kind::Delete { DELETED_ROWS } else { UPDATED_ROWS };
        let mut at = 0;
        while at < set.len() {
            if at + 1 == set.len() {
                self.change_alone(texts, at, &alone).await?;
                self.connection.counters().path(Path::Single, 1);
                return Ok(());
            }
            let left = set.len() - at;
            // A power of two, so that few texts exist.
            let rows = left.next_power_of_two();
            let arguments = match rows <= HANDFUL && texts.names_rows() {
                true => named(set, texts.dialect, at, rows)?,
                false => None,
            };
            let (to, message) = match arguments {
                Some(arguments) => {
                    let sql = texts.text(ChangeForm::Named(rows), false);
                    (set.len(), Message::Bound { sql, arguments, fetch: Fetch::Nothing })
                }
                None => {
                    let (to, document) = documents(set, texts.dialect, at, most, &places)?;
                    let (sql, values) = (texts.text(ChangeForm::Bare, false), Values(vec![document.into()]));
                    (to, Message::Built { sql, values, fetch: Fetch::Nothing })
                }
            };
            let window = set.window(at, to);
            let reply = self.send(table, &window, message).await?;
            self.connection.counters().path(Path::Chunks, window.len());
            self.expect_all(texts, window, reply.affected().into()).await?;
            self.all_told(window)?;
            at = to;
        }
        Ok(())
    }

    /// Sends a change whose rows answer with their number and what they hold.
    async fn send_asking(
        &mut self,
        texts: &ChangeTexts<'_, '_>,
        window: Window<'_, '_>,
        arguments: Arguments,
    ) -> Result<(), Error> {
        let xid = self.wants_xid();
        let message = Message::Bound { sql: texts.text(ChangeForm::Back, xid), arguments, fetch: Fetch::All };
        let answer = self.send(window.set.table, &window, message).await?.rows();
        self.learn_xid(&answer, xid);
        self.expect_all(texts, window, by_number(&answer, window)?).await?;
        for row in &answer {
            let number: i64 = row.try_get_by_index(0)?;
            let at = usize::try_from(number - 1).ok().filter(|at| *at < window.len());
            let at = at.ok_or_else(|| unasked(window))?;
            self.tell(window.set, window.from + at, texts.back, Some(row))?;
        }
        Ok(())
    }

    /// Sends a change of several rows, each of which must be there, and says which is not.
    async fn send_counting(
        &mut self,
        texts: &ChangeTexts<'_, '_>,
        window: Window<'_, '_>,
        arguments: Arguments,
        again: impl Fn() -> Result<Arguments, Error>,
    ) -> Result<Changed, Error> {
        let mut arguments = Some(arguments);
        if window.len() >= MANY_ROWS
            && let Some(first) = arguments.take()
            && self.changed_all(texts, window, first).await?
        {
            return Ok(Changed::from(window.len() as u64));
        }
        let (xid, few) = (self.wants_xid(), window.len() <= FEW_ROWS);
        let (form, fetch) = if few { (ChangeForm::Few, Fetch::All) } else { (ChangeForm::Many, Fetch::One) };
        let arguments = arguments.map_or_else(again, Ok)?;
        let message = Message::Bound { sql: texts.text(form, xid), arguments, fetch };
        let answer = self.send(window.set.table, &window, message).await?.rows();
        self.learn_xid(&answer, xid);
        if few { by_number(&answer, window) } else { by_count(&answer) }
    }

    /// Sends a change of many rows that only counts them, which the server does for nothing. Where rows are missing the
    /// change is undone: the statement that names one has to find them as this one did.
    async fn changed_all(
        &mut self,
        texts: &ChangeTexts<'_, '_>,
        window: Window<'_, '_>,
        arguments: Arguments,
    ) -> Result<bool, Error> {
        let (table, xid) = (window.set.table, self.wants_xid());
        let savepoint = match xid {
            false => format!("SAVEPOINT {SET}"),
            true => format!("SAVEPOINT {SET}; SELECT {}", texts.dialect.xid()),
        };
        let answer = self.send(table, &window, Message::Control(&savepoint)).await?.rows();
        self.learn_xid(&answer, xid);
        let sql = texts.text(ChangeForm::Bare, false);
        let change = Message::Bound { sql, arguments, fetch: Fetch::Nothing };
        let all = self.send(table, &window, change).await?.affected() == window.len() as u64;
        let end = match all {
            true => format!("RELEASE SAVEPOINT {SET}"),
            false => format!("ROLLBACK TO SAVEPOINT {SET}; RELEASE SAVEPOINT {SET}"),
        };
        self.send(table, &window, Message::Control(&end)).await?;
        Ok(all)
    }

    /// Makes sure that the rows which a switch replaces are those that were loaded (O1, P1), and locks them: the upsert
    /// itself cannot tell. What is written is what is there.
    pub(super) async fn confirm(&mut self, set: &RowSet<'_>) -> Result<(), Error> {
        if set.table.version.is_none() && set.checks.is_empty() {
            return Ok(());
        }
        let RowSource::Planned { rows, members } = &set.rows else { return Ok(()) };
        // The key is the one column that is sure to be the row's own: others may be computed.
        let Some(held) = set.table.keys.first().copied() else { return Ok(()) };
        let mut loaded = rows.clone();
        for (key, values) in rows.keys.iter().zip(&mut loaded.values) {
            *values = key.first().cloned().into_iter().collect();
        }
        let there = RowSet {
            table: set.table,
            facts: set.facts.clone(),
            kind: Kind::Update,
            part: Part::Whole,
            columns: [held].into_iter().collect(),
            checks: set.checks.clone(),
            rows: RowSource::Planned { rows: loaded, members },
            drawn: None,
        };
        let texts = ChangeTexts { set: &there, dialect: self.connection.dialect(), back: &Back::Nothing, odd: false };
        let alone: Places = there.new_values().chain(there.found_by()).collect();
        for row in 0..there.len() {
            let (window, xid) = (there.window(row, row + 1), self.wants_xid());
            let fetch = if xid { Fetch::One } else { Fetch::Nothing };
            let reply = self.send_row(window, texts.text(ChangeForm::One, xid), &alone, fetch).await?;
            let changed = Changed::from(reply.affected());
            self.learn_xid(&reply.rows(), xid);
            self.expect_all(&texts, window, changed).await?;
        }
        Ok(())
    }

    // ---- rows that were not there ------------------------------------------------------------------------------------

    /// A row count that differs names the row that is to blame (F8, O1, P6).
    ///
    /// Where the statement could not say which (SQLite), updated rows that hold what was written are not to blame. Of
    /// deleted rows those that are still there are; if there is none, one of them was gone before.
    async fn expect_all(
        &mut self,
        texts: &ChangeTexts<'_, '_>,
        window: Window<'_, '_>,
        changed: Changed,
    ) -> Result<(), Error> {
        match changed.rows == window.len() as u64 {
            true => Ok(()),
            // Boxed: no flush that goes well has room for it.
            false => Box::pin(self.find_the_one(texts, window, changed)).await?.map_or(Ok(()), Err),
        }
    }

    /// Why fewer, or more, rows were changed than were to be; nothing if rows that were to be deleted went with others.
    async fn find_the_one(
        &mut self,
        texts: &ChangeTexts<'_, '_>,
        window: Window<'_, '_>,
        mut changed: Changed,
    ) -> Result<Option<Error>, Error> {
        let (set, table) = (window.set, window.set.table);
        let deleted = set.kind == Kind::Delete;
        let went_along = deleted && changed.rows < window.len() as u64 && self.may_have_gone_along(set);
        if went_along {
            changed.missing = None;
        }
        // Objects that nobody has changed, but that followed a parent, may have no row any more: then nothing is lost (D7).
        // A row may have been looked for already, for the first of its parts.
        let led = |row: usize| {
            let object = set.object(row).filter(|_| set.kind == Kind::Update);
            object.is_some_and(|object| object.is_led() || object.is_gone())
        };
        let any_led = (window.from..window.to).any(led);
        if any_led {
            changed.missing = None;
        }
        let alone = !went_along && (changed.missing.is_some() || window.len() == 1);
        let mut there = 0;
        for row in changed.missing.map_or(0..window.len(), |row| row..row + 1) {
            match self.blame(texts, window.from + row, !alone && !deleted).await? {
                Some(Error::Stale { found: None, .. }) if deleted && !alone => {}
                Some(Error::Stale { found: None, .. }) if led(window.from + row) => {
                    changed.rows += 1;
                    if let Some(object) = set.object(window.from + row).cloned() {
                        self.vanished(&object);
                    }
                }
                Some(error) => {
                    if matches!(error, Error::Stale { found: None, .. }) {
                        self.gone.extend(set.object(window.from + row).cloned());
                    }
                    return Ok(Some(error));
                }
                None => there += 1,
            }
        }
        if went_along && there == 0 || any_led && changed.rows == window.len() as u64 {
            return Ok(None);
        }
        if deleted && !alone && !went_along {
            let one_of = format!("(one of {})", window.place(table));
            return Ok(Some(Error::Stale { entity: table.entity, key: one_of.into(), expected: None, found: None }));
        }
        let (all, some) = (window.len(), changed.rows);
        let what = format!("{all} rows were to be changed, {some} were; a rule or trigger of the table drops changes");
        Ok(Some(Error::diverted(window.place(table), what)))
    }

    /// Whether the database may have deleted rows of the set because of others that this flush has deleted, or deletes with
    /// them: rows that hang together by way of rows which are not part of the flush.
    fn may_have_gone_along(&self, set: &RowSet<'_>) -> bool {
        set.facts.identity.as_ref().is_some_and(|identity| {
            self.cascaded.contains(identity)
                || set.len() > 1 && set.facts.deletes_below().any(|below| below == identity)
        })
    }

    /// What is wrong with one row; nothing if it is as it was loaded, or, where that is `written_ones`, as it was written.
    async fn blame(
        &mut self,
        texts: &ChangeTexts<'_, '_>,
        row: usize,
        written_ones: bool,
    ) -> Result<Option<Error>, Error> {
        let (set, table, dialect) = (texts.set, texts.set.table, texts.dialect);
        let Found { key, version, checks } = set.found(row)?;
        let mut text = Text::new(dialect, "");
        let keys = table.keys.iter().zip(&key).map(|(c, value)| {
            let place = text.bind(value.clone());
            let value = set.facts.compared(*c, &table.columns[*c].save(dialect, &place));
            format!("{} = {value}", table.columns[*c].quoted())
        });
        let keys = keys.collect::<Vec<_>>().join(" AND ");
        let all = Back::Row.list(table, dialect, false).join(", ");
        // As the write has found it, whatever the unit's snapshot shows.
        text.sql = format!("SELECT {all} FROM {} WHERE {keys}{}", table.table, dialect.reads_latest);
        let answer = self.send(table, &set.window(row, row + 1), text.message(Fetch::One)).await?.rows();

        let shown = || table.show_key(&key).into_boxed_str();
        let expected = version.as_ref().and_then(as_integer);
        let Some(found) = answer.first() else {
            return Ok(Some(Error::Stale { entity: table.entity, key: shown(), expected, found: None }));
        };
        if written_ones && holds_what_was_written(set, row, found)? {
            return Ok(None);
        }
        if let Some(version) = set.version() {
            let held = table.columns[version].decode(found)?;
            if as_integer(&held) != expected {
                let found = as_integer(&held);
                return Ok(Some(Error::Stale { entity: table.entity, key: shown(), expected, found }));
            }
        }
        for (column, loaded) in set.checks.iter().zip(&checks) {
            let meta = &table.columns[*column];
            let held = meta.decode(found)?;
            if held != *loaded {
                let shown_values = self.show_values && !table.secret.contains(*column);
                let change = shown_values.then(|| Box::new((loaded.to_string(), held.to_string())));
                let column = meta.name;
                return Ok(Some(Error::UnrepeatableRead { entity: table.entity, key: shown(), column, change }));
            }
        }
        Ok(None)
    }
}

/// Whether a row looks as if this flush had written it.
fn holds_what_was_written(set: &RowSet<'_>, row: usize, found: &QueryResult) -> Result<bool, Error> {
    let places: Places = set.new_values().collect();
    let written = set.values(row, &places)?;
    for (column, written) in set.written().zip(written) {
        let meta = &set.table.columns[column];
        if meta.sent(meta.decode(found)?) != written {
            return Ok(false);
        }
    }
    Ok(!set.columns.is_empty())
}

/// What rows say that each answer with their number.
fn by_number(answer: &[QueryResult], window: Window<'_, '_>) -> Result<Changed, Error> {
    let mut there = vec![false; window.len()];
    for row in answer {
        let number: i64 = row.try_get_by_index(0)?;
        if let Some(place) = usize::try_from(number - 1).ok().and_then(|place| there.get_mut(place)) {
            *place = true;
        }
    }
    Ok(Changed { rows: answer.len() as u64, missing: there.iter().position(|there| !there) })
}

/// What the database says of rows that it has counted.
fn by_count(answer: &[QueryResult]) -> Result<Changed, Error> {
    let Some(row) = answer.first() else { return Ok(Changed { rows: 0, missing: None }) };
    let count: i64 = row.try_get_by_index(0)?;
    let missing: Option<i64> = row.try_get_by_index(1)?;
    let missing = missing.and_then(|ord| usize::try_from(ord - 1).ok());
    Ok(Changed { rows: u64::try_from(count).unwrap_or_default(), missing })
}
