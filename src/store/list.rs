//! Listing: the children of a folder (V6), the tree below it, and names by pattern (V11).
//!
//! All three walk `nodes.tree_key`, whose order is the order of the tree: a folder, what lies below it, the next name. A
//! walk of bounded depth *skips*: from one entry it asks the index for the first row after everything below that entry,
//! so a folder of a million nodes costs one look-up, and implied folders come at their place among the others. Where
//! nothing lies deeper than the children, which one look-up tells, they are read as a range.
//! Each is one statement, sent alone unless the caller's unit is open already.

use context_entities::node::{self, Status};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, QueryFilter, QueryOrder, QueryResult, QuerySelect, Select,
    Statement,
    prelude::{DateTimeUtc, Uuid},
};
use sea_session::prelude::*;

use super::{Store, Within, allow, read::visible};
use crate::{
    access::{Access, Caller},
    dialect::{Dialect, Walks},
    error::StoreError,
    glob::Glob,
    node::{Entry, EntryNode, Node},
    page::{Page, Paging},
    sql::{SEPARATOR, Sql, text, tree_key, uri_of_key},
    uri::{SCHEME, Uri, encode},
};

/// How much of a tree is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeOptions {
    /// How many levels below the folder; none for all.
    pub depth: Option<u32>,
    /// Which page.
    pub paging: Paging,
}

impl Store {
    /// The direct children of a folder, by name: active nodes, and folders that are there because something active lies
    /// below them (V6).
    ///
    /// # Errors
    /// [`StoreError::Denied`], [`StoreError::InvalidCursor`]; what the database says. A folder with nothing in it is an empty page.
    pub async fn list_children(
        &self,
        caller: &Caller,
        folder: &Uri,
        paging: &Paging,
    ) -> Result<Page<Entry>, StoreError> {
        let options = TreeOptions { depth: Some(1), paging: paging.clone() };
        self.tree(caller, folder, &options).await
    }

    /// Everything below a folder, each folder before what lies in it, by name; implied folders included (V11).
    ///
    /// # Errors
    /// As [`Store::list_children`]; [`StoreError::InvalidArgument`] for a depth of 0.
    pub async fn tree(&self, caller: &Caller, folder: &Uri, options: &TreeOptions) -> Result<Page<Entry>, StoreError> {
        let walk = TreeWalk::new(caller, folder, options)?;
        let dialect = self.dialect();
        let rows = self.read_unit(caller).query(walk.statement(dialect)).await?;
        walk.page(dialect, &rows)
    }

    /// The active nodes whose URI matches a pattern, in the order of the tree: `*` and `?` within a segment, `**` over
    /// several, `[…]` and `{a,b}`. The pattern is of readable names, in which `%` and `#` are themselves:
    /// `ctx://acme/resources/**/*.rs` (V11).
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for a pattern that is none, [`StoreError::InvalidUri`] and [`StoreError::Denied`] for its folder.
    pub async fn glob(&self, caller: &Caller, pattern: &str, paging: &Paging) -> Result<Page<Entry>, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).glob(pattern, paging).await).await
    }
}

impl Within<'_> {
    /// [`Store::list_children`] in this unit.
    ///
    /// # Errors
    /// As [`Store::list_children`].
    pub async fn list_children(&mut self, folder: &Uri, paging: &Paging) -> Result<Page<Entry>, StoreError> {
        let options = TreeOptions { depth: Some(1), paging: paging.clone() };
        self.tree(folder, &options).await
    }

    /// [`Store::tree`] in this unit.
    ///
    /// # Errors
    /// As [`Store::tree`].
    pub async fn tree(&mut self, folder: &Uri, options: &TreeOptions) -> Result<Page<Entry>, StoreError> {
        let walk = TreeWalk::new(self.caller, folder, options)?;
        let dialect = super::dialect(self.s);
        let rows = self.s.query_all_raw(walk.statement(dialect)).await?;
        walk.page(dialect, &rows)
    }

    /// [`Store::glob`] in this unit.
    ///
    /// # Errors
    /// As [`Store::glob`].
    pub async fn glob(&mut self, pattern: &str, paging: &Paging) -> Result<Page<Entry>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let limit = paging.checked_limit()?;
        let refuse = |reason: &str| StoreError::InvalidArgument(format!("{pattern:?} is not a pattern: {reason}"));
        let scheme = pattern.get(..SCHEME.len()).filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        let names = &pattern[scheme.ok_or_else(|| refuse("it begins with `ctx://` and an account"))?.len()..];
        let glob = Glob::parse(names).map_err(refuse)?;
        let folder = literal_folder(names, &glob)?;
        allow(caller, &folder, Access::Read)?;
        let mut after = cursor(&folder, paging.after.as_deref())?;
        let mut matched = Vec::new();
        let wanted = usize::try_from(limit + 1).unwrap_or(usize::MAX);
        // The database leaves out what cannot match; what is left is matched here, until the page is full.
        let like = glob.like_supersets(encode).unwrap_or_default();
        while matched.len() < wanted {
            let walk = Walk {
                caller,
                folder: &folder,
                depth: None,
                after: after.as_ref(),
                limit: limit + 1,
                like: Some(&like),
            };
            let rows = s.query_all_raw(walk.statement(super::dialect(s))).await?;
            let rows = rows.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
            let last = (rows.len() > usize::try_from(limit).unwrap_or(usize::MAX))
                .then(|| rows.last().map(|row| uri_of_key(&row.key)))
                .flatten();
            for row in rows {
                let uri = Uri::parse(&uri_of_key(&row.key))?;
                // The row that a session keeps for itself is none that anybody wrote.
                if uri.holds_nodes() && glob.matches(&uri.pretty()[SCHEME.len()..]) {
                    matched.push(row);
                }
            }
            match last {
                Some(last) => after = Some(Uri::parse(&last)?),
                None => break,
            }
        }
        let page = Page::of(matched, limit, |row| uri_of_key(&row.key));
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(row.entry()?);
        }
        Ok(Page { items, next: page.next })
    }
}

impl Store {
    /// The archived nodes at and below a folder, by URI: what `restore` would bring back.
    ///
    /// # Errors
    /// [`StoreError::Denied`], [`StoreError::InvalidCursor`]; what the database says.
    pub async fn list_archived(&self, caller: &Caller, folder: &Uri, paging: &Paging) -> Result<Page<Uri>, StoreError> {
        allow(caller, folder, Access::Read)?;
        let limit = paging.checked_limit()?;
        let after = cursor_at(folder, paging)?;
        let rows: Vec<String> = self
            .read_unit(caller)
            .run(async |s: &mut Session| -> Result<_, StoreError> {
                let rows =
                    below(caller, folder, after.as_ref(), limit).filter(node::Column::Status.eq(Status::Archived));
                Ok(rows.select_only().column(node::Column::Uri).into_tuple().all(s).await?)
            })
            .await?;
        let page = Page::of(rows, limit, Clone::clone);
        let items = page.items.iter().map(|uri| Ok(Uri::parse(uri)?)).collect::<Result<_, StoreError>>()?;
        Ok(Page { items, next: page.next })
    }

    /// The active nodes at and below a folder with their texts, by URI.
    ///
    /// # Errors
    /// [`StoreError::Denied`], [`StoreError::InvalidCursor`]; what the database says.
    pub async fn texts(&self, caller: &Caller, folder: &Uri, paging: &Paging) -> Result<Page<Node>, StoreError> {
        allow(caller, folder, Access::Read)?;
        let limit = paging.checked_limit()?;
        let after = cursor_at(folder, paging)?;
        let rows = self
            .read_unit(caller)
            .run(async |s: &mut Session| -> Result<_, StoreError> {
                let rows = below(caller, folder, after.as_ref(), limit).filter(node::Column::Status.eq(Status::Active));
                Ok(rows.all(s).await?)
            })
            .await?;
        let page = Page::of(rows, limit, |row| row.uri.clone());
        let items = page.items.into_iter().map(Node::try_from).collect::<Result<Vec<_>, _>>()?;
        Ok(Page { items: items.into_iter().filter(|node| node.uri.holds_nodes()).collect(), next: page.next })
    }

    /// Whether anything that the caller may see is there, at the URI or below it, archived or not.
    ///
    /// # Errors
    /// [`StoreError::Denied`]; what the database says.
    pub async fn is_there(&self, caller: &Caller, folder: &Uri) -> Result<bool, StoreError> {
        allow(caller, folder, Access::Read)?;
        let found: Option<Uuid> = self
            .read_unit(caller)
            .run(async |s: &mut Session| -> Result<_, StoreError> {
                let rows = below(caller, folder, None, 1).select_only().column(node::Column::Id);
                Ok(rows.into_tuple().one(s).await?)
            })
            .await?;
        Ok(found.is_some())
    }
}

/// The rows at and below a folder after a place, one more than the limit.
fn below(caller: &Caller, folder: &Uri, after: Option<&Uri>, limit: u64) -> Select<node::Entity> {
    let (low, high) = folder.below();
    let here = Condition::any()
        .add(node::Column::Uri.eq(folder.as_str()))
        .add(Condition::all().add(node::Column::Uri.gte(low)).add(node::Column::Uri.lt(high)));
    let rows = visible(caller).filter(here).order_by_asc(node::Column::Uri).limit(limit + 1);
    match after {
        Some(after) => rows.filter(node::Column::Uri.gt(after.as_str())),
        None => rows,
    }
}

/// A cursor of a listing that has the folder itself in it.
fn cursor_at(folder: &Uri, paging: &Paging) -> Result<Option<Uri>, StoreError> {
    match paging.after.as_deref() {
        Some(after) if after == folder.as_str() => Ok(Some(folder.clone())),
        after => cursor(folder, after),
    }
}

/// A walk, and the page that is made of what it finds.
struct TreeWalk<'a> {
    caller: &'a Caller,
    folder: &'a Uri,
    depth: Option<u32>,
    after: Option<Uri>,
    limit: u64,
}

impl<'a> TreeWalk<'a> {
    fn new(caller: &'a Caller, folder: &'a Uri, options: &TreeOptions) -> Result<Self, StoreError> {
        allow(caller, folder, Access::Read)?;
        let limit = options.paging.checked_limit()?;
        if options.depth == Some(0) {
            return Err(StoreError::InvalidArgument("a tree has at least one level".into()));
        }
        let after = cursor(folder, options.paging.after.as_deref())?;
        Ok(Self { caller, folder, depth: options.depth, after, limit })
    }

    fn statement(&self, dialect: &'static Dialect) -> Statement {
        let Self { caller, folder, depth, .. } = *self;
        Walk { caller, folder, depth, after: self.after.as_ref(), limit: self.limit + 1, like: None }.statement(dialect)
    }

    fn page(&self, dialect: &Dialect, rows: &[QueryResult]) -> Result<Page<Entry>, StoreError> {
        let mut rows = match self.depth {
            Some(_) if dialect.packed.is_some() => Row::unpacked(rows)?,
            _ => rows.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?,
        };
        if self.depth.is_none() {
            // Every row of the range is here: a folder's first descendant is the row behind it.
            for at in 1..rows.len() {
                let (before, rest) = rows.split_at_mut(at);
                if let (Some(row), Some(next)) = (before.last_mut(), rest.first()) {
                    row.is_folder = lies_below(&next.key, &row.key);
                }
            }
        }
        let page = Page::of(rows, self.limit, |row| uri_of_key(&row.key));
        entries(self.folder, self.after.as_ref(), page, self.limit)
    }
}

/// Whether a key of the tree's order is below another.
fn lies_below(key: &str, folder: &str) -> bool {
    key.strip_prefix(folder).is_some_and(|rest| rest.starts_with(SEPARATOR))
}

/// One walk of the tree's index.
struct Walk<'a> {
    caller: &'a Caller,
    folder: &'a Uri,
    depth: Option<u32>,
    after: Option<&'a Uri>,
    limit: u64,
    /// What a URI is like, one of these at least; anything for an empty list. None where every row of the range is wanted, and
    /// which of them are folders shows in the rows themselves.
    like: Option<&'a [String]>,
}

/// What a walk gives of each place, read by place: by name, each column of each row makes a string and hashes it.
struct Row {
    key: String,
    is_folder: bool,
    node: Option<EntryNode>,
}

impl Row {
    fn read(row: &QueryResult) -> Result<Self, StoreError> {
        let node = match row.try_get_by_index(2)? {
            None => None,
            Some(id) => Some(EntryNode {
                id,
                node_type: row.try_get_by_index(3)?,
                version: row.try_get_by_index(4)?,
                r#abstract: row.try_get_by_index(5)?,
                content_bytes: row.try_get_by_index(6)?,
                updated_at: row.try_get_by_index(7)?,
            }),
        };
        Ok(Self { key: row.try_get_by_index(0)?, is_folder: row.try_get_by_index(1)?, node })
    }

    /// The rows that were packed into one ([`Dialect::packed`]).
    fn unpacked(packed: &[QueryResult]) -> Result<Vec<Self>, StoreError> {
        type Columns =
            (String, u8, Option<Uuid>, Option<String>, Option<i64>, Option<String>, Option<i64>, Option<DateTimeUtc>);
        let Some(packed) = packed.first() else { return Ok(Vec::new()) };
        let text: String = packed.try_get_by_index(0)?;
        let rows: Vec<Columns> = serde_json::from_str(&text).map_err(|e| DbErr::Json(e.to_string()))?;
        let row =
            |(key, is_folder, id, node_type, version, r#abstract, content_bytes, updated_at): Columns| {
                let node = id.zip(node_type).zip(version).zip(r#abstract).zip(content_bytes).zip(updated_at);
                let node = node.map(|(((((id, node_type), version), r#abstract), content_bytes), updated_at)| {
                    EntryNode { id, node_type, version, r#abstract, content_bytes, updated_at }
                });
                Self { key, is_folder: is_folder != 0, node }
            };
        Ok(rows.into_iter().map(row).collect())
    }

    fn entry(self) -> Result<Entry, StoreError> {
        let uri = Uri::parse(&uri_of_key(&self.key))?;
        // The row that a session keeps for itself has no text and is shown as the folder that it is.
        let node = self.node.filter(|_| uri.holds_nodes());
        Ok(Entry { name: uri.name().into_owned(), is_folder: self.is_folder || node.is_none(), uri, node })
    }
}

impl Walk<'_> {
    fn statement(&self, dialect: &'static Dialect) -> Statement {
        let mut sql = Sql::new(dialect);
        match self.depth {
            Some(depth) => self.skipping(&mut sql, i64::from(depth)),
            None => self.straight(&mut sql),
        }
        sql.finish()
    }

    /// The keys strictly below the folder: `>= .0` and `< .1`.
    fn bounds(&self) -> (String, String) {
        let key = tree_key(self.folder.as_str());
        (format!("{key}{SEPARATOR}"), format!("{key}\u{2}"))
    }

    fn limit(&self) -> i64 {
        i64::try_from(self.limit).unwrap_or(i64::MAX)
    }

    /// Every row of the range.
    fn straight(&self, sql: &mut Sql) {
        let (low, high) = self.bounds();
        sql.push("SELECT n.tree_key AS tree, ");
        match self.like {
            None => sql.say(|d| d.no),
            Some(_) => self.is_folder(sql, "n.tree_key"),
        };
        columns(sql.push(" AS is_folder, "));
        sql.push(" FROM nodes n WHERE ");
        self.active(sql, "n");
        match self.after {
            Some(after) => sql.push(" AND n.tree_key > ").bind(tree_key(after.as_str())),
            None => sql.push(" AND n.tree_key >= ").bind(low),
        };
        sql.push(" AND n.tree_key < ").bind(high);
        let like = self.like.unwrap_or_default();
        for (n, like) in like.iter().enumerate() {
            sql.push(if n == 0 { " AND (n.uri LIKE " } else { " OR n.uri LIKE " });
            sql.bind(format!("{SCHEME}{like}")).push(" ESCAPE ").say(|d| d.backslash);
        }
        if !like.is_empty() {
            sql.push(")");
        }
        sql.push(" ORDER BY n.tree_key LIMIT ").bind(self.limit());
    }

    /// One row an entry of at most `depth` levels. A folder in which nothing lies deeper than its children is a range of the
    /// index of children; in any other, each step asks the index for the first key after the entry before, and the rows that
    /// are entries themselves are looked up at the end.
    fn skipping(&self, sql: &mut Sql, depth: i64) {
        let (low, high) = self.bounds();
        let place = Place { low: &low, skip: i64::try_from(low.chars().count()).unwrap_or(i64::MAX), depth };
        let start = match self.after {
            Some(after) => next_key(&low, &tree_key(after.as_str()), depth),
            None => low.clone(),
        };
        let Dialect { walks, lateral, packed, key: [convert, converted], .. } = sql.dialect();
        // What counts its steps has them beside the key.
        let [counted, one, next, with_step, in_order] = match walks {
            Walks::Counted => [", step", ", 1", ", w.step + 1", ", w.step", " ORDER BY p.step"],
            _ => [""; 5],
        };
        sql.say(|d| d.walk).push("WITH RECURSIVE deeper(found) AS (SELECT EXISTS (SELECT 1 FROM nodes d WHERE ");
        self.active(sql, "d");
        let (first, end) = self.folder.below();
        sql.with(" AND d.parent_uri >= ? AND d.parent_uri < ?", [text(first), text(end)]);
        sql.push(&format!(
            ")), walk(tree{counted}) AS (SELECT (SELECT n.tree_key FROM nodes n WHERE (SELECT found FROM deeper) AND "
        ));
        self.active(sql, "n");
        sql.with(" AND n.tree_key >= ? AND n.tree_key < ?", [text(start), text(high.clone())]);
        sql.push(&format!(
            " ORDER BY n.tree_key LIMIT 1){one} UNION ALL SELECT (SELECT n.tree_key FROM nodes n WHERE "
        ));
        self.active(sql, "n");
        sql.push(" AND n.tree_key >= ").push(convert);
        place.of(sql, "w.tree");
        sql.push(" || ");
        place.end(sql, "w.tree");
        sql.push(converted).push(" AND n.tree_key < ").bind(high);
        sql.push(&format!(" ORDER BY n.tree_key LIMIT 1){next} FROM walk w WHERE w.tree IS NOT NULL"));
        // The last key may be the NULL behind them all.
        match walks {
            Walks::AsAsked => {}
            Walks::Limited => {
                sql.push(" LIMIT ").bind(self.limit() + 1);
            }
            Walks::Counted => {
                sql.push(" AND w.step <= ").bind(self.limit());
            }
        }
        let [before, behind] = packed.as_ref().map_or([""; 2], |packed| packed.around);
        sql.push(") ").push(before);
        // The URI of a child is its place as well: no key is made of it.
        sql.push("SELECT * FROM (SELECT n.uri AS tree, ").say(|d| d.no).push(" AS is_folder, ");
        columns(sql);
        sql.push(" FROM nodes n WHERE NOT (SELECT found FROM deeper) AND ");
        self.active(sql, "n");
        sql.push(" AND n.parent_uri = ").bind(self.folder.as_str());
        if let Some(after) = self.after {
            sql.push(" AND n.name > ").bind(first_name_below(self.folder, after));
        }
        sql.push(" ORDER BY n.name LIMIT ").bind(self.limit()).push(") flat");
        // A place below which the walk went on, and which is no row of its own, is a folder and nothing else.
        sql.push(" UNION ALL SELECT * FROM (SELECT p.place, CASE WHEN n.id IS NULL THEN ").say(|d| d.yes);
        sql.push(" ELSE ");
        self.is_folder(sql, "p.tree");
        sql.push(" END, ");
        columns(sql);
        sql.push(" FROM (SELECT w.tree").push(with_step).push(", ");
        place.of(sql, "w.tree");
        sql.push(" AS place FROM walk w WHERE w.tree IS NOT NULL) p LEFT JOIN ");
        if *lateral {
            // By look-ups: the planner expects more of a recursive walk than the page, and would read all nodes for a hash join.
            sql.push("LATERAL (SELECT n.* FROM nodes n WHERE ");
            self.active(sql, "n");
            sql.push(" AND n.tree_key = p.tree AND p.place = p.tree LIMIT 1) n ON true");
        } else {
            sql.push("nodes n ON ");
            self.active(sql, "n");
            sql.push(" AND n.tree_key = CASE WHEN p.place = p.tree THEN p.tree END");
        }
        sql.push(in_order).push(" LIMIT ").bind(self.limit()).push(") deep").push(behind);
    }

    /// Whether something lies below the place of a key.
    fn is_folder<'s>(&self, sql: &'s mut Sql, key: &str) -> &'s mut Sql {
        sql.push("EXISTS (SELECT 1 FROM nodes c WHERE ");
        self.active(sql, "c");
        let Dialect { key: [convert, converted], separator, after_separator, .. } = sql.dialect();
        sql.push(&format!(" AND c.tree_key >= {convert}{key} || {separator}{converted}"));
        sql.push(&format!(" AND c.tree_key < {convert}{key} || {after_separator}{converted})"))
    }

    fn active(&self, sql: &mut Sql, alias: &str) {
        sql.push(&format!("{alias}.account_id = ")).bind(self.caller.account());
        sql.push(&format!(" AND {alias}.status = 'active'"));
        sql.and_owned(&format!("{alias}.owner_space"), self.caller.owner_filter().as_deref());
    }
}

/// Adds what a listing tells of a row `n`, in the order of [`Row::read`].
fn columns(sql: &mut Sql) {
    let bytes = (sql.dialect().bytes_of)("n.content");
    sql.push("n.id, n.node_type, n.version, n.abstract, ").push(&bytes).push(" AS content_bytes, n.updated_at");
}

/// Which entry of a listing a key belongs to: what it is, or the folder `depth` levels below the listed one that it lies in.
struct Place<'a> {
    /// The key below which everything listed lies, and its length in characters.
    low: &'a str,
    skip: i64,
    depth: i64,
}

impl Place<'_> {
    /// The place itself: what is listed, and the first `depth` segments of what follows.
    fn of(&self, sql: &mut Sql, key: &str) {
        sql.bind(self.low).push(" || ");
        (sql.dialect().segments)(sql, key, self.skip, self.depth);
    }

    /// What follows the place where the walk goes on: below it while there are levels left, else behind all of it.
    fn end(&self, sql: &mut Sql, key: &str) {
        if self.depth == 1 {
            sql.say(|d| d.after_separator);
            return;
        }
        let Dialect { count, separator, after_separator, .. } = sql.dialect();
        let (skip, depth) = (count(self.skip), count(self.depth));
        let separators = format!("length(substr({key}, ? + 1)) - length(replace(substr({key}, ? + 1), ");
        sql.push("CASE WHEN ").with(&separators, [skip.clone(), skip]).push(separator);
        sql.with(", '')) + 1 >= ? ", [depth]).push(&format!("THEN {after_separator} ELSE {separator} END"));
    }
}

/// The first segment behind the folder, in canonical spelling: where a listing of children goes on.
fn first_name_below<'u>(folder: &Uri, uri: &'u Uri) -> &'u str {
    let rest = uri.as_str().strip_prefix(folder.as_str()).unwrap_or_default();
    rest.split('/').nth(1).unwrap_or_default()
}

/// Where a walk goes on after `key`: below it while there are levels left, else behind everything below it.
fn next_key(low: &str, key: &str, depth: i64) -> String {
    let rest = key.strip_prefix(low).unwrap_or_default();
    let have = i64::try_from(rest.split(SEPARATOR).count()).unwrap_or(i64::MAX);
    let end = if have >= depth { '\u{2}' } else { SEPARATOR };
    format!("{key}{end}")
}

fn cursor(folder: &Uri, after: Option<&str>) -> Result<Option<Uri>, StoreError> {
    let Some(after) = after else { return Ok(None) };
    let uri = Uri::parse(after).map_err(|_| StoreError::InvalidCursor)?;
    if uri.is_below(folder) { Ok(Some(uri)) } else { Err(StoreError::InvalidCursor) }
}

/// Rows as entries, with the folders that lie between the rows and have none. They count as the others do: what is too
/// much for the page is on the next one, which goes on after whatever this one ends with.
fn entries(folder: &Uri, after: Option<&Uri>, page: Page<Row>, limit: u64) -> Result<Page<Entry>, StoreError> {
    let mut items: Vec<Entry> = Vec::with_capacity(page.items.len());
    for row in page.items {
        let entry = row.entry()?;
        let before = items.last().map(|entry| &entry.uri).or(after);
        let is_met = |uri: &Uri| before.is_some_and(|before| before.starts_with_folder(uri));
        let mut implied = Vec::new();
        let mut above = entry.uri.parent();
        while let Some(uri) = above.filter(|uri| uri.is_below(folder) && !is_met(uri)) {
            above = uri.parent();
            implied.push(Entry { name: uri.name().into_owned(), is_folder: true, uri, node: None });
        }
        items.extend(implied.into_iter().rev());
        items.push(entry);
    }
    let cut = Page::of(items, limit, |entry| entry.uri.to_string());
    Ok(Page { next: cut.next.or(page.next), items: cut.items })
}

/// The folder in which everything lies that a pattern can match. A pattern without wildcards names one node, which lies in its
/// folder like any other.
fn literal_folder(names: &str, glob: &Glob) -> Result<Uri, StoreError> {
    let mut literal = glob.literal_names().into_iter();
    // A pattern that is an account and nothing more.
    let account = literal.next().unwrap_or_else(|| names.to_owned());
    let mut folder = Uri::account_root(&account)?;
    for name in literal {
        folder = folder.child(&name)?;
    }
    Ok(folder)
}
