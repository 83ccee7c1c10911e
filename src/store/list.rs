//! Listing: the children of a folder (V6), the tree below it, and names by pattern (V11).
//!
//! All three walk `nodes.tree_key`, whose order is the order of the tree: a folder, what lies below it, the next name. A
//! walk of bounded depth *skips*: from one entry it asks the index for the first row after everything below that entry,
//! so a folder of a million nodes costs one look-up, and implied folders come at their place among the others.

use context_entities::node::{self, Status};
use sea_orm::{
    ColumnTrait, Condition, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Select, prelude::DateTimeUtc,
    prelude::Uuid,
};
use sea_session::prelude::*;

use super::{
    Store, Within, allow,
    read::{bytes_of, visible},
};
use crate::{
    access::{Access, Caller},
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
        self.read_unit(caller)
            .run(async |s: &mut Session| self.within(s, caller).list_children(folder, paging).await)
            .await
    }

    /// Everything below a folder, each folder before what lies in it, by name; implied folders included (V11).
    ///
    /// # Errors
    /// As [`Store::list_children`]; [`StoreError::InvalidArgument`] for a depth of 0.
    pub async fn tree(&self, caller: &Caller, folder: &Uri, options: &TreeOptions) -> Result<Page<Entry>, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).tree(folder, options).await).await
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
        let (s, caller) = (&mut *self.s, self.caller);
        allow(caller, folder, Access::Read)?;
        let limit = options.paging.checked_limit()?;
        if options.depth == Some(0) {
            return Err(StoreError::InvalidArgument("a tree has at least one level".into()));
        }
        let after = cursor(folder, options.paging.after.as_deref())?;
        let walk = Walk { caller, folder, depth: options.depth, after: after.as_ref(), limit: limit + 1, like: &[] };
        let rows = walk.run(s).await?;
        let page = Page::of(rows, limit, |row| uri_of_key(&row.key));
        entries(folder, after.as_ref(), page, limit)
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
            let walk =
                Walk { caller, folder: &folder, depth: None, after: after.as_ref(), limit: limit + 1, like: &like };
            let rows = walk.run(s).await?;
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

/// One walk of the tree's index.
struct Walk<'a> {
    caller: &'a Caller,
    folder: &'a Uri,
    depth: Option<u32>,
    after: Option<&'a Uri>,
    limit: u64,
    /// What a URI is like, one of these at least; anything for none.
    like: &'a [String],
}

#[derive(FromQueryResult)]
struct Row {
    key: String,
    is_folder: bool,
    id: Option<Uuid>,
    node_type: Option<String>,
    version: Option<i64>,
    #[sea_orm(from_alias = "abstract")]
    summary: Option<String>,
    content_bytes: Option<i64>,
    updated_at: Option<DateTimeUtc>,
}

impl Row {
    fn entry(self) -> Result<Entry, StoreError> {
        let uri = Uri::parse(&uri_of_key(&self.key))?;
        let node = match (self.id, self.node_type, self.version, self.updated_at) {
            (Some(id), Some(node_type), Some(version), Some(updated_at)) => Some(EntryNode {
                id,
                node_type,
                version,
                r#abstract: self.summary.unwrap_or_default(),
                content_bytes: self.content_bytes.unwrap_or_default(),
                updated_at,
            }),
            _ => None,
        };
        // The row that a session keeps for itself has no text and is shown as the folder that it is.
        let node = node.filter(|_| uri.holds_nodes());
        Ok(Entry { name: uri.name().into_owned(), is_folder: self.is_folder || node.is_none(), uri, node })
    }
}

impl Walk<'_> {
    async fn run(&self, s: &mut Session) -> Result<Vec<Row>, StoreError> {
        let mut sql = Sql::new(super::backend(s));
        match self.depth {
            Some(depth) => self.skipping(&mut sql, i64::from(depth)),
            None => self.straight(&mut sql),
        }
        Ok(Row::find_by_statement(sql.finish()).all(s).await?)
    }

    /// The keys strictly below the folder: `>= .0` and `< .1`.
    fn bounds(&self) -> (String, String) {
        let key = tree_key(self.folder.as_str());
        (format!("{key}{SEPARATOR}"), format!("{key}\u{2}"))
    }

    /// Every row of the range.
    fn straight(&self, sql: &mut Sql) {
        let (low, high) = self.bounds();
        self.columns(sql, "n.tree_key");
        sql.push(" FROM nodes n WHERE ");
        self.active(sql, "n");
        match self.after {
            Some(after) => sql.push(" AND n.tree_key > ").bind(tree_key(after.as_str())),
            None => sql.push(" AND n.tree_key >= ").bind(low),
        };
        sql.push(" AND n.tree_key < ").bind(high);
        for (n, like) in self.like.iter().enumerate() {
            sql.push(if n == 0 { " AND (n.uri LIKE " } else { " OR n.uri LIKE " });
            sql.bind(format!("{SCHEME}{like}")).push(" ESCAPE '\\'");
        }
        if !self.like.is_empty() {
            sql.push(")");
        }
        sql.push(" ORDER BY n.tree_key LIMIT ").bind(i64::try_from(self.limit).unwrap_or(i64::MAX));
    }

    /// One row an entry of at most `depth` levels: each step asks for the first row after the entry before.
    fn skipping(&self, sql: &mut Sql, depth: i64) {
        let (low, high) = self.bounds();
        let skip = i64::try_from(low.len()).unwrap_or(i64::MAX);
        let start = match self.after {
            Some(after) => next_key(&low, &tree_key(after.as_str()), depth),
            None => low.clone(),
        };
        sql.push("WITH RECURSIVE walk(key) AS (SELECT (SELECT n.tree_key FROM nodes n WHERE ");
        self.active(sql, "n");
        sql.with(
            " AND n.tree_key >= ? AND n.tree_key < ? ORDER BY n.tree_key LIMIT 1)",
            [text(start), text(high.clone())],
        );
        sql.push(" UNION ALL SELECT (SELECT n.tree_key FROM nodes n WHERE ");
        self.active(sql, "n");
        sql.push(" AND n.tree_key >= ").bind(low.clone()).push(" || ");
        cut(sql, "w.key", skip, depth);
        sql.push(" || CASE WHEN ");
        levels(sql, "w.key", skip);
        sql.push(" >= ").bind(depth).either(" THEN chr(2) ELSE chr(1) END", " THEN char(2) ELSE char(1) END");
        sql.push(" AND n.tree_key < ")
            .bind(high)
            .push(" ORDER BY n.tree_key LIMIT 1) FROM walk w WHERE w.key IS NOT NULL)");
        sql.push(", place(key) AS (SELECT ").bind(low).push(" || ");
        cut(sql, "w.key", skip, depth);
        sql.push(" FROM walk w WHERE w.key IS NOT NULL LIMIT ")
            .bind(i64::try_from(self.limit).unwrap_or(i64::MAX))
            .push(") ");
        self.columns(sql, "p.key");
        sql.push(" FROM place p LEFT JOIN nodes n ON n.tree_key = p.key AND ");
        self.active(sql, "n");
        sql.push(" ORDER BY p.key");
    }

    fn columns(&self, sql: &mut Sql, key: &str) {
        sql.push(&format!("SELECT {key} AS key, n.id, n.node_type, n.version, n.abstract, n.updated_at, "));
        sql.push(&bytes_of(sql.is_postgres(), "content"));
        sql.push(" AS content_bytes, EXISTS (SELECT 1 FROM nodes c WHERE ");
        self.active(sql, "c");
        sql.push(&format!(" AND c.tree_key >= {key} || ")).either("chr(1)", "char(1)");
        sql.push(&format!(" AND c.tree_key < {key} || ")).either("chr(2)", "char(2)").push(") AS is_folder");
    }

    fn active(&self, sql: &mut Sql, alias: &str) {
        sql.push(&format!("{alias}.account_id = ")).bind(self.caller.account());
        sql.push(&format!(" AND {alias}.status = 'active'"));
        sql.and_owned(&format!("{alias}.owner_space"), self.caller.owner_filter().as_deref());
    }
}

/// The first `depth` segments of what follows the first `skip` characters of a key.
fn cut(sql: &mut Sql, key: &str, skip: i64, depth: i64) {
    if sql.is_postgres() {
        let skip = i32::try_from(skip).unwrap_or(i32::MAX);
        let depth = i32::try_from(depth).unwrap_or(i32::MAX);
        sql.push("array_to_string((string_to_array(substr(").push(key);
        sql.with(", ? + 1), chr(1)))[1:?], chr(1))", [skip.into(), depth.into()]);
    } else {
        // A key has only characters that mean nothing in JSON.
        sql.push("(SELECT group_concat(j.value, char(1)) FROM json_each('[\"' || replace(substr(").push(key);
        sql.with(", ? + 1), char(1), '\",\"') || '\"]') j WHERE j.key < ?)", [skip.into(), depth.into()]);
    }
}

/// How many segments follow the first `skip` characters of a key.
fn levels(sql: &mut Sql, key: &str, skip: i64) {
    let skip: sea_orm::Value =
        if sql.is_postgres() { i32::try_from(skip).unwrap_or(i32::MAX).into() } else { skip.into() };
    let separator = if sql.is_postgres() { "chr(1)" } else { "char(1)" };
    sql.with(
        &format!("length(substr({key}, ? + 1)) - length(replace(substr({key}, ? + 1), {separator}, '')) + 1"),
        [skip.clone(), skip],
    );
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
    let mut before: Option<Uri> = after.cloned();
    for row in page.items {
        let entry = row.entry()?;
        let mut implied = Vec::new();
        let mut above = entry.uri.parent();
        while let Some(uri) = above.filter(|uri| uri.is_below(folder)) {
            if before.as_ref().is_some_and(|before| before.starts_with_folder(&uri)) {
                break;
            }
            above = uri.parent();
            implied.push(Entry { name: uri.name().into_owned(), is_folder: true, uri, node: None });
        }
        items.extend(implied.into_iter().rev());
        before = Some(entry.uri.clone());
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
