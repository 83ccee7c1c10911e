//! The options of `#[db_session]`, one by one.

use super::*;

#[db_session(isolation = "repeatable_read")]
async fn isolation(s: &mut Session) -> Result<String, AppError> {
    show(s, "SHOW transaction_isolation").await
}

#[db_session(isolation = IsolationLevel::Serializable, read_only, deferrable)]
async fn deferrable(s: &mut Session) -> Result<[String; 3], AppError> {
    Ok([
        show(s, "SHOW transaction_isolation").await?,
        show(s, "SHOW transaction_read_only").await?,
        show(s, "SHOW transaction_deferrable").await?,
    ])
}

#[session_test(postgres)]
async fn db_session_isolation_read_only_and_deferrable(db: Db) -> Done {
    assert_eq!(isolation_on(&db).await?, "repeatable read");
    assert_eq!(deferrable_on(&db).await?, ["serializable", "on", "on"]);
    Ok(())
}

#[db_session(read_only)]
async fn write_read_only(s: &mut Session) -> Done {
    add_note(s, "no").await.map(drop)
}

#[session_test(sqlite, postgres, tables = [note::Entity])]
async fn db_session_read_only_refuses_writes(db: Db) -> Done {
    assert!(matches!(write_read_only_on(&db).await, Err(AppError::Session(_))));
    assert_eq!(count(&db).await?, 0);
    Ok(())
}

#[db_session(immediate)]
async fn immediate(s: &mut Session) -> Done {
    add_note(s, "first").await.map(drop)
}

#[session_test(tables = [note::Entity])]
async fn db_session_immediate_takes_the_lock_on_sqlite(db: Db) -> Done {
    immediate_on(&db).await?;
    assert_eq!(count(&db).await?, 1);
    Ok(())
}

#[session_test(postgres, tables = [note::Entity])]
async fn db_session_immediate_is_refused_by_name_on_postgres(db: Db) -> Done {
    let Err(AppError::Session(error @ Error::Unsupported { .. })) = immediate_on(&db).await else {
        panic!("`immediate` was accepted")
    };
    assert!(error.to_string().contains("immediate"), "{error}");
    Ok(())
}

#[db_session(optimistic)]
async fn rename_optimistically(s: &mut Session, id: i64, other: &Db) -> Done {
    let paper = s.get::<paper::Entity>(id).await?.ok_or(AppError::Gone)?;
    let title = paper.title() + "!";
    // Someone else is faster.
    other.connection().execute_unprepared("UPDATE paper SET title = 'theirs'").await?;
    paper.set_title(title);
    s.flush().await?;
    Ok(())
}

#[session_test(postgres, tables = [paper::Entity])]
async fn db_session_optimistic_checks_what_was_read(db: Db) -> Done {
    let id = unit!(db, -> Result<i64, AppError> {
        let paper = s.add(paper::ActiveModel { title: Set("ours".into()), ..Default::default() });
        s.flush().await?;
        Ok(paper.id())
    })?;
    assert!(matches!(rename_optimistically_on(&db, id, &db).await, Err(AppError::Session(_))));
    let title = paper::Entity::find_by_id(id).one(db.connection()).await?.map(|p| p.title);
    assert_eq!(title.as_deref(), Some("theirs"));
    Ok(())
}

#[db_session(strict)]
async fn leak(s: &mut Session) -> Result<Tracked<note::Entity>, AppError> {
    let note = s.add(draft("leaked"));
    s.flush().await?;
    Ok(note)
}

#[session_test(tables = [note::Entity])]
async fn db_session_strict_panics_at_a_late_write(db: Db) -> Done {
    let note = leak_on(&db).await?;
    assert_eq!(note.title(), "leaked");
    let write = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        note.set_title("late");
    }));
    assert!(write.is_err());
    Ok(())
}

#[db_session(sql_debug)]
async fn log_statements(s: &mut Session) -> Done {
    s.add(paper::ActiveModel { title: Set("a value of mine".into()), ..Default::default() });
    Ok(())
}

#[db_session(sql_debug, show_values)]
async fn log_values(s: &mut Session) -> Done {
    log_statements(s).await
}

#[session_test(tables = [paper::Entity])]
async fn db_session_sql_debug_logs_statements_and_show_values_their_values(db: Db) -> Done {
    let log = Log::default();
    let listening = log.listen();
    log_statements_on(&db).await?;
    let text = log.text();
    assert!(text.contains("INSERT INTO"), "{text}");
    assert!(!text.contains("a value of mine"), "{text}");
    log_values_on(&db).await?;
    drop(listening);
    assert!(log.text().contains("a value of mine"), "{}", log.text());
    Ok(())
}

#[db_session(allow = |e| matches!(e, AppError::Allowed))]
async fn allowed(s: &mut Session, error: AppError) -> Done {
    s.add(draft("kept"));
    Err(error)
}

#[session_test(tables = [note::Entity])]
async fn db_session_allow_commits_and_returns_the_error(db: Db) -> Done {
    assert!(matches!(allowed_on(&db, AppError::Gone).await, Err(AppError::Gone)));
    assert_eq!(count(&db).await?, 0);
    assert!(matches!(allowed_on(&db, AppError::Allowed).await, Err(AppError::Allowed)));
    assert_eq!(count(&db).await?, 1);
    Ok(())
}

#[db_session(durable)]
async fn for_good(s: &mut Session, title: String) -> Result<i64, AppError> {
    add_note(s, &title).await
}

#[session_test(tables = [note::Entity])]
async fn db_session_durable_is_refused_inside_a_unit_and_runs_in_its_own(db: Db) -> Done {
    for_good_on(&db, "kept".to_owned()).await?;
    let inside: Result<i64, AppError> = db.run(async |s| for_good(s, "refused".to_owned()).await).await;
    assert!(matches!(inside, Err(AppError::Session(_))));
    assert_eq!(count(&db).await?, 1);
    Ok(())
}

#[db_session(timeout = "100ms")]
async fn slow(s: &mut Session) -> Result<String, AppError> {
    show(s, "SELECT pg_sleep(20)::text").await
}

#[session_test(postgres)]
async fn db_session_timeout_ends_a_slow_statement(db: Db) -> Done {
    let started = std::time::Instant::now();
    let Err(AppError::Session(error)) = slow_on(&db).await else { panic!("no statement timed out") };
    assert_eq!(error.sqlstate(), Some("57014"));
    assert!(started.elapsed().as_secs() < 10);
    Ok(())
}

#[db_session(lock_timeout = "100ms")]
async fn impatient(s: &mut Session) -> Done {
    s.execute_unprepared("SELECT * FROM note FOR UPDATE").await?;
    Ok(())
}

#[session_test(postgres, mariadb, tables = [note::Entity])]
async fn db_session_lock_timeout_ends_the_wait_for_a_lock(db: Db) -> Done {
    unit!(db, -> Done { add_note(s, "locked").await.map(drop) })?;
    let mut holder = db.begin().await?;
    holder.execute_unprepared("SELECT * FROM note FOR UPDATE").await?;
    let Err(AppError::Session(error)) = impatient_on(&db).await else { panic!("the lock was not waited for") };
    assert_eq!(error.sqlstate(), Some(if db.backend() == DbBackend::Postgres { "55P03" } else { "HY000" }), "{error}");
    holder.rollback().await?;
    impatient_on(&db).await
}

#[db_session]
async fn in_sight(s: &mut Session) -> Result<usize, AppError> {
    Ok(entities::binned::Entity::find().load(s).await?.len())
}

#[db_session(unfiltered)]
async fn of_all(s: &mut Session) -> Result<usize, AppError> {
    Ok(entities::binned::Entity::find().load(s).await?.len())
}

#[db_session(read_only, on_primary)]
async fn as_new_as_can_be(s: &mut Session) -> Result<usize, AppError> {
    Ok(note::Entity::find().load(s).await?.len())
}

#[db_session(settle_by_token)]
async fn settled_by_token(s: &mut Session) -> Done {
    add_note(s, "told by a row").await.map(drop)
}

#[db_session(causal)]
async fn as_the_cluster_has_it(s: &mut Session) -> Done {
    note::Entity::find().load(s).await?;
    Ok(())
}

#[session_test(sqlite, postgres, mariadb, tables = [note::Entity, entities::binned::Entity])]
async fn db_session_flags_are_the_methods_of_their_names(db: Db) -> Done {
    unit!(db, -> Done {
        let binned = s.add(entities::binned::ActiveModel::default());
        s.flush().await?;
        s.delete(&binned);
        Ok(())
    })?;
    assert_eq!((in_sight_on(&db).await?, of_all_on(&db).await?), (0, 1));
    assert_eq!(as_new_as_can_be_on(&db).await?, 0);
    // No server of these is a node of a cluster.
    let Err(AppError::Session(error)) = as_the_cluster_has_it_on(&db).await else { panic!("`causal` was accepted") };
    assert!(error.to_string().contains("causal") || db.backend() == DbBackend::MySql, "{error}");
    Ok(())
}

#[session_test(postgres, mariadb, tables = [note::Entity])]
async fn db_session_settle_by_token_leaves_a_token(db: Db) -> Done {
    db.create_commit_tokens().await?;
    settled_by_token_on(&db).await?;
    let tokens = unit!(db, -> Result<String, AppError> {
        show(s, "SELECT CAST(count(*) AS char) FROM sea_session_commits").await
    })?;
    assert_eq!((count(&db).await?, tokens.as_str()), (1, "1"));
    Ok(())
}

#[db_session(set_local("app.account_id" = account, "app.role" = "clerk"))]
async fn settings(s: &mut Session, account: String) -> Result<String, AppError> {
    let seen = show(s, "SELECT current_setting('app.account_id') || '/' || current_setting('app.role')").await?;
    assert!(seen.starts_with(&account));
    Ok(seen)
}

#[session_test(postgres)]
async fn db_session_set_local_binds_arguments(db: Db) -> Done {
    assert_eq!(settings_on(&db, "it's 7".to_owned()).await?, "it's 7/clerk");
    let after = unit!(db, -> Result<String, AppError> { show(s, "SELECT coalesce(current_setting('app.role', true), '')").await })?;
    assert_eq!(after, "", "bound to that transaction only");
    Ok(())
}

#[db_session(tenant("app.account" = account))]
async fn add_paper(s: &mut Session, account: i64) -> Result<i64, AppError> {
    let owned = s.add(entities::owned::ActiveModel { account_id: Set(account), ..Default::default() });
    s.flush().await?;
    Ok(owned.account_id())
}

#[db_session]
async fn add_paper_without_tenant(s: &mut Session, account: i64) -> Done {
    s.add(entities::owned::ActiveModel { account_id: Set(account), ..Default::default() });
    s.flush().await?;
    Ok(())
}

#[session_test(sqlite, postgres, tables = [entities::owned::Entity])]
async fn db_session_tenant_is_needed_and_given(db: Db) -> Done {
    assert_eq!(add_paper_on(&db, 7).await?, 7);
    assert!(matches!(add_paper_without_tenant_on(&db, 7).await, Err(AppError::Session(_))));
    Ok(())
}

#[db_session(settle)]
async fn settled(s: &mut Session) -> Done {
    add_note(s, "known").await.map(drop)
}

#[session_test(postgres, tables = [note::Entity])]
async fn db_session_settle_runs_on_postgres(db: Db) -> Done {
    settled_on(&db).await?;
    assert_eq!(count(&db).await?, 1);
    Ok(())
}

#[session_test(tables = [note::Entity])]
async fn db_session_settle_is_refused_by_name_on_sqlite(db: Db) -> Done {
    let Err(AppError::Session(error @ Error::Unsupported { .. })) = settled_on(&db).await else {
        panic!("`settle` was accepted")
    };
    assert!(error.to_string().contains("settle"), "{error}");
    Ok(())
}
