//! Effects that happen once, however often their message comes (Q8).

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use sea_orm::{QueryOrder, Set, entity::prelude::*};
use sea_session::{
    Error,
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable, first_time, forget_received},
    prelude::*,
    testing::create_table,
};

use super::support::{event, on_all, url, write};

#[test]
fn q8_an_effect_happens_once_however_often_its_message_comes() {
    on_all(async |db: Db, _outbox: Outbox| {
        let mut effects = 0;
        for _ in 0..3 {
            let first: Result<bool, Error> =
                db.run(async |s: &mut Session| first_time(s, "received", "acme", "mailer", "event-1").await).await;
            effects += usize::from(first.unwrap());
        }
        assert_eq!(effects, 1);
        let undone: Result<(), Error> = db
            .run(async |s: &mut Session| {
                assert!(first_time(s, "received", "acme", "mailer", "event-2").await?);
                Err(Error::Usage("the effect failed".into()))
            })
            .await;
        assert!(undone.is_err());
        let again: Result<bool, Error> =
            db.run(async |s: &mut Session| first_time(s, "received", "acme", "mailer", "event-2").await).await;
        assert!(again.unwrap(), "a message whose effect was rolled back was not received");
    });
}

#[test]
fn q8_what_was_received_long_ago_is_forgotten() {
    on_all(async |db: Db, _outbox: Outbox| {
        let receive = async |message: &str| -> Result<bool, Error> {
            db.run(async |s: &mut Session| first_time(s, "received", "acme", "mailer", message).await).await
        };
        for message in ["1", "2", "3"] {
            assert!(receive(message).await.unwrap());
        }
        let forget = async |age: u64, most: u64| -> Result<u64, Error> {
            let age = Duration::from_secs(age);
            db.run(async |s: &mut Session| forget_received(s, "received", "received_at", age, most).await).await
        };
        assert_eq!(forget(200_000, 10).await.unwrap(), 0, "too young");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(forget(0, 2).await.unwrap(), 2, "bounded");
        assert_eq!(forget(0, 2).await.unwrap(), 1);
        assert!(receive("1").await.unwrap());
    });
}

/// What a consumer does: it writes a row.
mod effect {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "effect")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub of_event: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Has its effect in the unit of its inbox, event by event.
struct Consumer {
    db: Db,
    /// After so many effects it says so on the standard output and goes no further: none of the batch is acknowledged.
    stops_after: usize,
}

#[async_trait::async_trait]
impl Handler for Consumer {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        for (at, event) in events.iter().enumerate() {
            if at == self.stops_after {
                println!("{STOPPED}");
                return std::future::pending().await;
            }
            let outcome: Result<(), Error> = self
                .db
                .run(async |s: &mut Session| {
                    if first_time(s, "received", "acme", "mailer", &event.id.to_string()).await? {
                        s.add(effect::ActiveModel { of_event: Set(event.id), ..Default::default() });
                    }
                    Ok(())
                })
                .await;
            outcome.map_err(|e| Unavailable(e.to_string()))?;
        }
        Ok(vec![Delivery::Done; events.len()])
    }
}

/// Tells this test program, started again, that it is the consumer, and of which database.
const CHILD: &str = "OUTBOX_CONSUMER";
const STOPPED: &str = "effects are committed";
const EVENTS: usize = 4;
const EFFECTS: usize = 3;

/// What the other process does.
fn consume(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Db::connect(url).await.unwrap();
        let outbox = Outbox::new(&db, "events", "test");
        let consumer = Consumer { db, stops_after: EFFECTS };
        Dispatcher::new(&outbox, consumer).lease(Duration::from_secs(1)).drain().await.unwrap();
    });
}

#[test]
fn q8_a_consumer_killed_between_effect_and_acknowledgement_has_each_effect_once() {
    const SELF: &str = "outbox::inbox::q8_a_consumer_killed_between_effect_and_acknowledgement_has_each_effect_once";
    if let Ok(url) = std::env::var(CHILD) {
        return consume(&url);
    }
    on_all(async |db: Db, outbox: Outbox| {
        create_table(&db, effect::Entity).await.unwrap();
        write(&db, (0..EVENTS).map(|key| event(&format!("k{key}"), 1, "made")).collect()).await;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", SELF, "--nocapture"]).env(CHILD, url(&db).await);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line == STOPPED), "the consumer came so far");
        // SIGKILL: nothing of it runs any more.
        child.kill().unwrap();
        child.wait().unwrap();
        let effects = async || {
            let effects =
                effect::Entity::find().order_by_asc(effect::Column::OfEvent).all(db.connection()).await.unwrap();
            effects.iter().map(|effect| effect.of_event).collect::<Vec<_>>()
        };
        assert_eq!(effects().await.len(), EFFECTS, "they were committed");
        let metrics = outbox.metrics().await.unwrap();
        assert_eq!((metrics.processing, metrics.done), (EVENTS as u64, 0), "and nothing was acknowledged");

        let dispatcher = Dispatcher::new(&outbox, Consumer { db: db.clone(), stops_after: usize::MAX });
        for _ in 0..500 {
            if outbox.metrics().await.unwrap().is_drained() {
                break;
            }
            dispatcher.drain().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(dispatcher.report().delivered, EVENTS as u64, "all of it came again");
        let written = event::Entity::find().order_by_asc(event::Column::Id).all(db.connection()).await.unwrap();
        assert!(written.iter().all(|event| event.attempts == 2 && event.state == "done"), "{written:?}");
        assert_eq!(effects().await, written.iter().map(|event| event.id).collect::<Vec<_>>(), "each effect once");
    });
}
