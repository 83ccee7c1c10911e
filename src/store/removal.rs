//! Deleting, archiving and restoring (V8): a subtree of any size in a constant number of statements.

use std::collections::HashSet;

use context_entities::{node, node_version::Change};
use sea_orm::{ConnectionTrait, FromQueryResult};
use sea_session::prelude::*;

use super::{
    Store, Within, allow,
    set::{self, Extent, Stamp},
    write::known_sessions,
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    node::status_word,
    outbox::EventType,
    sql::{Sql, text},
    uri::{Kind, Uri},
};

/// How to delete, archive or restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Also everything below; without it, a folder that has something below is refused.
    pub recursive: bool,
}

impl DeleteOptions {
    /// With everything below.
    pub fn recursive() -> Self {
        Self { recursive: true }
    }
}

/// What a delete, an archive or a restore did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Removed {
    /// Where.
    pub uri: Uri,
    /// How many nodes it changed.
    pub nodes: u64,
}

/// What is at a place and below it.
#[derive(FromQueryResult)]
struct Situation {
    here: i64,
    here_active: i64,
    below: i64,
}

impl Store {
    /// Deletes a node, or with [`DeleteOptions::recursive`] a subtree, also an archived one. Edges go with their nodes,
    /// index records through the outbox; the history stays (V8, V10).
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::NotEmpty`], [`StoreError::Denied`]; what the database says.
    pub async fn delete(&self, caller: &Caller, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).delete(uri, options).await).await
    }

    /// Archives a node or subtree: the rows stay, readers and the index no longer have them (V8).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if nothing there is active; otherwise as [`Store::delete`].
    pub async fn archive(&self, caller: &Caller, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).archive(uri, options).await).await
    }

    /// Brings an archived node or subtree back, and into the index again (V8).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if nothing there is archived; otherwise as [`Store::delete`].
    pub async fn restore(&self, caller: &Caller, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).restore(uri, options).await).await
    }
}

impl Within<'_> {
    /// [`Store::delete`] in this unit.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub async fn delete(&mut self, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_removal(s, caller, uri, "be deleted").await?;
        let situation = look(s, caller, uri).await?;
        if situation.here == 0 && situation.below == 0 {
            return Err(StoreError::not_found(uri));
        }
        if situation.below > 0 && !options.recursive {
            return Err(StoreError::NotEmpty { uri: uri.clone() });
        }
        // What somebody creates below meanwhile is not part of the delete of one node.
        let extent = if options.recursive { Extent::Subtree } else { Extent::Node };
        let held = set::record(s, caller.account(), uri, extent, Change::Delete, None, Stamp::now()).await?;
        if held == 0 {
            // Somebody else has moved or deleted it since it was looked for.
            return Err(StoreError::not_found(uri));
        }
        set::announce_removal(s, caller.account(), uri, extent).await?;
        let mut sql = Sql::of(s);
        sql.push("DELETE FROM nodes WHERE account_id = ").bind(caller.account()).push(" AND ");
        set::within(&mut sql, "nodes", uri, extent);
        set::recorded(&mut sql, "nodes", Change::Delete);
        let nodes = s.execute_raw(sql.finish()).await?.rows_affected();
        set::follow(s);
        self.store.ring(s);
        Ok(Removed { uri: uri.clone(), nodes })
    }

    /// [`Store::archive`] in this unit.
    ///
    /// # Errors
    /// As [`Store::archive`].
    pub async fn archive(&mut self, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        self.set_status(uri, options, Turn::ARCHIVE).await
    }

    /// [`Store::restore`] in this unit.
    ///
    /// # Errors
    /// As [`Store::restore`].
    pub async fn restore(&mut self, uri: &Uri, options: DeleteOptions) -> Result<Removed, StoreError> {
        self.set_status(uri, options, Turn::RESTORE).await
    }

    async fn set_status(&mut self, uri: &Uri, options: DeleteOptions, turn: Turn) -> Result<Removed, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow_removal(s, caller, uri, turn.what).await?;
        let extent = if options.recursive { Extent::Subtree } else { Extent::Node };
        let stamp = Stamp::now();
        let recorded = set::record(s, caller.account(), uri, extent, turn.change, Some(turn.from), stamp).await?;
        if recorded == 0 {
            let situation = look(s, caller, uri).await?;
            return Err(match (situation.here, situation.below) {
                (0, below) if below > 0 && !options.recursive => StoreError::NotEmpty { uri: uri.clone() },
                (here, _) if here > 0 && turn.from == node::Status::Active => {
                    StoreError::NotFound { uri: uri.clone(), archived: situation.here_active == 0 }
                }
                _ => StoreError::not_found(uri),
            });
        }
        let mut sql = Sql::of(s);
        sql.with(
            "UPDATE nodes SET status = ?, updated_at = ?, version = version + 1 WHERE account_id = ",
            [text(status_word(turn.to)), super::write::now().into()],
        );
        sql.bind(caller.account()).push(" AND ");
        set::within(&mut sql, "nodes", uri, extent);
        set::recorded(&mut sql, "nodes", turn.change);
        let nodes = s.execute_raw(sql.finish()).await?.rows_affected();
        set::announce(s, caller.account(), uri, extent, turn.change, turn.event, stamp).await?;
        set::follow(s);
        self.store.ring(s);
        Ok(Removed { uri: uri.clone(), nodes })
    }
}

/// One direction of archiving.
#[derive(Clone, Copy)]
struct Turn {
    from: node::Status,
    to: node::Status,
    change: Change,
    event: EventType,
    what: &'static str,
}

impl Turn {
    const ARCHIVE: Self = Self {
        from: node::Status::Active,
        to: node::Status::Archived,
        change: Change::Archive,
        event: EventType::Archive,
        what: "be archived",
    };
    const RESTORE: Self = Self {
        from: node::Status::Archived,
        to: node::Status::Active,
        change: Change::Restore,
        event: EventType::Restore,
        what: "be restored",
    };
}

/// A whole space may be removed too, its folder included; the account and the folders of spaces may not.
async fn allow_removal(s: &mut Session, caller: &Caller, uri: &Uri, what: &'static str) -> Result<(), StoreError> {
    allow(caller, uri, Access::Write)?;
    if matches!(uri.kind(), Kind::Account | Kind::Spaces) {
        return Err(StoreError::NotANode { uri: uri.clone(), what });
    }
    if let Some(root) = uri.session_root() {
        known_sessions(s, caller, &HashSet::from([root])).await?;
    }
    Ok(())
}

async fn look(s: &mut Session, caller: &Caller, uri: &Uri) -> Result<Situation, StoreError> {
    let (low, high) = uri.below();
    let mut sql = Sql::of(s);
    sql.push("SELECT (SELECT count(*) FROM nodes n WHERE n.account_id = ").bind(caller.account());
    sql.with(" AND n.uri = ?) AS here, (SELECT count(*) FROM nodes n WHERE n.account_id = ", [text(uri.as_str())]);
    sql.bind(caller.account()).with(" AND n.uri = ? AND n.status = 'active') AS here_active", [text(uri.as_str())]);
    sql.push(", (SELECT count(*) FROM (SELECT 1 FROM nodes n WHERE n.account_id = ").bind(caller.account());
    sql.with(" AND n.uri >= ? AND n.uri < ? LIMIT 1) AS found) AS below", [text(low), text(high)]);
    let found = Situation::find_by_statement(sql.finish()).one(s).await?;
    Ok(found.unwrap_or(Situation { here: 0, here_active: 0, below: 0 }))
}
