//! The texts of UPDATE and DELETE, each built once where it depends on nothing but the columns (F2).

use std::sync::Arc;

use super::{
    back::Back,
    plan::{Kind, Part},
    set::RowSet,
};
use crate::{
    dialect::{Dialect, Sets, documents},
    objects::row::Put,
    table::{
        columns::ColumnSet,
        meta::TableMeta,
        texts::{ChangeForm, ChangeText},
    },
};

/// Up to so many changed rows are named in one statement.
pub(super) const HANDFUL: usize = 4;

/// The texts of a set's UPDATE or DELETE. The columns that a row travels with: key, version, checks, then what is written.
pub(super) struct ChangeTexts<'s, 'a> {
    pub(super) set: &'s RowSet<'a>,
    pub(super) dialect: &'static Dialect,
    pub(super) back: &'s Back,
    /// The text depends on values of the rows.
    pub(super) odd: bool,
}

impl ChangeTexts<'_, '_> {
    pub(super) fn table(&self) -> &TableMeta {
        self.set.table
    }

    pub(super) fn deletes(&self) -> bool {
        self.set.kind == Kind::Delete
    }

    pub(super) fn width(&self) -> usize {
        self.set.found_by().chain(self.set.new_values()).count()
    }

    /// The condition that a row is found by one of its values.
    fn matched(&self, put: Put, name: &str, value: &str) -> String {
        let meta = &self.table().columns[put.column()];
        let value = self.set.facts.compared(put.column(), &meta.save(self.dialect, value));
        match put {
            Put::Checked(_) => meta.unchanged(self.dialect, name, &value),
            _ => format!("{name} = {value}"),
        }
    }

    /// The text of a change, built once where it depends on nothing but the columns.
    pub(super) fn text(&self, form: ChangeForm, xid: bool) -> Arc<str> {
        let build = || match form {
            ChangeForm::ByKey | ChangeForm::New | ChangeForm::One => self.one(xid),
            ChangeForm::Named(rows) => self.named(rows),
            ChangeForm::Few => self.numbered(xid),
            ChangeForm::Back => self.numbered(xid),
            ChangeForm::Many => self.many(xid),
            ChangeForm::Bare if self.dialect.sets == Sets::Documents => self.change_documents(),
            ChangeForm::Bare => self.change_arrays(false),
        };
        let whole = self.set.part == Part::Whole && self.set.checks.is_empty();
        if self.odd || !whole || !ColumnSet::tells_apart(self.table().columns.len()) {
            return build().into();
        }
        let written = self.set.columns.iter().copied().collect();
        let (dialect, versioned) = (self.dialect.number(), self.set.version().is_some());
        self.set.facts.texts.change(ChangeText { dialect, form, written, versioned, xid }, build)
    }

    /// What is to come back, after what is there already.
    fn and_back(&self) -> String {
        self.back.list(self.table(), self.dialect, false).iter().map(|column| format!(", {column}")).collect()
    }

    /// The change of rows in arrays (PostgreSQL), each of which must be there. If one is not, the same statement says which:
    /// afterwards a row that was written and one that somebody else wrote look alike. What looks for the missing row costs
    /// nothing where none is missing.
    fn many(&self, xid: bool) -> String {
        let (keys, names) = (self.table().keys.len(), &self.table().names);
        let (out, missing, number) = (&names.out, &names.missing, &names.number);
        let columns = names.values(keys);
        let same = (0..keys).map(|at| format!("{out}.{0} = {missing}.{0}", names.bare(at)));
        format!(
            "WITH {out}({columns}) AS ({write}) SELECT count(*), \
             CASE WHEN count(*) < cardinality($1) THEN (SELECT min({missing}.{number}) FROM UNNEST({arrays}) WITH ORDINALITY \
             AS {missing}({columns}, {number}) WHERE NOT EXISTS (SELECT 1 FROM {out} WHERE {same})) END{xid} FROM {out}",
            write = self.change_arrays(true),
            arrays = crate::table::names::Names::parameters(keys),
            same = same.collect::<Vec<_>>().join(" AND "),
            xid = self.dialect.and_xid(xid),
        )
    }

    /// The change of rows in arrays, each of which answers with its number, and with what is to come back: to count two rows in
    /// the server takes longer than to write them.
    fn numbered(&self, xid: bool) -> String {
        let (table, names) = (&self.table().table, &self.table().names);
        let rows = names.unnest_numbered(self.width());
        let write = match self.deletes() {
            true => format!("DELETE FROM {table} USING {rows}"),
            false => format!("UPDATE {table} SET {} FROM {rows}", self.assignments()),
        };
        let (matching, back, xid) = (self.matching(), self.and_back(), self.dialect.and_xid(xid));
        format!("{write} WHERE {matching} RETURNING {}.{}{back}{xid}", names.rows, names.number)
    }

    /// The change of rows in arrays; if wanted, it returns the keys' arrays.
    fn change_arrays(&self, returning: bool) -> String {
        let (table, names) = (self.table(), &self.table().names);
        let keys = (0..table.keys.len()).map(|at| names.value(at)).collect::<Vec<_>>().join(", ");
        let (write, keys) = match self.deletes() {
            true if self.only_key() => {
                let name = table.columns[table.keys[0]].quoted();
                (format!("DELETE FROM {} WHERE {name} = ANY($1)", table.table), name)
            }
            true => {
                let (rows, matching) = (names.unnest(self.width()), self.matching());
                (format!("DELETE FROM {} USING {rows} WHERE {matching}", table.table), keys)
            }
            false => {
                let (assignments, rows, matching) = (self.assignments(), names.unnest(self.width()), self.matching());
                (format!("UPDATE {} SET {assignments} FROM {rows} WHERE {matching}", table.table), keys)
            }
        };
        if returning { format!("{write} RETURNING {keys}") } else { write }
    }

    /// The change of rows in a document. They are looked up in its order, in which all units lock them.
    fn change_documents(&self) -> String {
        let (table, facts) = (self.table(), &self.set.facts);
        let columns = || self.set.found_by().chain(self.set.new_values()).map(|put| put.column());
        // Whether each column has a form there was asked before.
        let rows = documents::table(&table.names, facts, columns()).unwrap_or_default();
        let value = |(at, column): (usize, usize)| documents::value(&table.names, facts, at, column);
        let name = |column: usize| format!("{}.{}", table.table, table.columns[column].quoted());
        let matched = self
            .set
            .found_by()
            .enumerate()
            .map(|(at, put)| self.matched(put, &name(put.column()), &value((at, put.column()))));
        let matched = matched.collect::<Vec<_>>().join(" AND ");
        if self.deletes() {
            return format!("DELETE {0} FROM {rows} STRAIGHT_JOIN {0}{1} ON {matched}", table.table, facts.lookup);
        }
        let first = self.set.found_by().count();
        let assigned = (first..).zip(self.set.written()).map(|(at, column)| {
            format!("{} = {}", name(column), table.columns[column].save(self.dialect, &value((at, column))))
        });
        let assigned = assigned.collect::<Vec<_>>().join(", ");
        format!("UPDATE {rows} STRAIGHT_JOIN {}{} ON {matched} SET {assigned}", table.table, facts.lookup)
    }

    /// Whether one statement may name a few rows by their values: what it writes must leave their keys as they are, since each
    /// assignment sees those before it.
    pub(super) fn names_rows(&self) -> bool {
        let writes_key = self.set.written().any(|column| self.table().keys.contains(&column));
        let parameters = HANDFUL * (self.set.written().count() * (self.table().keys.len() + 1) + self.width());
        self.set.facts.names_rows && !self.deletes() && !writes_key && parameters <= self.dialect.most_parameters
    }

    /// The change of so many rows, each value chosen by its row's key: written for each column, by key, then what all are found by
    /// (MariaDB, which takes three times as long to read a document of two rows).
    fn named(&self, rows: usize) -> String {
        let (table, hole) = (self.table(), self.dialect.hole);
        let all_matched = |puts: &mut dyn Iterator<Item = Put>| {
            let matched = puts.map(|put| self.matched(put, &table.columns[put.column()].quoted(), hole));
            matched.collect::<Vec<_>>().join(" AND ")
        };
        let (key, found) = (all_matched(&mut self.set.keys()), all_matched(&mut self.set.found_by()));
        let assigned = self.set.written().map(|column| {
            let (name, value) = (table.columns[column].quoted(), table.columns[column].save(self.dialect, hole));
            let chosen = format!(" WHEN {key} THEN {value}").repeat(rows - 1);
            format!("{name} = CASE{chosen} ELSE {value} END")
        });
        let assigned = assigned.collect::<Vec<_>>().join(", ");
        let found = vec![found; rows].join(" OR ");
        format!("UPDATE {}{} SET {assigned} WHERE {found}", table.table, self.set.facts.lookup)
    }

    /// Whether rows are found by one column alone, which is compared as it is sent.
    fn only_key(&self) -> bool {
        let [key] = self.table().keys[..] else { return false };
        self.set.found_by().count() == 1
            && !self.table().columns[key].is_cast(self.dialect)
            && !self.set.facts.folds(&[key])
    }

    /// The change of so many rows in one text (SQLite). Its places have no numbers: a numbered one is looked up by name.
    pub(super) fn values(&self, rows: usize) -> String {
        let (table, names) = (self.table(), &self.table().names);
        if self.deletes() && self.only_key() {
            let places = vec!["?"; rows].join(", ");
            return format!(
                "DELETE FROM {} WHERE {} IN ({places})",
                table.table,
                table.columns[table.keys[0]].quoted()
            );
        }
        let tuple = format!("({})", vec!["?"; self.width()].join(", "));
        let tuples = vec![&*tuple; rows].join(", ");
        let with = format!("WITH {}({}) AS (VALUES {tuples}) ", names.rows, names.values(self.width()));
        if !self.deletes() {
            let (assignments, matching) = (self.assignments(), self.matching());
            let back = self.back.list(table, self.dialect, true);
            let back = if back.is_empty() { String::new() } else { format!(" RETURNING {}", back.join(", ")) };
            return format!(
                "{with}UPDATE {} SET {assignments} FROM {} WHERE {matching}{back}",
                table.table, names.rows
            );
        }
        let keys = |prefix: &str| {
            table.keys.iter().map(|k| format!("{prefix}{}", table.columns[*k].quoted())).collect::<Vec<_>>().join(", ")
        };
        format!(
            "{with}DELETE FROM {0} WHERE ({1}) IN (SELECT {2} FROM {3} JOIN {0} ON {4})",
            table.table,
            keys(""),
            keys(&format!("{}.", table.table)),
            names.rows,
            self.matching(),
        )
    }

    /// `t.key = u.u0 AND …` over key, version and checks.
    fn matching(&self) -> String {
        let (table, names) = (self.table(), &self.table().names);
        let matched = self.set.found_by().enumerate().map(|(at, put)| {
            let name = format!("{}.{}", table.table, table.columns[put.column()].quoted());
            self.matched(put, &name, &names.value(at))
        });
        matched.collect::<Vec<_>>().join(" AND ")
    }

    fn assignments(&self) -> String {
        let (table, names) = (self.table(), &self.table().names);
        let first = self.set.found_by().count();
        let assign = |(at, c): (usize, usize)| {
            let meta = &table.columns[c];
            format!("{} = {}", meta.quoted(), meta.save(self.dialect, &names.value(at)))
        };
        (first..).zip(self.set.written()).map(assign).collect::<Vec<_>>().join(", ")
    }

    /// The change of a single row: what is written, then key, version and checks.
    fn one(&self, xid: bool) -> String {
        let table = self.table();
        let place = |at: usize| match self.dialect.numbered_parameters {
            true => self.dialect.parameter(at + 1),
            false => self.dialect.hole.to_owned(),
        };
        let assigned = self.set.written().enumerate().map(|(at, c)| {
            let meta = &table.columns[c];
            format!("{} = {}", meta.quoted(), meta.save(self.dialect, &place(at)))
        });
        let assigned = assigned.collect::<Vec<_>>().join(", ");
        let written = self.set.written().count();
        let matched = self
            .set
            .found_by()
            .enumerate()
            .map(|(at, put)| self.matched(put, &table.columns[put.column()].quoted(), &place(written + at)));
        let matched = matched.collect::<Vec<_>>().join(" AND ");
        let write = match self.deletes() {
            true => format!("DELETE FROM {} WHERE {matched}", table.table),
            false => format!("UPDATE {} SET {assigned} WHERE {matched}", table.table),
        };
        match &self.back.list(table, self.dialect, false)[..] {
            [] => self.dialect.telling_xid(write, xid),
            list => format!("{write} RETURNING {}{}", list.join(", "), self.dialect.and_xid(xid)),
        }
    }
}
