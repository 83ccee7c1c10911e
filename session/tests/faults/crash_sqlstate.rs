//! The SQLSTATE matrix of R7: every code, raised by the server at a statement, in the flush and at COMMIT, and what the
//! session does about it. FATAL codes come through the fault proxy, which ends the connection as a server would.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{ConnectOptions, ConnectionTrait, EntityTrait, PaginatorTrait, sqlx};
use sea_session::Error;
use sea_session::prelude::*;

use crate::fault_proxy::{Fault, Rule};
use crate::support_proof::{Server, note};

/// Where the error strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Statement,
    Flush,
    Commit,
}

const PLACES: [At; 3] = [At::Statement, At::Flush, At::Commit];

/// What is expected of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// It runs again and succeeds.
    Retried,
    /// It ends with the error.
    Given,
}

/// Triggers that raise the SQLSTATE which a title asks for: at the insert, or deferred to COMMIT.
const TRIGGERS: &str = "
    CREATE FUNCTION raise(code text) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'raised' USING ERRCODE = code; END $$;
    CREATE FUNCTION raise_by_title() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.title LIKE TG_ARGV[0] || ' %' THEN PERFORM raise(split_part(NEW.title, ' ', 2)); END IF;
            RETURN NEW;
        END $$;
    CREATE TRIGGER at_flush BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION raise_by_title('Flush');
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON note DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION raise_by_title('Commit');
";

struct Rig {
    server: Server,
    db: Db,
}

impl Rig {
    async fn new() -> Self {
        let server = Server::new().await;
        sqlx::raw_sql(note::POSTGRES).execute(&server.pool).await.expect("tables");
        sqlx::raw_sql(TRIGGERS).execute(&server.pool).await.expect("triggers");
        let db = server.db(1).await;
        Self { server, db }
    }

    async fn stored(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(&self.server.pool).await.expect("a count")
    }
}

fn quick() -> Retry {
    Retry::times(2).backoff(Duration::from_micros(100), Duration::from_millis(1))
}

/// Runs a unit whose first attempt meets `code` at `place`; the outcome and the attempts made.
async fn meet<E>(db: &Db, retry: Retry, code: &str, place: At) -> (Result<(), E>, usize)
where
    E: From<Error> + Send + 'static,
{
    let attempts = AtomicUsize::new(0);
    let outcome = db
        .session()
        .retry(retry)
        .run(async |s| -> Result<(), E> {
            let first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
            if first && place == At::Statement {
                s.execute_unprepared(&format!("SELECT raise('{code}')")).await.map_err(Error::from)?;
            }
            let title = if first { format!("{place:?} {code}") } else { "again".to_owned() };
            s.add(note::ActiveModel { title: Set(title), ..Default::default() });
            s.flush().await?;
            Ok(())
        })
        .await;
    (outcome, attempts.into_inner())
}

/// Runs a unit that the server has nothing against; the outcome and the attempts made.
async fn unharmed(db: &Db) -> (Result<(), Error>, usize) {
    let attempts = AtomicUsize::new(0);
    let unit = db.session().retry(quick());
    let outcome = unit
        .run(async |s| -> Result<(), Error> {
            attempts.fetch_add(1, Ordering::SeqCst);
            s.execute_unprepared("SELECT 1").await?;
            s.add(note::ActiveModel { title: Set("unharmed".into()), ..Default::default() });
            Ok(())
        })
        .await;
    (outcome, attempts.into_inner())
}

#[tokio::test]
async fn r7_the_matrix_of_codes_and_places() {
    use Action::{Given, Retried};
    let rig = Rig::new().await;
    let matrix = [
        ("40001", Retried),
        ("40P01", Retried),
        ("55P03", Given),
        ("57014", Given),
        ("25P02", Given),
        ("08000", Retried),
        ("08001", Retried),
        ("08003", Retried),
        ("08004", Retried),
        ("08006", Retried),
        ("08007", Retried),
        ("08P01", Retried),
        ("57P01", Retried),
        ("57P02", Retried),
        ("57P03", Retried),
        ("53300", Retried),
        // Whether it was completed is not known to the server that says so; ours can say that it was not.
        ("40003", Given),
        ("40002", Given),
        ("23505", Given),
        ("23503", Given),
        ("22012", Given),
        ("42601", Given),
        ("53200", Given),
        ("57P04", Given),
        ("XX000", Given),
        ("P0001", Given),
    ];
    let mut wrong = Vec::new();
    for (code, expected) in matrix {
        for place in PLACES {
            sqlx::raw_sql("TRUNCATE note CASCADE").execute(&rig.server.pool).await.expect("an empty table");
            let (outcome, attempts) = meet::<Error>(&rig.db, quick(), code, place).await;
            let action = match &outcome {
                Ok(()) if attempts == 2 => Some(Retried),
                Err(error) if attempts == 1 && error.sqlstate() == Some(code) => Some(Given),
                _ => None,
            };
            let rows = if expected == Retried { 1 } else { 0 };
            if action != Some(expected) || rig.stored().await != rows {
                wrong.push(format!(
                    "{code} at {place:?}: {attempts} attempts, {outcome:?}, {} rows",
                    rig.stored().await
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn r7_a_lock_that_is_not_available_is_retried_when_asked() {
    let rig = Rig::new().await;
    for place in PLACES {
        let (outcome, attempts) = meet::<Error>(&rig.db, quick().on_lock_not_available(), "55P03", place).await;
        assert_eq!((outcome.is_ok(), attempts), (true, 2), "{place:?}");
    }
}

#[tokio::test]
async fn r7_fatal_codes_reconnect_and_retry() {
    let rig = Rig::new().await;
    let proxy = rig.server.proxy().await;
    let mut options = ConnectOptions::new(proxy.url(&rig.server.user, &rig.server.database));
    options.max_connections(1).test_before_acquire(false);
    let db = Db::connect(options).await.expect("sessions");
    let mut expected = 0;
    for code in ["57P01", "57P02", "57P03", "53300", "08006", "08P01"] {
        // A pooled connection that turns out to be dead at BEGIN costs no attempt: nothing of the unit was sent on it.
        for (place, rule, made) in [
            ("BEGIN", Rule::client(b'Q', Fault::Fatal(code)).text("begin"), 1),
            ("a statement", Rule::client(b'Q', Fault::Fatal(code)).text("select 1"), 2),
            ("the flush", Rule::client(b'P', Fault::Fatal(code)).text("insert into"), 2),
            ("COMMIT", Rule::client(b'Q', Fault::Fatal(code)).text("commit"), 2),
        ] {
            // A fresh connection, so that the insert is parsed again.
            db.connection().get_postgres_connection_pool().acquire().await.expect("a connection").detach();
            let struck = proxy.inject(rule);
            let (outcome, attempts) = unharmed(&db).await;
            assert_eq!((outcome.is_ok(), struck.times()), (true, 1), "{code} at {place}: {outcome:?}");
            assert!(attempts == made || (place == "BEGIN" && attempts == 2), "{code} at {place}: {attempts} attempts");
            expected += 1;
            assert_eq!(rig.stored().await, expected, "{code} at {place}");
            proxy.clear();
        }
    }
}

/// An application's error that hides what the database said.
#[derive(Debug, thiserror::Error)]
enum Hidden {
    #[error("something went wrong")]
    Something,
}

impl From<Error> for Hidden {
    fn from(_: Error) -> Self {
        Hidden::Something
    }
}

#[tokio::test]
async fn r5_the_callers_error_type_need_not_show_what_the_database_said() {
    let rig = Rig::new().await;
    for place in PLACES {
        let (outcome, attempts) = meet::<anyhow::Error>(&rig.db, quick(), "40001", place).await;
        assert_eq!((outcome.is_ok(), attempts), (true, 2), "anyhow, {place:?}");
        let boxed = meet::<Box<dyn std::error::Error + Send + Sync>>(&rig.db, quick(), "40001", place).await;
        assert_eq!((boxed.0.is_ok(), boxed.1), (true, 2), "Box<dyn Error>, {place:?}");
        let (outcome, attempts) = meet::<Hidden>(&rig.db, quick(), "40001", place).await;
        assert_eq!((outcome.is_ok(), attempts), (true, 2), "an enum that hides it, {place:?}");
        let (outcome, attempts) = meet::<Hidden>(&rig.db, quick(), "23505", place).await;
        assert_eq!((outcome.is_err(), attempts), (true, 1), "and what is not retryable is not retried, {place:?}");
    }
}

#[tokio::test]
async fn r8_a_serialization_failure_swallowed_in_a_nested_block_dooms_the_unit() {
    let rig = Rig::new().await;
    let attempts = AtomicUsize::new(0);
    rig.db
        .session()
        .retry(quick())
        .run(async |s| -> Result<(), Error> {
            let first = attempts.fetch_add(1, Ordering::SeqCst) == 0;
            let swallowed = s
                .atomic(async |s| -> Result<(), Error> {
                    if first {
                        s.execute_unprepared("SELECT raise('40001')").await?;
                    }
                    Ok(())
                })
                .await;
            assert_eq!(swallowed.is_err(), first);
            s.add(note::ActiveModel { title: Set("written".into()), ..Default::default() });
            Ok(())
        })
        .await
        .expect("the second attempt");
    assert_eq!((attempts.into_inner(), rig.stored().await), (2, 1));
}

#[tokio::test]
async fn r7_sqlite_busy_restarts_the_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("busy.db").display());
    let rival = Db::connect(&url).await.expect("sessions");
    rival.connection().execute_unprepared(note::SQLITE).await.expect("tables");
    let mut options = ConnectOptions::new(&url);
    options.max_connections(1).sqlx_logging(false);
    options.map_sqlx_sqlite_opts(|sqlite| sqlite.busy_timeout(Duration::from_millis(20)));
    let impatient = Db::from(sea_orm::Database::connect(options).await.expect("a pool"));

    let holder = std::sync::Arc::new(tokio::sync::Mutex::new(Some(rival.begin().await.expect("begin"))));
    if let Some(s) = holder.lock().await.as_mut() {
        s.add(note::ActiveModel { title: Set("rival".into()), ..Default::default() });
        s.flush().await.expect("the write lock");
    }
    let release = holder.clone();
    let retry = Retry::times(3).sleep_with(move |_| {
        let release = release.clone();
        Box::pin(async move {
            if let Some(mut s) = release.lock().await.take() {
                s.commit().await.expect("the rival commits");
            }
        })
    });
    let unit = impatient.session().retry(retry);
    let numbers = unit.clone();
    unit.run(async |s| -> Result<(), Error> {
        s.add(note::ActiveModel { title: Set("impatient".into()), ..Default::default() });
        Ok(())
    })
    .await
    .expect("the second attempt");
    assert_eq!(numbers.stats().retries, 1);
    assert_eq!(note::Entity::find().count(rival.connection()).await.expect("a count"), 2);
}
