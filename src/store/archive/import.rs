//! Making a store of an archive again: whole batches, each a unit of work, and none twice.
//!
//! What is there already with the same texts is left alone, so an import that was killed is simply run again. What is
//! there with other texts, or a history that is not the archive's, is never written over: it is refused, one by one,
//! with the reason.
//!
//! An archive is data, and may say anything (W1). Each line is checked by itself ([`super::check`]); each identity is
//! the caller's or nobody's ([`super::identity`]); and what would lay a version under a node asks in the same statement
//! whose the node is.

mod edges;
mod logs;
mod nodes;
mod versions;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use context_entities::node;
use sea_orm::{ColumnTrait, QueryFilter, QuerySelect, prelude::Uuid};
use sea_session::prelude::*;

use super::{
    ExportReport, PAGE,
    format::{Contents, Line, Numbered, lines, verify},
    identity::{Identities, Identity, is_alone},
};
use crate::{
    access::{Access, Caller, Role},
    error::StoreError,
    printable::printable_line,
    store::{ImportProgress, Refusal, Store, allow, read::visible},
    uri::{Kind, Uri},
};

impl Store {
    /// Makes what an archive holds at and below `to`. The sums of the whole file are checked before anything is
    /// written; then whole batches are, and a run again goes on where one has stopped. What a line says is checked line
    /// by line: one that is wrong, or that the caller may not have carried out, is refused with its number and the
    /// reason, and the others are taken.
    ///
    /// Imported where it was exported from, nodes keep their identities: those that are the caller's already, and for
    /// ROOT, in a database that has no other account, those that nobody has. All others get identities of their own,
    /// the same at each run ([`Store::restore_archive`] keeps them). A node starts above every version that its place
    /// ever had (V3), so where something was deleted before, it comes back with a higher version than the archive's.
    ///
    /// # Errors
    /// [`StoreError::Io`] for a file that cannot be read, is no archive, or is damaged: nothing was written then;
    /// [`StoreError::Denied`] for a `to` of another account or space; what the database says. What the caller may not
    /// write, and what is there with another text, is in the report.
    ///
    /// # Cancel safety
    /// Dropped, whole batches are there; the next run goes on.
    pub async fn import_archive(
        &self,
        caller: &Caller,
        file: &Path,
        to: &Uri,
        progress: &mut (dyn FnMut(ImportProgress) + Send),
    ) -> Result<ExportReport, StoreError> {
        self.import_from(caller, file, to, false, progress).await
    }

    /// As [`Store::import_archive`], for the operator of a database with several accounts who brings one of them back
    /// from a backup of theirs: identities that nobody has are the archive's again. Who may call this can find out
    /// whether an identity is taken by another account, so it is not for archives that somebody hands in.
    ///
    /// # Errors
    /// As [`Store::import_archive`]; [`StoreError::InvalidArgument`] for a caller without the role ROOT.
    ///
    /// # Cancel safety
    /// As [`Store::import_archive`].
    pub async fn restore_archive(
        &self,
        caller: &Caller,
        file: &Path,
        to: &Uri,
        progress: &mut (dyn FnMut(ImportProgress) + Send),
    ) -> Result<ExportReport, StoreError> {
        if caller.role() != Role::Root {
            return Err(StoreError::InvalidArgument("an account is brought back with the role ROOT".into()));
        }
        self.import_from(caller, file, to, true, progress).await
    }

    async fn import_from(
        &self,
        caller: &Caller,
        file: &Path,
        to: &Uri,
        trusted: bool,
        progress: &mut (dyn FnMut(ImportProgress) + Send),
    ) -> Result<ExportReport, StoreError> {
        allow(caller, to, Access::Write)?;
        let checked = file.to_owned();
        let checking = tokio::task::spawn_blocking(move || verify(&checked));
        let contents = checking.await.map_err(|e| StoreError::InvalidArgument(e.to_string()))??;
        let alone = self.unit(caller).run(async |s: &mut Session| is_alone(s, caller).await).await?;
        let identities = Identities { caller, to, in_place: *to == contents.from, free_too: trusted || alone };
        let ours = contents.ids.iter().flat_map(|id| identities.candidates(*id)).collect();
        let import = Import { store: self, caller, to, contents, identities, ours };
        let mut done = ImportProgress { files: import.contents.lines, done: 0 };
        progress(done);
        let mut batch = Batch::default();
        let mut outcome = Outcome::default();
        for numbered in lines(file)? {
            let Numbered { number, bytes, line } = numbered?;
            let line = match line {
                Ok(line) => line,
                Err(reason) => {
                    done.done += 1;
                    outcome.refuse(number, &format!("line {number}"), reason);
                    continue;
                }
            };
            if !batch.takes(&line, bytes) {
                done.done += batch.lines.len() as u64;
                import.carry_out(std::mem::take(&mut batch), &mut outcome).await?;
                progress(done);
            }
            batch.bytes += bytes;
            batch.lines.push((number, line));
        }
        import.carry_out(batch, &mut outcome).await?;
        progress(ImportProgress { done: done.files, ..done });
        Ok(outcome.report())
    }
}

/// What the batches did.
#[derive(Default)]
struct Outcome {
    report: ExportReport,
    refused: BTreeSet<(u64, String, String)>,
}

impl Outcome {
    fn report(mut self) -> ExportReport {
        let refused = self.refused.into_iter();
        self.report.refused =
            refused.map(|(line, path, reason)| Refusal { path, reason: format!("line {line}: {reason}") }).collect();
        self.report
    }

    fn refuse(&mut self, line: u64, path: &str, reason: impl AsRef<str>) {
        let shown = |text: &str| printable_line(text).into_owned();
        self.refused.insert((line, shown(path), shown(reason.as_ref())));
    }

    fn add(&mut self, other: Self) {
        let (all, new) = (&mut self.report, other.report);
        all.nodes += new.nodes;
        all.versions += new.versions;
        all.logs += new.logs;
        all.edges += new.edges;
        all.unchanged += new.unchanged;
        self.refused.extend(other.refused);
    }
}

/// The bytes of the lines of one unit of work, but for the last.
const BATCH_BYTES: usize = 8 << 20;

/// Lines of one kind.
#[derive(Default)]
struct Batch {
    lines: Vec<(u64, Line)>,
    bytes: usize,
}

impl Batch {
    fn takes(&self, line: &Line, bytes: usize) -> bool {
        let Some((_, first)) = self.lines.first() else { return true };
        self.lines.len() < PAGE
            && self.bytes + bytes <= BATCH_BYTES
            && std::mem::discriminant(first) == std::mem::discriminant(line)
    }
}

/// An import under way.
struct Import<'a> {
    store: &'a Store,
    caller: &'a Caller,
    to: &'a Uri,
    contents: Contents,
    identities: Identities<'a>,
    /// What the archive's nodes may be here.
    ours: HashSet<Uuid>,
}

/// A line of the archive by its number.
type At<T> = (u64, T);

impl Import<'_> {
    async fn carry_out(&self, batch: Batch, outcome: &mut Outcome) -> Result<(), StoreError> {
        let (mut nodes, mut versions, mut logs, mut edges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, line) in batch.lines {
            match line {
                Line::Node(line) => nodes.push((number, *line)),
                Line::Version(line) => versions.push((number, *line)),
                Line::Log(line) => logs.push((number, *line)),
                Line::Edge(line) => edges.push((number, *line)),
                Line::Head { .. } | Line::End { .. } => {}
            }
        }
        let done = self
            .store
            .unit(self.caller)
            .run(async |s: &mut Session| -> Result<Outcome, StoreError> {
                let mut outcome = Outcome::default();
                self.nodes(s, &nodes, &mut outcome).await?;
                self.versions(s, &versions, &mut outcome).await?;
                self.logs(s, &logs, &mut outcome).await?;
                self.edges(s, &edges, &mut outcome).await?;
                self.store.ring(s);
                Ok(outcome)
            })
            .await?;
        outcome.add(done);
        Ok(())
    }

    /// Where a line goes, or why the caller may not put it there.
    fn place(&self, uri: Result<Uri, StoreError>) -> Result<Uri, String> {
        let uri = uri.map_err(|e| e.to_string())?;
        self.caller.check(&uri, Access::Write).map_err(|denial| denial.to_string())?;
        if uri.holds_nodes() || is_session(&uri) {
            return Ok(uri);
        }
        Err(format!("{uri} is a folder of the scheme"))
    }

    /// Whose a row is, and whether the caller may make one: it follows from the URI, but for a session, which somebody
    /// created.
    fn owner(&self, uri: &Uri, said: &str) -> Result<String, String> {
        let space = uri.owner().space().unwrap_or_else(|| said.to_owned());
        match self.caller.owner_filter() {
            Some(spaces) if !spaces.contains(&space) => Err(format!("it belongs to the space `{space}`")),
            _ => Ok(space),
        }
    }

    /// The nodes at these URIs that are there and the caller may see: identity and owner, by URI.
    async fn present<'p>(
        &self,
        s: &mut Session,
        uris: impl Iterator<Item = &'p str>,
    ) -> Result<HashMap<String, (Uuid, String)>, StoreError> {
        let uris: HashSet<&str> = uris.collect();
        let rows: Vec<(String, Uuid, String)> = visible(self.caller)
            .select_only()
            .columns([node::Column::Uri, node::Column::Id, node::Column::OwnerSpace])
            .filter(node::Column::Uri.is_in(uris))
            .into_tuple()
            .all(s)
            .await?;
        Ok(rows.into_iter().map(|(uri, id, owner)| (uri, (id, owner))).collect())
    }
}

fn plain(found: HashMap<Uuid, Identity>) -> HashMap<Uuid, Uuid> {
    found.into_iter().map(|(id, identity)| (id, identity.id)).collect()
}

fn is_session(uri: &Uri) -> bool {
    uri.kind() == Kind::Space && uri.session_root().as_ref() == Some(uri)
}

fn node_type(uri: &Uri) -> String {
    uri.node_type().map_or("session", crate::uri::NodeType::as_str).to_owned()
}
