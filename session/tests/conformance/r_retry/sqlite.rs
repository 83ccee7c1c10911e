//! SQLite's conflicts: a write lock that is held, and a snapshot that is out of date.

use sea_orm::{
    FromQueryResult, SqlxSqliteConnector, Statement,
    sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::*;

/// A pool of one on the same file, which does not wait for the write lock.
async fn impatient(db: &Db) -> Db {
    #[derive(FromQueryResult)]
    struct File {
        file: String,
    }
    let list = Statement::from_string(DbBackend::Sqlite, "SELECT file FROM pragma_database_list");
    let file = File::find_by_statement(list).one(db.connection()).await.unwrap().unwrap().file;
    let options = SqliteConnectOptions::new().filename(file).busy_timeout(Duration::ZERO);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    SqlxSqliteConnector::from_sqlx_sqlite_pool(pool).into()
}

#[test]
fn r7_sqlite_busy_restarts_the_unit() {
    run_test_on(Backend::Sqlite, tables, async |db: Db| {
        let second = impatient(&db).await;
        let mut holder = db.begin().await.unwrap();
        holder.add(draft(1, "held"));
        holder.flush().await.unwrap();
        let holder = Arc::new(tokio::sync::Mutex::new(Some(holder)));
        let freed = holder.clone();
        // The holder goes when the unit pauses for the second time.
        let pauses = Arc::new(AtomicU32::new(0));
        let counted = pauses.clone();
        let retry = Retry::times(5).sleep_with(move |_| {
            let (freed, n) = (freed.clone(), counted.fetch_add(1, Ordering::Relaxed));
            Box::pin(async move {
                if n == 1
                    && let Some(mut holder) = freed.lock().await.take()
                {
                    holder.commit().await.unwrap();
                }
            })
        });
        let ran = AtomicU32::new(0);
        second
            .session()
            .retry(retry)
            .run(async |s: &mut Session| -> Result<(), Hidden> {
                ran.fetch_add(1, Ordering::Relaxed);
                s.add(draft(2, "second"));
                s.flush().await?;
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!((ran.load(Ordering::Relaxed), pauses.load(Ordering::Relaxed)), (3, 2));
        assert_eq!(notes_in_database(&db).await.len(), 2);
        // Without a retry it is told, by its own number.
        let mut holder = db.begin().await.unwrap();
        holder.add(draft(3, "held"));
        holder.flush().await.unwrap();
        let told = second.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(4, "x"));
            Ok(())
        });
        let told = told.await.unwrap_err();
        assert_eq!((told.sqlstate(), told.class()), (Some("5"), Some(sea_session::Class::Busy)));
        holder.rollback().await.unwrap();
        drop(second.close().await);
    });
}

#[test]
fn r7_sqlite_517_restarts_the_unit_even_when_it_was_swallowed() {
    run_test_on(Backend::Sqlite, tables, async |db: Db| {
        behind_the_back(
            &db,
            "INSERT INTO note (id, title, version, updated_at) VALUES (1, 'a', 1, '2026-01-01T00:00:00Z')",
        )
        .await;
        let (retry, _) = noted(3);
        let ran = AtomicU32::new(0);
        let codes: Mutex<Vec<String>> = Mutex::default();
        db.session()
            .read_only()
            .retry(retry)
            .run(async |s: &mut Session| -> Result<(), Hidden> {
                let attempt = ran.fetch_add(1, Ordering::Relaxed);
                // A transaction that began as a reader, and writes after somebody else has committed.
                s.get::<note::Entity>(1).await?;
                s.execute_unprepared("PRAGMA query_only = 0").await.map_err(|_| Hidden::Failed)?;
                if attempt == 0 {
                    behind_the_back(&db, "UPDATE note SET title = 'b' WHERE id = 1").await;
                }
                let inner = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                    s.execute_unprepared("UPDATE note SET title = title || 'c' WHERE id = 1").await?;
                    Ok(())
                });
                if let Err(e) = inner.await {
                    codes.lock().push(e.sqlstate().unwrap_or_default().to_owned());
                }
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(*codes.lock(), ["517"]);
        assert_eq!(ran.load(Ordering::Relaxed), 2);
        assert_eq!(title_in_database(&db, 1).await.as_deref(), Some("bc"));
    });
}
