//! The tables of the suite, and how a test is run on each backend and in each of three ways: plain, inside an outer
//! block, and in a unit begun by hand.

use futures_util::future::BoxFuture;
use sea_orm::{ConnectionTrait, DbBackend, Schema, entity::prelude::*};
use sea_session::{
    Error, Recorder, Session, UnitOptions,
    prelude::*,
    testing::{self, Backend, run_test_on},
};

pub mod author {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "author")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
        pub born: Option<i32>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(has_many = "super::note::Entity")]
        Notes,
    }

    impl Related<super::note::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Notes.def()
        }
    }
}

pub mod note {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "note")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub author_id: Option<i64>,
        pub parent_id: Option<i64>,
        pub title: String,
        #[sea_orm(default_value = "draft")]
        pub status: String,
        #[tracked(version)]
        pub version: i32,
        #[tracked(updated_at)]
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::author::Entity", from = "Column::AuthorId", to = "super::author::Column::Id")]
        Author,
        #[sea_orm(belongs_to = "Entity", from = "Column::ParentId", to = "Column::Id")]
        Parent,
    }

    impl Related<super::author::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Author.def()
        }
    }

    impl Related<super::tag::Entity> for Entity {
        fn to() -> RelationDef {
            super::note_tag::Relation::Tag.def()
        }

        fn via() -> Option<RelationDef> {
            Some(super::note_tag::Relation::Note.def().rev())
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod tag {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod note_tag {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "note_tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub note_id: i64,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tag_name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::note::Entity", from = "Column::NoteId", to = "super::note::Column::Id")]
        Note,
        #[sea_orm(belongs_to = "super::tag::Entity", from = "Column::TagName", to = "super::tag::Column::Name")]
        Tag,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A new note with its key and title.
pub fn draft(id: i64, title: &str) -> note::ActiveModel {
    use sea_orm::Set;
    note::ActiveModel { id: Set(id), title: Set(title.to_owned()), ..Default::default() }
}

/// A new author; its key comes from the database.
pub fn writer(name: &str) -> author::ActiveModel {
    use sea_orm::Set;
    author::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}

pub async fn tables(db: &Db) -> Result<(), Error> {
    create_table(db, author::Entity).await?;
    create_table(db, note::Entity).await?;
    create_table(db, tag::Entity).await?;
    create_table(db, note_tag::Entity).await?;
    // Or each row that goes is looked for in all of the table.
    for column in ["parent_id", "author_id"] {
        db.send_alone(&format!("CREATE INDEX of_{column} ON note ({column})")).await?;
    }
    Ok(())
}

/// What a row holds now, asked past every session.
pub async fn title_in_database(db: &Db, id: i64) -> Option<String> {
    note::Entity::find_by_id(id).one(db.connection()).await.unwrap().map(|note| note.title)
}

pub async fn notes_in_database(db: &Db) -> Vec<(i64, String)> {
    use sea_orm::QueryOrder;
    let notes = note::Entity::find().order_by_asc(note::Column::Id).all(db.connection()).await.unwrap();
    notes.into_iter().map(|note| (note.id, note.title)).collect()
}

/// Runs a future until it says that it has come far enough, and drops it there; `None` then. However slow the machine is.
pub async fn until_far<F: Future>(far: &tokio::sync::Notify, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = far.notified() => None,
    }
}

/// Says that it has come far enough, and waits to be dropped.
pub async fn wait_for_the_drop<T>(far: &tokio::sync::Notify) -> T {
    far.notify_one();
    std::future::pending().await
}

/// While one subscriber is all there is, tracing asks the thread that first comes by a call site about it, and remembers its "never"
/// for the thread that listens. A second one, which stays, has it ask them all.
pub fn second_subscriber() {
    static SECOND: std::sync::LazyLock<tracing::Dispatch> =
        std::sync::LazyLock::new(|| tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default()));
    std::sync::LazyLock::force(&SECOND);
}

/// The numbers from 1 to `upto` as the table `n(i)` of the statement that follows.
pub fn numbers(upto: i64) -> String {
    format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {upto})")
}

/// Changes the database past every session. Names are quoted as in the standard on every backend.
pub async fn behind_the_back(db: &Db, sql: &str) {
    sent_behind(db, sql).await.unwrap();
}

async fn sent_behind(db: &Db, sql: &str) -> Result<(), Error> {
    match db.backend() {
        DbBackend::MySql => {
            let sql = match sql.strip_prefix("WITH RECURSIVE").and_then(|rest| rest.split_once(" INSERT INTO ")) {
                // The numbers stand behind what they are inserted into.
                Some((numbers, insert)) => insert.split_once(" SELECT ").map(|(into, select)| {
                    let most = "SET max_recursive_iterations = 1000000";
                    format!("{most}; INSERT INTO {into} WITH RECURSIVE{numbers} SELECT {select}")
                }),
                None => Some(sql.to_owned()),
            };
            let modes = "SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES,PIPES_AS_CONCAT')";
            let sql = format!("{modes}; {}", sql.unwrap_or_default().replace("+00:00'", "'"));
            db.connection().execute_unprepared(&sql).await?
        }
        _ => db.connection().execute_unprepared(sql).await?,
    };
    Ok(())
}

/// Whether a message begins a transaction; MariaDB's says first how the connection is to be.
pub fn begins(sent: &str) -> bool {
    sent.starts_with("BEGIN") || sent.starts_with("SET sql_mode") && sent.contains("; START TRANSACTION")
}

/// Whether a message commits; MariaDB's first releases the savepoint that shows whether the transaction is still there.
pub fn commits(sent: &str) -> bool {
    sent == "COMMIT" || sent == "RELEASE SAVEPOINT sea_session_unit; COMMIT"
}

/// Whether a message rolls the unit back; MariaDB's first releases that savepoint too.
pub fn rolls_back(sent: &str) -> bool {
    sent == "ROLLBACK" || sent == "RELEASE SAVEPOINT sea_session_unit; ROLLBACK"
}

/// Every backend that the crate has.
pub fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.iter().copied()
}

/// Why a backend cannot do a thing, as its dialect says it of itself.
pub fn why_not(db: &Db, what: &str) -> Option<&'static str> {
    testing::refusals(db).into_iter().find(|(named, _)| *named == what).map(|(_, why)| why)
}

/// Runs a test on every backend.
pub fn on_all(test: impl AsyncFn(Db)) {
    for backend in backends() {
        run_test_on(backend, tables, async |db: Db| test(db).await);
    }
}

/// Creates the table of an entity. On MariaDB texts are compared by their bytes, moments have microseconds, and texts are short
/// enough for a key, as on the other backends they are anyway.
pub async fn create_table<E: EntityTrait>(db: &Db, entity: E) -> Result<(), Error> {
    if db.backend() != DbBackend::MySql {
        return testing::create_table(db, entity).await;
    }
    let statement = Schema::new(db.backend()).create_table_from_entity(entity);
    sent_behind(db, &in_mariadb(&db.backend().build(&statement).sql)).await?;
    db.tables_altered();
    Ok(())
}

/// A statement that makes a table, in MariaDB's words for what is meant. Texts are compared by their bytes.
fn in_mariadb(sql: &str) -> String {
    const TYPES: [(&str, &str); 12] = [
        (" timestamptz", " datetime(6)"),
        (" timestamp", " datetime(6)"),
        (" datetime,", " datetime(6),"),
        (" datetime ", " datetime(6) "),
        (" time ", " time(6) "),
        (" time,", " time(6),"),
        (" text", " varchar(200)"),
        (" varchar ", " varchar(200) "),
        (" TEXT", " varchar(200)"),
        (" INTEGER PRIMARY KEY", " bigint PRIMARY KEY AUTO_INCREMENT"),
        (" bigserial", " bigint AUTO_INCREMENT"),
        (" bytea", " longblob"),
    ];
    let sql = TYPES.iter().fold(sql.to_owned(), |sql, (from, to)| sql.replace(from, to));
    // The whole of the database, so that tables which say nothing are so too.
    format!("ALTER DATABASE COLLATE utf8mb4_bin; {sql}")
}

/// Runs a test where the database is a server: connections are lost, answers too, and others write at the same time.
pub fn on_servers(test: impl AsyncFn(Db)) {
    for backend in [Backend::Postgres, Backend::MariaDb] {
        run_test_on(backend, tables, async |db: Db| test(db).await);
    }
}

/// Ends the connection that it is sent on.
pub fn ends_itself(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "SELECT pg_terminate_backend(pg_backend_pid())",
        _ => "KILL CONNECTION_ID()",
    }
}

/// Runs a test of what only PostgreSQL has.
pub fn on_postgres(test: impl AsyncFn(Db)) {
    run_test_on(Backend::Postgres, tables, async |db: Db| test(db).await);
}

/// A recorder and the options of a unit that it watches.
pub fn watched(db: &Db) -> (Recorder, UnitOptions) {
    let recorder = Recorder::new();
    let options = db.session().record(&recorder);
    (recorder, options)
}

/// A body that is compiled once, however often and wherever it is run.
trait Body: Sync {
    fn run<'a>(&'a self, s: &'a mut Session) -> BoxFuture<'a, Result<(), Error>>;
}

impl<F> Body for F
where
    F: for<'a> sea_session::Block<&'a mut Session, Result<(), Error>, Fut: Send> + Sync,
{
    fn run<'a>(&'a self, s: &'a mut Session) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self(s))
    }
}

/// Opens each of the three kinds of surroundings on every backend and runs the body in it: plain (the unit's own block),
/// inside an outer block, and in a unit begun by hand. Everything is rolled back afterwards.
pub fn three_ways<F>(body: F)
where
    F: for<'a> sea_session::Block<&'a mut Session, Result<(), Error>, Fut: Send> + Sync,
{
    each_of_three_ways(&body);
}

fn each_of_three_ways(body: &dyn Body) {
    on_all(async |db: Db| {
        let undo = |outcome: Result<(), Error>| match outcome {
            Err(Error::Usage(text)) if text == "undo" => {}
            other => panic!("{other:?}"),
        };
        let undone = || Error::Usage("undo".into());
        let plain = db.run(async |s: &mut Session| -> Result<(), Error> { body.run(s).await.and(Err(undone())) }).await;
        undo(plain);
        let nested = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> { body.run(s).await }).await?;
                Err(undone())
            })
            .await;
        undo(nested);
        let mut by_hand = db.begin().await.unwrap();
        body.run(&mut by_hand).await.unwrap();
        by_hand.rollback().await.unwrap();
        assert_eq!(notes_in_database(&db).await, vec![], "everything is undone");
    });
}

/// Runs a test on tables that these statements make.
pub fn on_tables(backend: Backend, statements: &[&str], test: impl AsyncFn(Db) -> Result<(), Error>) {
    let make = async |db: &Db| -> Result<(), Error> {
        for statement in statements {
            let made = (backend == Backend::MariaDb).then(|| in_mariadb(statement));
            sent_behind(db, made.as_deref().unwrap_or(statement)).await?;
        }
        Ok(())
    };
    run_test_on(backend, make, async |db: Db| test(db).await);
}
