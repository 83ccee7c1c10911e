//! Reading nodes (V5): one statement a point read.

use context_entities::{index_record::Level, node};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryResult, Select, Statement};

use super::{Store, Within, allow, allow_node};
use crate::{
    access::{Access, Caller},
    dialect::Dialect,
    error::StoreError,
    node::{Node, Stat},
    sql::Sql,
    uri::Uri,
};

impl Store {
    /// A node with its texts.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] (absent, archived, or in a session of another space), [`StoreError::Broken`],
    /// [`StoreError::Denied`], [`StoreError::NotANode`]; what the database says.
    pub async fn read(&self, caller: &Caller, uri: &Uri) -> Result<Node, StoreError> {
        allow_node(caller, uri, Access::Read, "be read")?;
        let rows = self.read_unit(caller).query(whole(self.dialect(), caller, uri)).await?;
        read_of(rows.first(), uri)
    }

    /// Many nodes in one statement, in the order asked for; those that do not exist, are archived or broken are left out.
    ///
    /// # Errors
    /// [`StoreError::Denied`] if one of them is denied; what the database says.
    pub async fn read_many(&self, caller: &Caller, uris: &[Uri]) -> Result<Vec<Node>, StoreError> {
        allow_all(caller, uris)?;
        let rows = self.read_unit(caller).query(several(self.dialect(), caller, uris)).await?;
        in_order(&rows, uris)
    }

    /// One text of a node; the others stay in the database.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_level(&self, caller: &Caller, uri: &Uri, level: Level) -> Result<String, StoreError> {
        allow_node(caller, uri, Access::Read, "be read")?;
        let rows = self.read_unit(caller).query(one_level(self.dialect(), caller, uri, level)).await?;
        level_of(rows.first(), uri)
    }

    /// Whether an active node is there. False also when the URI is none, or the caller may not see it (V5).
    ///
    /// # Errors
    /// What the database says.
    pub async fn exists(&self, caller: &Caller, uri: &str) -> Result<bool, StoreError> {
        // Nothing is asked of the database for what cannot be.
        let Some(uri) = readable_uri(caller, uri) else { return Ok(false) };
        let rows = self.read_unit(caller).query(presence(self.dialect(), caller, &uri)).await?;
        Ok(!rows.is_empty())
    }

    /// A node without its texts, also an archived or a broken one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Denied`], [`StoreError::NotANode`]; what the database says.
    pub async fn stat(&self, caller: &Caller, uri: &Uri) -> Result<Stat, StoreError> {
        allow_node(caller, uri, Access::Read, "be looked at")?;
        let rows = self.read_unit(caller).query(sizes(self.dialect(), caller, uri)).await?;
        stat_of(rows.first(), uri)
    }
}

impl Within<'_> {
    /// [`Store::read`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read(&mut self, uri: &Uri) -> Result<Node, StoreError> {
        allow_node(self.caller, uri, Access::Read, "be read")?;
        let row = self.s.query_one_raw(whole(super::dialect(self.s), self.caller, uri)).await?;
        read_of(row.as_ref(), uri)
    }

    /// [`Store::read_many`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read_many`].
    pub async fn read_many(&mut self, uris: &[Uri]) -> Result<Vec<Node>, StoreError> {
        allow_all(self.caller, uris)?;
        let rows = self.s.query_all_raw(several(super::dialect(self.s), self.caller, uris)).await?;
        in_order(&rows, uris)
    }

    /// [`Store::read_level`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_level(&mut self, uri: &Uri, level: Level) -> Result<String, StoreError> {
        allow_node(self.caller, uri, Access::Read, "be read")?;
        let row = self.s.query_one_raw(one_level(super::dialect(self.s), self.caller, uri, level)).await?;
        level_of(row.as_ref(), uri)
    }

    /// [`Store::exists`] in this unit.
    ///
    /// # Errors
    /// As [`Store::exists`].
    pub async fn exists(&mut self, uri: &str) -> Result<bool, StoreError> {
        let Some(uri) = readable_uri(self.caller, uri) else { return Ok(false) };
        Ok(self.s.query_one_raw(presence(super::dialect(self.s), self.caller, &uri)).await?.is_some())
    }

    /// [`Store::stat`] in this unit.
    ///
    /// # Errors
    /// As [`Store::stat`].
    pub async fn stat(&mut self, uri: &Uri) -> Result<Stat, StoreError> {
        allow_node(self.caller, uri, Access::Read, "be looked at")?;
        let row = self.s.query_one_raw(sizes(super::dialect(self.s), self.caller, uri)).await?;
        stat_of(row.as_ref(), uri)
    }
}

/// The columns that [`node_of`] reads, in its order.
const NODE: &str = "n.id, n.uri, n.owner_space, n.category, n.node_type, n.abstract, n.overview, n.content, n.metadata, n.version, n.content_hash, n.created_at, n.updated_at, n.status";

/// A row of [`NODE`] as a node, read by place: by name, each column of each row makes a string and hashes it.
fn node_of(row: &QueryResult) -> Result<Node, StoreError> {
    Ok(Node {
        id: row.try_get_by_index(0)?,
        uri: Uri::parse(&row.try_get_by_index::<String>(1)?)?,
        owner_space: row.try_get_by_index(2)?,
        category: row.try_get_by_index(3)?,
        node_type: row.try_get_by_index(4)?,
        r#abstract: row.try_get_by_index(5)?,
        overview: row.try_get_by_index(6)?,
        content: row.try_get_by_index(7)?,
        metadata: row.try_get_by_index(8)?,
        version: row.try_get_by_index(9)?,
        content_hash: row.try_get_by_index(10)?,
        created_at: row.try_get_by_index(11)?,
        updated_at: row.try_get_by_index(12)?,
    })
}

/// Adds which row: the one at a URI, of the caller's account and spaces.
fn at(sql: &mut Sql, caller: &Caller, uri: &Uri) {
    sql.push(" FROM nodes n WHERE n.account_id = ").bind(caller.account()).push(" AND n.uri = ").bind(uri.as_str());
    sql.and_owned("n.owner_space", caller.owner_filter().as_deref());
}

fn whole(dialect: &'static Dialect, caller: &Caller, uri: &Uri) -> Statement {
    let mut sql = Sql::new(dialect);
    sql.push("SELECT ").push(NODE);
    at(&mut sql, caller, uri);
    sql.finish()
}

fn read_of(row: Option<&QueryResult>, uri: &Uri) -> Result<Node, StoreError> {
    let row = row.ok_or_else(|| StoreError::not_found(uri))?;
    readable(uri, row.try_get_by_index(13)?)?;
    node_of(row)
}

fn allow_all(caller: &Caller, uris: &[Uri]) -> Result<(), StoreError> {
    uris.iter().try_for_each(|uri| allow_node(caller, uri, Access::Read, "be read"))
}

fn several(dialect: &'static Dialect, caller: &Caller, uris: &[Uri]) -> Statement {
    let mut sql = Sql::new(dialect);
    sql.push("SELECT ").push(NODE).push(" FROM nodes n WHERE n.account_id = ").bind(caller.account());
    sql.push(" AND ").is_in("n.uri", uris.iter().map(Uri::as_str)).push(" AND n.status = 'active'");
    sql.and_owned("n.owner_space", caller.owner_filter().as_deref());
    sql.finish()
}

/// The nodes in the order of the URIs; what is not there is left out.
fn in_order(rows: &[QueryResult], uris: &[Uri]) -> Result<Vec<Node>, StoreError> {
    let mut found = std::collections::HashMap::with_capacity(rows.len());
    for row in rows {
        let node = node_of(row)?;
        found.insert(node.uri.clone(), node);
    }
    Ok(uris.iter().filter_map(|uri| found.get(uri).cloned()).collect())
}

fn one_level(dialect: &'static Dialect, caller: &Caller, uri: &Uri, level: Level) -> Statement {
    let mut sql = Sql::new(dialect);
    sql.push(match level {
        Level::Abstract => "SELECT n.status, n.abstract",
        Level::Overview => "SELECT n.status, n.overview",
        Level::Content => "SELECT n.status, n.content",
    });
    at(&mut sql, caller, uri);
    sql.finish()
}

fn level_of(row: Option<&QueryResult>, uri: &Uri) -> Result<String, StoreError> {
    let row = row.ok_or_else(|| StoreError::not_found(uri))?;
    readable(uri, row.try_get_by_index(0)?)?;
    Ok(row.try_get_by_index(1)?)
}

/// The URI, if it is one at which the caller may find a node.
fn readable_uri(caller: &Caller, uri: &str) -> Option<Uri> {
    Uri::parse(uri).ok().filter(|uri| uri.holds_nodes() && allow(caller, uri, Access::Read).is_ok())
}

fn presence(dialect: &'static Dialect, caller: &Caller, uri: &Uri) -> Statement {
    let mut sql = Sql::new(dialect);
    sql.push("SELECT 1 AS found");
    at(&mut sql, caller, uri);
    sql.push(" AND n.status = 'active'");
    sql.finish()
}

fn sizes(dialect: &'static Dialect, caller: &Caller, uri: &Uri) -> Statement {
    let mut sql = Sql::new(dialect);
    sql.push("SELECT n.id, n.owner_space, n.category, n.node_type, n.status, n.version, n.content_hash, n.created_at, n.updated_at");
    for level in ["abstract", "overview", "content"] {
        sql.push(", ").push(&(dialect.bytes_of)(&format!("n.{level}")));
    }
    at(&mut sql, caller, uri);
    sql.finish()
}

fn stat_of(row: Option<&QueryResult>, uri: &Uri) -> Result<Stat, StoreError> {
    let row = row.ok_or_else(|| StoreError::not_found(uri))?;
    Ok(Stat {
        id: row.try_get_by_index(0)?,
        uri: uri.clone(),
        owner_space: row.try_get_by_index(1)?,
        category: row.try_get_by_index(2)?,
        node_type: row.try_get_by_index(3)?,
        status: row.try_get_by_index(4)?,
        version: row.try_get_by_index(5)?,
        content_hash: row.try_get_by_index(6)?,
        created_at: row.try_get_by_index(7)?,
        updated_at: row.try_get_by_index(8)?,
        abstract_bytes: row.try_get_by_index(9)?,
        overview_bytes: row.try_get_by_index(10)?,
        content_bytes: row.try_get_by_index(11)?,
    })
}

/// The nodes of the caller's account that are in its spaces.
pub(super) fn visible(caller: &Caller) -> Select<node::Entity> {
    let account = node::Entity::find().filter(node::Column::AccountId.eq(caller.account()));
    match caller.owner_filter() {
        Some(spaces) => account.filter(node::Column::OwnerSpace.is_in(spaces)),
        None => account,
    }
}

/// Whether a row may be read (V5).
pub(super) fn readable(uri: &Uri, status: node::Status) -> Result<(), StoreError> {
    match status {
        node::Status::Active => Ok(()),
        node::Status::Archived => Err(StoreError::NotFound { uri: uri.clone(), archived: true }),
        node::Status::Broken => Err(StoreError::Broken { uri: uri.clone() }),
    }
}
