//! New rows and row switches where the server counts keys up in no order that can be relied on, and an INSERT knows no key whose
//! conflict makes it an UPDATE (MariaDB, MySQL).

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::Value;

use super::{
    Flush,
    back::{Back, unasked},
    insert::{InsertTexts, expect_rows},
    pieces::Chunks,
    set::{Places, RowSet},
};
use crate::{
    connection::{Fetch, Message},
    error::Error,
    objects::row::Put,
    stats::Path,
    table::{facts::Stored, kinds::ColumnKind},
};

impl RowSet<'_> {
    /// The columns that tell new rows apart by what they are sent with: one, if its values differ, else all. `None` if that is not
    /// told by what comes back.
    pub(super) fn recognized_by(&self) -> Option<Vec<usize>> {
        let odd = self.oddly_stored().ok()?;
        let exact = |column: &usize| {
            let kind = ColumnKind::of(&self.table.columns[*column].kind);
            let stored = self.facts.columns[*column].stored;
            let kept = stored == Stored::AsSent || stored == Stored::UnlessSpaces && !odd.contains(column);
            kept && (kind.is_integer() || matches!(kind, ColumnKind::String | ColumnKind::Uuid | ColumnKind::Bytes))
        };
        let distinct = |columns: &[usize]| {
            let mut seen = FxHashSet::default();
            (0..self.len()).all(|row| self.sent(row, columns).is_ok_and(|values| seen.insert(values)))
        };
        let mut exact_ones: Vec<usize> = self.columns.iter().copied().filter(exact).collect();
        exact_ones.sort_by_key(|column| !ColumnKind::of(&self.table.columns[*column].kind).is_integer());
        if let Some(one) = exact_ones.iter().find(|column| distinct(&[**column])) {
            return Some(vec![*one]);
        }
        let all = exact_ones.len() == self.columns.len();
        (all || distinct(&exact_ones)).then_some(exact_ones)
    }
}

impl Flush<'_> {
    /// Rows whose keys the database makes, each recognized in the answer by what it was sent with. Rows that were sent with the
    /// same are the same to everybody.
    pub(super) async fn insert_recognized(&mut self, set: &RowSet<'_>, columns: &[usize]) -> Result<(), Error> {
        let table = set.table;
        let wanted = set.wanted()?;
        let texts = InsertTexts { set, dialect: self.connection.dialect(), back: &wanted.back };
        let places: Places = set.new_values().collect();
        let mut chunks = Chunks::new(set, texts.dialect, 0, texts.dialect.chunks(set.len(), places.len()), places);
        while let Some((window, arguments)) = chunks.take()? {
            let sql = texts.recognizing(window.len(), columns);
            let sent = self.send(table, &window, Message::Bound { sql: sql.into(), arguments, fetch: Fetch::All });
            let answer = chunks.encode_while(sent).await?.rows();
            expect_rows(window, window.len() as u64, answer.len() as u64)?;
            let mut rows: FxHashMap<Vec<Value>, Vec<usize>> = FxHashMap::default();
            for row in (window.from..window.to).rev() {
                rows.entry(set.sent(row, columns)?).or_default().push(row);
            }
            for row in &answer {
                let held = columns.iter().map(|c| table.columns[*c].decode(row)).collect::<Result<Vec<_>, Error>>()?;
                let at = rows.get_mut(&held).and_then(Vec::pop).ok_or_else(|| unasked(window))?;
                self.tell(set, at, &wanted.back, Some(row))?;
            }
        }
        self.connection.counters().path(Path::Chunks, set.len());
        Ok(())
    }

    /// Writes a row switch as an UPDATE of the row that is there. `false`: it is not there any more.
    pub(super) async fn replace(&mut self, texts: &InsertTexts<'_, '_>, row: usize) -> Result<bool, Error> {
        let set = texts.set;
        let (sql, places) = texts.replacing();
        let window = set.window(row, row + 1);
        if self.send_row(window, sql.into(), &places, Fetch::Nothing).await?.affected() == 0 {
            return Ok(false);
        }
        match texts.back {
            Back::Nothing => self.tell(set, row, &Back::Nothing, None)?,
            _ => {
                let read = self.read_new(set, row).await?;
                self.tell(set, row, &Back::Row, read.first())?;
            }
        }
        Ok(true)
    }
}

// ---- texts ---------------------------------------------------------------------------------------------------------

impl InsertTexts<'_, '_> {
    /// So many rows in one text, which answer with their keys and with what they are recognized by.
    fn recognizing(&self, rows: usize, columns: &[usize]) -> String {
        let mut back = self.back.list(self.table(), self.dialect, true);
        let also = |column: &&usize| match self.back {
            Back::Columns(told) => !told.contains(column) && !self.table().keys.contains(column),
            Back::Nothing => !self.table().keys.contains(column),
            Back::Row => false,
        };
        let also = columns.iter().filter(also).map(|c| self.table().columns[*c].select(self.dialect).to_owned());
        back.extend(also);
        let tuple = format!("({})", self.saved(|_| "?".to_owned()));
        let tuples = vec![&*tuple; rows].join(", ");
        format!("INSERT INTO {} ({}) VALUES {tuples} RETURNING {}", self.table().table, self.written(), back.join(", "))
    }

    /// A row switch as an UPDATE: every column is replaced, defaults included; and the order of its values.
    fn replacing(&self) -> (String, Places) {
        let (table, facts) = (self.table(), &self.set.facts);
        let folds = facts.folds(&table.keys);
        let replaced = |c: &usize| (folds || !table.keys.contains(c)) && !facts.columns[*c].generated;
        let (mut places, mut assigned) = (Places::new(), Vec::new());
        for column in (0..table.columns.len()).filter(replaced) {
            let meta = &table.columns[column];
            match self.set.columns.contains(&column) {
                true => {
                    places.push(Put::New(column));
                    assigned.push(format!("{} = {}", meta.quoted(), meta.save(self.dialect, "?")));
                }
                false => assigned.push(format!("{} = DEFAULT", meta.quoted())),
            }
        }
        let matched = table.keys.iter().map(|key| {
            places.push(Put::New(*key));
            let meta = &table.columns[*key];
            format!("{} = {}", meta.quoted(), facts.compared(*key, &meta.save(self.dialect, "?")))
        });
        let matched = matched.collect::<Vec<_>>().join(" AND ");
        if assigned.is_empty() {
            let key = table.columns[table.keys[0]].quoted();
            assigned.push(format!("{key} = {key}"));
        }
        (format!("UPDATE {} SET {} WHERE {matched}", table.table, assigned.join(", ")), places)
    }
}
