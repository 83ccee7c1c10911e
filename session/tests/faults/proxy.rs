//! The fault proxy on trial: what it forwards is what was sent, and each fault does what its name says.

use std::time::{Duration, Instant};

use sea_orm::sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sea_orm::sqlx::{self, Connection, PgConnection, Row};

use crate::fault_proxy::{Cut, Direction, Fault, Kind, Proxy, Rule};
use crate::support_proof::Server;

struct Rig {
    server: Server,
    proxy: Proxy,
}

impl Rig {
    async fn new() -> Self {
        let server = Server::new().await;
        let proxy = server.proxy().await;
        let rig = Self { server, proxy };
        sqlx::query("CREATE TABLE ledger (id bigint)").execute(&rig.server.pool).await.unwrap();
        rig
    }

    fn through(&self) -> PgPool {
        PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options())
    }

    fn options(&self) -> PgConnectOptions {
        self.proxy.url(&self.server.user, &self.server.database).parse().unwrap()
    }

    async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options()).await.unwrap()
    }

    async fn rows(&self) -> i64 {
        sqlx::query("SELECT count(*) FROM ledger").fetch_one(&self.server.pool).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn without_rules_everything_passes_as_it_was_sent() {
    let rig = Rig::new().await;
    rig.proxy.record();
    let mut connection = rig.connect().await;
    let long = "ä".repeat(300_000);
    let back: String = sqlx::query_scalar("SELECT $1::text").bind(&long).fetch_one(&mut connection).await.unwrap();
    assert!(back == long, "300,000 characters came back changed");
    let sum: i64 = sqlx::query_scalar("SELECT sum(length(x::text)) FROM generate_series(1, 100000) x")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(sum, 488_895);
    let rows = sqlx::query("SELECT x FROM generate_series(1, 20000) x").fetch_all(&mut connection).await.unwrap();
    assert!(rows.iter().enumerate().all(|(at, row)| row.get::<i32, _>(0) == i32::try_from(at).unwrap() + 1));
    connection.close().await.unwrap();
    while rig.proxy.open() > 0 {
        tokio::task::yield_now().await;
    }

    let seen = rig.proxy.recorded();
    assert_eq!(seen[0].kind, Kind::Startup);
    assert!(seen[0].text.contains(&rig.server.database), "the startup names the database: {}", seen[0].text);
    let third = seen.iter().rposition(|one| one.kind == Kind::Typed(b'2')).expect("a BindComplete");
    let data = seen[third..].iter().filter(|one| one.kind == Kind::Typed(b'D')).count();
    assert_eq!(data, 20_000, "one DataRow a row");
    assert!(
        seen.iter().any(|one| one.kind == Kind::Typed(b'E')
            && one.direction == Direction::ToServer
            && one.text == "SELECT $1::text"),
        "Execute is told by the text of what it executes"
    );
    assert_eq!(seen.last().map(|one| one.kind), Some(Kind::Typed(b'X')));
}

#[tokio::test]
async fn a_request_for_encryption_is_refused_and_the_session_goes_on_in_the_clear() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let rig = Rig::new().await;
    let mut raw = tokio::net::TcpStream::connect(rig.proxy.address()).await.unwrap();
    raw.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).await.unwrap();
    let mut answer = [0; 1];
    raw.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"N");
    let startup = format!("\0\x03\0\0user\0{}\0database\0{}\0\0", rig.server.user, rig.server.database);
    raw.write_all(&(u32::try_from(startup.len()).unwrap() + 4).to_be_bytes()).await.unwrap();
    raw.write_all(startup.as_bytes()).await.unwrap();
    raw.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"R", "the server authenticates");
}

#[tokio::test]
async fn a_cut_before_commit_leaves_nothing_and_one_after_it_leaves_the_row() {
    for (cut, how) in [(Cut::Reset, "reset"), (Cut::Finish, "finish")] {
        let rig = Rig::new().await;
        let pool = rig.through();
        for (fault, expected) in [(Fault::CutBefore(cut), 0), (Fault::CutAfter(cut), 1)] {
            let mut tx = pool.begin().await.unwrap();
            sqlx::query("INSERT INTO ledger VALUES (1)").execute(&mut *tx).await.unwrap();
            let struck = rig.proxy.inject(Rule::client(b'Q', fault.clone()).text("commit"));
            let error = tx.commit().await.unwrap_err();
            assert!(matches!(error, sqlx::Error::Io(_)), "{how}: {error:?}");
            assert_eq!(struck.times(), 1);
            assert_eq!(rig.settled(expected).await, expected, "{how}, {fault:?}");
            rig.proxy.clear();
        }
        assert_eq!(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&pool).await.unwrap(), 1, "the pool recovers");
    }
}

impl Rig {
    /// The row count once the server has done what it was sent; gives up after two seconds with what there is.
    async fn settled(&self, expected: i64) -> i64 {
        let until = Instant::now() + Duration::from_secs(2);
        while self.rows().await != expected && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.rows().await
    }
}

#[tokio::test]
async fn the_answer_to_commit_can_be_lost_although_the_server_committed() {
    let rig = Rig::new().await;
    let pool = rig.through();
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO ledger VALUES (1)").execute(&mut *tx).await.unwrap();
    rig.proxy.inject(Rule::server(b'C', Fault::CutBefore(Cut::Reset)).text("commit"));
    assert!(matches!(tx.commit().await.unwrap_err(), sqlx::Error::Io(_)));
    assert_eq!(rig.rows().await, 1);
}

#[tokio::test]
async fn the_nth_message_is_struck_and_no_other() {
    let rig = Rig::new().await;
    let mut connection = rig.connect().await;
    let struck = rig.proxy.inject(Rule::client(b'B', Fault::CutBefore(Cut::Finish)).text("insert").nth(4));
    let mut done = 0;
    for _ in 0..10 {
        match sqlx::query("INSERT INTO ledger VALUES (1)").execute(&mut connection).await {
            Ok(_) => done += 1,
            Err(_) => break,
        }
    }
    assert_eq!((done, struck.times(), rig.rows().await), (3, 1, 3));
}

#[tokio::test]
async fn a_delay_holds_one_direction_and_loses_nothing() {
    let rig = Rig::new().await;
    let mut connection = rig.connect().await;
    rig.proxy.inject(Rule::server(b'C', Fault::Delay(Duration::from_millis(200))).text("insert"));
    let start = Instant::now();
    sqlx::query("INSERT INTO ledger VALUES (1)").execute(&mut connection).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200));
    sqlx::query("INSERT INTO ledger VALUES (2)").execute(&mut connection).await.unwrap();
    assert_eq!(rig.rows().await, 2);
}

#[tokio::test]
async fn a_swallowed_message_never_arrives() {
    let rig = Rig::new().await;
    let mut connection = rig.connect().await;
    let struck = rig.proxy.inject(Rule::client(b'Q', Fault::Swallow).text("insert"));
    let lost = sqlx::raw_sql("INSERT INTO ledger VALUES (1)").execute(&mut connection);
    assert!(tokio::time::timeout(Duration::from_millis(100), lost).await.is_err(), "nobody answers");
    assert_eq!((struck.times(), rig.rows().await), (1, 0));
}

#[tokio::test]
async fn a_stalled_connection_stays_open_and_silent() {
    let rig = Rig::new().await;
    let mut connection = rig.connect().await;
    let struck = rig.proxy.inject(Rule::client(b'Q', Fault::Stall).text("select"));
    let waiting = sqlx::raw_sql("SELECT 1").execute(&mut connection);
    assert!(tokio::time::timeout(Duration::from_millis(100), waiting).await.is_err());
    assert_eq!((struck.times(), rig.proxy.open()), (1, 1));
}

#[tokio::test]
async fn a_fatal_error_reaches_the_client_with_its_sqlstate() {
    let rig = Rig::new().await;
    rig.proxy.inject(Rule::startup(Fault::Fatal("53300")));
    let error = PgConnection::connect_with(&rig.options()).await.unwrap_err();
    assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("53300"));

    let mut connection = rig.connect().await;
    rig.proxy.inject(Rule::client(b'Q', Fault::Fatal("57P01")).text("select"));
    let error = sqlx::raw_sql("SELECT 1").execute(&mut connection).await.unwrap_err();
    assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("57P01"));
    assert!(sqlx::raw_sql("SELECT 1").execute(&mut connection).await.is_err(), "the connection is gone");
}

#[tokio::test]
async fn random_cuts_never_double_a_message() {
    let rig = Rig::new().await;
    let pool = rig.through();
    let mut random = fastrand::Rng::with_seed(7);
    let (mut acknowledged, mut cuts) = (Vec::new(), 0);
    for id in 0..300_i64 {
        let cut = if random.bool() { Cut::Reset } else { Cut::Finish };
        let fault = if random.bool() { Fault::CutBefore(cut) } else { Fault::CutAfter(cut) };
        let struck = rig.proxy.inject(Rule::any(fault).nth(random.usize(1..50)));
        if sqlx::query("INSERT INTO ledger VALUES ($1)").bind(id).execute(&pool).await.is_ok() {
            acknowledged.push(id);
        }
        cuts += struck.times();
        rig.proxy.clear();
    }
    // A statement on the way when its connection was cut may still be running.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stored: Vec<(i64, i64)> =
        sqlx::query_as("SELECT id, count(*) FROM ledger GROUP BY id").fetch_all(&rig.server.pool).await.unwrap();
    assert!(stored.iter().all(|(_, count)| *count == 1), "a row is doubled");
    assert!(acknowledged.iter().all(|id| stored.iter().any(|(stored, _)| stored == id)), "an acknowledged row is lost");
    assert!(cuts > 60 && acknowledged.len() > 50, "{cuts} cuts, {} acknowledged", acknowledged.len());
}
