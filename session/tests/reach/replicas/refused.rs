//! What is no replica, and backends that have none.

use std::time::Duration;

use sea_orm::{SqlxMySqlConnector, SqlxPostgresConnector, sqlx};
use sea_session::{Db, Error, Position, Replicas};

/// Pools that connect to nobody, since nothing is sent.
fn postgres() -> Db {
    let pool = sqlx::PgPool::connect_lazy("postgres://nobody@localhost:1/none").expect("a pool");
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool).into()
}

fn mysql() -> Db {
    let pool = sqlx::MySqlPool::connect_lazy("mysql://nobody@localhost:1/none").expect("a pool");
    SqlxMySqlConnector::from_sqlx_mysql_pool(pool).into()
}

async fn sqlite() -> Db {
    Db::connect("sqlite::memory:").await.expect("a database")
}

#[tokio::test]
async fn u9_backends_without_replicas_refuse_them_by_name() {
    let position: Position = "0/1".parse().unwrap();
    let sqlite_says =
        "SQLite cannot do this: replicas; a file has none, and its read-only units run beside the writing one already";
    let mysql_says = "MySQL cannot do this: replicas; open a `Db` of its own for each, whose reads are then not known to see what was \
                      written";
    for (db, says) in [(sqlite().await, sqlite_says), (mysql(), mysql_says)] {
        for refused in [
            db.clone().replicas([postgres()]).map(drop).unwrap_err(),
            db.written().await.map(drop).unwrap_err(),
            db.session().read_only().reads_after(position).begin().await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(refused, Error::Unsupported { .. }), "{refused:?}");
            assert_eq!(refused.text().to_string(), says);
        }
        // What has a meaning everywhere is no error: code is tried out on one backend and runs on another.
        db.note_written();
        assert_eq!(db.replica_stats(), []);
        db.session().read_only().on_primary().begin().await.unwrap();
    }
}

#[tokio::test]
async fn u9_what_is_no_replica_is_refused_by_name() {
    let db = postgres();
    let says = |replicas: Replicas| match db.clone().replicas(replicas) {
        Err(Error::Usage(says)) => says.into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(says(Vec::<Db>::new().into()), "no replica was given: name one pool for each, or leave `replicas` out");
    assert_eq!(says([postgres(), sqlite().await].into()), "replica 1 is SQLite, and the primary is PostgreSQL");
    assert_eq!(says([db.clone()].into()), "replica 0 is the primary's own pool: open one at the replica's address");
    let other = postgres().replicas([postgres()]).unwrap();
    assert_eq!(
        says([postgres(), other].into()),
        "replica 1 has replicas itself: give those of the primary to the primary"
    );
    assert_eq!(
        says(Replicas::from([postgres()]).reach_within(Duration::ZERO)),
        "`reach_within` of no time leaves every replica out: a second is the default"
    );
    // However patient they are to be, that is no mistake.
    let patient =
        Replicas::from([postgres()]).wait(Duration::MAX).retry_after(Duration::MAX).reach_within(Duration::MAX);
    let db = postgres().replicas(patient).unwrap();
    let again = db.replicas([postgres()]).unwrap_err();
    assert_eq!(again.text().to_string(), "this pool has replicas already: give all of them at once");
}
