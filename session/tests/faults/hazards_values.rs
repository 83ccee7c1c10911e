//! HAZARDS.md, Z9 to Z18 and Z20: statements, values and what a backend can do. Each test first shows plain SeaORM
//! failing, on the versions that the workspace names, and then a session holding where it failed.

use std::time::Duration;

use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectOptions, ConnectionTrait, Database, DbBackend, DbErr, EntityTrait,
    IntoActiveModel, IsolationLevel, PaginatorTrait, QueryFilter, RelationTrait, RuntimeErr, Statement,
    TransactionTrait, Value, sqlx,
};
use sea_session::Error;
use sea_session::prelude::*;

use crate::fault_proxy::{Direction, Kind, Seen};
use crate::support_proof::{Server, note};

async fn memory() -> Db {
    let db = Db::connect("sqlite::memory:").await.unwrap();
    db.connection().execute_unprepared(note::SQLITE).await.unwrap();
    db
}

async fn postgres() -> (Server, Db) {
    let server = Server::new().await;
    sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.unwrap();
    let db = server.db(1).await;
    (server, db)
}

fn draft(title: &str) -> note::ActiveModel {
    note::ActiveModel { title: Set(title.into()), ..Default::default() }
}

#[tokio::test]
async fn z9_a_column_that_was_not_set_takes_the_default_in_a_mixed_batch() {
    let (_server, db) = postgres().await;
    let mixed = [note::ActiveModel { rank: Set(Some(1)), ..draft("set") }, draft("not set")];

    note::Entity::insert_many(mixed.clone()).exec_without_returning(db.connection()).await.unwrap();
    let plain = note::Entity::find().filter(note::Column::Title.eq("not set")).one(db.connection()).await.unwrap();
    assert_eq!(plain.unwrap().rank, None, "plain: NULL instead of the default 7");

    for db in [db, memory().await] {
        db.connection().execute_unprepared("DELETE FROM note").await.unwrap();
        db.run(async |s| -> Result<(), Error> {
            let added = mixed.clone().map(|note| s.add(note));
            s.flush().await?;
            assert_eq!(added.map(|note| note.rank()), [Some(1), Some(7)]);
            Ok(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn z10_any_number_of_rows_goes_into_one_flush() {
    let (_server, db) = postgres().await;
    let rows = || (0..40_000).map(|at| note::ActiveModel { id: Set(at), title: Set("row".into()), rank: Set(None) });

    let plain = note::Entity::insert_many(rows()).exec_without_returning(db.connection()).await;
    plain.expect_err("plain: more than 65,535 binds");

    for db in [db, memory().await] {
        db.run(async |s| -> Result<(), Error> {
            for row in rows() {
                s.add(row);
            }
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(note::Entity::find().count(db.connection()).await.unwrap(), 40_000);
        let changed: Vec<Tracked<note::Entity>> = db
            .run(async |s| -> Result<_, Error> {
                let rows = note::Entity::find().load(s).await?;
                for row in &rows {
                    row.set_title("changed");
                }
                Ok(rows)
            })
            .await
            .unwrap();
        assert_eq!(changed.len(), 40_000);
        let left = note::Entity::find().filter(note::Column::Title.ne("changed")).count(db.connection()).await.unwrap();
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn z11_a_value_set_back_to_what_was_loaded_is_no_change() {
    let db = memory().await;
    let loaded = draft("original").insert(db.connection()).await.unwrap();

    let mut plain = loaded.clone().into_active_model();
    plain.title = Set("other".into());
    plain.title.set_if_not_equals("original".into());
    assert!(plain.is_changed(), "plain: Set has forgotten the original, so setting it back is a change");

    let unit = db.session();
    let numbers = unit.clone();
    unit.run(async |s| -> Result<(), Error> {
        let note = s.get::<note::Entity>(loaded.id).await?.expect("a note");
        let before = numbers.stats().statements;
        note.set_title("other");
        note.set_title("original");
        s.flush().await?;
        assert_eq!(numbers.stats().statements, before, "nothing was sent");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn z12_a_key_made_by_the_client_is_inserted() {
    let db = memory().await;
    let made = || note::ActiveModel { id: Set(99), ..draft("made by the client") };

    let error = made().save(db.connection()).await.unwrap_err();
    assert!(
        matches!(error, DbErr::RecordNotUpdated | DbErr::RecordNotFound(_)),
        "plain: save took it for an update: {error:?}"
    );

    db.run(async |s| -> Result<(), Error> {
        s.add(made());
        Ok(())
    })
    .await
    .unwrap();
    let stored = note::Entity::find_by_id(99).one(db.connection()).await.unwrap();
    assert_eq!(stored.map(|note| note.title).as_deref(), Some("made by the client"));
}

#[tokio::test]
async fn z13_the_same_row_asked_for_with_another_integer_type_is_the_same_object() {
    assert_ne!(Value::Int(Some(1)), Value::BigInt(Some(1)), "plain: different as keys of a map");

    let db = memory().await;
    draft("one").insert(db.connection()).await.unwrap();
    db.run(async |s| -> Result<(), Error> {
        let wide = s.get::<note::Entity>(1_i64).await?.expect("a note");
        let narrow = s.get::<note::Entity>(1_i32).await?.expect("a note");
        let small = s.peek::<note::Entity>(1_i16).expect("a note in the map");
        assert!(Tracked::ptr_eq(&wide, &narrow) && Tracked::ptr_eq(&wide, &small));
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn z14_begin_carries_its_modes_in_one_round_trip_and_sqlite_refuses_what_it_cannot_do() {
    let server = Server::new().await;
    let proxy = server.proxy().await;
    let url = proxy.url(&server.user, &server.database);
    let queries = |seen: Vec<Seen>| -> Vec<String> {
        let sent =
            |one: &Seen| one.direction == Direction::ToServer && matches!(one.kind, Kind::Typed(b'Q' | b'P' | b'B'));
        seen.into_iter().filter(sent).map(|one| one.text).collect()
    };

    let plain = crate::support_proof::sea_orm(&url, 1).await;
    plain.ping().await.unwrap();
    proxy.record();
    let tx =
        plain.begin_with_config(Some(IsolationLevel::Serializable), Some(sea_orm::AccessMode::ReadOnly)).await.unwrap();
    let sent = queries(proxy.recorded());
    assert!(sent.len() >= 3, "plain: a round trip each for BEGIN, isolation and access mode: {sent:?}");
    tx.rollback().await.unwrap();

    let db = crate::support_proof::db(&url, 1).await;
    db.connection().ping().await.unwrap();
    proxy.record();
    let unit = db.session().isolation(IsolationLevel::Serializable).read_only().deferrable().set_local("app.x", "1");
    unit.run(async |s| -> Result<(), Error> {
        let sql = "SELECT current_setting('transaction_isolation') || current_setting('transaction_read_only') \
            || current_setting('transaction_deferrable') || current_setting('app.x')";
        let row = s.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?.expect("a row");
        assert_eq!(row.try_get_by_index::<String>(0)?, "serializableonon1");
        Ok(())
    })
    .await
    .unwrap();
    let sent = queries(proxy.recorded());
    assert_eq!(sent.iter().filter(|sql| sql.contains("BEGIN")).count(), 1);
    assert!(sent[0].contains("SERIALIZABLE READ ONLY DEFERRABLE") && sent[0].contains("app.x"), "{sent:?}");

    let sqlite = memory().await;
    let tx = sqlite
        .connection()
        .begin_with_config(Some(IsolationLevel::ReadUncommitted), Some(sea_orm::AccessMode::ReadOnly))
        .await;
    let tx = tx.unwrap();
    tx.execute_unprepared("INSERT INTO note (title) VALUES ('written')").await.expect("plain: read-only is ignored");
    tx.rollback().await.unwrap();
    let refused = sqlite
        .session()
        .read_only()
        .run(async |s| -> Result<(), Error> {
            s.add(draft("never"));
            Ok(())
        })
        .await;
    refused.expect_err("a read-only unit does not write");
    let serializable = sqlite.session().isolation(IsolationLevel::Serializable).read_only();
    let refused = serializable.clone().deferrable().run(async |_| -> Result<(), Error> { Ok(()) }).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    let refused = serializable.set_local("app.x", "1").run(async |_| -> Result<(), Error> { Ok(()) }).await;
    assert!(matches!(refused, Err(Error::Unsupported { .. })), "{refused:?}");
    assert_eq!(note::Entity::find().count(sqlite.connection()).await.unwrap(), 0);
}

#[tokio::test]
async fn z15_sqlite_writers_do_not_fail_at_once_behind_a_stale_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("z15.db").display());
    let journal = |row: Option<sea_orm::QueryResult>| row.expect("a row").try_get_by_index::<String>(0).unwrap();
    let pragma = || Statement::from_string(DbBackend::Sqlite, "PRAGMA journal_mode");

    let mut options = ConnectOptions::new(&url);
    options.max_connections(2).sqlx_logging(false);
    let plain = Database::connect(options).await.unwrap();
    assert_eq!(journal(plain.query_one_raw(pragma()).await.unwrap()), "delete", "plain: SeaORM's default journal");
    plain.execute_unprepared("PRAGMA journal_mode = wal").await.unwrap();
    plain.execute_unprepared(note::SQLITE).await.unwrap();
    let stale = plain.begin().await.unwrap();
    note::Entity::find().count(&stale).await.unwrap();
    plain.execute_unprepared("INSERT INTO note (title) VALUES ('somebody else')").await.unwrap();
    let error = stale.execute_unprepared("INSERT INTO note (title) VALUES ('mine')").await.unwrap_err();
    let DbErr::Exec(RuntimeErr::SqlxError(error)) = &error else { panic!("{error:?}") };
    assert_eq!(
        error.as_database_error().and_then(|error| error.code()).as_deref(),
        Some("517"),
        "plain: BUSY_SNAPSHOT"
    );
    stale.rollback().await.unwrap();

    let db = Db::connect(url).await.unwrap();
    assert_eq!(journal(db.connection().query_one_raw(pragma()).await.unwrap()), "wal");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = db.clone();
        writers.spawn(async move {
            for _ in 0..10 {
                db.run(async |s| -> Result<(), Error> {
                    let note = s.get::<note::Entity>(1_i64).await?.expect("a note");
                    note.set_rank(note.rank().map(|rank| rank + 1));
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    Ok(())
                })
                .await
                .unwrap();
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let note = note::Entity::find_by_id(1).one(db.connection()).await.unwrap().unwrap();
    assert_eq!(note.rank, Some(7 + 80), "no increment is lost, and none has failed");
}

#[tokio::test]
async fn z16_sqlite_has_returning_and_the_workspace_names_one_feature_set() {
    assert!(DbBackend::Sqlite.support_returning(), "without the feature every insert needs a second statement");
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for member in
        [".", "session", "session/macros", "session/macros/core", "session/migration", "entities", "migration"]
    {
        let manifest = std::fs::read_to_string(format!("{workspace}/{member}/Cargo.toml")).unwrap();
        let own = manifest.split("[workspace.dependencies]").next().unwrap_or_default();
        for line in own.lines().filter(|line| line.starts_with("sea-orm") || line.starts_with("tokio")) {
            // One package may add to what all have, but not to what a backend is or does.
            let named = line.split_once("features = [").map_or("", |(_, named)| named);
            let more: Vec<&str> = named.split('"').skip(1).step_by(2).collect();
            assert!(
                more.iter()
                    .all(|feature| ["mock", "net", "process", "runtime-tokio-rustls", "signal"].contains(feature)),
                "{member}: this is named in the workspace only: {line}"
            );
        }
    }

    let unit = memory().await.session();
    let numbers = unit.clone();
    unit.run(async |s| -> Result<(), Error> {
        let added: Vec<_> = (0..10).map(|at| s.add(draft(&format!("row {at}")))).collect();
        s.flush().await?;
        assert!(added.iter().zip(1..).all(|(note, id)| note.id() == id && note.rank() == Some(7)));
        assert!(
            numbers.stats().statements <= 2,
            "keys and defaults came back with the inserts, of which there are few"
        );
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn z17_parents_are_inserted_first_whatever_the_relation_says_of_ownership() {
    assert!(!note::remark::Relation::Note.def().is_owner, "plain: `belongs_to` holds the key and is no owner");
    assert!(note::Relation::Remark.def().is_owner);

    for db in [postgres().await.1, memory().await] {
        db.run(async |s| -> Result<(), Error> {
            let remark = s.add(note::remark::ActiveModel { text: Set("child first".into()), ..Default::default() });
            let parent = s.add(draft("parent"));
            remark.set_parent::<note::Entity>(note::remark::Relation::Note, &parent)?;
            s.flush().await?;
            assert_eq!(remark.note_id(), parent.id());
            Ok(())
        })
        .await
        .unwrap();
        let wrong = db
            .run(async |s| -> Result<(), Error> {
                let parent = s.add(draft("parent"));
                let remark = s.add(note::remark::ActiveModel { text: Set("x".into()), ..Default::default() });
                parent.set_parent::<note::remark::Entity>(note::Relation::Remark, &remark)
            })
            .await;
        assert!(matches!(wrong, Err(Error::Usage(_))), "the wrong direction is refused: {wrong:?}");
    }
}

/// `#[sea_orm::model]` copies the derives of `Model` to its `ModelEx`.
mod pen {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "pen")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub colour: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

#[tokio::test]
async fn z18_the_derive_tells_a_model_from_its_copy() {
    // That this file compiles is the half of it: on `ModelEx` the derive would define `TrackedModel` a second time.
    let copy = pen::ModelEx { id: 1, colour: "red".into() };
    assert_eq!(copy.colour, "red");
    let db = memory().await;
    db.connection()
        .execute_unprepared("CREATE TABLE pen (id integer PRIMARY KEY AUTOINCREMENT, colour text)")
        .await
        .unwrap();
    db.run(async |s| -> Result<(), Error> {
        let pen = s.add(pen::ActiveModel { id: NotSet, colour: Set("blue".into()) });
        s.flush().await?;
        assert_eq!((pen.id(), pen.colour().as_str()), (1, "blue"));
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn z20_a_tenants_setting_is_bound_for_its_transaction_only() {
    let (server, db) = postgres().await;
    let read = || Statement::from_string(DbBackend::Postgres, "SELECT current_setting('app.x', true)");

    let plain = server.sea_orm(1).await;
    let never: Option<String> = plain.query_one_raw(read()).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert_eq!(never, None);
    let tx = plain.begin().await.unwrap();
    tx.execute_unprepared("SET LOCAL app.x = 'tenant'").await.unwrap();
    tx.commit().await.unwrap();
    let later: Option<String> = plain.query_one_raw(read()).await.unwrap().unwrap().try_get_by_index(0).unwrap();
    assert_eq!(later.as_deref(), Some(""), "plain: empty instead of NULL, so a policy finds no rows and says nothing");

    let hostile = "o'brien\\'; DROP TABLE note; --";
    db.session()
        .set_local("app.x", hostile)
        .run(async |s| -> Result<(), Error> {
            let row = s.query_one_raw(read()).await?.expect("a row");
            assert_eq!(row.try_get_by_index::<String>(0)?, hostile);
            Ok(())
        })
        .await
        .unwrap();
    db.run(async |s| -> Result<(), Error> {
        let row = s.query_one_raw(read()).await?.expect("a row");
        assert_eq!(row.try_get_by_index::<Option<String>>(0)?.as_deref(), Some(""), "nothing of it is left");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(note::Entity::find().count(db.connection()).await.unwrap(), 0, "the table is still there");
    // A tenant's entity in a unit that names no tenant is refused rather than shown as empty: see the tenants' tests (T2).
}
