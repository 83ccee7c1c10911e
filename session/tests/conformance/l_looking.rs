//! Looking inside (L): what is shown, and what never is.

use std::{io::Write, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, Set, SqlxPostgresConnector, sqlx::postgres::PgPoolOptions,
};
use sea_session::{
    Error, Session, UnitOptions,
    prelude::*,
    testing::{assert_statements, cluster, run_test_on},
};
use tracing::{
    instrument::WithSubscriber,
    span::{Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::format::FmtSpan,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use crate::support::*;

mod vault {
    use super::*;
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "vault")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[sea_orm(unique)]
        pub open: String,
        #[tracked(secret)]
        #[sea_orm(unique)]
        pub closed: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Everything that was logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }

    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + 'static {
        second_subscriber();
        let log = self.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish()
            .with(Recorded(self.clone()))
    }
}

/// Writes into the log what a span is told after it was opened. The formatter shows that with the span's close only, which is
/// lost when SQLite's thread, which has no subscriber of its own here, is the last to let go of a statement's span.
struct Recorded(Log);

impl<S: tracing::Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Recorded {
    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let name = context.span(id).map_or("", |span| span.name());
        writeln!(self.0.clone(), "recorded {name} {values:?}").unwrap();
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const OPEN: &str = "planted-open-value";
const CLOSED: &str = "planted-closed-value";
const SETTING: &str = "planted-setting-value";

fn planted(id: i64) -> vault::ActiveModel {
    vault::ActiveModel { id: Set(id), open: Set(format!("{OPEN}-{id}")), closed: Set(format!("{CLOSED}-{id}")) }
}

/// Does everything that can go well or wrong with planted values; returns all errors, as they are printed.
async fn everything(db: &Db, options: impl Fn() -> UnitOptions) -> Vec<String> {
    let mut shown = Vec::new();
    let mut keep = |outcome: Result<(), Error>| {
        if let Err(e) = outcome {
            shown.push(format!("{e} {e:?} {e:#?} {:?}", anyhow::Error::from(e.clone())));
        }
    };
    let unit = options().run(async |s: &mut Session| -> Result<(), Error> {
        (0..3).for_each(|id| drop(s.add(planted(id))));
        s.flush().await?;
        let one = s.get::<vault::Entity>(1).await?.unwrap();
        let same =
            vault::Entity::find().filter(vault::Column::Closed.eq(format!("{CLOSED}-1"))).load_one(s).await?.unwrap();
        assert!(Tracked::ptr_eq(&one, &same));
        one.set_open(format!("{OPEN}-changed")).set_closed(format!("{CLOSED}-changed"));
        s.flush().await?;
        tracing::info!(?one, session = ?s, "debug output");
        s.execute_unprepared(&format!("SELECT '{OPEN}'")).await?;
        Ok(())
    });
    keep(unit.await);
    for (open, closed) in [(format!("{OPEN}-0"), "x".to_owned()), ("x".to_owned(), format!("{CLOSED}-0"))] {
        let unit = options().run(async |s: &mut Session| -> Result<(), Error> {
            s.add(vault::ActiveModel { id: Set(9), open: Set(open.clone()), closed: Set(closed.clone()) });
            s.flush().await
        });
        let outcome = unit.await;
        assert!(outcome.as_ref().is_err_and(Error::is_unique_violation), "{outcome:?}");
        keep(outcome);
    }
    let unit = options().optimistic().run(async |s: &mut Session| -> Result<(), Error> {
        let one = s.get::<vault::Entity>(2).await?.unwrap();
        one.set_closed(format!("{}-again", one.closed()));
        let sql = format!("UPDATE vault SET closed = '{CLOSED}-behind' WHERE id = 2");
        s.no_autoflush().execute_unprepared(&sql).await?;
        s.flush().await
    });
    keep(unit.await);
    let unit = options().run(async |s: &mut Session| -> Result<(), Error> {
        s.execute_unprepared(&format!("SELECT * FROM nowhere WHERE x = '{OPEN}'")).await?;
        Ok(())
    });
    keep(unit.await);
    if db.backend() == sea_orm::DbBackend::Postgres {
        let unit = options().run(async |s: &mut Session| -> Result<(), Error> {
            s.execute_unprepared(&format!("SELECT CAST('{OPEN}' AS integer)")).await?;
            Ok(())
        });
        keep(unit.await);
    }
    assert!(shown.len() >= 4);
    shown
}

/// Runs `everything` on both backends, on PostgreSQL over a pool whose driver logs all it can; hands over log and errors.
fn logged(change: impl Fn(UnitOptions) -> UnitOptions, look: impl Fn(&str, &str)) {
    let look = |log: &Log, recorder: &sea_session::Recorder, shown: Vec<String>| {
        let text = log.text();
        assert!(
            text.contains("sea_session.statement") && text.contains("INSERT INTO"),
            "the log is not empty:\n{text}"
        );
        look(&text, &shown.join("\n"));
        let sent = recorder.take().join("\n");
        assert!(!sent.contains(SETTING), "{sent}");
    };
    run_test_on(
        sea_session::testing::Backend::Sqlite,
        async |db: &Db| create_table(db, vault::Entity).await,
        async |db: Db| {
            let (log, recorder) = (Log::default(), sea_session::Recorder::new());
            let options = || change(db.session().record(&recorder));
            let shown = everything(&db, options).with_subscriber(log.subscriber()).await;
            look(&log, &recorder, shown);
        },
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use sea_orm::sqlx::{ConnectOptions, postgres::PgConnectOptions};
        let database = cluster::fresh_database().await.unwrap();
        let options: PgConnectOptions = database.url().parse().unwrap();
        // A pool that the application made, with the driver's log wide open.
        let options = options
            .log_statements("TRACE".parse().unwrap())
            .log_slow_statements("WARN".parse().unwrap(), Duration::ZERO);
        let pool = PgPoolOptions::new().connect_with(options).await.unwrap();
        let db: Db = SqlxPostgresConnector::from_sqlx_postgres_pool(pool).into();
        create_table(&db, vault::Entity).await.unwrap();
        let (log, recorder) = (Log::default(), sea_session::Recorder::new());
        let options = || change(db.session().record(&recorder).set_local("app.token", SETTING));
        let shown = everything(&db, options).with_subscriber(log.subscriber()).await;
        look(&log, &recorder, shown);
        drop(db.close().await);
    });
}

/// The lines of the log that are ours: a driver that is told to log a caller's own literal SQL does.
fn ours(log: &str) -> String {
    log.lines().filter(|line| !line.contains("sqlx::query")).collect::<Vec<_>>().join("\n")
}

fn refuse(place: &str, text: &str, planted: &[&str]) {
    for value in planted {
        let line = text.lines().find(|line| line.contains(value));
        assert_eq!(line, None, "{value} is in {place}");
    }
}

#[test]
fn l1_values_never_appear_in_logs_errors_or_debug_output() {
    logged(
        |options| options.sql_debug(),
        |log, errors| {
            refuse("our log", &ours(log), &[OPEN, CLOSED, SETTING]);
            refuse("the driver's log", log, &[SETTING]);
            refuse("an error", errors, &[OPEN, CLOSED, SETTING]);
            assert!(log.contains("sea_session::sql"), "sql_debug logs the statements");
        },
    );
}

#[test]
fn l1_show_values_shows_them_but_never_a_secret_column() {
    logged(
        |options| options.sql_debug().show_values(),
        |log, errors| {
            let own: Vec<&str> = log.lines().filter(|l| l.contains("vault") && !l.contains("sqlx::query")).collect();
            // The caller's own SQL, which this unit asked to be shown, is the caller's to keep secrets out of.
            let own: Vec<&str> = own.into_iter().filter(|l| !l.contains("behind")).collect();
            refuse("our log", &own.join("\n"), &[CLOSED]);
            refuse("an error", errors, &[CLOSED]);
            assert!(log.contains(OPEN), "values were asked for");
        },
    );
}

#[test]
fn l1_spans_for_unit_block_flush_statement_and_retry_carry_counts() {
    on_all(async |db: Db| {
        let log = Log::default();
        let ran = std::sync::atomic::AtomicU32::new(0);
        let unit =
            db.session().retry(Retry::times(2).sleep_with(|_| Box::pin(async {}))).retry_on(|_: &Error| true).run(
                async |s: &mut Session| -> Result<(), Error> {
                    s.add(draft(1, "x"));
                    s.atomic(async |s: &mut Session| -> Result<(), Error> {
                        s.add(draft(2, "y"));
                        s.flush().await
                    })
                    .await?;
                    match ran.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                        0 => Err(Error::Usage("once more".into())),
                        _ => Ok(()),
                    }
                },
            );
        unit.with_subscriber(log.subscriber()).await.unwrap();
        let text = log.text();
        for span in [
            "sea_session.unit{attempt=1",
            "sea_session.unit{attempt=2",
            "sea_session.block{",
            "sea_session.flush{objects=1",
            "sea_session.statement{",
            "sea_session.retry{attempt=1",
        ] {
            assert!(text.contains(span), "{span} is missing:\n{text}");
        }
        let told: Vec<&str> = text.lines().filter(|line| line.starts_with("recorded sea_session.unit")).collect();
        for number in ["statements", "flushes"] {
            let told: Vec<&&str> = told.iter().filter(|line| line.contains(number)).collect();
            let counts = |at: usize, n: u32| told[at].contains(&format!("{number}: {n}"));
            assert!(told.len() == 2 && counts(0, 2) && counts(1, 4), "two in each attempt: {told:?}");
        }
    });
}

#[test]
fn l2_stats_count_what_was_done() {
    on_all(async |db: Db| {
        let options = db.session();
        let kept = options.clone();
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                (0..8).for_each(|id| drop(s.add(draft(id, "x"))));
                s.flush().await?;
                for id in 0..8_i64 {
                    s.get::<note::Entity>(id).await?;
                }
                assert!(s.get::<note::Entity>(99).await?.is_none());
                s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.execute_unprepared("UPDATE note SET title = 'y'").await.map(drop).map_err(Error::from)
                })
                .await?;
                let stats = s.stats();
                assert_eq!((stats.statements, stats.flushes, stats.savepoints), (3, 1, 1), "{stats:?}");
                assert_eq!((stats.hits, stats.misses, stats.rows), (8, 1, 16), "{stats:?}");
                Ok(())
            })
            .await
            .unwrap();
        let stats = kept.stats();
        assert_eq!((stats.control, stats.retries), (3, 0), "BEGIN, SAVEPOINT, COMMIT: {stats:?}");
        assert!(stats.waited > Duration::ZERO);
    });
}

#[test]
fn l3_the_recorder_and_assert_statements_say_what_was_sent() {
    on_all(async |db: Db| {
        let (recorder, options) = watched(&db);
        options
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(1, "x"));
                Ok(())
            })
            .await
            .unwrap();
        let sent = assert_statements(3, &recorder);
        assert!(begins(&sent[0]) && sent[1].contains("INSERT INTO") && commits(&sent[2]), "{sent:?}");
        let wrong = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| assert_statements(1, &recorder)));
        assert!(wrong.is_err());
    });
}

#[sea_session::session_test(sqlite, postgres, tables = [author::Entity, note::Entity])]
async fn l4_a_session_test_has_a_session_that_is_rolled_back(s: &mut Session) -> Result<(), Error> {
    s.add(draft(1, "x"));
    s.flush().await?;
    assert!(s.in_transaction());
    Ok(())
}
