//! What a backend cannot do it refuses by name, before anything is sent (Y1, Y2): the list is the dialect's own, and here each
//! thing on it is asked for, and each thing that is not.

use futures_util::future::BoxFuture;
use sea_orm::{EntityTrait, IsolationLevel, PaginatorTrait};
use sea_session::{Error, Session, Sessions, Several, outbox::Outbox, prelude::*};

use crate::support::*;

type Outcome = Result<(), Error>;

/// Asks for one thing.
type Ask = for<'a> fn(&'a Db) -> BoxFuture<'a, Outcome>;

async fn reads(s: &mut Session) -> Outcome {
    note::Entity::find().count(s).await?;
    Ok(())
}

fn everything() -> [(&'static str, Ask); 11] {
    [
        ("deferrable", |db| {
            let whole = db.session().isolation(IsolationLevel::Serializable).read_only().deferrable();
            Box::pin(whole.run(async |s: &mut Session| reads(s).await))
        }),
        ("immediate", |db| Box::pin(db.session().immediate().run(async |s: &mut Session| reads(s).await))),
        ("set_local", |db| Box::pin(db.session().set_local("app.a", "b").run(async |s: &mut Session| reads(s).await))),
        ("statement_timeout", |db| {
            let timed = db.session().statement_timeout(std::time::Duration::from_secs(60));
            Box::pin(timed.run(async |s: &mut Session| reads(s).await))
        }),
        ("lock_timeout", |db| {
            let timed = db.session().lock_timeout(std::time::Duration::from_secs(60));
            Box::pin(timed.run(async |s: &mut Session| reads(s).await))
        }),
        // Another pool of the same server stands for another node: it is only named here.
        ("cluster", |db| {
            Box::pin(async move { Db::from(db.connection().clone()).nodes([db.connection().clone()]).map(drop) })
        }),
        ("two_phase", |db| {
            Box::pin(async move {
                if why_not(db, "commit_tokens").is_none() {
                    db.create_commit_tokens().await?;
                }
                let alone = Several::new("one", db).two_phase();
                alone.run(async |s: &mut Sessions| -> Outcome { reads(s.primary()).await }).await
            })
        }),
        ("settle", |db| Box::pin(db.session().settle_by_token().run(async |s: &mut Session| reads(s).await))),
        ("commit_tokens", |db| Box::pin(db.create_commit_tokens())),
        ("advisory_locks", |db| Box::pin(db.run(async |s: &mut Session| -> Outcome { s.advisory_lock(7).await }))),
        ("outbox", |db| {
            Box::pin(async move {
                match Outbox::new(db, "no_such_table", "topic").metrics().await {
                    // It was asked for: there is only no table.
                    Err(Error::Database(_)) => Ok(()),
                    other => other.map(drop),
                }
            })
        }),
    ]
}

#[test]
fn y2_what_a_backend_cannot_do_is_refused_by_name_and_with_its_reason() {
    on_all(async |db: Db| {
        let refusals = sea_session::testing::refusals(&db);
        let mut refused = 0;
        for (what, ask) in everything() {
            let outcome = ask(&db).await;
            match refusals.iter().find(|(named, _)| *named == what) {
                None => outcome.unwrap_or_else(|e| panic!("{:?} {what}: {e}", db.backend())),
                Some((_, why)) => {
                    refused += 1;
                    let Err(Error::Unsupported { what: said, .. }) = &outcome else { panic!("{what}: {outcome:?}") };
                    assert_eq!(said, why);
                    let (named, reason) = why.split_once("; ").expect("what it is, and why not or what to do instead");
                    assert!(named.len() > 5 && reason.len() > 10, "{why}");
                }
            }
        }
        assert_eq!(refused, refusals.len(), "each of the list was asked for: {refusals:?}");
    });
}

#[test]
fn y3_a_causal_unit_is_refused_where_there_is_no_cluster() {
    on_all(async |db: Db| {
        for _ in 0..2 {
            let outcome = db.session().causal().run(async |s: &mut Session| reads(s).await).await;
            let Err(Error::Unsupported { what, .. }) = &outcome else { panic!("{outcome:?}") };
            assert!(what.contains("`causal`"), "{what}");
        }
        db.run(async |s: &mut Session| reads(s).await).await.unwrap();
    });
}

#[test]
fn y3_what_cannot_be_nodes_of_a_cluster_is_refused() {
    on_all(async |db: Db| {
        if why_not(&db, "cluster").is_some() {
            return;
        }
        let pool = || Db::from(db.connection().clone());
        let why = |outcome: Result<Db, Error>| match outcome {
            Err(Error::Usage(why)) => why.into_owned(),
            other => panic!("{other:?}"),
        };
        let one = pool();
        assert!(why(one.clone().nodes([] as [Db; 0])).contains("no node was given"));
        assert!(why(one.clone().nodes([one.clone()])).contains("node 0 is this node's own pool"));
        let with_nodes = pool().nodes([pool()]).unwrap();
        assert!(why(one.clone().nodes([pool(), with_nodes.clone()])).contains("node 1 has nodes itself"));
        assert!(why(with_nodes.nodes([pool()])).contains("has nodes already"));
    });
}
