//! One client connection and its connection to the server: forwards message by message, and carries out faults.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use super::protocol::{self, Direction, Frame, Kind, Statements};
use super::rule::{Cut, Fault, Passing};
use super::{Shared, Upstream};

/// Why forwarding ended.
enum End {
    /// A side closed its stream.
    Closed,
    /// A rule cut the connection.
    Cut(Cut),
    /// A rule has the client told this error last.
    Fatal(&'static str),
    /// A rule silenced the connection.
    Stalled,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Counts a connection for as long as it is served.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves one client until either side, or a rule, ends it. A server that cannot be reached closes the client.
pub(super) async fn serve(number: usize, mut client: TcpStream, shared: Arc<Shared>) {
    let _open = Open::new(&shared);
    if client.set_nodelay(true).is_err() {
        return;
    }
    let Ok(mut server) = dial(&shared.upstream).await else { return };
    let relay = Relay { number, shared: &shared, statements: Mutex::default() };
    let end = relay.run(&mut client, &mut *server).await.unwrap_or(End::Closed);
    finish(end, client, server).await;
}

async fn dial(upstream: &Upstream) -> io::Result<Box<dyn Stream>> {
    Ok(match upstream {
        Upstream::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Upstream::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}

/// Lets go of both sides in the way the fault asks for. The server is always closed in order, see [`Cut`].
async fn finish(end: End, mut client: TcpStream, server: Box<dyn Stream>) {
    match end {
        End::Closed | End::Cut(Cut::Finish) => {}
        // Without this option the client would read an orderly end; a failure leaves exactly that.
        End::Cut(Cut::Reset) => drop(client.set_zero_linger()),
        End::Fatal(sqlstate) => drop(client.write_all(&protocol::fatal(sqlstate)).await),
        End::Stalled => std::future::pending().await,
    }
    drop((client, server));
}

struct Relay<'a> {
    number: usize,
    shared: &'a Shared,
    statements: Mutex<Statements>,
}

impl Relay<'_> {
    async fn run(&self, client: &mut TcpStream, server: &mut dyn Stream) -> io::Result<End> {
        let (from_client, mut to_client) = client.split();
        let mut from_client = BufReader::new(from_client);
        let (from_server, mut to_server) = tokio::io::split(server);
        let mut from_server = BufReader::new(from_server);
        if let Some(end) = self.start(&mut from_client, &mut to_client, &mut to_server).await? {
            return Ok(end);
        }
        tokio::select! {
            end = self.pump(Direction::ToServer, &mut from_client, &mut to_server) => end,
            end = self.pump(Direction::ToClient, &mut from_server, &mut to_client) => end,
        }
    }

    /// The messages before the first typed one: refuses encryption, then forwards the startup or cancel request.
    async fn start(
        &self,
        from_client: &mut (impl AsyncRead + Unpin),
        to_client: &mut (impl AsyncWrite + Unpin),
        to_server: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Option<End>> {
        loop {
            let Some(frame) = protocol::read_frame(from_client, false).await? else {
                return Ok(Some(End::Closed));
            };
            if frame.kind == Kind::EncryptionRequest {
                to_client.write_all(b"N").await?;
                continue;
            }
            return self.forward(Direction::ToServer, &frame, to_server).await;
        }
    }

    async fn pump(
        &self,
        direction: Direction,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<End> {
        while let Some(frame) = protocol::read_frame(from, true).await? {
            if let Some(end) = self.forward(direction, &frame, to).await? {
                return Ok(end);
            }
        }
        Ok(End::Closed)
    }

    /// Forwards one message, or does to it what a rule says; `Some` when that ends the connection.
    async fn forward(
        &self,
        direction: Direction,
        frame: &Frame,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<Option<End>> {
        let text = self.statements.lock().expect("no panic under this lock").text_of(direction, frame);
        match self.shared.judge(self.number, &Passing { direction, kind: frame.kind, text: &text }) {
            Fault::Pass => {}
            Fault::Swallow => return Ok(None),
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::CutBefore(cut) => return Ok(Some(End::Cut(cut))),
            Fault::Fatal(sqlstate) => return Ok(Some(End::Fatal(sqlstate))),
            Fault::Stall => return Ok(Some(End::Stalled)),
            Fault::CutAfter(cut) => {
                to.write_all(&frame.bytes).await?;
                to.flush().await?;
                return Ok(Some(End::Cut(cut)));
            }
        }
        to.write_all(&frame.bytes).await?;
        to.flush().await?;
        Ok(None)
    }
}
