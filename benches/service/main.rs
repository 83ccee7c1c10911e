//! `cargo bench --bench service [-- SECONDS CONNECTIONS]`
//!
//! The service beside the same endpoints on plain SeaORM ([`plain`]), each over a database of its own with the same nodes, in
//! one process: readers and writers on keep-alive connections over loopback, as many requests as are answered, in turns. No
//! request may be lost or refused, and nothing may be left over in memory. Figures are ratios of one run.
//!
//! As a test it runs a moment, and looks at what was answered.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the reference looks past the session, and a failure is a panic"
)]

mod plain;

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use context_store::{
    Caller, Role, Store, Uri, Write,
    serve::{Callers, Limits, Service},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, oneshot},
};

const NODES: usize = 2_000;
const TURNS: usize = 5;

/// What clients of one turn saw.
#[derive(Default)]
struct Seen {
    /// How long each answer took, in microseconds.
    times: Vec<u64>,
    lost: usize,
}

impl Seen {
    fn percentile(&mut self, part: f64) -> f64 {
        self.times.sort_unstable();
        let at = ((self.times.len() as f64 - 1.0) * part).round() as usize;
        self.times.get(at).map_or(f64::NAN, |time| *time as f64 / 1000.0)
    }
}

fn node(n: usize) -> String {
    format!("ctx://acme/resources/bench/{n}")
}

fn request(writes: bool, n: usize) -> String {
    let path = format!("/api/v1/nodes?uri={}", node(n));
    if !writes {
        return format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }
    let body = format!("{{\"content\":\"{}\"}}", "green tea ".repeat(40));
    format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Whether the next answer on a connection is a good one.
async fn answered(connection: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    loop {
        if connection.read_buf(buffer).await.unwrap_or(0) == 0 {
            return false;
        }
        let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        while buffer.len() < head + 4 + length.unwrap_or(0) {
            if connection.read_buf(buffer).await.unwrap_or(0) == 0 {
                return false;
            }
        }
        return text.starts_with("http/1.1 20");
    }
}

/// So many clients for so long.
async fn turn(address: SocketAddr, writes: bool, connections: usize, length: Duration) -> Seen {
    let clients = (0..connections).map(|client| async move {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.set_nodelay(true).unwrap();
        let (mut seen, mut buffer) = (Seen::default(), Vec::new());
        let end = Instant::now() + length;
        let mut n = client * 7919;
        while Instant::now() < end {
            n += 104_729;
            let begun = Instant::now();
            connection.write_all(request(writes, n % NODES).as_bytes()).await.unwrap();
            match answered(&mut connection, &mut buffer).await {
                true => seen.times.push(u64::try_from(begun.elapsed().as_micros()).unwrap()),
                false => seen.lost += 1,
            }
        }
        seen
    });
    let mut all = Seen::default();
    for client in clients.map(tokio::spawn).collect::<Vec<_>>() {
        let seen = client.await.unwrap();
        all.times.extend(seen.times);
        all.lost += seen.lost;
    }
    all
}

/// A store with the nodes.
async fn filled(url: &str) -> Store {
    let store = Store::open(url).await.unwrap();
    let writes: Vec<_> = (0..NODES)
        .map(|n| (Uri::parse(&node(n)).unwrap(), Write::of("black tea ".repeat(40)).with_abstract("tea")))
        .collect();
    for some in writes.chunks(500) {
        store.write_many(&caller(), some).await.unwrap();
    }
    store.drain().await.unwrap();
    store
}

fn caller() -> Caller {
    Caller::user("acme", "alice").with_role(Role::Admin)
}

/// Memory of this process that is in use, in MiB.
fn memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok());
    line.map_or(f64::NAN, |kib| kib / 1024.0)
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of[of.len() / 2]
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let measured = std::env::args().any(|argument| argument == "--bench");
    let number = |at: usize, default: f64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let length = Duration::from_secs_f64(if measured { number(0, 4.0) } else { 0.2 });
    let connections = if measured { number(1, 16.0) as usize } else { 4 };

    let folder = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite://{}?mode=rwc", folder.path().join(name).display());
    let ours = filled(&url("ours.db")).await;
    // The same connection settings: what differs is what is written on SeaORM.
    let theirs = filled(&url("theirs.db")).await;
    let plain = plain::Plain { db: theirs.db().connection().clone(), writer: Some(Arc::new(Mutex::new(()))) };

    let rate = u32::MAX.try_into().unwrap();
    let service = Service::with_limits(ours.clone(), Callers::everybody(caller()), Limits::default().rate(rate, rate));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let our_address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move { service.serve(listener, async { drop(stopped.await) }).await });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let their_address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, plain::router(plain)).into_future());

    let mut written = 0;
    for writes in [false, true] {
        let (mut ratios, mut rates, mut tails, mut lost) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()], 0);
        let mut sizes = Vec::new();
        for _ in 0..TURNS {
            let mut theirs = turn(their_address, writes, connections, length).await;
            let mut ours = turn(our_address, writes, connections, length).await;
            ratios.push(ours.times.len() as f64 / theirs.times.len() as f64);
            rates.push(ours.times.len() as f64 / length.as_secs_f64());
            tails[0].push(ours.percentile(0.99));
            tails[1].push(theirs.percentile(0.99));
            lost += ours.lost + theirs.lost;
            written += if writes { ours.times.len() } else { 0 };
            sizes.push(memory());
        }
        let (first, last) = (sizes[1], sizes[TURNS - 1]);
        let [our_tail, their_tail] = tails.map(median);
        println!(
            "{}: {:.0} requests/s, {:.2} times plain SeaORM's; p99 {our_tail:.1} ms beside {their_tail:.1} ms; lost {lost}; memory \
             {first:.0} MiB after two turns, {last:.0} MiB at the end",
            if writes { "writes" } else { "reads" },
            median(rates),
            median(ratios),
        );
        assert_eq!(lost, 0, "every request is answered");
    }
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    // Each write that was answered is a version.
    let folder = Uri::parse("ctx://acme/resources/bench").unwrap();
    let nodes = ours.texts(&caller(), &folder, &context_store::Paging::first(10_000)).await.unwrap();
    let sum: i64 = nodes.items.iter().map(|node| node.version - 1).sum();
    assert_eq!(usize::try_from(sum).unwrap(), written, "as many versions as writes that were answered");
    println!("{written} writes were answered, and each is a version");
}
