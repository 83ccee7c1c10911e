//! Holding a cluster: the folder, its watcher, and the named pipe whose open end says that somebody is using it.
//!
//! `cluster.sh` is the other half and says what the files in the folder mean. The rules between the two:
//! a holder opens the pipe, writes a line, and only then looks whether the gate (`open`) is still there; the watcher
//! removes the gate first and then waits for whoever holds the pipe. So nobody holds a cluster that is being removed.
//!
//! The shared cluster is found by a symbolic link in the temporary folder, made in one step that only one process can
//! win. The link is a convenience: at worst (two processes clean up after a killed watcher at the same moment) there are
//! two clusters for a while, and both go.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::time::sleep;

use super::cluster_error::{ClusterError, io};

const SCRIPT: &str = include_str!("cluster.sh");
const MARIADB: &str = include_str!("mariadb.sh");

/// Which server a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Postgres,
    #[cfg_attr(not(feature = "mysql"), expect(dead_code, reason = "only its driver asks for one"))]
    MariaDb,
}

impl Engine {
    /// What `cluster.sh` calls it.
    fn name(self) -> &'static str {
        match self {
            Engine::Postgres => "postgres",
            Engine::MariaDb => "mariadb",
        }
    }

    /// What its folders and links are called by.
    fn short(self) -> &'static str {
        match self {
            Engine::Postgres => "pg",
            Engine::MariaDb => "my",
        }
    }

    /// The server's socket, in its own folder.
    fn socket(self) -> &'static str {
        match self {
            Engine::Postgres => ".s.PGSQL.5432",
            Engine::MariaDb => "mysqld.sock",
        }
    }
}

/// How long the shared cluster waits for the next test process. Long enough for the pause between two test binaries.
const SHARED_GRACE: Duration = Duration::from_secs(5);

/// How long anything about a cluster may take before it is an error.
const PATIENCE: Duration = Duration::from_secs(120);

/// A Unix socket's path has 104 bytes on macOS, 108 on Linux, with the terminating zero.
const LONGEST_SOCKET: usize = 100;

/// The system's code for a named pipe that nobody reads (ENXIO, the same on Linux and macOS).
const NOBODY_READS: i32 = 6;

/// A hold on a running cluster, ended by its drop or by the end of the process.
pub(super) struct Lease {
    engine: Engine,
    folder: PathBuf,
    pipe: File,
}

/// What became of an attempt to hold a cluster.
enum Hold {
    Held(Lease),
    /// The cluster is ending; soon there is room for another.
    Ending,
    /// The watcher was killed: nobody will clean up but us.
    Dead,
}

/// Where the processes of this user and this checkout find their shared cluster.
pub(super) fn default_link(engine: Engine) -> Result<PathBuf, ClusterError> {
    link_of(engine, &checkout())
}

/// The root of the workspace whose tests run: cargo tells them the folder of their package. Where a test program is
/// started by hand, the folder that this package was compiled in stands for it.
fn checkout() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let package = PathBuf::from(package);
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    root.unwrap_or(&package).to_owned()
}

/// The link of one checkout. Two checkouts share nothing: names of prepared transactions and roles are a whole
/// cluster's, and tests of one must not see those of the other. The name also changes with what the cluster is set up
/// for. The checkout's path goes in as a number, because a name in a folder has a longest length.
pub(super) fn link_of(engine: Engine, checkout: &Path) -> Result<PathBuf, ClusterError> {
    // As good as unique for the few checkouts of a machine; processes of different compilers need not agree.
    let mut hasher = DefaultHasher::new();
    checkout.hash(&mut hasher);
    Ok(base().join(format!("sea-session-{}-{}-{:016x}-1", engine.short(), own_user()?, hasher.finish())))
}

impl Lease {
    /// Starts a cluster that nobody else can find, and that ends at once with its lease.
    pub(super) async fn private(engine: Engine) -> Result<Self, ClusterError> {
        Self::start_alone(launch(engine, Duration::ZERO, None).await?).await
    }

    /// Starts a streaming replica of this cluster that nobody else can find, and that ends at once with its own lease.
    pub(super) async fn replica(&self) -> Result<Self, ClusterError> {
        let lease = launch(self.engine, Duration::ZERO, None).await?;
        let primary = self.socket_folder();
        fs::write(lease.folder.join("primary"), primary.as_os_str().as_encoded_bytes())
            .map_err(io("naming the primary of a test cluster"))?;
        Self::start_alone(lease).await
    }

    /// Starts a node of a Galera cluster, as [`Lease::private`], with these options; the first one begins the cluster.
    #[cfg(feature = "mysql")]
    pub(super) async fn node(options: &str, first: bool) -> Result<Self, ClusterError> {
        let lease = launch(Engine::MariaDb, Duration::ZERO, None).await?;
        let write = |name: &str, text: &str| fs::write(lease.folder.join(name), text).map_err(io("setting a node up"));
        write("galera", options)?;
        if first {
            write("bootstrap", "")?;
        }
        Self::start_alone(lease).await
    }

    async fn start_alone(lease: Self) -> Result<Self, ClusterError> {
        // Nobody else may come, so the gate is of no use; `go` starts the server.
        lease.say("go")?;
        lease.ready().await
    }

    /// Holds a cluster that was started by somebody else, in a folder that is known.
    pub(super) async fn of(engine: Engine, folder: &Path) -> Result<Self, ClusterError> {
        match hold(engine, folder).await? {
            Hold::Held(lease) => lease.ready().await,
            Hold::Ending | Hold::Dead => {
                Err(ClusterError::Start(format!("the cluster in {} is no longer running", folder.display())))
            }
        }
    }

    /// Holds the cluster that the link points to, or starts it.
    pub(super) async fn shared(engine: Engine, link: &Path) -> Result<Self, ClusterError> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let Some(folder) = target(link)? else {
                match found(engine, link).await? {
                    Some(lease) => return lease.ready().await,
                    None => continue, // another process was first
                }
            };
            match hold(engine, &folder).await? {
                Hold::Held(lease) => return lease.ready().await,
                Hold::Ending => sleep(Duration::from_millis(50)).await,
                Hold::Dead => bury(&folder, link).await?,
            }
        }
        Err(ClusterError::Start(format!("the cluster behind {} does not end; remove that link", link.display())))
    }

    pub(super) fn socket_folder(&self) -> PathBuf {
        socket_folder(&self.folder)
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket(self.engine, &self.folder)
    }

    /// Stops the server in one of `pg_ctl`'s modes and starts it again.
    pub(super) async fn restart(&self, mode: &str) -> Result<(), ClusterError> {
        self.control("restart", mode).await
    }

    /// Stops the server in one of `pg_ctl`'s modes; the folder stays.
    pub(super) async fn halt(&self, mode: &str) -> Result<(), ClusterError> {
        self.control("stop", mode).await
    }

    /// Starts the server that was stopped.
    pub(super) async fn resume(&self) -> Result<(), ClusterError> {
        self.control("start", "").await
    }

    async fn control(&self, action: &'static str, mode: &str) -> Result<(), ClusterError> {
        let output = script(&self.folder, &[action.as_ref(), self.folder.as_os_str(), mode.as_ref()]).await?;
        if output.status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.folder.join("pg_ctl.log")).unwrap_or_default();
        Err(ClusterError::Control { folder: self.folder.clone(), action, output: log.trim().into() })
    }

    /// Lets go and waits until the folder is gone.
    pub(super) async fn end(self) -> Result<(), ClusterError> {
        let Lease { folder, pipe, .. } = self;
        drop(pipe);
        let start = Instant::now();
        while folder.exists() {
            if start.elapsed() > Duration::from_secs(30) {
                return Err(ClusterError::Control { folder, action: "end", output: "it is still there".into() });
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until the server answers, or says why it does not.
    async fn ready(self) -> Result<Self, ClusterError> {
        let start = Instant::now();
        loop {
            if self.folder.join("ready").exists() {
                return Ok(self);
            }
            if let Ok(reason) = fs::read_to_string(self.folder.join("failed")) {
                return Err(ClusterError::Start(reason.trim().into()));
            }
            // Also fails when the watcher is gone, who alone would ever make one of the two files.
            self.say("waiting")?;
            if start.elapsed() > PATIENCE {
                let folder = self.folder.display();
                return Err(ClusterError::Start(format!("the server in {folder} did not start in {PATIENCE:?}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn say(&self, word: &str) -> Result<(), ClusterError> {
        match (&self.pipe).write_all(format!("{word}\n").as_bytes()) {
            // The watcher is busy starting the server and has not read for a while.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            result => result.map_err(io("the watcher of the test cluster does not answer")),
        }
    }
}

/// Starts the shared cluster, unless another process makes the link first.
async fn found(engine: Engine, link: &Path) -> Result<Option<Lease>, ClusterError> {
    let lease = launch(engine, SHARED_GRACE, Some(link)).await?;
    match symlink(&lease.folder, link) {
        Ok(()) => {
            lease.say("go")?;
            Ok(Some(lease))
        }
        Err(error) => {
            lease.say("leave")?;
            let lost = error.kind() == ErrorKind::AlreadyExists;
            if lost { Ok(None) } else { Err(io(format!("linking {}", link.display()))(error)) }
        }
    }
}

/// Makes the folder and its watcher, who waits for a word before it starts a server.
async fn launch(engine: Engine, grace: Duration, link: Option<&Path>) -> Result<Lease, ClusterError> {
    let folder = tempfile::Builder::new().prefix(&format!("ss{}-", engine.short())).tempdir_in(base());
    let folder = folder.map_err(io("making a folder for the test cluster"))?;
    for (name, text) in [("cluster.sh", SCRIPT), ("mariadb.sh", MARIADB), ("engine", engine.name())] {
        fs::write(folder.path().join(name), text).map_err(io("writing the watcher of the test cluster"))?;
    }
    let seconds = grace.as_secs().to_string();
    let link = link.map(Path::as_os_str).unwrap_or_default();
    let output = script(folder.path(), &["launch".as_ref(), folder.path().as_os_str(), seconds.as_ref(), link]).await?;
    if !output.status.success() {
        return Err(ClusterError::Start(String::from_utf8_lossy(&output.stderr).trim().into()));
    }
    let start = Instant::now();
    loop {
        match open(folder.path()) {
            // From here on the watcher removes the folder.
            Ok(pipe) => return Ok(Lease { engine, folder: folder.keep(), pipe }),
            Err(error) if start.elapsed() > PATIENCE => return Err(io("opening the lease of the test cluster")(error)),
            Err(error) if nobody_reads(&error) => sleep(Duration::from_millis(2)).await,
            Err(error) => return Err(io("opening the lease of the test cluster")(error)),
        }
    }
}

/// Tries to hold the cluster in a folder.
async fn hold(engine: Engine, folder: &Path) -> Result<Hold, ClusterError> {
    let pipe = match open(folder) {
        Ok(pipe) => pipe,
        Err(error) if error.kind() == ErrorKind::NotFound || nobody_reads(&error) => return Ok(Hold::Dead),
        Err(error) => return Err(io(format!("opening the lease in {}", folder.display()))(error)),
    };
    let lease = Lease { engine, folder: folder.into(), pipe };
    if lease.say("here").is_err() || !folder.join("open").exists() {
        return Ok(Hold::Ending);
    }
    Ok(Hold::Held(lease))
}

/// Opens the writing end without waiting for a reader. It is closed in child processes, as all files of Rust are.
pub(super) fn open(folder: &Path) -> io::Result<File> {
    let sender = pipe::OpenOptions::new().open_sender(folder.join("lease"))?;
    sender.into_nonblocking_fd().map(File::from)
}

fn nobody_reads(error: &io::Error) -> bool {
    error.raw_os_error() == Some(NOBODY_READS)
}

/// Removes a cluster whose watcher was killed, and the link to it.
async fn bury(folder: &Path, link: &Path) -> Result<(), ClusterError> {
    if folder.exists() {
        script(folder, &["remove".as_ref(), folder.as_os_str()]).await?;
    }
    // Another process may have done the same, and have linked its new cluster already.
    if target(link)?.as_deref() == Some(folder) {
        fs::remove_file(link).or_else(gone_is_fine).map_err(io(format!("removing {}", link.display())))?;
    }
    Ok(())
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// The folder that the link points to. In a folder that everybody may write to, a link of somebody else is refused:
/// what it points to would be run.
fn target(link: &Path) -> Result<Option<PathBuf>, ClusterError> {
    let folder = match fs::read_link(link) {
        Ok(folder) => folder,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(format!("reading the link {}", link.display()))(error)),
    };
    let user = own_user()?;
    let ours = |meta: io::Result<fs::Metadata>| meta.map_or(true, |meta| meta.uid() == user);
    if ours(fs::symlink_metadata(link)) && ours(fs::symlink_metadata(&folder)) {
        return Ok(Some(folder));
    }
    Err(ClusterError::Start(format!("{} belongs to another user and is not followed", link.display())))
}

/// Runs a command of `cluster.sh` in a process group of its own, so that the terminal's Ctrl-C does not reach it.
async fn script(folder: &Path, arguments: &[&std::ffi::OsStr]) -> Result<std::process::Output, ClusterError> {
    let mut command = Command::new("sh");
    command.arg(folder.join("cluster.sh")).args(arguments).stdin(Stdio::null()).process_group(0);
    command.output().await.map_err(io("running sh"))
}

/// The temporary folder, or a shorter one where a socket's path would be too long in it.
fn base() -> PathBuf {
    let base = std::env::temp_dir();
    let longest = socket(Engine::Postgres, &base.join("sspg-123456")).as_os_str().len();
    if longest <= LONGEST_SOCKET { base } else { PathBuf::from("/tmp") }
}

fn socket_folder(folder: &Path) -> PathBuf {
    folder.join("server")
}

fn socket(engine: Engine, folder: &Path) -> PathBuf {
    socket_folder(folder).join(engine.socket())
}

/// The user that this process runs as: whoever owns what it makes.
fn own_user() -> Result<u32, ClusterError> {
    let file = tempfile::tempfile_in(base()).and_then(|file| file.metadata());
    Ok(file.map_err(io("making a temporary file"))?.uid())
}
