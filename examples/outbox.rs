//! Events that commit with their change, and reach a webhook that fails sometimes: `cargo run --example outbox`.
//!
//! The webhook is a server in this process. It answers 503 to the first call of each second event; the dispatcher comes
//! again after a pause, and what follows of the same order waits. An order that is rolled back has no event.
//!
//! ```text
//! event      attempt  the webhook says
//! 1 placed         1  200
//! 1 paid           1  503
//! 1 paid           2  200
//! 1 shipped        1  200
//! delivered 3, failed once 1, dead 0, pending 0
//! ```

#![allow(clippy::disallowed_methods, reason = "SeaORM's derive of nested models begins transactions of its own")]

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context;
use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session::{
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
    testing::create_table,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

mod order {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "order")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub state: String,
        #[tracked(version)]
        pub version: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// The table of events: yours, with these columns.
mod event {
    use super::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub account_id: String,
        pub topic: String,
        pub event_key: String,
        pub sequence: i64,
        pub event_type: String,
        pub payload: Json,
        #[sea_orm(default_value = "pending")]
        pub state: String,
        #[sea_orm(default_value = 0)]
        pub attempts: i32,
        #[sea_orm(default_value = 0)]
        pub fence: i64,
        pub available_at: DateTimeUtc,
        #[tracked(created_at)]
        pub created_at: DateTimeUtc,
        pub claimed_by: Option<String>,
        pub lease_until: Option<DateTimeUtc>,
        pub last_error: Option<String>,
        pub finished_at: Option<DateTimeUtc>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// Brings an order into a state, and tells of it in the same transaction.
async fn bring(s: &mut Session, order: &Tracked<order::Entity>, state: &str) -> Result<(), SessionError> {
    order.set_state(state);
    s.flush().await?;
    s.add(event::ActiveModel {
        account_id: Set("shop".into()),
        topic: Set("orders".into()),
        event_key: Set(order.id().to_string()),
        sequence: Set(order.version()),
        event_type: Set(state.into()),
        payload: Set(serde_json::json!({ "order": order.id(), "state": state })),
        available_at: Set(chrono::Utc::now()),
        ..Default::default()
    });
    Ok(())
}

/// Posts each event to the webhook.
struct Webhook {
    url: String,
    http: reqwest::Client,
    calls: Arc<Mutex<Vec<String>>>,
}

#[async_trait::async_trait]
impl Handler for Webhook {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        let mut deliveries = Vec::new();
        for event in events {
            let sent = self.http.post(&self.url).body(event.payload.to_string()).send().await;
            let status = sent.map_err(|e| Unavailable(e.to_string()))?.status();
            if let Ok(mut calls) = self.calls.lock() {
                calls.push(format!("{} {:<9} {:>6}  {}", event.key, event.event_type, event.attempt, status.as_u16()));
            }
            deliveries.push(match status.is_success() {
                true => Delivery::Done,
                false => Delivery::Retry(status.to_string()),
            });
        }
        Ok(deliveries)
    }
}

/// A server that refuses its second call of all.
async fn serve(listener: TcpListener) -> std::io::Result<()> {
    for call in 1.. {
        let (mut stream, _) = listener.accept().await?;
        read_request(&mut stream).await?;
        let status = if call == 2 { "503 Service Unavailable" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Reads to the end of a JSON object, which ends the body of an event.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        if stream.read_buf(&mut text).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// What the program prints.
///
/// # Errors
/// The database cannot be used, or something is not as it is shown.
pub async fn run() -> anyhow::Result<String> {
    let db = Db::connect("sqlite::memory:").await?;
    create_table(&db, order::Entity).await?;
    create_table(&db, event::Entity).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    let server = tokio::spawn(serve(listener));

    db.run(async |s: &mut Session| -> Result<(), SessionError> {
        let order = s.add(order::ActiveModel { state: Set("new".into()), ..Default::default() });
        bring(s, &order, "placed").await?;
        bring(s, &order, "paid").await?;
        bring(s, &order, "shipped").await
    })
    .await?;
    let cancelled = db.run(async |s: &mut Session| -> anyhow::Result<()> {
        let order = s.get::<order::Entity>(1).await?.context("the order")?;
        bring(s, &order, "lost").await?;
        anyhow::bail!("it was found again")
    });
    anyhow::ensure!(cancelled.await.is_err(), "it was rolled back, and its event with it");

    let calls = Arc::<Mutex<Vec<String>>>::default();
    let webhook = Webhook { url, http: reqwest::Client::builder().no_proxy().build()?, calls: calls.clone() };
    let outbox = Outbox::new(&db, "events", "orders");
    let dispatcher = Dispatcher::new(&outbox, webhook).poll(Duration::from_millis(10));
    // A service runs it until it is told to stop; this one stops when all is delivered.
    let drained = async {
        while !outbox.metrics().await.is_ok_and(|metrics| metrics.is_drained()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let report = dispatcher.run(drained).await;
    server.abort();

    let mut out = String::from("event      attempt  the webhook says\n");
    for call in calls.lock().map_err(|_| anyhow::anyhow!("a delivery panicked"))?.iter() {
        writeln!(out, "{call}")?;
    }
    let metrics = outbox.metrics().await?;
    let (delivered, retried) = (report.delivered, report.retried);
    writeln!(out, "delivered {delivered}, failed once {retried}, dead {}, pending {}", metrics.dead, metrics.pending)?;
    Ok(out)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    print!("{}", run().await?);
    Ok(())
}
