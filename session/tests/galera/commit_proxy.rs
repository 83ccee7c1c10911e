//! Stands between a pool and a node, and cuts the connection around the COMMIT of its first unit; from then on the node cannot be
//! reached through it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

/// Where the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The node never gets COMMIT.
    Before,
    /// The node's answer never comes.
    After,
}

const COMMIT: &[u8] = b"; COMMIT; SET ";

pub struct CommitProxy {
    folder: tempfile::TempDir,
    struck: Arc<AtomicBool>,
    accepts: JoinHandle<()>,
}

impl CommitProxy {
    pub fn new(node: PathBuf, cut: Cut) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let struck = Arc::new(AtomicBool::new(false));
        let (file, cuts) = (folder.path().join("s"), struck.clone());
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // The rest of the pool's connections goes on until each is cut.
                if cuts.load(Ordering::SeqCst) {
                    continue;
                }
                tokio::spawn(pass(client, node.clone(), cut, cuts.clone(), file.clone()));
            }
        });
        Self { folder, struck, accepts }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Whether it has cut a connection.
    pub fn struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }
}

impl Drop for CommitProxy {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

async fn pass(mut client: UnixStream, node: PathBuf, cut: Cut, struck: Arc<AtomicBool>, file: PathBuf) {
    let Ok(mut server) = UnixStream::connect(node).await else { return };
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    let commits = asked[..count].windows(COMMIT.len()).any(|bytes| bytes == COMMIT);
                    if commits && cut == Cut::Before {
                        return gone(&struck, &file);
                    }
                    if server.write_all(&asked[..count]).await.is_err() {
                        return;
                    }
                    if commits {
                        until_committed(&mut server, &mut answered).await;
                        return gone(&struck, &file);
                    }
                }
            },
            read = server.read(&mut answered) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    if client.write_all(&answered[..count]).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

fn gone(struck: &AtomicBool, file: &Path) {
    struck.store(true, Ordering::SeqCst);
    std::fs::remove_file(file).unwrap();
}

/// Reads the answers to the statements of a message up to the last, whose status says that no more follow.
async fn until_committed(server: &mut UnixStream, buffer: &mut [u8]) {
    let mut answer = Vec::new();
    loop {
        let count = server.read(buffer).await.unwrap_or(0);
        assert!(count > 0, "the node ends instead of its answer");
        answer.extend_from_slice(&buffer[..count]);
        let mut at = 0;
        // A packet: its length in three bytes, a number, and OK (0): rows and a key of one byte each, then the status.
        while let Some(head) = answer.get(at..at + 4) {
            let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
            let Some(packet) = answer.get(at + 4..at + 4 + length) else { break };
            assert_eq!(packet.first(), Some(&0), "the node refuses");
            const MORE_RESULTS: u8 = 8;
            if packet[3] & MORE_RESULTS == 0 {
                return;
            }
            at += 4 + length;
        }
    }
}
