//! The service over a real listener: it keeps the index in step, and ends in good order.

use std::{sync::Arc, time::Duration};

use context_store::{
    Caller, Uri, Write,
    serve::{Callers, Service},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::{memory_service, support::TestStore};

/// A service that runs, and how to end it.
struct Running {
    address: String,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<u64, context_store::StoreError>>,
}

async fn start(test: &TestStore) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = Service::new(test.store.clone(), Callers::everybody(Caller::user("acme", "alice")));
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let report = service.serve(listener, async { drop(stopped.await) }).await?;
        Ok(report.delivered)
    });
    Running { address, stop, ended }
}

async fn get(address: &str, path: &str) -> reqwest::Response {
    reqwest::get(format!("http://{address}{path}")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_found_without_a_dispatcher_elsewhere() {
    let test = TestStore::sqlite().await;
    let Running { address, stop, ended } = start(&test).await;
    let tea = Uri::parse("ctx://acme/users/alice/memories/likes/tea").unwrap();
    test.store.write(&Caller::user("acme", "alice"), &tea, &Write::of("Green tea")).await.unwrap();
    loop {
        let found = get(&address, "/api/v1/search?q=tea").await.text().await.unwrap();
        if found.contains(tea.as_str()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send(()).unwrap();
    assert_eq!(ended.await.unwrap().unwrap(), 1);
}

/// A request that has begun is answered, a live view ends, and nobody new is let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_answers_what_has_begun_and_ends_what_would_not() {
    let test = TestStore::sqlite().await;
    let Running { address, stop, ended } = start(&test).await;
    let mut live = get(&address, "/live/events").await;
    assert!(live.chunk().await.unwrap().is_some());

    // The head is there and the service waits for the body.
    let body = r#"{"content":"Green"}"#;
    let mut slow = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "PUT /api/v1/nodes?uri=ctx://acme/users/alice/memories/likes/tea HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut continued = [0; 25];
    slow.read_exact(&mut continued).await.unwrap();
    assert_eq!(&continued, b"HTTP/1.1 100 Continue\r\n\r\n", "the handler reads the body");

    stop.send(()).unwrap();
    while live.chunk().await.unwrap().is_some() {}
    assert!(!ended.is_finished(), "the request is under way");
    slow.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    ended.await.unwrap().unwrap();
    assert!(TcpStream::connect(&address).await.is_err(), "nobody listens");
    assert_eq!(test.count("SELECT count(*) FROM nodes WHERE status = 'active'").await, 1);
}

/// A client that has gone leaves nothing behind: neither its change nor a connection that is not clean.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_leave_in_the_middle_leave_the_service_as_it_was() {
    let test = Arc::new(TestStore::sqlite().await);
    let Running { address, stop, ended } = start(&test).await;
    for n in 0..40 {
        let mut client = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "PUT /api/v1/nodes?uri=ctx://acme/users/alice/memories/n/{n} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: 19\r\n\r\n{{\"content\":\"Green\"}}"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        drop(client);
    }
    assert_eq!(get(&address, "/health").await.status(), 200);
    assert_eq!(get(&address, "/api/v1/status").await.status(), 200);
    stop.send(()).unwrap();
    ended.await.unwrap().unwrap();
    // What was written is whole: each node with its event.
    let nodes = test.count("SELECT count(*) FROM nodes WHERE status = 'active'").await;
    assert_eq!(test.count("SELECT count(DISTINCT event_key) FROM outbox_events WHERE topic = 'context'").await, nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_shows_its_memories_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("memory.db").display());
    let (announced, address) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let announce = move |address: std::net::SocketAddr| announced.send(address).unwrap();
    let run =
        tokio::spawn(
            async move { memory_service::run(&url, "127.0.0.1:0", announce, async { drop(stopped.await) }).await },
        );
    let address = address.await.unwrap().to_string();
    let page = get(&address, "/").await;
    assert!(page.status() == 200 && page.text().await.unwrap().contains("users"));
    let trip = get(&address, "/browse?uri=ctx://demo/users/alice/memories/plans/trip").await.text().await.unwrap();
    assert!(trip.contains("Kyoto in May") && trip.contains("because of to tea"), "{trip}");
    stop.send(()).unwrap();
    run.await.unwrap().unwrap();
}
