//! Reading nodes (V5): one statement a point read.

use context_entities::{index_record::Level, node};
use sea_orm::{
    ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect, Select, prelude::DateTimeUtc,
    prelude::Uuid,
};
use sea_session::prelude::*;

use super::{Store, Within, allow, allow_node};
use crate::{
    access::{Access, Caller},
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
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).read(uri).await).await
    }

    /// Many nodes in one statement, in the order asked for; those that do not exist, are archived or broken are left out.
    ///
    /// # Errors
    /// [`StoreError::Denied`] if one of them is denied; what the database says.
    pub async fn read_many(&self, caller: &Caller, uris: &[Uri]) -> Result<Vec<Node>, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).read_many(uris).await).await
    }

    /// One text of a node; the others stay in the database.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_level(&self, caller: &Caller, uri: &Uri, level: Level) -> Result<String, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).read_level(uri, level).await).await
    }

    /// Whether an active node is there. False also when the URI is none, or the caller may not see it (V5).
    ///
    /// # Errors
    /// What the database says.
    pub async fn exists(&self, caller: &Caller, uri: &str) -> Result<bool, StoreError> {
        // Nothing is asked of the database, not even BEGIN, for what cannot be.
        if Uri::parse(uri).is_ok_and(|uri| allow(caller, &uri, Access::Read).is_ok() && uri.holds_nodes()) {
            return self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).exists(uri).await).await;
        }
        Ok(false)
    }

    /// A node without its texts, also an archived or a broken one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Denied`], [`StoreError::NotANode`]; what the database says.
    pub async fn stat(&self, caller: &Caller, uri: &Uri) -> Result<Stat, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).stat(uri).await).await
    }
}

impl Within<'_> {
    /// [`Store::read`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read(&mut self, uri: &Uri) -> Result<Node, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Read, "be read")?;
        let found = visible(caller).filter(node::Column::Uri.eq(uri.as_str())).load_one(s).await?;
        match found {
            None => Err(StoreError::not_found(uri)),
            Some(row) => {
                readable(uri, row.status())?;
                Node::try_from(row.model())
            }
        }
    }

    /// [`Store::read_many`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read_many`].
    pub async fn read_many(&mut self, uris: &[Uri]) -> Result<Vec<Node>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        for uri in uris {
            allow_node(caller, uri, Access::Read, "be read")?;
        }
        let rows = visible(caller)
            .filter(node::Column::Uri.is_in(uris.iter().map(Uri::as_str)))
            .filter(node::Column::Status.eq(node::Status::Active))
            .order_by_asc(node::Column::Uri)
            .load(s)
            .await?;
        let mut found = std::collections::HashMap::with_capacity(rows.len());
        for row in rows {
            found.insert(row.uri(), Node::try_from(row.model())?);
        }
        Ok(uris.iter().filter_map(|uri| found.get(uri.as_str()).cloned()).collect())
    }

    /// [`Store::read_level`] in this unit.
    ///
    /// # Errors
    /// As [`Store::read_level`].
    pub async fn read_level(&mut self, uri: &Uri, level: Level) -> Result<String, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Read, "be read")?;
        let column = match level {
            Level::Abstract => node::Column::Abstract,
            Level::Overview => node::Column::Overview,
            Level::Content => node::Column::Content,
        };
        let found: Option<(node::Status, String)> = visible(caller)
            .filter(node::Column::Uri.eq(uri.as_str()))
            .select_only()
            .columns([node::Column::Status, column])
            .into_tuple()
            .one(s)
            .await?;
        let (status, text) = found.ok_or_else(|| StoreError::not_found(uri))?;
        readable(uri, status)?;
        Ok(text)
    }

    /// [`Store::exists`] in this unit.
    ///
    /// # Errors
    /// As [`Store::exists`].
    pub async fn exists(&mut self, uri: &str) -> Result<bool, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let Ok(uri) = Uri::parse(uri) else { return Ok(false) };
        if !uri.holds_nodes() || allow(caller, &uri, Access::Read).is_err() {
            return Ok(false);
        }
        let found: Option<Uuid> = visible(caller)
            .filter(node::Column::Uri.eq(uri.as_str()))
            .filter(node::Column::Status.eq(node::Status::Active))
            .select_only()
            .column(node::Column::Id)
            .into_tuple()
            .one(s)
            .await?;
        Ok(found.is_some())
    }

    /// [`Store::stat`] in this unit.
    ///
    /// # Errors
    /// As [`Store::stat`].
    pub async fn stat(&mut self, uri: &Uri) -> Result<Stat, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_node(caller, uri, Access::Read, "be looked at")?;
        let mut sql = Sql::new(super::backend(s));
        sql.push("SELECT n.id, n.uri, n.owner_space, n.category, n.node_type, n.status, n.version, n.content_hash, n.created_at, n.updated_at");
        for level in ["abstract", "overview", "content"] {
            let bytes = bytes_of(sql.is_postgres(), level);
            sql.push(&format!(", {bytes} AS {level}_bytes"));
        }
        sql.push(" FROM nodes n WHERE n.account_id = ").bind(caller.account()).push(" AND n.uri = ").bind(uri.as_str());
        sql.and_owned("n.owner_space", caller.owner_filter().as_deref());
        let row = StatRow::find_by_statement(sql.finish()).one(s).await?.ok_or_else(|| StoreError::not_found(uri))?;
        Ok(Stat {
            id: row.id,
            uri: Uri::parse(&row.uri)?,
            owner_space: row.owner_space,
            category: row.category,
            node_type: row.node_type,
            status: row.status,
            version: row.version,
            content_hash: row.content_hash,
            abstract_bytes: row.abstract_bytes,
            overview_bytes: row.overview_bytes,
            content_bytes: row.content_bytes,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

#[derive(FromQueryResult)]
struct StatRow {
    id: Uuid,
    uri: String,
    owner_space: String,
    category: Option<String>,
    node_type: String,
    status: node::Status,
    version: i64,
    content_hash: String,
    abstract_bytes: i64,
    overview_bytes: i64,
    content_bytes: i64,
    created_at: DateTimeUtc,
    updated_at: DateTimeUtc,
}

/// The expression for a text's size.
pub(super) fn bytes_of(postgres: bool, column: &str) -> String {
    if postgres { format!("octet_length(n.{column})::bigint") } else { format!("length(CAST(n.{column} AS BLOB))") }
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
