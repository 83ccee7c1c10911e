//! A sink that writes what it is told to a file, one JSON object a line: for tests, for looking, and for filling another
//! index later.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Gone, IndexSink, Refused, Unavailable};
use crate::{error::StoreError, record::Record};

/// Appends to a file of JSON lines.
#[derive(Clone, Debug)]
pub struct FileSink {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Line<'l> {
    Upsert(std::borrow::Cow<'l, Record>),
    Delete(std::borrow::Cow<'l, Gone>),
}

impl FileSink {
    /// A sink at the end of this file, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| StoreError::io(path, &e))?;
        Ok(Self { path: path.to_owned(), file: Arc::new(Mutex::new(file)) })
    }

    /// The records that an index holds which was told everything in this file, by account and id. A last line that was cut
    /// off by a crash was not acknowledged, and is left out.
    ///
    /// # Errors
    /// [`StoreError::Io`]; a line before the last that is none of this sink's.
    pub fn replay(path: &Path) -> Result<BTreeMap<(String, String), Record>, StoreError> {
        let file = File::open(path).map_err(|e| StoreError::io(path, &e))?;
        let mut held: BTreeMap<(String, String), (i64, Option<Record>)> = BTreeMap::new();
        let mut broken = None;
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|e| StoreError::io(path, &e))?;
            if let Some(message) = broken.take() {
                return Err(StoreError::Io { path: path.display().to_string(), message });
            }
            match serde_json::from_str::<Line<'_>>(&line) {
                Ok(Line::Upsert(record)) => {
                    let record = record.into_owned();
                    let at = held.entry((record.account_id.clone(), record.id.clone())).or_insert((i64::MIN, None));
                    if record.version >= at.0 {
                        *at = (record.version, Some(record));
                    }
                }
                Ok(Line::Delete(gone)) => {
                    let at = held.entry((gone.account_id.clone(), gone.id.clone())).or_insert((i64::MIN, None));
                    let ours = at.1.as_ref().is_none_or(|record| record.node_id == gone.node_id);
                    if ours && gone.version >= at.0 {
                        *at = (at.0.max(gone.version), None);
                    }
                }
                Err(e) => broken = Some(format!("this line is none of an index's file: {e}")),
            }
        }
        Ok(held.into_iter().filter_map(|(key, (_, record))| Some((key, record?))).collect())
    }

    /// One write for all lines, on the disk before it returns.
    fn append<'l>(&self, lines: impl Iterator<Item = Line<'l>>) -> Result<Vec<Refused>, Unavailable> {
        let fail = |message: String| Unavailable(format!("{}: {message}", self.path.display()));
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line).map_err(|e| fail(e.to_string()))?;
            text.push(b'\n');
        }
        let mut file = self.file.lock();
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(|e| fail(e.to_string()))?;
        Ok(Vec::new())
    }
}

#[async_trait]
impl IndexSink for FileSink {
    async fn delete(&self, gone: &[Gone]) -> Result<Vec<Refused>, Unavailable> {
        self.append(gone.iter().map(|gone| Line::Delete(std::borrow::Cow::Borrowed(gone))))
    }

    async fn upsert(&self, records: &[Record]) -> Result<Vec<Refused>, Unavailable> {
        self.append(records.iter().map(|record| Line::Upsert(std::borrow::Cow::Borrowed(record))))
    }
}
