//! A store's life, made up: everything that can happen to nodes, edges and logs, in an order that a seed decides.

#![allow(dead_code, reason = "each test file uses a part")]

use context_entities::{edge, node, node_version, session_archive};
use context_store::{Caller, DeleteOptions, Link, Message, Role, Store, StoreError, Uri, Write};
use sea_orm::{EntityTrait, QueryOrder};
use sea_session::Db;

/// Somebody who may do everything in the account `acme`.
pub fn root() -> Caller {
    Caller::user("acme", "alice").with_role(Role::Root)
}

fn text(random: &mut fastrand::Rng, longest: usize) -> String {
    let alphabet: Vec<char> = "abcäß水🦀%_\\'\" .-~{}[]\n\t\u{1}".chars().collect();
    (0..random.usize(0..=longest)).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
}

/// A place that a node may have, in one of the account's spaces.
pub fn place(random: &mut fastrand::Rng) -> Uri {
    const NAMES: [&str; 6] = ["a", "a_b", "aXb", "a-b", "a%25", "水"];
    let mut name = || NAMES[random.usize(..NAMES.len())];
    let path = match name().len() % 4 {
        0 => format!("users/bob/memories/{}/{}", name(), name()),
        1 => format!("resources/{}/{}/{}", name(), name(), name()),
        2 => format!("agents/{}/skills/{}", name(), name()),
        _ => format!("resources/{}/{}", name(), name()),
    };
    Uri::parse(&format!("ctx://acme/{path}")).unwrap_or_else(|e| panic!("{e}"))
}

fn log(random: &mut fastrand::Rng) -> Uri {
    let path = format!("ctx://acme/sessions/s{}/history/{:04}", random.u8(..3), random.u8(1..4));
    Uri::parse(&path).unwrap_or_else(|e| panic!("{e}"))
}

/// Refusals are part of life; a failure is not.
fn allowed(done: Result<(), StoreError>) {
    if let Err(StoreError::Session(e)) = done {
        panic!("{e}");
    }
}

/// So many operations.
pub async fn live(store: &Store, steps: usize, random: &mut fastrand::Rng) {
    let caller = root();
    for _ in 0..steps {
        let (at, to) = (place(random), place(random));
        let options = DeleteOptions { recursive: random.bool() };
        let done = match random.u8(..20) {
            0..=6 => {
                let metadata = serde_json::json!({ "n": random.i64(..), "half": 0.5, "text": text(random, 9), "deep": [{ "_k": null }] });
                let write = Write::of(text(random, 60)).with_abstract(text(random, 9)).with_overview(text(random, 20));
                store
                    .write(&caller, &at, &write.with_metadata(metadata.as_object().cloned().unwrap_or_default()))
                    .await
                    .map(drop)
            }
            7..=8 => store.move_node(&caller, &at, &to).await.map(drop),
            9 => store.delete(&caller, &at, options).await.map(drop),
            10 => store.archive(&caller, &at, options).await.map(drop),
            11 => store.restore(&caller, &at, options).await.map(drop),
            12..=14 => {
                let link = Link::of(format!("t{}", random.u8(..3))).weighing(f64::from(random.u8(..=8)) / 8.0);
                store.link(&caller, &at, &to, &link.because(text(random, 9))).await.map(drop)
            }
            15 => store.unlink(&caller, &at, &to, None).await.map(drop),
            16 => store.revert(&caller, &at, random.i64(1..4)).await.map(drop),
            17 => {
                let messages = [Message::new(text(random, 5), text(random, 30)), Message::new("bot", "yes")];
                store.append_messages(&caller, &log(random), &messages).await.map(drop)
            }
            18 => store.archive_session(&caller, &log(random), None).await.map(drop),
            _ => {
                let state = Uri::parse(&format!("ctx://acme/sessions/s{}/state.json", random.u8(..3)));
                store
                    .write(&caller, &state.unwrap_or_else(|e| panic!("{e}")), &Write::of(text(random, 20)))
                    .await
                    .map(drop)
            }
        };
        allowed(done);
    }
}

/// Every row of every table that is not the outbox's or the index's.
pub async fn rows(db: &Db) -> Vec<String> {
    let db = db.connection();
    let mut rows = Vec::new();
    for row in node::Entity::find().order_by_asc(node::Column::Id).all(db).await.unwrap_or_else(|e| panic!("{e}")) {
        rows.push(format!("{row:?}"));
    }
    let versions = node_version::Entity::find()
        .order_by_asc(node_version::Column::NodeId)
        .order_by_asc(node_version::Column::Version);
    for row in versions.all(db).await.unwrap_or_else(|e| panic!("{e}")) {
        rows.push(format!("{row:?}"));
    }
    for row in edge::Entity::find().order_by_asc(edge::Column::Id).all(db).await.unwrap_or_else(|e| panic!("{e}")) {
        rows.push(format!("{row:?}"));
    }
    let logs = session_archive::Entity::find().order_by_asc(session_archive::Column::Id);
    for row in logs.all(db).await.unwrap_or_else(|e| panic!("{e}")) {
        rows.push(format!("{row:?}"));
    }
    rows
}

/// Says which row differs, not all of them.
pub fn assert_same(ours: &[String], theirs: &[String]) {
    for (a, b) in ours.iter().zip(theirs) {
        assert_eq!(a, b);
    }
    assert_eq!(ours.len(), theirs.len());
}
