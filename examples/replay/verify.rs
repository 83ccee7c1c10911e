//! Compares a replayed repository with what `git` says of it, by other questions than the replay asked.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use context_store::{Caller, Paging, Store, TreeOptions, Uri, record::content_hash};

/// What was compared.
#[derive(Debug, Default)]
pub struct Seen {
    /// Files of the checkout that are in the store.
    pub files: u64,
    /// Versions of these files.
    pub versions: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// The tree, every history, and the index.
pub async fn everything(store: &Store, caller: &Caller, repository: &Path, commit: &str, at: &Uri) -> Result<Seen> {
    let mut git = Git { repository, texts: HashMap::new() };
    let stored = tree(store, caller, at).await?;
    let mut seen = Seen::default();
    let checkout = git.checkout(commit)?;
    let histories = git.histories(commit)?;
    for (path, blob) in &checkout {
        let (Some(text), Some(uri)) = (git.text(blob)?, place(at, path)) else { continue };
        // Of two paths with one URI the replay takes the first.
        let Some(node) = stored.get(uri.as_str()) else { bail!("{path} is in the checkout and not in the store") };
        if *node != content_hash(&text) {
            bail!("{path} has another text in the store");
        }
        seen.files += 1;
        seen.bytes += text.len() as u64;
        let expected = histories.get(path).with_context(|| format!("`git log` does not know {path}"))?;
        seen.versions += history(store, caller, at, &uri, expected, &mut git).await?;
    }
    ensure!(
        stored.len() as u64 == seen.files,
        "{} nodes are in the store, {} files in the checkout",
        stored.len(),
        seen.files
    );
    let diagnosis = store.doctor(caller, false).await?;
    ensure!(diagnosis.is_clean(), "the doctor: {:#?}", diagnosis.findings);
    let status = store.status(caller).await?;
    ensure!(status.pending == 0 && status.dead == 0, "the index has not followed: {status:?}");
    Ok(seen)
}

/// The store's nodes below a folder: the hash of each one's content.
async fn tree(store: &Store, caller: &Caller, at: &Uri) -> Result<BTreeMap<String, String>> {
    let mut nodes = BTreeMap::new();
    let mut paging = Paging::first(1_000);
    loop {
        let page = store.tree(caller, at, &TreeOptions { depth: None, paging }).await?;
        let here: Vec<Uri> =
            page.items.into_iter().filter(|entry| entry.node.is_some()).map(|entry| entry.uri).collect();
        for some in here.chunks(200) {
            for node in store.read_many(caller, some).await? {
                nodes.insert(node.uri.to_string(), node.content_hash);
            }
        }
        match page.next {
            Some(next) => paging = Paging::first(1_000).after(next),
            None => return Ok(nodes),
        }
    }
}

/// Compares the history of one node with that of its file; how many versions that are.
async fn history(
    store: &Store,
    caller: &Caller,
    at: &Uri,
    uri: &Uri,
    expected: &[(String, String)],
    git: &mut Git<'_>,
) -> Result<u64> {
    let mut found = Vec::new();
    let mut paging = Paging::first(1_000);
    loop {
        let page = store.history(caller, uri, &paging).await?;
        found.extend(page.items.into_iter().map(|entry| (entry.uri, entry.content_hash)));
        match page.next {
            Some(next) => paging = Paging::first(1_000).after(next),
            None => break,
        }
    }
    found.reverse();
    let mut wanted = Vec::new();
    for (path, blob) in expected {
        let text = git.text(blob)?.with_context(|| format!("{path} has become no text"))?;
        wanted.push((place(at, path).context("a place")?, content_hash(&text)));
    }
    ensure!(found == wanted, "{uri} has the versions {found:#?}, and git has {wanted:#?}");
    Ok(found.len() as u64)
}

/// The place of a path; none where its name cannot be part of a URI.
fn place(at: &Uri, path: &str) -> Option<Uri> {
    path.split('/').try_fold(at.clone(), |folder, name| folder.child(name)).ok()
}

struct Git<'a> {
    repository: &'a Path,
    /// The blobs that were looked at; none for those that are no text.
    texts: HashMap<String, Option<String>>,
}

impl Git<'_> {
    fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let mut command = Command::new("git");
        command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").arg("-C").arg(self.repository);
        let output = command.args(["-c", "core.quotepath=off"]).args(arguments).output().context("git runs")?;
        ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }

    /// The regular files of a commit and their blobs.
    fn checkout(&self, commit: &str) -> Result<Vec<(String, String)>> {
        let listed = self.ask(&["ls-tree", "-r", "-z", "--full-tree", commit])?;
        let mut files = Vec::new();
        for line in listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            let line = String::from_utf8_lossy(line);
            let (fields, path) = line.split_once('\t').context("a line of ls-tree")?;
            let fields: Vec<&str> = fields.split(' ').collect();
            if fields[0].starts_with("100") {
                files.push((path.to_owned(), fields[2].to_owned()));
            }
        }
        Ok(files)
    }

    /// For each path that is there in the end: its states, oldest first, as the path and the blob of each.
    fn histories(&self, commit: &str) -> Result<HashMap<String, Vec<(String, String)>>> {
        let log = self.ask(&[
            "log",
            "--first-parent",
            "--diff-merges=first-parent",
            "--reverse",
            "--raw",
            "-M",
            "-l2000",
            "--no-abbrev",
            "--format=",
            commit,
        ])?;
        let mut files: HashMap<String, Vec<(String, String)>> = HashMap::new();
        for line in String::from_utf8_lossy(&log).lines().filter(|line| line.starts_with(':')) {
            let mut parts = line.split('\t');
            let fields: Vec<&str> = parts.next().context("a record")?.split(' ').collect();
            let (old, new, status) = (fields[2], fields[3], fields[4]);
            let path = parts.next().context("a path")?.to_owned();
            match (status.as_bytes()[0], parts.next()) {
                (b'D', _) => drop(files.remove(&path)),
                (b'R', Some(to)) => {
                    let mut states = files.remove(&path).unwrap_or_default();
                    states.push((to.to_owned(), old.to_owned()));
                    if old != new {
                        states.push((to.to_owned(), new.to_owned()));
                    }
                    files.insert(to.to_owned(), states);
                }
                (b'A', _) => drop(files.insert(path.clone(), vec![(path, new.to_owned())])),
                _ if old != new => files.entry(path.clone()).or_default().push((path, new.to_owned())),
                _ => {}
            }
        }
        // A file that was no text for a while is new when it is one again.
        Ok(files)
    }

    fn text(&mut self, blob: &str) -> Result<Option<String>> {
        if let Some(text) = self.texts.get(blob) {
            return Ok(text.clone());
        }
        let bytes = self.ask(&["cat-file", "blob", blob])?;
        let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0') && text.len() <= 1 << 20);
        self.texts.insert(blob.to_owned(), text.clone());
        Ok(text)
    }
}
