//! The schema is what the entities say, and refuses what the rules forbid, on every backend.

use context_entities::{edge, inbox, index_record, node, node_version, outbox_event, session_archive};
use context_migration::Migrator;
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder, SqlErr, prelude::*,
};
use sea_orm_migration::MigratorTrait;
use serde_json::json;

use crate::common::Fresh;

const T: &str = "2026-02-03T04:05:06.789012Z";

fn instant(text: &str) -> DateTimeUtc {
    text.parse().unwrap()
}

pub async fn migrated() -> Vec<Fresh> {
    let each = Fresh::all().await;
    for fresh in &each {
        Migrator::up(&fresh.db, None).await.unwrap();
    }
    each
}

fn a_node(account: &str, uri: &str) -> node::Model {
    let (parent, name) = uri.rsplit_once('/').unwrap();
    node::Model {
        id: Uuid::now_v7(),
        account_id: account.into(),
        uri: uri.into(),
        parent_uri: Some(parent.into()),
        name: name.into(),
        owner_space: "user:alice".into(),
        category: Some("events".into()),
        node_type: "memory".into(),
        status: node::Status::Broken,
        r#abstract: "abstract ü 🦀".into(),
        overview: "overview".into(),
        content: "content\nwith 'quotes'".into(),
        metadata: json!({"a": [1, 2.5, null], "b": {"c": "d"}}),
        version: i64::MAX - 1,
        content_hash: "00ff".into(),
        created_at: instant(T),
        updated_at: instant("2026-02-03T04:05:06Z"),
    }
}

/// Inserts every column, reads it back, and compares.
pub async fn round_trip<E>(db: &DatabaseConnection, model: E::Model) -> E::Model
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel> + Clone + PartialEq + std::fmt::Debug + Sync,
    E::ActiveModel: ActiveModelTrait<Entity = E> + Send,
{
    E::insert(model.clone().into_active_model().reset_all()).exec_without_returning(db).await.unwrap();
    let read = E::find().all(db).await.unwrap();
    assert!(read.contains(&model), "{model:?} is not among {read:?}");
    model
}

fn constraint(result: Result<impl std::fmt::Debug, DbErr>) -> String {
    let error = result.expect_err("a constraint must refuse this");
    error.to_string()
}

#[tokio::test]
async fn every_column_of_every_entity_is_written_and_read_back() {
    for fresh in migrated().await {
        let db = &fresh.db;
        let from = round_trip::<node::Entity>(db, a_node("a", "ctx://a/users/alice/memories/events/x")).await;
        let mut to = a_node("a", "ctx://a/resources");
        (to.parent_uri, to.category, to.status) = (None, None, node::Status::Active);
        let to = round_trip::<node::Entity>(db, to).await;
        for change in [
            node_version::Change::Write,
            node_version::Change::Move,
            node_version::Change::Archive,
            node_version::Change::Restore,
            node_version::Change::Delete,
            node_version::Change::Revert,
        ] {
            round_trip::<node_version::Entity>(
                db,
                node_version::Model {
                    node_id: Uuid::now_v7(),
                    version: 7,
                    account_id: "a".into(),
                    uri: from.uri.clone(),
                    owner_space: from.owner_space.clone(),
                    category: None,
                    node_type: "memory".into(),
                    status: node::Status::Archived,
                    r#abstract: "1".into(),
                    overview: "2".into(),
                    content: "3".into(),
                    metadata: json!({}),
                    content_hash: "x".into(),
                    change,
                    written_at: instant(T),
                    recorded_at: instant(T),
                },
            )
            .await;
        }
        round_trip::<edge::Entity>(
            db,
            edge::Model {
                id: Uuid::now_v7(),
                account_id: "a".into(),
                from_id: from.id,
                to_id: to.id,
                edge_type: "cites".into(),
                weight: 0.1,
                reason: "because".into(),
                metadata: json!({"k": true}),
                created_at: instant(T),
                updated_at: instant(T),
            },
        )
        .await;
        round_trip::<session_archive::Entity>(
            db,
            session_archive::Model {
                id: Uuid::now_v7(),
                account_id: "a".into(),
                session_id: "s".into(),
                sequence: 1,
                name: "0001".into(),
                owner_space: "user:alice".into(),
                node_id: Some(from.id),
                state: session_archive::State::Closed,
                messages: json!([{"text": "hello"}, {"text": "there"}]),
                message_count: 2,
                content_hash: "y".into(),
                version: 3,
                started_at: Some(instant(T)),
                ended_at: None,
                created_at: instant(T),
                updated_at: instant(T),
            },
        )
        .await;
        for (state, claimed, finished) in [
            (outbox_event::State::Pending, false, false),
            (outbox_event::State::Processing, true, false),
            (outbox_event::State::Done, false, true),
            (outbox_event::State::Dead, false, true),
        ] {
            round_trip::<outbox_event::Entity>(
                db,
                outbox_event::Model {
                    id: 100 + state as i64,
                    account_id: "a".into(),
                    topic: "other".into(),
                    event_key: from.id.to_string(),
                    sequence: 9,
                    event_type: "node.written".into(),
                    payload: json!({"uri": "ctx://a"}),
                    state,
                    attempts: 3,
                    available_at: instant(T),
                    fence: 12,
                    claimed_by: claimed.then(|| "worker-1".into()),
                    lease_until: claimed.then(|| instant(T)),
                    last_error: finished.then(|| "it broke".into()),
                    created_at: instant(T),
                    finished_at: finished.then(|| instant(T)),
                },
            )
            .await;
        }
        round_trip::<inbox::Entity>(
            db,
            inbox::Model {
                consumer: "c".into(),
                message_id: "m".into(),
                account_id: "a".into(),
                received_at: instant(T),
            },
        )
        .await;
        for level in [index_record::Level::Abstract, index_record::Level::Overview, index_record::Level::Content] {
            round_trip::<index_record::Entity>(db, a_record("a", level as i64, level, "t", "b", from.id)).await;
        }
        fresh.close().await;
    }
}

pub fn a_record(
    account: &str,
    id: i64,
    level: index_record::Level,
    title: &str,
    body: &str,
    node: Uuid,
) -> index_record::Model {
    index_record::Model {
        id: id + 1,
        account_id: account.into(),
        record_id: format!("{id:016x}"),
        node_id: node,
        uri: "ctx://a/x".into(),
        level,
        owner_space: "user:alice".into(),
        category: None,
        node_type: "memory".into(),
        title: title.into(),
        body: body.into(),
        version: 1,
        content_hash: String::new(),
        indexed_at: instant(T),
    }
}

#[tokio::test]
async fn columns_never_set_take_their_defaults() {
    for fresh in migrated().await {
        let db = &fresh.db;
        let before = chrono::Utc::now() - chrono::TimeDelta::seconds(5);
        let id = Uuid::now_v7();
        node::ActiveModel {
            id: Set(id),
            account_id: Set("a".into()),
            uri: Set("ctx://a".into()),
            owner_space: Set("a".into()),
            node_type: Set("root".into()),
            ..Default::default()
        }
        .insert(db)
        .await
        .unwrap();
        let node = node::Entity::find_by_id(id).one(db).await.unwrap().unwrap();
        assert_eq!((node.status, node.version, node.name.as_str()), (node::Status::Active, 1, ""));
        assert_eq!((node.metadata, node.content, node.parent_uri), (json!({}), String::new(), None));
        assert!(node.created_at > before && node.created_at < chrono::Utc::now() + chrono::TimeDelta::seconds(5));

        let event = outbox_event::ActiveModel {
            account_id: Set("a".into()),
            event_key: Set("k".into()),
            sequence: Set(1),
            event_type: Set("t".into()),
            ..Default::default()
        };
        let first = event.clone().insert(db).await.unwrap();
        let second = event.insert(db).await.unwrap();
        assert!(second.id > first.id);
        assert_eq!((first.topic.as_str(), first.state), ("context", outbox_event::State::Pending));
        assert_eq!((first.attempts, first.fence, first.payload), (0, 0, json!({})));
        assert!(first.available_at > before);
        fresh.close().await;
    }
}

#[tokio::test]
async fn t4_two_tenants_hold_one_uri_and_one_tenant_does_not() {
    for fresh in migrated().await {
        let uri = "ctx://a/resources/x";
        round_trip::<node::Entity>(&fresh.db, a_node("a", uri)).await;
        round_trip::<node::Entity>(&fresh.db, a_node("b", uri)).await;
        let again = a_node("a", uri).into_active_model().insert(&fresh.db).await.unwrap_err();
        assert!(matches!(again.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{again}");
        fresh.close().await;
    }
}

#[tokio::test]
async fn checks_refuse_what_the_rules_forbid() {
    for fresh in migrated().await {
        let db = &fresh.db;
        let id = a_node("a", "ctx://a/x");
        round_trip::<node::Entity>(db, id.clone()).await;
        let refused = [
            ("UPDATE nodes SET status = 'gone'", "nodes_status_check"),
            ("UPDATE nodes SET account_id = ''", "nodes_account_id_check"),
            ("UPDATE nodes SET name = 'y'", "nodes_parent_check"),
            ("UPDATE nodes SET uri = 'http://a/x', parent_uri = NULL", "nodes_uri_check"),
            ("UPDATE nodes SET metadata = '[]'", "nodes_metadata_check"),
            ("UPDATE nodes SET version = 0", "nodes_version"),
            ("UPDATE nodes SET version = version - 1", "nodes_version_rises"),
        ];
        for (sql, name) in refused {
            let error = constraint(db.execute_unprepared(sql).await);
            assert!(error.contains(name), "{sql}: {error}");
        }
        // A URI is ASCII, and MariaDB keeps nothing else there.
        let (letter, most, named) =
            if fresh.is_mariadb() { ("x", 1016, "'uri'") } else { ("é", 508, "nodes_uri_check") };
        let long = format!("ctx://a/{}", letter.repeat(most + 1));
        let error = constraint(a_node("a", &long).into_active_model().insert(db).await);
        assert!(error.contains(named), "{error}");
        let longest = format!("ctx://a/{}", letter.repeat(most));
        a_node("a", &longest).into_active_model().insert(db).await.unwrap();

        for (weight, fits) in [(0.0, true), (1.0, true), (-0.001, false), (1.001, false), (f64::NAN, false)] {
            let edge = edge::ActiveModel {
                id: Set(Uuid::now_v7()),
                account_id: Set("a".into()),
                from_id: Set(id.id),
                to_id: Set(id.id),
                edge_type: Set(format!("w{weight}")),
                weight: Set(weight),
                ..Default::default()
            };
            assert_eq!(edge.insert(db).await.is_ok(), fits, "weight {weight}");
        }

        let event = "INSERT INTO outbox_events (account_id, event_key, sequence, event_type, state, claimed_by, lease_until, finished_at) VALUES";
        for (values, name) in [
            ("('a', 'k', 1, 't', 'processing', NULL, NULL, NULL)", "outbox_events_lease_check"),
            ("('a', 'k', 1, 't', 'pending', 'w', '2026-01-01 00:00:00', NULL)", "outbox_events_lease_check"),
            ("('a', 'k', 1, 't', 'done', NULL, NULL, NULL)", "outbox_events_finished_check"),
            ("('a', 'k', 1, 't', 'lost', NULL, NULL, NULL)", "outbox_events_state_check"),
            ("('', 'k', 1, 't', 'pending', NULL, NULL, NULL)", "outbox_events_account_id_check"),
        ] {
            let error = constraint(db.execute_unprepared(&format!("{event} {values}")).await);
            assert!(error.contains(name), "{values}: {error}");
        }
        let error = constraint(
            db.execute_unprepared("INSERT INTO index_records (account_id, record_id, node_id, uri, level, owner_space, node_type, version) SELECT 'a', 'XYZ', id, uri, 0, '', '', 1 FROM nodes WHERE name = 'x'").await,
        );
        assert!(error.contains("index_records_record_id_check"), "{error}");
        fresh.close().await;
    }
}

#[tokio::test]
async fn v9_edges_go_with_their_nodes_and_never_leave_the_account() {
    for fresh in migrated().await {
        let db = &fresh.db;
        let a = round_trip::<node::Entity>(db, a_node("a", "ctx://a/x")).await;
        let b = round_trip::<node::Entity>(db, a_node("a", "ctx://a/y")).await;
        let foreign = round_trip::<node::Entity>(db, a_node("b", "ctx://b/x")).await;
        let link = |from: Uuid, to: Uuid| edge::ActiveModel {
            id: Set(Uuid::now_v7()),
            account_id: Set("a".into()),
            from_id: Set(from),
            to_id: Set(to),
            edge_type: Set("cites".into()),
            ..Default::default()
        };
        link(a.id, b.id).insert(db).await.unwrap();
        link(b.id, a.id).insert(db).await.unwrap();
        let twice = link(a.id, b.id).insert(db).await.unwrap_err();
        assert!(matches!(twice.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))), "{twice}");
        let across = link(a.id, foreign.id).insert(db).await.unwrap_err();
        assert!(matches!(across.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_))), "{across}");
        assert_eq!(a.find_linked(node::Neighbours).all(db).await.unwrap(), vec![b.clone()]);
        assert_eq!(a.find_linked(node::Outgoing).one(db).await.unwrap().unwrap().to_id, b.id);
        assert_eq!(a.find_linked(node::Incoming).one(db).await.unwrap().unwrap().from_id, b.id);
        node::Entity::delete_by_id(a.id).exec(db).await.unwrap();
        assert_eq!(edge::Entity::find().count(db).await.unwrap(), 0);
        fresh.close().await;
    }
}

#[tokio::test]
async fn v6_the_range_is_a_range_of_the_index_in_byte_order() {
    for fresh in migrated().await {
        let db = &fresh.db;
        // Names whose order differs between byte order and a language's.
        let accented = if fresh.is_mariadb() { "%C3%A9" } else { "é" };
        for name in ["a", "B", "_", "%", accented, "a-b", "a.b", "a/c"] {
            round_trip::<node::Entity>(db, a_node("a", &format!("ctx://a/r/{name}"))).await;
        }
        round_trip::<node::Entity>(db, a_node("a", "ctx://a/r")).await;
        round_trip::<node::Entity>(db, a_node("a", "ctx://a/r-neighbour")).await;
        let found: Vec<String> = node::Entity::find()
            .filter(node::Column::AccountId.eq("a"))
            .filter(node::Column::Uri.gte("ctx://a/r/"))
            .filter(node::Column::Uri.lt("ctx://a/r0"))
            .order_by_asc(node::Column::Uri)
            .all(db)
            .await
            .unwrap()
            .into_iter()
            .map(|node| node.uri)
            .collect();
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!((found.len(), &found), (8, &sorted));

        let query = "SELECT id FROM nodes WHERE account_id = 'a' AND uri >= 'ctx://a/r/' AND uri < 'ctx://a/r0' AND status = 'active' ORDER BY uri LIMIT 10";
        let plan = if fresh.is_postgres() {
            let transaction = sea_orm::TransactionTrait::begin(db).await.unwrap();
            // As a role that row-level security binds, with nothing else to choose for so small a table.
            for sql in [
                "CREATE ROLE v6_reader NOLOGIN",
                "GRANT SELECT ON nodes TO v6_reader",
                "SET LOCAL ROLE v6_reader",
                "SET LOCAL enable_seqscan = off",
                "SET LOCAL enable_bitmapscan = off",
                "SELECT set_config('app.account_id', 'a', true)",
            ] {
                transaction.execute_unprepared(sql).await.unwrap();
            }
            let rows = transaction
                .query_all_raw(sea_orm::Statement::from_string(
                    sea_orm::DbBackend::Postgres,
                    format!("EXPLAIN (COSTS OFF) {query}"),
                ))
                .await
                .unwrap();
            transaction.rollback().await.unwrap();
            rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap()).collect::<Vec<_>>().join("\n")
        } else if fresh.is_mariadb() {
            let explain = format!("EXPLAIN {query}");
            let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::MySql, explain);
            let row = db.query_one_raw(statement).await.unwrap().unwrap();
            ["type", "key"].map(|column| row.try_get::<String>("", column).unwrap()).join(" by ")
        } else {
            let rows = db
                .query_all_raw(sea_orm::Statement::from_string(
                    sea_orm::DbBackend::Sqlite,
                    format!("EXPLAIN QUERY PLAN {query}"),
                ))
                .await
                .unwrap();
            rows.iter().map(|row| row.try_get::<String>("", "detail").unwrap()).collect::<Vec<_>>().join("\n")
        };
        if fresh.is_postgres() {
            let condition = plan.lines().find(|line| line.contains("Index Cond")).unwrap_or_else(|| panic!("{plan}"));
            assert!(condition.contains("uri >=") && condition.contains("uri <"), "{plan}");
        } else if fresh.is_mariadb() {
            assert_eq!(plan, "range by nodes_active_uri_idx");
        } else {
            assert!(plan.contains("nodes_active_uri_idx (account_id=? AND uri>? AND uri<?)"), "{plan}");
        }
        fresh.close().await;
    }
}

#[tokio::test]
async fn t3_row_level_security_binds_even_the_owner_and_an_unbound_session_sees_nothing() {
    let fresh = Fresh::postgres().await;
    Migrator::up(&fresh.db, None).await.unwrap();
    let db = &fresh.db;
    for account in ["a", "b"] {
        for (space, name) in [("user:alice", "x"), ("user:bob", "y")] {
            let mut node = a_node(account, &format!("ctx://{account}/{name}"));
            node.owner_space = space.into();
            round_trip::<node::Entity>(db, node).await;
        }
    }
    let tables = fresh
        .texts("SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'seaql_migrations' AND NOT (relrowsecurity AND relforcerowsecurity)")
        .await;
    assert_eq!(tables, Vec::<String>::new(), "not protected");
    let role = format!("owner_{}", Uuid::new_v4().simple());
    fresh.sql(&format!("CREATE ROLE {role}")).await;
    for table in ["nodes", "edges", "node_versions"] {
        fresh.sql(&format!("ALTER TABLE {table} OWNER TO {role}")).await;
    }
    let seen = async |settings: &str| {
        let transaction = sea_orm::TransactionTrait::begin(db).await.unwrap();
        transaction.execute_unprepared(&format!("SET LOCAL ROLE {role}; {settings}")).await.unwrap();
        let mut uris: Vec<String> =
            node::Entity::find().all(&transaction).await.unwrap().into_iter().map(|node| node.uri).collect();
        transaction.rollback().await.unwrap();
        uris.sort();
        uris
    };
    assert_eq!(seen("").await, Vec::<String>::new());
    assert_eq!(seen("SET LOCAL app.account_id = ''").await, Vec::<String>::new());
    assert_eq!(seen("SET LOCAL app.account_id = 'a'").await, ["ctx://a/x", "ctx://a/y"]);
    assert_eq!(seen("SET LOCAL app.account_id = 'a'; SET LOCAL app.owner_spaces = 'user:bob,x'").await, ["ctx://a/y"]);
    assert_eq!(seen("SET LOCAL app.dispatcher = 'on'").await.len(), 4);
    // Z20: after a transaction that was bound, the setting is '' and not NULL on the same connection.
    assert_eq!(seen("").await, Vec::<String>::new());

    let transaction = sea_orm::TransactionTrait::begin(db).await.unwrap();
    transaction.execute_unprepared(&format!("SET LOCAL ROLE {role}; SET LOCAL app.account_id = 'a'")).await.unwrap();
    let foreign = a_node("b", "ctx://b/z").into_active_model().insert(&transaction).await.unwrap_err();
    assert!(foreign.to_string().contains("row-level security"), "{foreign}");
    transaction.rollback().await.unwrap();
    for table in ["nodes", "edges", "node_versions"] {
        fresh.sql(&format!("ALTER TABLE {table} OWNER TO CURRENT_USER")).await;
    }
    fresh.sql(&format!("DROP ROLE {role}")).await;
    fresh.close().await;
}
