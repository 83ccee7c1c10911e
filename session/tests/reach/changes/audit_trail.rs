//! The audit table (U7).

use sea_orm::DbBackend;
use sea_session::testing::cluster;

use super::*;

#[test]
fn u7_audited_entities_leave_a_row_for_each_change() {
    on_both(async |db: Db| {
        outbox(&db);
        db.session()
            .tenant("app.account", "acme")
            .run(async |s: &mut Session| -> Result<(), Error> {
                let account = s.add(account(1));
                s.flush().await?;
                account.set_owner("bob").set_password("swordfish");
                s.flush().await?;
                let outcome = s
                    .atomic(async |s: &mut Session| -> Result<(), Error> {
                        account.set_owner("undone");
                        s.flush().await?;
                        Err(Error::Usage("undo".into()))
                    })
                    .await;
                assert!(outcome.is_err());
                s.delete(&account);
                s.flush().await?;
                s.restore(&account)?;
                s.flush().await?;
                s.hard_delete(&account);
                Ok(())
            })
            .await?;
        let rows = audit::Entity::find().order_by_asc(audit::Column::Id).all(db.connection()).await.unwrap();
        let kinds: Vec<&str> = rows.iter().map(|row| row.kind.as_str()).collect();
        assert_eq!(kinds, ["insert", "update", "delete", "restore", "delete"]);
        assert!(rows.iter().all(|row| row.entity == "account" && row.row_key == "1"));
        assert!(rows.iter().all(|row| row.tenant.as_deref() == Some("acme")));
        assert_eq!(rows[1].changes, serde_json::json!({ "owner": { "old": "ann", "new": "bob" }, "password": {} }));
        let all = format!("{:?}", rows.iter().map(|row| row.changes.to_string()).collect::<Vec<_>>());
        assert!(!all.contains("hunter2") && !all.contains("swordfish"), "{all}");
        Ok(())
    });
}

#[test]
fn u7_the_audit_of_a_thousand_changes_takes_as_many_statements_as_that_of_one() {
    on_both(async |db: Db| {
        outbox(&db);
        let mut counts = Vec::new();
        for (first, many) in [(0, 64), (1_000, 1_024)] {
            let recorder = Recorder::new();
            db.session()
                .record(&recorder)
                .run(async |s: &mut Session| -> Result<(), Error> {
                    (first..first + many).for_each(|id| drop(s.add(account(id))));
                    Ok(())
                })
                .await?;
            counts.push(recorder.take().len());
        }
        assert!(counts[1] <= counts[0] + 3, "{counts:?}");
        assert_eq!(audit::Entity::find().all(db.connection()).await.unwrap().len(), 64 + 1_024);
        Ok(())
    });
}

#[test]
fn u7_a_role_that_may_only_insert_into_the_trail_leaves_its_rows() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let database = cluster::fresh_database().await.unwrap();
        let owner = Db::connect(database.url()).await.unwrap();
        tables(&owner).await.unwrap();
        let role = database.create_role().await.unwrap();
        let grants = format!(
            "GRANT ALL ON account, events TO {0}; GRANT INSERT ON audit_log TO {0}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {0}",
            role.name()
        );
        owner.connection().execute_unprepared(&grants).await.unwrap();
        let db = Db::connect(role.url()).await.unwrap();
        outbox(&db);
        // One row, some that go as arrays, and as many as go by COPY.
        for (first, many) in [(0, 1), (10, 20), (1_000, 700)] {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                (first..first + many).for_each(|id| drop(s.add(account(id))));
                Ok(())
            })
            .await
            .unwrap();
        }
        let told: Vec<String> = trail(&owner).await.into_iter().map(|(_, key, _)| key).collect();
        let expected = [0..1, 10..30, 1_000..1_700].into_iter().flatten().map(|id| id.to_string());
        assert_eq!(told, expected.collect::<Vec<_>>());
        assert!(audit::Entity::find().all(db.connection()).await.is_err(), "the role may not read the trail");
        drop(db.close().await);
        drop(owner.close().await);
    });
}

#[test]
fn u7_the_trail_is_not_among_the_changes_that_it_tells_of() {
    on_both(async |db: Db| {
        let (seen, recorder) = (Seen::default(), Recorder::new());
        outbox(&db);
        db.on_flush(seen.clone());
        db.session()
            .record(&recorder)
            .run(async |s: &mut Session| -> Result<(), Error> {
                assert!(s.changes().flushed.is_empty());
                s.add(account(1));
                s.flush().await?;
                let told: Vec<String> = s.changes().flushed.iter().map(|change| format!("{change:?}")).collect();
                assert!(!told.is_empty() && told.iter().all(|text| !text.contains("audit_log")), "{told:?}");
                Ok(())
            })
            .await?;
        let seen = seen.take();
        assert!(!seen.is_empty() && seen.iter().all(|text| !text.contains("audit_log")), "{seen:?}");
        assert_eq!(recorder.take().iter().filter(|sql| sql.contains("INSERT INTO \"audit_log\"")).count(), 1);
        Ok(())
    });
}

#[test]
fn u7_a_trail_whose_table_acts_by_itself_is_written_row_by_row() {
    on_both(async |db: Db| {
        outbox(&db);
        let trigger = match db.backend() {
            DbBackend::Sqlite => {
                "CREATE TRIGGER marks AFTER INSERT ON audit_log \
                 BEGIN UPDATE audit_log SET kind = 'seen ' || NEW.kind WHERE id = NEW.id; END"
            }
            _ => {
                "CREATE FUNCTION marks() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN NEW.kind := 'seen ' || NEW.kind; RETURN NEW; END $$; \
                 CREATE TRIGGER marks BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION marks()"
            }
        };
        db.connection().execute_unprepared(trigger).await?;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            (0..5).for_each(|id| drop(s.add(account(id))));
            Ok(())
        })
        .await?;
        let told: Vec<(String, String)> = trail(&db).await.into_iter().map(|(kind, key, _)| (kind, key)).collect();
        assert_eq!(told, (0..5).map(|id| ("seen insert".to_owned(), id.to_string())).collect::<Vec<_>>());
        Ok(())
    });
}
