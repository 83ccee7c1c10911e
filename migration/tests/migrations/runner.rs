//! The rules G with the migrations of the context store, on every backend.

use std::process::{Child, Command, Stdio};

use context_migration::{Error, Migrator, Runner, State, entities};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use sea_orm_migration::MigratorTrait;
use sea_session::Db;
use sea_session_migration::{Direction, doctor, role};

use crate::common::Fresh;
use crate::support;

const CONTEXT: usize = 11;

fn migrate(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.arg("--database").arg(url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn examine(db: &DatabaseConnection) -> Result<Vec<doctor::Complaint>, Error> {
    doctor::examine::<Migrator>(db.clone(), &entities()).await
}

// --- G1, G8 -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn g8_up_down_up_gives_the_same_catalogue_with_data_in_every_table() {
    for fresh in Fresh::all().await {
        let runner = Runner::new(fresh.db.clone());
        let empty = fresh.catalogue().await;
        assert_eq!(runner.up().await.unwrap().steps.len(), CONTEXT);
        let clean = fresh.catalogue().await;
        assert!(clean.len() > 100 || !fresh.is_postgres(), "{clean:#?}");

        // One at a time, with rows in every table that there is.
        let mut stages = vec![clean.clone()];
        for _ in 0..CONTEXT {
            support::fill(&fresh).await;
            assert_eq!(runner.down(1).await.unwrap().steps.len(), 1);
            stages.push(fresh.catalogue().await);
        }
        assert_eq!(stages.last().unwrap(), &empty, "down to nothing");
        for stage in stages.iter().rev().skip(1) {
            assert_eq!(runner.up_by(1).await.unwrap().steps.len(), 1);
            assert_eq!(&fresh.catalogue().await, stage, "up is not the inverse of down");
        }
        assert_eq!(runner.refresh().await.unwrap().steps.len(), 2 * CONTEXT);
        assert_eq!(fresh.catalogue().await, clean);
        assert_eq!(runner.reset().await.unwrap().steps.len(), CONTEXT);
        assert_eq!(fresh.catalogue().await, empty);
        fresh.close().await;
    }
}

#[tokio::test]
async fn g1_fresh_drops_what_no_migration_made() {
    for fresh in Fresh::each().await {
        let runner = Runner::new(fresh.db.clone());
        runner.up().await.unwrap();
        let clean = fresh.catalogue().await;
        support::fill(&fresh).await;
        fresh.sql("CREATE TABLE parent (id integer PRIMARY KEY)").await;
        fresh.sql("CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent (id))").await;
        fresh.sql("INSERT INTO parent VALUES (1)").await;
        fresh.sql("INSERT INTO child VALUES (1, 1)").await;
        fresh
            .sql("CREATE VIEW both_of_them AS SELECT child.id FROM child JOIN parent ON parent.id = child.parent")
            .await;
        if fresh.is_postgres() {
            fresh.sql("CREATE TYPE mood AS ENUM ('sad', 'glad')").await;
            fresh.sql("CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS ''").await;
            fresh.sql("CREATE SEQUENCE alone").await;
        }
        assert_eq!(runner.fresh().await.unwrap().steps.len(), CONTEXT);
        assert_eq!(fresh.catalogue().await, clean);
        assert_eq!(fresh.count("SELECT count(*) FROM nodes").await, 0);
        fresh.close().await;
    }
}

#[tokio::test]
async fn g1_the_command_migrates_and_its_exit_codes_say_what_happened() {
    for fresh in Fresh::all().await {
        let run = |args: &[&str]| {
            let output = migrate(&fresh.url).args(args).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code().unwrap(), text, errors)
        };
        assert_eq!(run(&["status", "--check"]).0, 3);
        let (code, text, errors) = run(&["up", "-n", "2"]);
        assert_eq!((code, text.contains("2 migration(s)")), (0, true), "{text}{errors}");
        assert_eq!(run(&["status", "--check"]).0, 3);
        assert_eq!(run(&["up"]).0, 0);
        assert_eq!(run(&["status", "--check"]).0, 0);
        let (code, text, _) = run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, status.as_array().unwrap().len(), &status[0]["state"]), (0, CONTEXT, &"applied".into()));
        let (code, text, errors) = run(&["doctor"]);
        assert_eq!(code, 0, "{text}{errors}");

        // G5: without a terminal nothing is destroyed but by --yes, and outside development not without the name.
        for destroy in ["down", "reset", "refresh", "fresh"] {
            assert_eq!(run(&[destroy]).0, 6, "{destroy}");
            assert_eq!(run(&[destroy, "--yes", "--environment", "production"]).0, 6, "{destroy}");
            assert_eq!(run(&[destroy, "--yes", "--environment", "production", "--confirm", "other"]).0, 6, "{destroy}");
        }
        assert_eq!(run(&["status", "--check"]).0, 0, "nothing was destroyed");
        let (code, text, errors) = run(&["down", "--yes", "-n", "1"]);
        assert_eq!((code, text.contains("1 migration(s)")), (0, true), "{text}{errors}");
        assert_eq!(run(&["fresh", "--yes"]).0, 0);
        assert_eq!(run(&["nonsense"]).0, 2);
        fresh.close().await;
    }
    let missing = migrate("postgres://nobody@127.0.0.1:1/none").arg("status").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot connect"));
}

#[tokio::test]
async fn g1_a_database_in_memory_is_migrated_through_its_one_connection() {
    let db = Db::connect("sqlite::memory:").await.unwrap();
    assert_eq!(Runner::new(db.clone()).up().await.unwrap().steps.len(), CONTEXT);
    assert_eq!(Runner::new(db.clone()).refresh().await.unwrap().steps.len(), 2 * CONTEXT);
    assert_eq!(Runner::new(db.clone()).fresh().await.unwrap().steps.len(), CONTEXT);
    assert_eq!(examine(db.connection()).await.unwrap(), []);
    db.close().await.unwrap();
}

// --- G2 ---------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn g2_sixteen_processes_at_once_apply_each_migration_once() {
    for fresh in Fresh::all().await {
        let children: Vec<Child> = (0..16).map(|_| migrate(&fresh.url).arg("up").spawn().unwrap()).collect();
        let mut applied = 0;
        for child in children {
            let output = child.wait_with_output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{errors}");
            applied += errors.lines().filter(|line| line.contains(" up: ")).count();
        }
        assert_eq!(applied, CONTEXT, "each migration is applied by one process");
        assert_eq!(fresh.count("SELECT count(*) FROM seaql_migrations").await, i64::try_from(CONTEXT).unwrap());
        assert!(examine(&fresh.db).await.unwrap().is_empty());
        fresh.close().await;
    }
}

// --- G4 ---------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn g4_a_table_that_seaorm_keeps_is_adopted_as_it_is() {
    for fresh in Fresh::each().await {
        Migrator::up(&fresh.db, Some(3)).await.unwrap();
        let before = fresh.texts("SELECT version || applied_at FROM seaql_migrations ORDER BY version").await;
        let runner = Runner::new(fresh.db.clone());
        let status = runner.status().await.unwrap();
        assert_eq!(status.iter().filter(|status| status.state == State::Applied).count(), 3);
        assert_eq!(runner.up().await.unwrap().steps.len(), CONTEXT - 3);
        let after = fresh.texts("SELECT version || applied_at FROM seaql_migrations ORDER BY version LIMIT 3").await;
        assert_eq!(before, after);
        assert_eq!(
            fresh.count("SELECT count(*) FROM seaql_migrations_ledger WHERE checksum IS NOT NULL").await,
            i64::try_from(CONTEXT).unwrap()
        );
        // And back: SeaORM's own tool goes on working.
        Migrator::down(&fresh.db, Some(2)).await.unwrap();
        assert_eq!(runner.up().await.unwrap().steps.len(), 2);
        assert!(runner.verify().await.unwrap().is_empty());
        fresh.close().await;
    }
}

// --- G6 ---------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn g6_plan_prints_what_up_sends_and_runs_nothing() {
    for fresh in Fresh::each().await {
        let runner = Runner::new(fresh.db.clone());
        let plans = runner.plan(Direction::Up, u32::MAX).await.unwrap();
        assert_eq!(plans.len(), CONTEXT);
        assert!(fresh.catalogue().await.is_empty(), "plan ran something");
        // What it prints is what up does: the printed text alone makes the same schema.
        for plan in &plans {
            fresh.sql(&plan.to_string()).await;
        }
        let printed = fresh.catalogue().await;
        assert_eq!(runner.fresh().await.unwrap().steps.len(), CONTEXT);
        assert_eq!(fresh.catalogue().await, printed);
        assert!(runner.plan(Direction::Up, u32::MAX).await.unwrap().is_empty());
        let down = runner.plan(Direction::Down, 2).await.unwrap();
        assert_eq!(down.len(), 2);
        for plan in &down {
            fresh.sql(&plan.to_string()).await;
        }
        assert_eq!(runner.down(0).await.unwrap().steps.len(), 0);
        let without_database = Command::new(env!("CARGO_BIN_EXE_migrate"))
            .args(["plan", "--backend", if fresh.is_postgres() { "postgres" } else { "sqlite" }])
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let text: String = plans.iter().map(|plan| format!("{plan}\n")).collect();
        assert_eq!(String::from_utf8(without_database.stdout).unwrap(), text);
        fresh.close().await;
    }
}

// --- doctor and roles -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn g8_doctor_names_what_is_missing_and_what_is_too_much() {
    for fresh in Fresh::each().await {
        let missing = examine(&fresh.db).await.unwrap();
        assert!(missing.iter().any(|complaint| complaint.to_string() == "table nodes is missing"), "{missing:?}");
        Runner::new(fresh.db.clone()).up().await.unwrap();
        assert_eq!(examine(&fresh.db).await.unwrap(), []);
        fresh.sql("DROP INDEX edges_to_id_edge_type_idx").await;
        fresh.sql("CREATE INDEX extra_idx ON edges (reason)").await;
        fresh.sql("ALTER TABLE nodes DROP COLUMN content_hash").await;
        fresh.sql("CREATE TABLE not_ours (id integer)").await;
        if fresh.is_postgres() {
            fresh.sql("ALTER TABLE nodes NO FORCE ROW LEVEL SECURITY").await;
            fresh.sql("ALTER TABLE edges ALTER COLUMN weight TYPE real").await;
            fresh.sql("ALTER TABLE edges ALTER COLUMN reason DROP NOT NULL").await;
            fresh.sql("DROP POLICY edges_tenant ON edges").await;
        }
        let complaints: Vec<String> = examine(&fresh.db).await.unwrap().iter().map(ToString::to_string).collect();
        let has = |text: &str| assert!(complaints.iter().any(|line| line.contains(text)), "{text}: {complaints:#?}");
        has("edges_to_id_edge_type_idx");
        has("unexpected: index edges.extra_idx");
        has("column nodes.content_hash is missing");
        if fresh.is_postgres() {
            has("missing: table nodes: kind r, row security t, forced t");
            has("column edges.weight is real, expected double precision");
            has("column edges.reason must not be nullable");
            has("missing: policy edges.edges_tenant");
        }
        assert!(!complaints.iter().any(|line| line.contains("not_ours")), "{complaints:#?}");
        fresh.close().await;
    }
}

#[tokio::test]
async fn t3_the_application_role_reads_and_writes_owns_nothing_and_is_bound() {
    let fresh = Fresh::postgres().await;
    Runner::new(fresh.db.clone()).up().await.unwrap();
    let name = format!("app \"{}\"", uuid::Uuid::new_v4().simple());
    for _ in 0..2 {
        let wanted = role::ApplicationRole::new(&name).password("it's secret");
        role::create_application_role(fresh.db.clone(), &wanted).await.unwrap();
    }
    let administrator = role::refuse_privileged_role(fresh.db.clone()).await.unwrap_err();
    assert!(administrator.to_string().contains("superuser"), "{administrator}");
    let quoted = name.replace('"', "\"\"");
    let mut options = sea_orm::ConnectOptions::new(&fresh.url);
    options.max_connections(1).sqlx_logging(false);
    let app = sea_orm::Database::connect(options).await.unwrap();
    app.execute_unprepared(&format!("SET SESSION AUTHORIZATION \"{quoted}\"")).await.unwrap();
    assert_eq!(role::excess_rights(app.clone()).await.unwrap(), Vec::<String>::new());
    app.execute_unprepared("SELECT set_config('app.account_id', 'a', false)").await.unwrap();
    app.execute_unprepared("INSERT INTO nodes (id, account_id, uri, owner_space, node_type) VALUES (gen_random_uuid(), 'a', 'ctx://a', '', '')").await.unwrap();
    app.execute_unprepared(
        "INSERT INTO outbox_events (account_id, event_key, sequence, event_type) VALUES ('a', 'k', 1, 't')",
    )
    .await
    .unwrap();
    for refused in [
        "CREATE TABLE mine (id integer)",
        "ALTER TABLE nodes NO FORCE ROW LEVEL SECURITY",
        "DROP TABLE nodes",
        "DELETE FROM seaql_migrations",
        "INSERT INTO nodes (id, account_id, uri, owner_space, node_type) VALUES (gen_random_uuid(), 'b', 'ctx://b', '', '')",
    ] {
        app.execute_unprepared(refused).await.expect_err(refused);
    }
    fresh.sql(&format!("REVOKE ALL ON seaql_migrations_ledger FROM \"{quoted}\"")).await;
    let status = Runner::new(app.clone()).status().await.unwrap();
    assert!(status.iter().all(|status| status.state == State::Applied), "{status:?}");
    // A schema that is up to date asks no right of the application.
    fresh.sql(&format!("GRANT SELECT ON seaql_migrations_ledger TO \"{quoted}\"")).await;
    assert!(Runner::new(app.clone()).up().await.unwrap().steps.is_empty());
    assert_eq!(Runner::new(app.clone()).status().await.unwrap().len(), CONTEXT);
    app.close().await.unwrap();
    fresh.sql(&format!("DROP OWNED BY \"{quoted}\"; DROP ROLE \"{quoted}\"")).await;
    assert!(matches!(
        role::create_application_role(Fresh::sqlite().await.db.clone(), &role::ApplicationRole::new("x")).await,
        Err(Error::Unsupported(_))
    ));
    assert_eq!(DbBackend::Postgres, fresh.db.get_database_backend());
    fresh.close().await;
}
