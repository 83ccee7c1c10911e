//! Tenants (T), as a role that neither owns the tables nor bypasses row-level security.

use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::{ConnectOptions, ConnectionTrait, EntityTrait, Set, Statement};
use sea_session::{
    Error, Session,
    prelude::*,
    testing::{cluster, run_test_on},
};

use crate::support::*;

mod memo {
    use super::*;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "memo")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[tracked(tenant)]
        pub account: String,
        pub body: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

const KEY: &str = "app.account_id";

fn body(id: i64, body: &str) -> memo::ActiveModel {
    memo::ActiveModel { id: Set(id), body: Set(body.to_owned()), ..Default::default() }
}

/// Runs a test against a table under forced row-level security, as a plain role, on a pool of one connection.
fn as_plain_role(test: impl AsyncFn(Db)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let database = cluster::fresh_database().await.unwrap();
        let owner = Db::connect(database.url()).await.unwrap();
        create_table(&owner, memo::Entity).await.unwrap();
        let role = database.create_role().await.unwrap();
        let sql = format!(
            "ALTER TABLE memo ENABLE ROW LEVEL SECURITY; ALTER TABLE memo FORCE ROW LEVEL SECURITY; \
             CREATE POLICY own ON memo USING (account = current_setting('{KEY}', true)) \
             WITH CHECK (account = current_setting('{KEY}', true)); \
             GRANT SELECT, INSERT, UPDATE, DELETE ON memo TO {}",
            role.name()
        );
        behind_the_back(&owner, &sql).await;
        let mut options = ConnectOptions::new(role.url());
        options.max_connections(1);
        let db = Db::connect(options).await.unwrap();
        test(db.clone()).await;
        drop(db.close().await);
        drop(owner.close().await);
    });
}

async fn setting(s: &Session, key: &str) -> Option<String> {
    let sql = format!("SELECT current_setting('{key}', true) AS value");
    let row = s.query_one_raw(Statement::from_string(sea_orm::DbBackend::Postgres, sql)).await.unwrap().unwrap();
    row.try_get("", "value").unwrap()
}

#[test]
fn t1_set_local_binds_for_the_transaction_only_in_the_begin_message() {
    as_plain_role(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .set_local("app.a", "one")
            .set_local("app.b", 2)
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert_eq!(setting(s, "app.a").await.as_deref(), Some("one"));
                assert_eq!(setting(s, "app.b").await.as_deref(), Some("2"));
                Ok(())
            })
            .await
            .unwrap();
        let sent = recorder.take();
        assert!(sent[0].starts_with("BEGIN") && sent[0].contains("app.a") && sent[0].contains("app.b"), "{sent:?}");
        assert_eq!(sent.len(), 4, "BEGIN, two queries, COMMIT: {sent:?}");
        let after = db.run(async |s: &mut Session| -> Result<Option<String>, Error> { Ok(setting(s, "app.a").await) });
        assert_eq!(after.await.unwrap().unwrap_or_default(), "", "gone with the transaction");
    });
}

#[test]
fn t1_values_cannot_inject_and_keys_are_names() {
    as_plain_role(async |db: Db| {
        let attempts = [
            "'; DROP TABLE memo; --",
            "\\'; DROP TABLE memo; --",
            "\\\\'; SELECT set_config('app.account_id', 'evil', false); --",
            "a\\",
            "', false); SELECT set_config('app.account_id', E'evil",
            "E'x' || $$y$$",
            "naïve\n\"quoted\" ; COMMIT; BEGIN",
            "",
        ];
        for standard in ["on", "off"] {
            for value in attempts {
                let seen = db
                    .session()
                    .set_local("standard_conforming_strings", standard)
                    .set_local("app.x", value)
                    .run(async |s: &mut Session| -> Result<Option<String>, Error> { Ok(setting(s, "app.x").await) })
                    .await
                    .unwrap();
                assert_eq!(seen.as_deref(), Some(value));
            }
        }
        for key in ["", "app.x'", "app.x', 'y', false); --", "app x", "app.x;", "äpp.x"] {
            let refused = db.session().set_local(key, "v").run(async |_: &mut Session| -> Result<(), Error> { Ok(()) });
            assert!(matches!(refused.await, Err(Error::Usage(_))), "{key}");
        }
        let refused = db.session().set_local("app.x", "a\0b").begin().await;
        assert!(matches!(refused, Err(Error::Usage(_))));
        let left = db.run(async |s: &mut Session| -> Result<Option<String>, Error> { Ok(setting(s, KEY).await) });
        assert_eq!(left.await.unwrap().unwrap_or_default(), "");
    });
}

#[test]
fn t2_a_tenants_entity_is_refused_without_a_tenant() {
    for backend in backends() {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, memo::Entity).await,
            async |db: Db| {
                let refused = |outcome: Result<(), Error>| {
                    let error = outcome.unwrap_err();
                    assert!(matches!(error.root(), Error::Tenant { entity: "memo", .. }), "{error:?}");
                };
                let (recorder, options) = watched(&db);
                refused(
                    options
                        .run(async |s: &mut Session| -> Result<(), Error> {
                            memo::Entity::find().load(s).await.map(drop)
                        })
                        .await,
                );
                assert_eq!(recorder.take(), Vec::<String>::new(), "nothing was sent");
                refused(
                    db.run(async |s: &mut Session| -> Result<(), Error> { s.get::<memo::Entity>(1).await.map(drop) })
                        .await,
                );
                refused(
                    db.run(async |s: &mut Session| -> Result<(), Error> {
                        s.add(body(1, "x"));
                        Ok(())
                    })
                    .await,
                );
                // The tenant is filled in; another one's object is refused, whichever way it comes.
                let account = |name: &str| db.session().tenant(KEY, name);
                account("ann")
                    .run(async |s: &mut Session| -> Result<(), Error> {
                        let memo = s.add(body(1, "hers"));
                        s.flush().await?;
                        assert_eq!(memo.account(), "ann");
                        Ok(())
                    })
                    .await
                    .unwrap();
                refused(
                    account("bob")
                        .run(async |s: &mut Session| -> Result<(), Error> {
                            s.add(memo::ActiveModel { account: Set("ann".into()), ..body(2, "forged") });
                            Ok(())
                        })
                        .await,
                );
                // Another one's row is not there (U5).
                account("bob")
                    .run(async |s: &mut Session| -> Result<(), Error> {
                        assert!(s.get::<memo::Entity>(1).await?.is_none());
                        assert!(memo::Entity::find().load(s).await?.is_empty());
                        Ok(())
                    })
                    .await
                    .unwrap();
                refused(
                    account("ann")
                        .run(async |s: &mut Session| -> Result<(), Error> {
                            let memo = s.get::<memo::Entity>(1).await?.unwrap();
                            memo.set(memo::Column::Account, "bob")?;
                            Ok(())
                        })
                        .await,
                );
                let held = memo::Entity::find().all(db.connection()).await.unwrap();
                assert_eq!(held.len(), 1);
                assert_eq!((held[0].account.as_str(), held[0].body.as_str()), ("ann", "hers"));
            },
        );
    }
}

/// What a tenant sees of all memos, asked past the framework's own check: row-level security alone decides.
async fn seen(s: &mut Session) -> Vec<String> {
    let memos = memo::Entity::find().all(&*s).await.unwrap();
    memos.into_iter().map(|memo| memo.account).collect()
}

#[test]
fn t3_two_tenants_on_one_connection_never_see_each_other() {
    as_plain_role(async |db: Db| {
        let account = |name: &str| db.session().tenant(KEY, name);
        let write = async |name: &'static str, id: i64| {
            account(name)
                .run(async |s: &mut Session| -> Result<(), Error> {
                    s.add(body(id, "x"));
                    s.flush().await?;
                    assert!(seen(s).await.iter().all(|owner| owner == name));
                    Ok(())
                })
                .await
        };
        for round in 0..10_i64 {
            let id = round * 10;
            write("ann", id).await.unwrap();
            write("bob", id + 1).await.unwrap();
            // After an error of the database ...
            assert!(write("ann", id).await.unwrap_err().is_unique_violation());
            write("bob", id + 2).await.unwrap();
            // ... after a cancellation in mid-statement ...
            let slow = account("ann").run(async |s: &mut Session| -> Result<(), Error> {
                s.add(body(id + 3, "cancelled"));
                s.flush().await?;
                s.execute_unprepared("SELECT pg_sleep(5)").await?;
                Ok(())
            });
            assert!(tokio::time::timeout(std::time::Duration::from_millis(30), slow).await.is_err());
            write("bob", id + 4).await.unwrap();
            // ... after a retry ...
            let ran = AtomicU32::new(0);
            account("ann")
                .retry(Retry::times(3).sleep_with(|_| Box::pin(async {})))
                .run(async |s: &mut Session| -> Result<(), Error> {
                    assert_eq!(setting(s, KEY).await.as_deref(), Some("ann"), "each attempt has its tenant");
                    assert!(seen(s).await.iter().all(|owner| owner == "ann"));
                    if ran.fetch_add(1, Ordering::Relaxed) < 2 {
                        s.execute_unprepared("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$").await?;
                    }
                    Ok(())
                })
                .await
                .unwrap();
            assert_eq!(ran.load(Ordering::Relaxed), 3);
            // ... and with nobody's tenant nothing is seen at all.
            db.run(async |s: &mut Session| -> Result<(), Error> {
                assert_eq!(setting(s, KEY).await.unwrap_or_default(), "");
                assert_eq!(seen(s).await, Vec::<String>::new());
                Ok(())
            })
            .await
            .unwrap();
        }
        account("ann")
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert_eq!(seen(s).await.len(), 10);
                Ok(())
            })
            .await
            .unwrap();
        account("bob")
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert_eq!(seen(s).await.len(), 30);
                Ok(())
            })
            .await
            .unwrap();
    });
}

#[test]
fn t3_the_database_refuses_what_the_framework_is_told_to_forge() {
    as_plain_role(async |db: Db| {
        let forged = db
            .session()
            .tenant(KEY, "bob")
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.execute_unprepared("INSERT INTO memo (id, account, body) VALUES (1, 'ann', 'forged')").await?;
                Ok(())
            })
            .await
            .unwrap_err();
        assert_eq!(forged.sqlstate(), Some("42501"), "{forged}");
        // A large insert goes in without COPY, which row-level security forbids.
        db.session()
            .tenant(KEY, "bob")
            .run(async |s: &mut Session| -> Result<(), Error> {
                (0..3_000).for_each(|id| drop(s.add(body(id, "many"))));
                s.flush().await?;
                assert_eq!(seen(s).await.len(), 3_000);
                let memos = memo::Entity::find().load(s).await?;
                for memo in &memos {
                    memo.set_body("changed");
                }
                s.flush().await?;
                memos.iter().for_each(|memo| s.delete(memo));
                s.flush().await?;
                assert_eq!(seen(s).await.len(), 0);
                Ok(())
            })
            .await
            .unwrap();
    });
}
