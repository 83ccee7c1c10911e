//! A proxy on loopback between a pool and its PostgreSQL server, which disturbs the connection at a chosen protocol
//! message: cuts it, delays or swallows the message, goes silent, or answers with a FATAL error of its own.
//!
//! It reads the protocol message by message, so a test says "cut after COMMIT was forwarded" and not "cut after 212
//! bytes". It must never change, reorder or double a message: what arrives is a prefix of what was sent, less what a
//! rule swallowed. Encryption is refused, since it would hide where messages end.

#![allow(dead_code, unused_imports)] // each test binary that includes this module uses its own part of it

mod connection;
mod protocol;
mod rule;
mod server;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use protocol::{Direction, Kind};
pub use rule::{Cut, Fault, Rule, Struck};

use rule::{Armed, Passing};

/// Where the server listens.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// A Unix socket, by the path of the socket file.
    Unix(PathBuf),
    /// A TCP address, `host:port`.
    Tcp(String),
}

/// One message that the proxy has read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The connection, counted from 0 in the order of arrival.
    pub connection: usize,
    /// Whom it was for.
    pub direction: Direction,
    /// What kind it was.
    pub kind: Kind,
    /// Its SQL, tag, SQLSTATE or status.
    pub text: String,
}

/// What every connection of one proxy shares.
struct Shared {
    upstream: Upstream,
    rules: Mutex<Vec<Arc<Armed>>>,
    recorded: Mutex<Option<Vec<Seen>>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
}

impl Shared {
    /// Notes a message and says what is to happen to it. The first rule that strikes decides.
    fn judge(&self, connection: usize, passing: &Passing<'_>) -> Fault {
        if let Some(recorded) = self.recorded.lock().expect("no panic under this lock").as_mut() {
            recorded.push(Seen {
                connection,
                direction: passing.direction,
                kind: passing.kind,
                text: passing.text.to_owned(),
            });
        }
        let rules = self.rules.lock().expect("no panic under this lock");
        rules.iter().find_map(|rule| rule.strike(passing)).unwrap_or(Fault::Pass)
    }
}

/// A running proxy. Dropping it stops listening and disconnects everybody.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy for this server on a free port of 127.0.0.1.
    pub async fn start(upstream: Upstream) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            rules: Mutex::default(),
            recorded: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        });
        let listener = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL that leads through the proxy.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@{}/{database}?sslmode=disable", self.address)
    }

    /// Puts a rule to work, after those that are there already.
    pub fn inject(&self, rule: Rule) -> Arc<Struck> {
        let armed = Arc::new(Armed::new(rule));
        let struck = armed.struck.clone();
        self.shared.rules.lock().expect("no panic under this lock").push(armed);
        struck
    }

    /// Takes every rule away.
    pub fn clear(&self) {
        self.shared.rules.lock().expect("no panic under this lock").clear();
    }

    /// Records every message from now on, from an empty record.
    pub fn record(&self) {
        *self.shared.recorded.lock().expect("no panic under this lock") = Some(Vec::new());
    }

    /// Ends the record and hands it over.
    pub fn recorded(&self) -> Vec<Seen> {
        self.shared.recorded.lock().expect("no panic under this lock").take().unwrap_or_default()
    }

    /// How many connections were made so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Accepts until it is aborted; its connections live in its own set, so they end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                connections.spawn(connection::serve(number, client, shared.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
