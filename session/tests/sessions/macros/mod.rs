//! The macros at work: every option, every kind of function, nested blocks and units in place, on SQLite and, where only
//! PostgreSQL can show it, there.

mod entities;
mod options;

use std::{
    fmt::Display,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use entities::{note, paper};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait, Statement};
use sea_session::{Error, prelude::*};

type Done = Result<(), AppError>;

#[derive(Debug)]
enum AppError {
    Session(Error),
    Busy,
    Allowed,
    Gone,
}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        AppError::Session(error)
    }
}

impl From<sea_orm::DbErr> for AppError {
    fn from(error: sea_orm::DbErr) -> Self {
        AppError::Session(error.into())
    }
}

fn draft(title: &str) -> note::ActiveModel {
    note::ActiveModel { title: Set(title.to_owned()), ..Default::default() }
}

async fn count(db: &Db) -> Result<u64, AppError> {
    Ok(note::Entity::find().count(db.connection()).await?)
}

async fn show(s: &mut Session, what: &str) -> Result<String, AppError> {
    let row = s.query_one_raw(Statement::from_string(s.backend(), what)).await?.ok_or(AppError::Gone)?;
    Ok(row.try_get_by_index(0)?)
}

/// What was logged while a test ran.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Catches what this thread logs, until the guard goes.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || log.clone()).with_ansi(false).finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the log")).into_owned()
    }
}

// ---- the function and its second ---------------------------------------------------------------------------------

/// Adds a note.
#[db_session]
async fn add_note(s: &mut Session, title: &str) -> Result<i64, AppError> {
    let note = s.add(draft(title));
    s.flush().await?;
    Ok(note.id())
}

#[session_test(sqlite, postgres, tables = [note::Entity])]
async fn db_session_the_second_function_opens_a_unit_and_commits(db: Db) -> Done {
    let id = add_note_on(&db, "one").await?;
    assert_eq!(note::Entity::find_by_id(id).one(db.connection()).await?.map(|n| n.title), Some("one".to_owned()));
    Ok(())
}

#[db_session(retry = 2)]
async fn title(s: &mut Session, title: &str, mut more: String) -> Result<String, AppError> {
    more.push_str(title);
    Ok(s.try_add(draft(&more))?.title())
}

#[session_test(tables = [note::Entity])]
async fn db_session_an_argument_may_have_the_functions_name(db: Db) -> Done {
    assert_eq!(title_on(&db, "name", "a ".to_owned()).await?, "a name");
    Ok(())
}

#[session_test(tables = [note::Entity])]
async fn db_session_the_function_joins_its_callers_unit(db: Db) -> Done {
    let outcome: Result<(), AppError> = db
        .run(async |s| {
            add_note(s, "one").await?;
            add_note(s, "two").await?;
            Err(AppError::Gone)
        })
        .await;
    assert!(matches!(outcome, Err(AppError::Gone)));
    assert_eq!(count(&db).await?, 0, "both joined the unit that failed");
    Ok(())
}

#[db_session(on = "fail_alone")]
async fn fail(s: &mut Session) -> Done {
    add_note(s, "lost").await?;
    Err(AppError::Gone)
}

#[session_test(tables = [note::Entity])]
async fn db_session_on_names_the_second_function(db: Db) -> Done {
    assert!(matches!(fail_alone(&db).await, Err(AppError::Gone)));
    assert_eq!(count(&db).await?, 0);
    Ok(())
}

/// Counts its clones.
#[derive(Default)]
struct Counted(Arc<AtomicUsize>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.0.clone())
    }
}

/// Cannot be cloned.
struct Ticket(String);

#[db_session]
async fn once(s: &mut Session, ticket: Ticket, counted: Counted, seen: &mut Vec<String>) -> Done {
    let _ = counted;
    seen.push(ticket.0.clone());
    add_note(s, &ticket.0).await.map(drop)
}

#[session_test(tables = [note::Entity])]
async fn db_session_without_retry_no_argument_is_cloned(db: Db) -> Done {
    let (counted, mut seen) = (Counted::default(), vec![]);
    let clones = counted.0.clone();
    once_on(&db, Ticket("paid".into()), counted, &mut seen).await?;
    assert_eq!(clones.load(Ordering::Relaxed), 0);
    assert_eq!(seen, ["paid"]);
    Ok(())
}

#[db_session(retry = Retry::times(2).backoff(Default::default(), Default::default()), retry_on = |e| matches!(e, AppError::Busy))]
async fn busy_twice(s: &mut Session, attempts: &AtomicUsize, counted: Counted) -> Done {
    let _ = counted;
    add_note(s, "attempt").await?;
    if attempts.fetch_add(1, Ordering::Relaxed) < 2 { Err(AppError::Busy) } else { Ok(()) }
}

#[session_test(tables = [note::Entity])]
async fn db_session_retry_clones_once_an_attempt_and_leaves_no_residue(db: Db) -> Done {
    let (attempts, counted) = (AtomicUsize::new(0), Counted::default());
    let clones = counted.0.clone();
    busy_twice_on(&db, &attempts, counted).await?;
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
    assert_eq!(clones.load(Ordering::Relaxed), 3);
    assert_eq!(count(&db).await?, 1);
    Ok(())
}

#[db_session(retry = 3)]
async fn gone(_: &mut Session, attempts: &AtomicUsize) -> Done {
    attempts.fetch_add(1, Ordering::Relaxed);
    Err(AppError::Gone)
}

#[session_test(tables = [note::Entity])]
async fn db_session_retry_leaves_other_errors_alone(db: Db) -> Done {
    let attempts = AtomicUsize::new(0);
    assert!(matches!(gone_on(&db, &attempts).await, Err(AppError::Gone)));
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    Ok(())
}

// ---- kinds of functions ------------------------------------------------------------------------------------------

#[allow(clippy::multiple_bound_locations, clippy::needless_lifetimes, reason = "every way to write a bound")]
#[db_session(retry = 1)]
async fn generic<'a, T: Display + Clone, const N: usize>(
    s: &mut Session,
    value: T,
    array: [T; N],
    text: &'a str,
    (x, y): (i32, i32),
    mut n: usize,
) -> Result<usize, AppError>
where
    T: 'static,
{
    n += N;
    add_note(s, &format!("{value} {text} {}", x + y)).await?;
    Ok(array.len() + n)
}

#[db_session]
async fn opaque(s: &mut Session, title: impl Into<String>, suffix: &impl Display) -> Result<i64, AppError> {
    let title: String = title.into();
    add_note(s, &format!("{title}{suffix}")).await
}

#[allow(clippy::manual_async_fn, reason = "the other way to write an asynchronous function")]
#[db_session]
fn returned(s: &mut Session, title: String) -> impl Future<Output = Result<i64, AppError>> + Send {
    async move { add_note(s, &title).await }
}

struct Desk {
    name: String,
}

impl Desk {
    #[db_session(retry = 2)]
    async fn note(&self, s: &mut Session, title: String) -> Result<i64, AppError> {
        add_note(s, &(self.name.clone() + &title)).await
    }

    #[db_session]
    async fn rename(&mut self, s: &mut Session, name: String) -> Done {
        add_note(s, &name).await?;
        self.name = name;
        Ok(())
    }

    #[db_session]
    async fn close(self, s: &mut Session) -> Result<i64, AppError> {
        add_note(s, &self.name).await
    }

    #[db_session(associated)]
    async fn open(s: &mut Session) -> Result<i64, AppError> {
        add_note(s, "opened").await
    }
}

#[async_trait]
trait Clerk {
    #[db_session(retry = 2)]
    async fn file(&self, s: &mut Session, title: String, by: &str) -> Result<i64, AppError>;
    async fn stamp(&self, s: &mut Session, title: String) -> Result<i64, AppError>;
    async fn stamp_on(&self, db: &Db, title: String) -> Result<i64, AppError>;
}

#[async_trait]
impl Clerk for Desk {
    #[atomic]
    async fn file(&self, s: &mut Session, title: String, by: &str) -> Result<i64, AppError> {
        add_note(s, &(title + by + &self.name)).await
    }

    #[db_session]
    async fn stamp(&self, s: &mut Session, title: String) -> Result<i64, AppError> {
        add_note(s, &(title + &self.name)).await
    }
}

#[session_test(tables = [note::Entity])]
async fn db_session_every_kind_of_function_runs_in_a_spawned_task(db: Db) -> Done {
    let spawned = db.clone();
    let task = tokio::spawn(async move {
        let db = &spawned;
        assert_eq!(generic_on(db, 1, [1, 2], "a", (1, 2), 3).await?, 7);
        opaque_on(db, "title", &7).await?;
        returned_on(db, "returned".to_owned()).await?;
        let mut desk = Desk { name: "desk".to_owned() };
        desk.note_on(db, "a".to_owned()).await?;
        desk.rename_on(db, "bureau".to_owned()).await?;
        desk.file_on(db, "f".to_owned(), "by").await?;
        let clerk: &(dyn Clerk + Sync) = &desk;
        clerk.stamp_on(db, "s".to_owned()).await?;
        Desk::open_on(db).await?;
        desk.close_on(db).await?;
        Ok::<(), AppError>(())
    });
    task.await.expect("the task ran to its end")?;
    let mut titles: Vec<String> =
        note::Entity::find().all(db.connection()).await?.into_iter().map(|n| n.title).collect();
    titles.sort();
    assert_eq!(titles, ["1 a 3", "bureau", "bureau", "deska", "fbybureau", "opened", "returned", "sbureau", "title7"]);
    Ok(())
}

// ---- nested blocks -----------------------------------------------------------------------------------------------

#[atomic]
async fn tentative(s: &mut Session, note: &Tracked<note::Entity>, title: String) -> Done {
    note.set_title(title);
    s.flush().await?;
    Err(AppError::Gone)
}

#[atomic(merged)]
async fn merged(_: &mut Session) -> Done {
    Err(AppError::Gone)
}

#[atomic(durable)]
async fn durable(s: &mut Session) -> Done {
    s.add(draft("never"));
    Ok(())
}

#[session_test(sqlite, postgres, tables = [note::Entity])]
async fn atomic_rolls_back_database_and_objects(s: &mut Session) -> Done {
    let note = s.add(draft("before"));
    s.flush().await?;
    assert!(matches!(tentative(s, &note, "within".to_owned()).await, Err(AppError::Gone)));
    assert_eq!(note.title(), "before");
    let stored = note::Entity::find_by_id(note.id()).one(&*s).await?.map(|n| n.title);
    assert_eq!(stored.as_deref(), Some("before"));
    Ok(())
}

#[session_test(tables = [note::Entity])]
async fn atomic_merged_dooms_what_is_around_it(s: &mut Session) -> Done {
    let outer: Result<(), AppError> = s
        .atomic(async |s| {
            s.flush().await?;
            merged(s).await.ok();
            s.flush().await.map_err(AppError::from)
        })
        .await;
    assert!(outer.is_err());
    Ok(())
}

#[session_test(tables = [note::Entity])]
async fn atomic_durable_is_refused_inside_a_unit(s: &mut Session) -> Done {
    assert!(matches!(durable(s).await, Err(AppError::Session(_))));
    assert_eq!(note::Entity::find().count(&*s).await?, 0);
    Ok(())
}

#[session_test(tables = [note::Entity])]
async fn blocks_in_place_nest_infer_and_return(db: Db) -> Done {
    let name = "outer".to_owned();
    let (kept, lost) = unit!(db, retry = 2, -> Result<(i64, bool), AppError> {
        let kept = add_note(s, &name).await?;
        // The error type comes from the variable.
        let inner: Result<(), AppError> = sea_session::atomic!(s, {
            add_note(s, "inner").await?;
            Err(AppError::Gone)
        });
        // `return` leaves the block, not the function.
        let early = sea_session::atomic!(s, merged, -> Result<i64, AppError> {
            if kept > 0 {
                return Ok(kept);
            }
            Err(AppError::Gone)
        })?;
        assert_eq!(early, kept);
        Ok((kept, inner.is_err()))
    })?;
    assert!(lost);
    let titles = unit!(db as tx, read_only, -> Result<Vec<String>, AppError> {
        Ok(note::Entity::find().load(tx).await?.iter().map(|n| n.title()).collect())
    })?;
    assert_eq!(titles, ["outer"]);
    assert!(kept > 0);
    Ok(())
}

// ---- handles -----------------------------------------------------------------------------------------------------

#[session_test(tables = [note::Entity])]
async fn tracked_getters_give_values_so_nothing_can_deadlock(s: &mut Session) -> Done {
    let note = s.add(draft("a"));
    note.set_title(note.title() + "!");
    s.flush().await?;
    note.with(|seen| {
        // Another write inside the closure neither blocks nor changes what the closure sees.
        note.set_title(seen.title.clone() + "?");
        assert_eq!(seen.title, "a!");
    });
    note.update(|model| {
        assert_eq!(note.title(), "a!?");
        model.title.push('.');
    });
    s.flush().await?;
    assert_eq!(note.title(), "a!?.");
    Ok(())
}

#[session_test(tables = [note::Entity])]
async fn tracked_handles_live_across_awaits_of_a_spawned_task(db: Db) -> Done {
    let task = tokio::spawn(async move {
        db.run(async |s| -> Result<String, AppError> {
            let note = s.add(draft("spawned"));
            let title = note.title();
            s.flush().await?;
            note.set_title(title + " and changed").set_body(Some("text".to_owned()));
            tokio::task::yield_now().await;
            s.flush().await?;
            Ok(note.title())
        })
        .await
    });
    assert_eq!(task.await.expect("the task")?, "spawned and changed");
    Ok(())
}

#[session_test(sqlite, postgres, tables = [note::Entity])]
async fn tracked_every_kind_of_field_comes_back(s: &mut Session) -> Done {
    use entities::note::{Kind, Labels};
    let note = s.add(draft("fields"));
    s.flush().await?;
    let version = note.version();
    let (created, updated) = (note.created_at(), note.updated_at());
    assert_eq!((note.r#type(), note.labels(), note.body()), (Kind::Plain, Labels::default(), None));
    note.set_type(Kind::Urgent).set_labels(Labels(vec!["a".into(), "b".into()])).set_body("text".to_owned());
    s.flush().await?;
    assert_eq!(note.version(), version + 1);
    assert_eq!(note.created_at(), created);
    assert!(note.updated_at() >= updated);
    let stored = note::Entity::find_by_id(note.id()).one(&*s).await?.expect("the row");
    assert_eq!(stored.r#type, Kind::Urgent);
    assert_eq!(stored.labels, Labels(vec!["a".into(), "b".into()]));
    assert_eq!(stored.body.as_deref(), Some("text"));
    Ok(())
}

#[session_test(tables = [note::Entity])]
async fn tracked_secret_values_are_never_shown(db: Db) -> Done {
    let log = Log::default();
    let listening = log.listen();
    unit!(db, sql_debug, show_values, -> Done {
        let note = s.add(draft("shown"));
        s.flush().await?;
        note.set_token(Some("hunter2".to_owned()));
        assert!(!format!("{note:?}").contains("hunter2"));
        s.flush().await?;
        Ok(())
    })?;
    drop(listening);
    let text = log.text();
    assert!(text.contains("UPDATE"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    Ok(())
}

// ---- tests -------------------------------------------------------------------------------------------------------

#[session_test(sqlite, postgres)]
async fn session_test_gives_each_backend(s: &mut Session) {
    assert!(matches!(s.backend(), DbBackend::Sqlite | DbBackend::Postgres));
}

#[session_test(tables = [note::Entity])]
#[should_panic(expected = "the test fails as it must")]
async fn session_test_fails_by_panic(s: &mut Session) {
    s.add(draft("gone"));
    panic!("the test fails as it must");
}

#[session_test]
#[should_panic(expected = "Gone")]
async fn session_test_fails_by_error(_: &mut Session) -> Done {
    Err(AppError::Gone)
}

#[test]
#[should_panic(expected = "the set-up of the Sqlite database failed: \"no table\"")]
fn session_test_a_failing_set_up_is_a_failing_test() {
    sea_session::testing::run_test(
        sea_session::testing::Backend::Sqlite,
        async |_: &Db| Err::<(), _>("no table"),
        async |_: &mut Session| (),
    );
}

#[test]
fn session_test_rolls_back_at_its_end() {
    let left = Arc::new(AtomicUsize::new(9));
    let seen = left.clone();
    sea_session::testing::run_test_on(
        sea_session::testing::Backend::Sqlite,
        async |db: &Db| sea_session::testing::create_table(db, note::Entity).await,
        async move |db: Db| -> Done {
            let mut s = db.begin().await?;
            add_note(&mut s, "gone").await?;
            s.rollback().await?;
            seen.store(usize::try_from(count(&db).await?).unwrap_or(usize::MAX), Ordering::Relaxed);
            Ok(())
        },
    );
    assert_eq!(left.load(Ordering::Relaxed), 0);
}
