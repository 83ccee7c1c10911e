//! Events that are derived from changes (U7).

use sea_session::outbox::{Delivery, Dispatcher, Event, Handler, Unavailable};

use super::*;

struct Receiver(Arc<Mutex<Vec<Event>>>);

#[async_trait::async_trait]
impl Handler for Receiver {
    async fn deliver(&self, events: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
        self.0.lock().unwrap().extend_from_slice(events);
        Ok(events.iter().map(|_| Delivery::Done).collect())
    }
}

#[test]
fn u7_events_are_derived_from_changes_and_delivered_in_their_order() {
    on_both(async |db: Db| {
        let outbox = outbox(&db);
        db.session()
            .tenant("app.account", "acme")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let one = s.add(account(1));
                s.add(account(2));
                s.flush().await?;
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        one.set_owner("undone");
                        s.flush().await?;
                        Err(Error::Usage("undo".into()))
                    })
                    .await;
                assert!(outcome.is_err());
                one.set_owner("bob");
                Ok(())
            })
            .await?;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let one = s.get::<account::Entity>(1).await?.unwrap();
            s.delete(&one);
            Ok(())
        })
        .await?;
        let received = Arc::new(Mutex::new(Vec::new()));
        Dispatcher::new(&outbox, Receiver(received.clone())).drain().await?;
        let received = received.lock().unwrap();
        let of = |key: &str| -> Vec<(i64, String)> {
            let events = received.iter().filter(|event| event.key == key);
            events.map(|event| (event.sequence, event.event_type.clone())).collect()
        };
        assert_eq!(of("account 1"), [(1, "insert".into()), (2, "update".into()), (3, "delete".into())]);
        assert_eq!(of("account 2"), [(1, "insert".into())]);
        assert_eq!(received[0].account_id, "acme");
        let update = received.iter().find(|event| event.event_type == "update").unwrap();
        let changes = serde_json::json!({ "owner": { "old": "ann", "new": "bob" } });
        assert_eq!(update.payload, serde_json::json!({ "key": { "id": 1 }, "changes": changes }));
        Ok(())
    });
}

#[test]
fn u7_a_change_whose_event_nobody_takes_is_refused() {
    on_both(async |db: Db| {
        let outcome = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(account(1));
                Ok(())
            })
            .await;
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains("accounts") && message.contains("derive_into"), "{message}");
        assert_eq!(account::Entity::find().all(db.connection()).await.unwrap().len(), 0);
        Ok(())
    });
}
