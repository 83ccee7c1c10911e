//! What the planner is to know of the flush's tables beside their entities: what the catalogue says of foreign keys (D1), and
//! which values the database holds equal (D5).
//!
//! Nothing is asked but where it may matter: where a column compares otherwise than by bytes, and rows of the flush give
//! values up, or refer to each other by them. Then it is one statement for each such column.

use rustc_hash::{FxHashMap, FxHashSet};
use sea_orm::{Value, sea_query::ArrayType};

use super::{
    Due, Flush,
    plan::{Acts, Known, OnDelete},
};
use crate::{
    connection::{Fetch, Message, text::Text},
    dialect::Sets,
    error::Error,
    objects::row::{RowKind, WrittenValue},
    table::{
        facts::{Deed, Equality, TableFacts},
        meta::{ForeignKey, OnUpdate, TableMeta},
        value::{as_column, is_null},
    },
};

/// A foreign key that leads to a table of the flush.
struct Lead<'a> {
    child: usize,
    key: &'a ForeignKey,
    parent: usize,
    /// The columns that it leads to.
    to: Vec<usize>,
}

impl Flush<'_> {
    /// What the database says of these tables, as far as the order of these changes may depend on it.
    pub(super) async fn known(&mut self, tables: &[&'static TableMeta], changes: &[Due<'_>]) -> Result<Known, Error> {
        let mut known = Known::default();
        let leads = leads(tables);
        let mut facts = Vec::with_capacity(tables.len());
        for table in tables {
            facts.push(self.connection.table_facts(table).await?);
        }
        for (child, table) in tables.iter().enumerate() {
            for (at, key) in table.parents.iter().enumerate() {
                let to = leads.iter().filter(|lead| lead.child == child && std::ptr::eq(lead.key, key));
                for lead in to {
                    if let Some(acts) = acts(table, key, &facts[child], &facts[lead.parent]) {
                        known.note_acts(child, at, lead.parent, acts);
                    }
                }
            }
        }
        for (at, table) in tables.iter().enumerate() {
            for column in (0..table.columns.len()).filter(|column| table.columns[*column].may_fold()) {
                let equality = facts[at].columns[column].equality.clone().filter(|equality| !equality.of_bytes);
                let Some(equality) = equality else { continue };
                let values = values(tables, &leads, changes, at, column);
                if values.len() > 1 {
                    self.ask_which_are_equal(&mut known, (at, table, column), &equality, values).await?;
                }
            }
        }
        Ok(known)
    }

    async fn ask_which_are_equal(
        &mut self,
        known: &mut Known,
        (at, table, column): (usize, &'static TableMeta, usize),
        equality: &Equality,
        values: Vec<Value>,
    ) -> Result<(), Error> {
        let dialect = self.connection.dialect();
        let texts: Vec<String> = values.iter().map(text).collect();
        let mut question = Text::new(dialect, "");
        question.sql = match dialect.sets {
            Sets::Values => {
                let list = question.bind(serde_json::Value::from(texts).to_string().into());
                let same = equality.apply("value");
                format!("SELECT key, min(key) OVER (PARTITION BY {same}) FROM json_each({list})")
            }
            Sets::Documents => {
                let list = question.bind(serde_json::Value::from(texts).to_string().into());
                let same = equality.apply("v.value");
                format!(
                    "SELECT CAST(v.number AS SIGNED) - 1, CAST(min(v.number) OVER (PARTITION BY {same}) AS SIGNED) - 1 \
                     FROM JSON_TABLE({list}, '$[*]' COLUMNS (number FOR ORDINALITY, value longtext PATH '$')) AS v"
                )
            }
            Sets::Arrays => {
                let texts = texts.into_iter().map(Value::from).collect();
                let list = question.bind(Value::Array(ArrayType::String, Some(Box::new(texts))));
                let same = equality.apply("v.value");
                format!(
                    "SELECT v.key - 1, min(v.key) OVER (PARTITION BY {same}) - 1 \
                     FROM UNNEST({list}::text[]) WITH ORDINALITY AS v(value, key)"
                )
            }
        };
        if !table.secret.is_empty() {
            self.connection.hide_values();
        }
        let message: Message<'_> = question.message(Fetch::All);
        let answer = self.connection.send(message).await.map_err(|e| e.at(|| table.entity.to_owned()))?.rows();
        for row in &answer {
            let (own, kept): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let value = |number: i64| usize::try_from(number).ok().and_then(|number| values.get(number));
            if let (Some(own), Some(kept)) = (value(own), value(kept).filter(|_| own != kept)) {
                known.note_equal(at, column, own.clone(), kept.clone());
            }
        }
        Ok(())
    }
}

fn leads<'a>(tables: &[&'a TableMeta]) -> Vec<Lead<'a>> {
    let mut leads = Vec::new();
    for (child, table) in tables.iter().enumerate() {
        for key in &table.parents {
            for (parent, meta) in tables.iter().enumerate().filter(|(_, parent)| parent.table == key.to_table) {
                if let Some(to) = key.to_columns.iter().map(|name| meta.column(name)).collect() {
                    leads.push(Lead { child, key, parent, to });
                }
            }
        }
    }
    leads
}

/// What the parent's catalogue says of a foreign key; nothing if it does not know it.
fn acts(child: &TableMeta, key: &ForeignKey, own: &TableFacts, parent: &TableFacts) -> Option<Acts> {
    let identity = own.identity.as_ref()?;
    let mut pairs: Vec<(&str, &str)> =
        key.columns.iter().map(|c| child.columns[*c].name).zip(key.to_columns.iter().map(String::as_str)).collect();
    pairs.sort_unstable();
    let mut of_child = parent.actions.iter().chain(&parent.refusing).filter(|action| action.child == *identity);
    let action = of_child.find(|action| {
        let mut known: Vec<(&str, &str)> =
            action.from.iter().map(String::as_str).zip(action.to.iter().map(String::as_str)).collect();
        known.sort_unstable();
        known.len() == pairs.len()
            && known.iter().zip(&pairs).all(|(a, b)| a.0.eq_ignore_ascii_case(b.0) && a.1.eq_ignore_ascii_case(b.1))
    })?;
    Some(Acts {
        on_update: match action.on_update {
            Deed::Cascade | Deed::SetNull => OnUpdate::Follows,
            Deed::None => OnUpdate::Refuses,
            Deed::SetDefault => OnUpdate::Unknown,
        },
        on_delete: match action.on_delete {
            Deed::SetNull | Deed::SetDefault => OnDelete::Stays,
            Deed::Cascade | Deed::None => OnDelete::Goes,
        },
    })
}

/// The values of the flush, each once, that stand in a column before or afterwards, or refer to it; none where no row gives
/// one up or refers to another by it.
fn values(
    tables: &[&'static TableMeta],
    leads: &[Lead<'_>],
    changes: &[Due<'_>],
    table: usize,
    column: usize,
) -> Vec<Value> {
    let meta = tables[table];
    let claimed = meta.keys.contains(&column) || meta.unique.iter().any(|set| set.contains(&column));
    let referring = || leads.iter().filter(|lead| lead.parent == table && lead.to.contains(&column));
    let given_up = claimed && changes.iter().any(|due| due.table == table && due.kind != RowKind::Insert);
    if !given_up && referring().next().is_none() {
        return Vec::new();
    }
    let mut places: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
    places.entry(table).or_default().push(column);
    for lead in referring() {
        let pairs = lead.key.columns.iter().zip(&lead.to).filter(|(_, to)| **to == column);
        places.entry(lead.child).or_default().extend(pairs.map(|(own, _)| *own));
    }
    let (mut seen, mut values) = (FxHashSet::default(), Vec::new());
    for due in changes {
        for place in places.get(&due.table).into_iter().flatten() {
            let written = due.change.cells.iter().find(|(c, _)| c == place).and_then(|(_, source)| match source {
                WrittenValue::Value(value) => Some(value.clone()),
                WrittenValue::KeyOf(..) => None,
            });
            let held = due.object.held_value(*place).filter(|_| due.kind != RowKind::Insert);
            for value in written.into_iter().chain(held) {
                let value = as_column(value, &meta.columns[column].kind);
                if !is_null(&value) && is_text(&value) && seen.insert(value.clone()) {
                    values.push(value);
                }
            }
        }
    }
    values
}

/// Whether a value is a text that every backend takes; others are told apart by what they are.
fn is_text(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Char(_)) && !text(value).contains('\0')
}

fn text(value: &Value) -> String {
    match value {
        Value::String(Some(text)) => text.clone(),
        Value::Char(Some(char)) => char.to_string(),
        _ => String::new(),
    }
}
