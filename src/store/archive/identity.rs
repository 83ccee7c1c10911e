//! Which identities the rows of an import get (W1).
//!
//! An archive names identities, and so can anybody who writes one. One is taken over, at the place that the archive is
//! of, where it is the caller's already. One that nobody has is taken over only by ROOT and only in a database that has
//! no other account, or where the operator of the database asks for it
//! ([`Store::restore_archive`](crate::Store::restore_archive)): anywhere else it would tell whether somebody has it.
//! All others are derived from the archive's and the place: the same at each run, and nobody else's.

use std::collections::{HashMap, HashSet};

use sea_orm::{FromQueryResult, prelude::Uuid};
use sea_session::prelude::*;
use sha2::{Digest, Sha256};

use crate::{
    access::{Caller, Role},
    error::StoreError,
    sql::Sql,
    store::sight,
    uri::Uri,
};

/// What has an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// A node, also one that is gone and has a history.
    Node,
    Edge,
    Log,
}

/// So many identities are tried for one row. A derived one is taken only if somebody has worked it out and used it
/// before.
const MOST_TRIED: u32 = 8;

/// The identity here of what the archive names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) id: Uuid,
    /// A row in the caller's own spaces has it: one that was there, or that this import has made.
    pub(super) is_own: bool,
}

/// Identities of an archive that is imported to a place.
pub(super) struct Identities<'a> {
    pub(super) caller: &'a Caller,
    pub(super) to: &'a Uri,
    /// The archive is of this very place.
    pub(super) in_place: bool,
    /// What nobody has may be taken over.
    pub(super) free_too: bool,
}

/// Whether the caller answers for everything that is in the database, as far as anybody can.
pub(super) async fn is_alone(s: &mut Session, caller: &Caller) -> Result<bool, StoreError> {
    if caller.role() != Role::Root {
        return Ok(false);
    }
    #[derive(FromQueryResult)]
    struct Others {
        others: bool,
    }
    let mut sql = Sql::of(s);
    sql.push("SELECT EXISTS (SELECT 1 FROM nodes WHERE account_id <> ").bind(caller.account());
    sql.push(") OR EXISTS (SELECT 1 FROM node_versions WHERE account_id <> ").bind(caller.account());
    sql.push(") AS others");
    Ok(!sight::rows::<Others>(s, caller, sql).await?.iter().any(|row| row.others))
}

impl Identities<'_> {
    /// The `n`-th identity to try for what has this one in the archive.
    fn candidate(&self, id: Uuid, n: u32) -> Uuid {
        let derived = if self.in_place { n.checked_sub(1) } else { Some(n) };
        match derived {
            None => id,
            Some(0) => hashed(&format!("context-store import\n{id}\n{}", self.to)),
            Some(n) => hashed(&format!("context-store import\n{id}\n{}\n{n}", self.to)),
        }
    }

    /// All that may stand for an identity of the archive's.
    pub(super) fn candidates(&self, id: Uuid) -> impl Iterator<Item = Uuid> + '_ {
        (0..3).map(move |n| self.candidate(id, n))
    }

    /// The identities here of those in the archive. Asked again in each unit of work, so what was decided before is
    /// found.
    pub(super) async fn resolve(
        &self,
        s: &mut Session,
        of: Of,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, Identity>, StoreError> {
        let mut open: HashSet<Uuid> = ids.into_iter().collect();
        let mut found = HashMap::with_capacity(open.len());
        for n in 0..MOST_TRIED {
            if open.is_empty() {
                break;
            }
            let taken = taken(s, self.caller, of, open.iter().map(|id| self.candidate(*id, n))).await?;
            open.retain(|id| {
                let candidate = self.candidate(*id, n);
                let usable = match taken.get(&candidate) {
                    Some(Taken::Own) => Some(true),
                    Some(Taken::Elsewhere) => None,
                    None => (!self.in_place || n > 0 || self.free_too).then_some(false),
                };
                if let Some(is_own) = usable {
                    found.insert(*id, Identity { id: candidate, is_own });
                }
                usable.is_none()
            });
        }
        Ok(found)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// By a row in the caller's own spaces, which is the one that is meant.
    Own,
    Elsewhere,
}

/// Which of these identities some row has, of whatever tenant.
async fn taken(
    s: &mut Session,
    caller: &Caller,
    of: Of,
    ids: impl Iterator<Item = Uuid> + Clone,
) -> Result<HashMap<Uuid, Taken>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        id: Uuid,
        account_id: String,
        owner_space: String,
        live: bool,
    }
    let mut sql = Sql::of(s);
    match of {
        // A row that is there with the identity of a new one is another, whoever's it is.
        Of::Edge => sql.push("SELECT id, '' AS account_id, '' AS owner_space, true AS live FROM edges WHERE "),
        Of::Log => {
            sql.push("SELECT id, '' AS account_id, '' AS owner_space, true AS live FROM session_archives WHERE ")
        }
        Of::Node => sql.push("SELECT id, account_id, owner_space, true AS live FROM nodes WHERE "),
    };
    sql.is_in("id", ids.clone());
    if of == Of::Node {
        sql.push(" UNION SELECT node_id, account_id, owner_space, false FROM node_versions WHERE ")
            .is_in("node_id", ids);
    }
    let spaces = caller.own_spaces();
    let mut rows: HashMap<Uuid, Vec<Row>> = HashMap::new();
    for row in sight::rows::<Row>(s, caller, sql).await? {
        rows.entry(row.id).or_default().push(row);
    }
    let own = |row: &Row| {
        row.account_id == caller.account() && spaces.as_ref().is_none_or(|spaces| spaces.contains(&row.owner_space))
    };
    Ok(rows
        .into_iter()
        .map(|(id, rows)| {
            // The node itself decides; its history only where it is gone.
            let is_own = match rows.iter().find(|row| row.live) {
                Some(live) => own(live),
                None => rows.iter().all(own),
            };
            (id, if is_own { Taken::Own } else { Taken::Elsewhere })
        })
        .collect())
}

/// An identity made from a text: a UUID of a kind of one's own (RFC 9562, version 8).
pub(in crate::store) fn hashed(text: &str) -> Uuid {
    let digest = Sha256::digest(text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}
