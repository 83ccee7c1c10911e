//! Reads on a replica that see what was written before them: `cargo run --example replicas`.
//!
//! It starts a throw-away primary and a streaming replica of it, which are gone when the program ends. That needs the programs of
//! PostgreSQL 15 or newer on this machine, and no server that runs.

use std::time::Duration;

use anyhow::Result;
use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session::{
    Error, Replicas,
    prelude::*,
    testing::{cluster::Cluster, create_table},
};

/// A line in a book of guests.
pub mod guest {
    use super::*;

    /// Who came.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "guest")]
    pub struct Model {
        /// The number of the line.
        #[sea_orm(primary_key)]
        pub id: i64,
        /// What was written there.
        pub name: String,
    }

    /// None.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A page that is shown: how many guests there are, and which server said so.
async fn show(db: &Db, when: &str) -> Result<(), Error> {
    let options = db.session().read_only();
    let (guests, replica) = options
        .clone()
        .run(async |s: &mut Session| -> Result<(u64, Option<usize>), Error> {
            Ok((guest::Entity::find().count(s).await?, s.replica()))
        })
        .await?;
    let server = replica.map_or("the primary".to_owned(), |number| format!("replica {number}"));
    let waited = if options.stats().routing.waits > 0 { ", after a wait" } else { "" };
    println!("{when}: {guests} guests, says {server}{waited}");
    Ok(())
}

async fn sign(db: &Db, name: &str) -> Result<(), Error> {
    db.run(async |s: &mut Session| -> Result<(), Error> {
        s.add(guest::ActiveModel { name: Set(name.to_owned()), ..Default::default() });
        Ok(())
    })
    .await
}

/// Waits until a server says that something holds.
async fn until(server: &Db, condition: &str) -> Result<(), Error> {
    while server.send_alone(&format!("SELECT 1 WHERE {condition}")).await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let Ok(primary) = Cluster::start().await else {
        println!(
            "This example needs the programs of PostgreSQL 15 or newer: install the system's package `postgresql`."
        );
        return Ok(());
    };
    let replica = primary.replica().await?;
    let replicas = Replicas::from([Db::connect(replica.url()).await?])
        .wait(Duration::from_millis(250))
        .retry_after(Duration::from_millis(250));
    let db = Db::connect(primary.url()).await?.replicas(replicas)?;
    create_table(&db, guest::Entity).await?;
    db.note_written(); // the table was made past all sessions

    sign(&db, "Ada").await?;
    show(&db, "Ada has signed").await?;

    let past_sessions = Db::connect(replica.url()).await?;
    past_sessions.send_alone("SELECT pg_wal_replay_pause()").await?;
    until(&past_sessions, "pg_get_wal_replay_pause_state() = 'paused'").await?;
    show(&db, "The replay stands still, and nothing new was written").await?;
    sign(&db, "Grace").await?;
    show(&db, "Grace has signed").await?;
    show(&db, "Nobody waits for it again so soon").await?;
    past_sessions.send_alone("SELECT pg_wal_replay_resume()").await?;
    until(&past_sessions, &format!("pg_last_wal_replay_lsn() >= '{}'", db.written().await?)).await?;
    show(&db, "The replay has caught up").await?;

    replica.halt().await?;
    show(&db, "The replica is gone").await?;
    replica.resume().await?;
    while db.replica_stats()[0].left_out {
        tokio::time::sleep(Duration::from_millis(50)).await;
        show(&db, "It is tried again in the background").await?;
    }
    show(&db, "It is back").await?;
    println!("{:?}", db.replica_stats()[0]);
    Ok(())
}
