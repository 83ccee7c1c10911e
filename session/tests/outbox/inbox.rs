//! Effects that happen once, however often their message comes (Q8).

use std::time::Duration;

use sea_session::{
    Error,
    outbox::{Outbox, first_time, forget_received},
    prelude::*,
};

use crate::support::on_both;

#[test]
fn q8_an_effect_happens_once_however_often_its_message_comes() {
    on_both(async |db: Db, _outbox: Outbox| {
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
    on_both(async |db: Db, _outbox: Outbox| {
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
