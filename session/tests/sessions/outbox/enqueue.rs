//! Events that commit with their change, whatever their number (Q1).

use sea_orm::{PaginatorTrait, entity::prelude::*};
use sea_session::{Error, Recorder, outbox::Outbox, prelude::*};

use super::support::{event, on_all, write};

#[test]
fn q1_event_and_change_commit_together_or_not_at_all() {
    on_all(async |db: Db, outbox: Outbox| {
        let failed: Result<(), Error> = db
            .run(async |s: &mut Session| {
                s.add(event("a", 1, "made"));
                s.flush().await?;
                Err(Error::Usage("changed my mind".into()))
            })
            .await;
        assert!(failed.is_err());
        assert!(outbox.metrics().await.unwrap().is_drained());
        write(&db, vec![event("a", 1, "made")]).await;
        assert_eq!(outbox.metrics().await.unwrap().pending, 1);
    });
}

#[test]
fn q1_ten_thousand_events_are_a_set() {
    on_all(async |db: Db, _outbox: Outbox| {
        let recorder = Recorder::new();
        let outcome: Result<(), Error> = db
            .session()
            .record(&recorder)
            .run(async |s: &mut Session| {
                (0..10_000).for_each(|i| drop(s.add(event(&format!("k{}", i % 100), i, "made"))));
                Ok(())
            })
            .await;
        outcome.unwrap();
        assert!(recorder.take().len() <= 15, "statements grow with sets, not with events");
        assert_eq!(event::Entity::find().count(db.connection()).await.unwrap(), 10_000);
    });
}
