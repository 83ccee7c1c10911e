//! Stands between a pool and a MariaDB server, and cuts a connection around one of the client's messages.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use crate::loopback::Loopback;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The server never gets the message.
    Before,
    /// The server gets it, and its answer finds nobody.
    Sent,
    /// The server has answered, and its answer never comes.
    Answered,
}

/// The cut that comes next: at the message after so many others, of those whose text has this in it.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub at: At,
    pub after: usize,
    pub text: &'static str,
}

impl Cut {
    /// Whether this is the message.
    fn strikes(&mut self, message: &[u8]) -> bool {
        let text = self.text.as_bytes();
        let meant = text.is_empty() || message.windows(text.len()).any(|bytes| bytes == text);
        let strikes = meant && self.after == 0;
        self.after -= usize::from(meant && !strikes);
        strikes
    }
}

#[derive(Default)]
struct Plan {
    next: Mutex<Option<Cut>>,
    struck: AtomicUsize,
}

/// A running proxy. Dropping it stops listening.
pub struct CuttingProxy {
    loopback: Loopback,
    plan: Arc<Plan>,
}

impl CuttingProxy {
    pub async fn new(server: PathBuf) -> Self {
        let plan = Arc::new(Plan::default());
        let cuts = plan.clone();
        let loopback = Loopback::new(move |client| pass(client, server.clone(), cuts.clone())).await;
        Self { loopback, plan }
    }

    pub fn address(&self) -> SocketAddr {
        self.loopback.address()
    }

    /// Cuts once. A cut that has not struck yet is forgotten.
    pub fn plan(&self, cut: Cut) {
        *self.plan.next.lock() = Some(cut);
    }

    /// Cuts nothing more. How often it has struck since it was last asked.
    pub fn rest(&self) -> usize {
        *self.plan.next.lock() = None;
        self.plan.struck.swap(0, Ordering::SeqCst)
    }
}

/// A message of the client's begins a new exchange, whose packets count from 0; what it says while it connects does not.
fn begins(packet: &[u8]) -> bool {
    packet.get(3) == Some(&0)
}

async fn pass(mut client: TcpStream, server: PathBuf, plan: Arc<Plan>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = UnixStream::connect(server).await?;
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let message = &asked[..read?];
                if message.is_empty() {
                    return Ok(());
                }
                let cut = begins(message).then(|| plan.next.lock().take_if(|cut| cut.strikes(message))).flatten();
                plan.struck.fetch_add(usize::from(cut.is_some()), Ordering::SeqCst);
                match cut.map(|cut| cut.at) {
                    Some(At::Before) => return Ok(()),
                    Some(At::Sent) => return server.write_all(message).await,
                    Some(At::Answered) => {
                        server.write_all(message).await?;
                        return server.read(&mut answered).await.map(drop);
                    }
                    None => server.write_all(message).await?,
                }
            },
            read = server.read(&mut answered) => match read? {
                0 => return Ok(()),
                count => client.write_all(&answered[..count]).await?,
            },
        }
    }
}
