//! Stands between a pool and a MariaDB server, and hands the server's answers on in pieces, so that there are more polls to drop at.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use crate::loopback::Loopback;

/// A running relay. Dropping it stops listening.
pub struct Relay(Loopback);

impl Relay {
    pub async fn new(server: PathBuf) -> Self {
        Self(Loopback::new(move |client| pass(client, server.clone())).await)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

/// The first piece of an answer; each that follows is twice as long.
const FIRST: usize = 32;

/// Ends with the first of both ends that goes.
async fn pass(client: TcpStream, server: PathBuf) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = UnixStream::connect(server).await?.into_split();
    let longest = AtomicUsize::new(FIRST);
    let questions = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            longest.store(FIRST, Ordering::Relaxed);
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    let answers = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let most = longest.load(Ordering::Relaxed).min(buffer.len());
            let read = from_server.read(&mut buffer[..most]).await?;
            if read == 0 {
                return Ok(());
            }
            to_client.write_all(&buffer[..read]).await?;
            longest.store(most * 2, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = questions => ended,
        ended = answers => ended,
    }
}
