//! Exporting a folder of the store to a folder of files, for people (V12). To keep everything, there is the archive.

use std::{fs, path::Path};

use context_entities::node;

use super::{ExportReport, Refusal, Store, allow};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    uri::Uri,
};

impl Store {
    /// Writes the content of every active node at and below a folder as a file. What a file system cannot hold is reported.
    ///
    /// # Errors
    /// [`StoreError::Denied`]; [`StoreError::Io`] if the folder cannot be made, or is not empty; what the database says.
    pub async fn export_folder(&self, caller: &Caller, from: &Uri, to: &Path) -> Result<ExportReport, StoreError> {
        allow(caller, from, Access::Read)?;
        fs::create_dir_all(to).map_err(|e| StoreError::io(to, &e))?;
        if fs::read_dir(to).map_err(|e| StoreError::io(to, &e))?.next().is_some() {
            return Err(StoreError::Io { path: to.display().to_string(), message: "the folder is not empty".into() });
        }
        let mut report = ExportReport::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.active_after(caller, from, after.as_deref()).await?;
            for row in page.iter().filter(|row| is_node(row)) {
                match write_file(from, to, row) {
                    Ok(()) => report.nodes += 1,
                    Err(reason) => report.refused.push(Refusal { path: row.uri.clone(), reason }),
                }
            }
            match page.last().filter(|_| !page.is_empty()) {
                Some(last) => after = Some(last.uri.clone()),
                None => return Ok(report),
            }
        }
    }
}

/// The row that a session keeps for itself is none: it is made again with the session.
fn is_node(row: &node::Model) -> bool {
    Uri::parse(&row.uri).is_ok_and(|uri| uri.holds_nodes())
}

fn write_file(from: &Uri, to: &Path, row: &node::Model) -> Result<(), String> {
    let uri = Uri::parse(&row.uri).map_err(|e| e.to_string())?;
    let mut names: Vec<String> = Vec::new();
    let mut at = uri;
    while at != *from {
        names.push(at.name().into_owned());
        at = at.parent().ok_or("it lies outside the folder")?;
    }
    let mut path = to.to_owned();
    path.extend(names.iter().rev());
    if names.is_empty() || path.is_dir() {
        return if row.content.is_empty() {
            Ok(())
        } else {
            Err("it is a folder as well: export an archive to keep its text".into())
        };
    }
    if let Some(folder) = path.parent() {
        // A node above may have been written as a file before it was known to have nodes below.
        if folder.is_file() {
            let text = fs::metadata(folder).map_err(|e| e.to_string())?.len();
            fs::remove_file(folder).map_err(|e| e.to_string())?;
            fs::create_dir_all(folder).map_err(|e| e.to_string())?;
            fs::write(&path, &row.content).map_err(|e| e.to_string())?;
            return if text == 0 {
                Ok(())
            } else {
                Err(format!("{} is a folder as well: export an archive to keep its text", folder.display()))
            };
        }
        fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    }
    fs::write(&path, &row.content).map_err(|e| e.to_string())
}
