//! What fails, alone or altogether, and dead letters (Q4, Q5).

use sea_orm::ActiveValue::Set;
use sea_session::{
    Error,
    outbox::{Delivery, Dispatcher, Event, Handler, Outbox, Unavailable},
    prelude::*,
};

use super::support::{event, ledger, no_more_waiting, on_all, write};

#[test]
fn q4_a_failing_head_holds_its_key_back_until_it_is_dead_and_dead_letters_can_be_replayed() {
    on_all(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "bad"), event("a", 2, "good"), event("b", 1, "good")]).await;
        let (seen, handler) =
            ledger(
                |e| if e.event_type == "bad" && e.attempt <= 3 { Delivery::Retry("no".into()) } else { Delivery::Done },
            );
        let dispatcher = Dispatcher::new(&outbox, handler).most_attempts(3);
        for attempt in 1..=3 {
            dispatcher.drain().await.unwrap();
            let a: Vec<_> = seen.lock().iter().filter(|(k, n, _)| k == "a" && *n == 1).map(|(_, _, at)| *at).collect();
            assert_eq!(a, (1..=attempt).collect::<Vec<_>>());
            let held = !seen.lock().iter().any(|(k, n, _)| k == "a" && *n == 2);
            assert!(held || attempt == 3, "the head is not passed while it may still succeed");
            no_more_waiting(&db).await;
        }
        assert!(seen.lock().iter().any(|(k, n, _)| k == "b" && *n == 1), "other keys are not held up");
        let dead = outbox.dead(0, 10).await.unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!((dead[0].attempts, dead[0].last_error.as_deref()), (3, Some("no")));
        assert_eq!(outbox.dead_letter(dead[0].id).await.unwrap().as_ref(), Some(&dead[0]));
        assert_eq!(outbox.metrics().await.unwrap().dead, 1);

        assert_eq!(outbox.replay(Some(&[dead[0].id])).await.unwrap(), 1);
        let (_, all_good) = ledger(|_| Delivery::Done);
        assert_eq!(Dispatcher::new(&outbox, all_good).drain().await.unwrap().delivered, 1);
        assert!(outbox.dead(0, 10).await.unwrap().is_empty());
    });
}

#[test]
fn q5_one_bad_record_fails_alone_also_if_the_handler_panics() {
    on_all(async |db: Db, outbox: Outbox| {
        let mut events: Vec<_> = (0..9).map(|k| event(&format!("k{k}"), 1, "good")).collect();
        events.push(event("poison", 1, "panic"));
        events.push(event("strange", 1, "unknown"));
        write(&db, events).await;
        let (_, handler) = ledger(|e| match e.event_type.as_str() {
            "panic" => panic!("poison"),
            "good" => Delivery::Done,
            other => Delivery::Dead(format!("unknown event type {other}")),
        });
        let report = Dispatcher::new(&outbox, handler).drain().await.unwrap();
        assert_eq!((report.delivered, report.retried, report.dead), (9, 1, 1));
        assert_eq!(outbox.dead(0, 10).await.unwrap()[0].last_error.as_deref(), Some("unknown event type unknown"));
    });
}

#[test]
fn q5_a_receiver_that_is_down_holds_events_back_and_kills_none() {
    struct Down;
    #[async_trait::async_trait]
    impl Handler for Down {
        async fn deliver(&self, _: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
            Err(Unavailable("connection refused".into()))
        }
    }
    on_all(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "made")]).await;
        let dispatcher = Dispatcher::new(&outbox, Down).most_attempts(2);
        for _ in 0..5 {
            let held = dispatcher.drain().await.unwrap_err();
            assert!(matches!(&held, Error::Unavailable(why) if why.contains("connection refused")), "{held:?}");
            no_more_waiting(&db).await;
        }
        let metrics = outbox.metrics().await.unwrap();
        assert_eq!((metrics.pending, metrics.dead, metrics.most_attempts), (1, 0, 0), "no attempt was counted");
    });
}

/// What a receiver may say, and what is kept of it.
const REASONS: [(&str, &str); 8] = [
    ("upstream said: \0oops", "upstream said: oops"),
    ("\0", "no reason was given"),
    ("", "no reason was given"),
    ("\u{1b}[31mred\u{1b}[0m", "[31mred [0m"),
    ("\u{1b}", "no reason was given"),
    ("line\r\nnext\ttab\u{7f}", "line next tab"),
    ("\u{202e}turned\u{2066}", "turned"),
    (
        "\"quoted\", \\backslash\\ {json: [null]} 'x'; DROP TABLE events; -- $1 ? %s",
        "\"quoted\", \\backslash\\ {json: [null]} 'x'; DROP TABLE events; -- $1 ? %s",
    ),
];

#[test]
fn e4_whatever_a_receiver_says_neither_fails_an_acknowledgement_nor_holds_up_a_batch() {
    on_all(async |db: Db, outbox: Outbox| {
        let huge = "x".repeat(4 << 20);
        let mut reasons: Vec<(String, String)> = REASONS.map(|(said, kept)| (said.to_owned(), kept.to_owned())).into();
        reasons.push((huge, "x".repeat(2_000) + " …"));
        for (round, dead) in [true, false].into_iter().enumerate() {
            let mut events: Vec<_> =
                (0..reasons.len()).map(|n| event(&format!("bad{round}-{n}"), 1, &format!("{n}"))).collect();
            events.extend((0..5).map(|n| event(&format!("good{round}-{n}"), 1, "good")));
            events.push(event(&format!("bad{round}-0"), 2, "good"));
            write(&db, events).await;
            let told = reasons.clone();
            let (_, handler) = ledger(move |e| match e.event_type.parse::<usize>() {
                Ok(n) if dead => Delivery::Dead(told[n].0.clone()),
                Ok(n) => Delivery::Retry(told[n].0.clone()),
                Err(_) => Delivery::Done,
            });
            let dispatcher = Dispatcher::new(&outbox, handler)
                .most_attempts(2)
                .retention((round == 1).then_some(std::time::Duration::from_secs(60)));
            for _ in 0..3 {
                dispatcher.drain().await.unwrap();
                no_more_waiting(&db).await;
            }
            let report = dispatcher.report();
            assert_eq!((report.delivered, report.dead), (6, reasons.len() as u64), "{report:?}");
            assert!(dispatcher.health().is_healthy());
            let mut letters = outbox.dead(0, 100).await.unwrap();
            letters.retain(|letter| letter.event_key.starts_with(&format!("bad{round}-")));
            for letter in letters {
                let n: usize = letter.event_type.parse().unwrap();
                assert_eq!(letter.last_error.as_deref(), Some(reasons[n].1.as_str()), "{n}");
            }
        }
        let metrics = outbox.metrics().await.unwrap();
        assert!(metrics.is_drained(), "{metrics:?}");
    });
}

#[test]
fn e4_what_a_receiver_that_is_down_says_is_plain_as_well() {
    struct Down;
    #[async_trait::async_trait]
    impl Handler for Down {
        async fn deliver(&self, _: &[Event]) -> Result<Vec<Delivery>, Unavailable> {
            Err(Unavailable("gone\0 \u{1b}[31mred\r\n".into()))
        }
    }
    on_all(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "made"), event("b", 1, "made")]).await;
        let dispatcher = Dispatcher::new(&outbox, Down);
        let held = dispatcher.drain().await.unwrap_err().to_string();
        assert!(held.contains("gone [31mred") && !held.chars().any(char::is_control), "{held:?}");
        let told = dispatcher.health().receiver.unwrap_or_default();
        assert!(told.ends_with("gone [31mred"), "{told:?}");
        no_more_waiting(&db).await;
        let (_, good) = ledger(|_| Delivery::Done);
        assert_eq!(Dispatcher::new(&outbox, good).drain().await.unwrap().delivered, 2, "they were given back");
    });
}

#[test]
fn e4_reasons_of_an_earlier_version_are_shown_plain() {
    on_all(async |db: Db, outbox: Outbox| {
        write(&db, vec![event("a", 1, "made")]).await;
        let (_, handler) = ledger(|_| Delivery::Dead("no".into()));
        Dispatcher::new(&outbox, handler).drain().await.unwrap();
        db.run(async |s: &mut Session| -> Result<_, sea_session::Error> {
            use sea_orm::ConnectionTrait;
            let char = if s.get_database_backend() == sea_orm::DbBackend::Postgres { "chr" } else { "char" };
            Ok(s.execute_unprepared(&format!("UPDATE events SET last_error = 'red ' || {char}(27) || '[31m'")).await?)
        })
        .await
        .unwrap();
        assert_eq!(outbox.dead(0, 10).await.unwrap()[0].last_error.as_deref(), Some("red [31m"));
    });
}

#[test]
fn e4_settled_events_are_copied_to_each_stream_once_and_in_order() {
    on_all(async |db: Db, outbox: Outbox| {
        let subscribed = |name: &str| crate::support_outbox::event::ActiveModel {
            topic: Set("subscriptions".into()),
            state: Set("done".into()),
            finished_at: Set(Some(chrono::Utc::now())),
            ..event(name, 1, "opened")
        };
        write(&db, vec![subscribed("one"), subscribed("two"), subscribed("two")]).await;
        let events =
            (0..40).map(|n| event(&format!("k{}", n % 4), n / 4, if n % 7 == 3 { "bad" } else { "good" })).collect();
        write(&db, events).await;
        let copying = outbox.clone().copying_to("subscriptions");
        for keep in [None, Some(std::time::Duration::from_secs(60))] {
            let (_, handler) =
                ledger(|e| if e.event_type == "bad" { Delivery::Dead("no".into()) } else { Delivery::Done });
            Dispatcher::new(&copying, handler).batch(7).retention(keep).drain().await.unwrap();
        }
        for name in ["one", "two"] {
            let (seen, handler) = ledger(|_| Delivery::Done);
            let stream = Outbox::new(&db, "events", name);
            assert_eq!(Dispatcher::new(&stream, handler).drain().await.unwrap().delivered, 40, "{name}");
            let mut last = std::collections::HashMap::new();
            for (key, sequence, _) in seen.lock().iter() {
                assert!(
                    last.insert(key.clone(), *sequence).is_none_or(|before| before < *sequence),
                    "{name}: {key} {sequence}"
                );
            }
        }
        let (_, handler) = ledger(|_| Delivery::Done);
        assert_eq!(Dispatcher::new(&copying, handler).drain().await.unwrap().delivered, 0, "nothing came back");
    });
}
