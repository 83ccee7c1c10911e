//! A throw-away Galera cluster: MariaDB servers that hold one database together, each in a folder of its own, as a server of
//! [`mariadb`](super::mariadb). They talk to each other on ports of the loopback address, and to clients on their sockets.

use std::{
    fmt,
    net::TcpListener,
    path::PathBuf,
    time::{Duration, Instant},
};

use sea_orm::sqlx::{
    self, AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, Row,
    mysql::{MySqlConnectOptions, MySqlSslMode},
};
use tokio::time::{sleep, timeout};

use super::{
    cluster_error::{ClusterError, io},
    lease::Lease,
};

/// How long a node may take to have what the others have.
const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster that belongs to one test, which may kill its nodes. It ends with the value, or with the process.
pub struct GaleraCluster {
    nodes: Vec<Lease>,
}

/// What a node listens on: for the others, for what it has missed, and for all the data.
struct Ports([u16; 3]);

impl GaleraCluster {
    /// Starts a cluster of so many nodes, and waits until each has what the first has.
    ///
    /// # Errors
    /// MariaDB, Galera or rsync is not installed, or a node does not start.
    ///
    /// # Cancel safety
    /// Dropped while it starts, it leaves nodes that nobody holds, which remove themselves.
    pub async fn start(nodes: usize) -> Result<Self, ClusterError> {
        let ports = free_ports(nodes)?;
        let mut cluster = GaleraCluster { nodes: Vec::with_capacity(nodes) };
        // One after the other: a node that sends its data to one has no time for another.
        for number in 0..nodes {
            cluster.nodes.push(Lease::node(&options(number, &ports), number == 0).await?);
            cluster.synced(number).await?;
        }
        Ok(cluster)
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The URL of a database on a node, as its administrator.
    pub fn url_of(&self, node: usize, database: &str) -> String {
        self.administrator(node).database(database).to_url_lossy().to_string()
    }

    /// The same through a proxy that listens on this socket.
    pub fn url_through(&self, proxy: &std::path::Path, database: &str) -> String {
        on_socket(proxy.to_owned()).database(database).to_url_lossy().to_string()
    }

    /// The socket of a node.
    pub fn socket(&self, node: usize) -> PathBuf {
        self.nodes[node].socket()
    }

    /// Sends statements to a node, as its administrator.
    ///
    /// # Errors
    /// What the node says.
    ///
    /// # Cancel safety
    /// Dropped, they may have been carried out or not.
    pub async fn send(&self, node: usize, statements: &str) -> Result<(), ClusterError> {
        let what = || "a statement to a node".to_owned();
        let sent = send(&self.administrator(node), statements.to_owned()).await;
        sent.map_err(|source| ClusterError::Sql { what: what(), source })
    }

    /// Kills a node (SIGKILL), which then is gone until [`GaleraCluster::resume`].
    ///
    /// # Errors
    /// It did not end.
    ///
    /// # Cancel safety
    /// Dropped midway, it ends in the background.
    pub async fn kill(&self, node: usize) -> Result<(), ClusterError> {
        self.nodes[node].halt("immediate").await
    }

    /// Starts a node that was killed, and waits until it has what the others have.
    ///
    /// # Errors
    /// It did not come back.
    ///
    /// # Cancel safety
    /// Dropped midway, it starts in the background.
    pub async fn resume(&self, node: usize) -> Result<(), ClusterError> {
        self.nodes[node].resume().await?;
        self.synced(node).await
    }

    /// Waits until a node has what the others have, and takes statements.
    ///
    /// # Errors
    /// It does not get there.
    ///
    /// # Cancel safety
    /// Safe: nothing is changed.
    pub async fn synced(&self, node: usize) -> Result<(), ClusterError> {
        self.until(node, "wsrep_local_state_comment", "Synced").await?;
        self.until(node, "wsrep_ready", "ON").await
    }

    /// Waits until a node says this of itself (`SHOW STATUS`).
    ///
    /// # Errors
    /// It does not.
    ///
    /// # Cancel safety
    /// Safe: nothing is changed.
    pub async fn until(&self, node: usize, variable: &str, value: &str) -> Result<(), ClusterError> {
        let start = Instant::now();
        loop {
            let said = status(&self.administrator(node), variable).await;
            if matches!(&said, Ok(said) if said == value) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let wanted =
                    format!("node {node} was to say {value} of {variable} within {PATIENCE:?}, and says {said:?}");
                return Err(ClusterError::Start(wanted));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn administrator(&self, node: usize) -> MySqlConnectOptions {
        on_socket(self.nodes[node].socket())
    }
}

impl fmt::Debug for GaleraCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GaleraCluster").field("nodes", &self.len()).finish_non_exhaustive()
    }
}

fn on_socket(socket: PathBuf) -> MySqlConnectOptions {
    MySqlConnectOptions::new().username("root").socket(socket).ssl_mode(MySqlSslMode::Disabled)
}

/// Ports that nobody listens on: all are taken before any is given back.
fn free_ports(nodes: usize) -> Result<Vec<Ports>, ClusterError> {
    let listen = |_| TcpListener::bind(("127.0.0.1", 0)).map_err(io("looking for a free port"));
    let taken: Vec<TcpListener> = (0..nodes * 3).map(listen).collect::<Result<_, _>>()?;
    let port = |at: usize| taken[at].local_addr().map(|address| address.port()).map_err(io("looking for a free port"));
    (0..nodes).map(|node| Ok(Ports([port(node * 3)?, port(node * 3 + 1)?, port(node * 3 + 2)?]))).collect()
}

/// The options of a node, one a line. Nodes that are gone are given up soon, since nothing but this machine is between them.
fn options(number: usize, ports: &[Ports]) -> String {
    let Ports([group, missed, whole]) = ports[number];
    let address: Vec<String> = ports.iter().map(|Ports([group, ..])| format!("127.0.0.1:{group}")).collect();
    let name = ports[0].0[0];
    let provider = format!(
        "gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{missed};ist.recv_bind=127.0.0.1:{missed};\
         gcache.size=32M;gmcast.peer_timeout=PT2S;evs.keepalive_period=PT0.5S;evs.inactive_check_period=PT0.5S;\
         evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S;evs.install_timeout=PT6S;pc.announce_timeout=PT1S"
    );
    [
        "--wsrep-on=ON".to_owned(),
        format!("--wsrep-cluster-name=sea_session_{name}"),
        format!("--wsrep-cluster-address=gcomm://{}", address.join(",")),
        format!("--wsrep-node-name=node{number}"),
        "--wsrep-node-address=127.0.0.1".to_owned(),
        format!("--wsrep-provider-options={provider}"),
        "--wsrep-sst-method=rsync".to_owned(),
        format!("--wsrep-sst-receive-address=127.0.0.1:{whole}"),
        "--wsrep-slave-threads=2".to_owned(),
        "--binlog-format=ROW".to_owned(),
        "--innodb-autoinc-lock-mode=2".to_owned(),
        String::new(),
    ]
    .join("\n")
}

async fn status(server: &MySqlConnectOptions, variable: &str) -> Result<String, sqlx::Error> {
    let asked = async {
        let mut connection = MySqlConnection::connect_with(server).await?;
        let said = ask(&mut connection, format!("SHOW STATUS LIKE '{variable}'")).await?;
        connection.close().await?;
        Ok(said)
    };
    timeout(Duration::from_secs(5), asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

#[expect(clippy::disallowed_methods, reason = "asks a test server, where there is no unit of work")]
async fn ask(connection: &mut MySqlConnection, question: String) -> Result<String, sqlx::Error> {
    use sqlx::Executor;
    connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(question))).await?.try_get(1)
}

#[expect(clippy::disallowed_methods, reason = "administers a test server, where there is no unit of work")]
async fn send(server: &MySqlConnectOptions, statements: String) -> Result<(), sqlx::Error> {
    use sqlx::Executor;
    let mut connection = MySqlConnection::connect_with(server).await?;
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await?;
    connection.close().await
}
