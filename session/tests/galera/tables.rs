//! The cluster that the tests of this program share, one at a time; their tables, each test's in a database of its own.

use sea_orm::{ConnectOptions, ConnectionTrait, Statement, entity::prelude::*};
use sea_session::{prelude::*, testing::cluster::galera::GaleraCluster};
use tokio::sync::{Mutex, MutexGuard};

pub mod account {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "account")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub balance: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

pub use crate::support_load::row as note;

pub const NODES: usize = 3;

/// One test at a time has the cluster, since some of them kill its nodes.
static CLUSTER: Mutex<Option<GaleraCluster>> = Mutex::const_new(None);

/// The cluster, and a database on it that is this test's own.
pub struct Scene {
    cluster: MutexGuard<'static, Option<GaleraCluster>>,
    pub database: &'static str,
}

impl Scene {
    pub async fn new(database: &'static str) -> Self {
        let mut cluster = CLUSTER.lock().await;
        if cluster.is_none() {
            *cluster = Some(GaleraCluster::start(NODES).await.expect("a cluster"));
        }
        let scene = Scene { cluster, database };
        // A test that has failed may have left a node that does not take part.
        for node in 0..NODES {
            scene.cluster().synced(node).await.expect("a node that takes part");
        }
        let tables = "CREATE TABLE note (id bigint PRIMARY KEY AUTO_INCREMENT, title varchar(200) NOT NULL); \
                      CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL)";
        let make = format!("CREATE DATABASE {database}; USE {database}; {tables}");
        scene.cluster().send(0, &make).await.expect("tables");
        scene.db(0).await.create_commit_tokens().await.expect("the table of tokens");
        for node in 1..NODES {
            scene.until_applied(node).await;
        }
        scene
    }

    pub fn cluster(&self) -> &GaleraCluster {
        self.cluster.as_ref().expect("the cluster was started")
    }

    /// A pool of a node, which knows of no other.
    pub async fn db(&self, node: usize) -> Db {
        connect(&self.cluster().url_of(node, self.database), 8).await
    }

    /// A pool of a node, which knows of the others.
    pub async fn db_of_all(&self, node: usize) -> Db {
        let mut others = Vec::new();
        for other in (0..NODES).filter(|other| *other != node) {
            others.push(self.db(other).await);
        }
        self.db(node).await.nodes(others).expect("nodes")
    }

    /// Waits until a node has what the cluster has committed so far.
    async fn until_applied(&self, node: usize) {
        let db = self.db(node).await;
        db.session()
            .causal()
            .run(async |s: &mut Session| -> Result<(), SessionError> {
                s.execute_unprepared("DO 1").await?;
                Ok(())
            })
            .await
            .expect("a node that follows");
        db.close().await.expect("the pool closes");
    }

    /// Takes the database away again, so that what is left is what the next test finds.
    pub async fn end(self) {
        self.cluster().send(0, &format!("DROP DATABASE {}", self.database)).await.expect("a database that goes");
    }
}

pub async fn connect(url: &str, connections: u32) -> Db {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections);
    Db::connect(options).await.expect("a pool")
}

/// One number that a node answers with, past every session, with all that the cluster has committed.
pub async fn number(db: &Db, question: &str) -> i64 {
    let question = format!("SET STATEMENT wsrep_sync_wait = 1 FOR SELECT CAST(({question}) AS SIGNED)");
    let row = db.connection().query_one_raw(Statement::from_string(db.backend(), question)).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}
