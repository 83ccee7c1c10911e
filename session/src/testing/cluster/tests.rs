//! What must hold of the throw-away cluster, seen from outside: its processes, its folder, its databases.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbErr, Statement};

use super::{
    lease::{Engine, Lease, default_link, link_of, open},
    *,
};

/// Tells this test program, started again, that it is a holder, and of which link.
const HOLDER_LINK: &str = "SEA_SESSION_TEST_HOLDER_LINK";

async fn connect(url: &str) -> DatabaseConnection {
    Database::connect(url).await.expect("the server answers")
}

async fn run(db: &DatabaseConnection, sql: &str) {
    db.execute_unprepared(sql).await.expect(sql);
}

async fn text(db: &DatabaseConnection, sql: &str) -> String {
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.expect(sql);
    row.expect("one row").try_get_by_index(0).expect("a text")
}

async fn count(db: &DatabaseConnection, table: &str) -> i64 {
    text(db, &format!("SELECT count(*)::text FROM {table}")).await.parse().expect("a number")
}

/// Waits until something holds, and says what did not.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs. One that ended but was not yet reaped does not.
fn runs(pid: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().expect("ps runs");
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

fn server_pid(folder: &Path) -> u32 {
    let file = fs::read_to_string(folder.join("server/data/postmaster.pid")).expect("a running server");
    file.lines().next().and_then(|line| line.trim().parse().ok()).expect("a process number")
}

#[tokio::test]
async fn a_database_is_empty_and_its_own_and_gone_when_dropped() {
    let (one, two) = (fresh_database().await.expect("a database"), fresh_database().await.expect("a database"));
    assert_ne!(one.name(), two.name());
    let (db, other) = (connect(&one.url()).await, connect(&two.url()).await);
    run(&db, "CREATE TABLE note (id int)").await;
    assert_eq!(count(&other, "pg_tables WHERE tablename = 'note'").await, 0);
    assert_eq!(text(&db, "SELECT current_setting('server_encoding')").await, "UTF8");

    let admin = connect(&database_url().await.expect("a server")).await;
    let named = |name: &str| format!("pg_database WHERE datname = '{name}'");
    let (first, second) = (one.name().to_owned(), two.name().to_owned());
    assert_eq!(count(&admin, &named(&first)).await, 1);
    drop(one); // with a connection still open
    assert_eq!(count(&admin, &named(&first)).await, 0);
    two.drop_now().await.expect("dropped");
    assert_eq!(count(&admin, &named(&second)).await, 0);
}

#[tokio::test]
async fn a_database_can_be_collated_by_a_language() {
    let database = fresh_database_collated("en-US").await.expect("a PostgreSQL with ICU");
    assert_eq!(text(&connect(&database.url()).await, "SELECT ('a' < 'B')::text").await, "true");
    let database = fresh_database().await.expect("a database");
    assert_eq!(text(&connect(&database.url()).await, "SELECT ('a' < 'B')::text").await, "false");
}

#[tokio::test]
async fn t3_a_role_sees_only_what_row_level_security_shows() {
    let database = fresh_database().await.expect("a database");
    let role = database.create_role().await.expect("a role");
    let owner = connect(&database.url()).await;
    run(&owner, "CREATE TABLE note (tenant text); INSERT INTO note VALUES ('a'), ('b')").await;
    run(&owner, "ALTER TABLE note ENABLE ROW LEVEL SECURITY; ALTER TABLE note FORCE ROW LEVEL SECURITY").await;
    run(&owner, "CREATE POLICY own ON note USING (tenant = current_setting('app.tenant', true))").await;

    let theirs = connect(role.url()).await;
    assert_eq!(text(&theirs, "SELECT current_user::text").await, role.name());
    theirs.execute_unprepared("SELECT * FROM note").await.expect_err("nothing was granted yet");
    let name = role.name().to_owned();
    run(&owner, &format!("GRANT SELECT ON note TO {name}")).await;
    assert_eq!(count(&theirs, "note").await, 0);
    run(&owner, &format!("ALTER ROLE {name} SET app.tenant = 'a'")).await;
    assert_eq!(count(&connect(role.url()).await, "note").await, 1);

    if variable(GIVEN_SERVER).is_none() {
        let passwordless = connect(&database.url_as(&name)).await;
        assert_eq!(text(&passwordless, "SELECT current_user::text").await, name);
    }
    database.drop_now().await.expect("dropped, and its role with it");
    let admin = connect(&database_url().await.expect("a server")).await;
    assert_eq!(count(&admin, &format!("pg_roles WHERE rolname = '{name}'")).await, 0);
}

#[tokio::test]
async fn a_private_cluster_is_crashed_restarted_and_removed() {
    let cluster = Cluster::start().await.expect("a cluster");
    let folder = cluster.lease.socket_folder().parent().expect("a folder").to_owned();
    let database = cluster.fresh_database().await.expect("a database");
    let db = connect(&database.url()).await;
    assert_eq!(text(&db, "SELECT current_setting('listen_addresses')").await, "");
    assert_eq!(text(&db, "SELECT current_setting('max_prepared_transactions')").await, "20");
    assert!(cluster.socket().exists() && cluster.socket().as_os_str().len() <= 100);
    run(&db, "CREATE TABLE note (id int); INSERT INTO note VALUES (1)").await;
    run(&db, "BEGIN; INSERT INTO note VALUES (2); PREPARE TRANSACTION 'left over'").await;

    let before = server_pid(&folder);
    cluster.restart_immediate().await.expect("restarted");
    assert!(!runs(before));
    assert_ne!(server_pid(&folder), before);
    let lost: Result<_, DbErr> = db.execute_unprepared("SELECT 1").await;
    let again = connect(&database.url()).await;
    assert_eq!(count(&again, "note").await, 1, "committed is there, prepared is not visible ({lost:?})");
    run(&again, "COMMIT PREPARED 'left over'").await;
    assert_eq!(count(&again, "note").await, 2);
    cluster.restart().await.expect("restarted in good order");
    assert!(fs::read_to_string(cluster.log()).expect("a log").contains("recovery"));

    let server = server_pid(&folder);
    cluster.stop().await.expect("gone");
    assert!(!folder.exists());
    eventually("the server has ended", || !runs(server));
}

#[tokio::test]
async fn a_dropped_private_cluster_goes_by_itself() {
    let cluster = Cluster::start().await.expect("a cluster");
    let folder = cluster.lease.socket_folder().parent().expect("a folder").to_owned();
    let server = server_pid(&folder);
    drop(cluster);
    eventually("folder and server are gone", || !folder.exists() && !runs(server));
}

/// What a holder does: holds the cluster until it is killed.
#[tokio::main(flavor = "current_thread")]
async fn hold(link: &Path) {
    let lease = Lease::shared(Engine::Postgres, link).await.expect("a cluster");
    println!("\nfolder {}", lease.socket_folder().parent().expect("a folder").display());
    std::future::pending::<()>().await;
}

struct Holder {
    process: Child,
    folder: PathBuf,
}

impl Holder {
    fn start(link: &Path) -> Child {
        let test = "testing::cluster::tests::processes_share_one_cluster_and_a_kill_of_all_leaves_nothing";
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(HOLDER_LINK, link);
        command.stdout(Stdio::piped()).spawn().expect("another process")
    }

    /// Waits until it has the cluster.
    fn settle(mut process: Child) -> Self {
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let folder = lines.find_map(|line| line.expect("text").strip_prefix("folder ").map(PathBuf::from));
        Holder { process, folder: folder.expect("the holder has a cluster") }
    }

    /// SIGKILL: nothing in the process gets to clean up.
    fn kill(mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }
}

impl Drop for Holder {
    /// A test that fails leaves no server behind.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn link_of_this_test() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("link");
    (folder, link)
}

#[test]
fn processes_share_one_cluster_and_a_kill_of_all_leaves_nothing() {
    if let Some(link) = variable(HOLDER_LINK) {
        return hold(Path::new(&link));
    }
    let (_keep, link) = link_of_this_test();
    // All at once, as nextest starts them: each must end up on the same one.
    let started: Vec<_> = (0..4).map(|_| Holder::start(&link)).collect();
    let mut holders: Vec<_> = started.into_iter().map(Holder::settle).collect();
    let folder = holders[0].folder.clone();
    assert!(holders.iter().all(|holder| holder.folder == folder));
    let server = server_pid(&folder);

    let last = holders.pop().expect("one of four");
    holders.into_iter().for_each(Holder::kill);
    // A holder that comes in the pause, or later, finds the same server as long as one is left.
    let late = Holder::settle(Holder::start(&link));
    assert_eq!(late.folder, folder);
    last.kill();
    std::thread::sleep(Duration::from_secs(7)); // longer than the watcher's pause
    assert!(runs(server) && folder.exists(), "one holder is left");
    late.kill();
    eventually("folder, link and server are gone", || {
        !folder.exists() && fs::symlink_metadata(&link).is_err() && !runs(server)
    });
}

/// Tests of two checkouts do not meet: what one prepares or creates is not in the other's cluster.
#[tokio::test]
async fn two_checkouts_have_two_clusters() {
    let long = format!("/srv/{}/session", "a".repeat(200));
    let roots = ["/srv/one/session", "/srv/two/session", "/srv/one/session2", &long];
    let links: Vec<_> = roots.iter().map(|root| link_of(Engine::Postgres, Path::new(root)).expect("a link")).collect();
    for (at, link) in links.iter().enumerate() {
        assert_eq!(link, &link_of(Engine::Postgres, Path::new(roots[at])).expect("a link"), "the same each time");
        assert!(!links[..at].contains(link), "{} has the link of another", roots[at]);
        assert!(link.file_name().expect("a name").len() < 60, "{}", link.display());
    }
    // Every package of this checkout finds the same.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    assert_eq!(default_link(Engine::Postgres).expect("a link"), link_of(Engine::Postgres, root).expect("a link"));

    // The names of these two checkouts in a folder of the test's own, so that no checkout's own cluster is touched.
    let (keep, _) = link_of_this_test();
    let in_own_folder = |link: &Path| keep.path().join(link.file_name().expect("a name"));
    let one = Lease::shared(Engine::Postgres, &in_own_folder(&links[0])).await.expect("a cluster");
    let two = Lease::shared(Engine::Postgres, &in_own_folder(&links[1])).await.expect("another");
    assert_ne!(one.socket(), two.socket());
    assert!(one.socket().as_os_str().len() <= 100 && two.socket().as_os_str().len() <= 100);
    let dbs = [connect(&on(&one)).await, connect(&on(&two)).await];
    run(&dbs[0], "CREATE ROLE of_one").await;
    run(&dbs[0], "BEGIN; CREATE TABLE note (id int); PREPARE TRANSACTION 'of one'").await;
    let seen = "pg_roles WHERE rolname = 'of_one'";
    assert_eq!((count(&dbs[0], seen).await, count(&dbs[1], seen).await), (1, 0));
    assert_eq!((count(&dbs[0], "pg_prepared_xacts").await, count(&dbs[1], "pg_prepared_xacts").await), (1, 0));
    run(&dbs[0], "ROLLBACK PREPARED 'of one'").await;
    drop(dbs);
    // Each waits for the next process of its checkout, then goes.
    let (one, two) = tokio::join!(one.end(), two.end());
    one.and(two).expect("gone");
}

fn on(lease: &Lease) -> String {
    PgUrl::on_socket(&lease.socket_folder()).to_string()
}

/// Between the founder's link and its `go` another process may come, and the founder may even be killed.
#[tokio::test]
async fn one_who_comes_before_the_founders_word_gets_the_cluster() {
    let (keep, link) = link_of_this_test();
    let folder = tempfile::tempdir_in(keep.path()).expect("a folder").keep();
    let path = variable("PATH").expect("a PATH");
    let arguments = ["launch", folder.to_str().expect("a text"), "0", link.to_str().expect("a text")];
    assert!(script(&arguments, Path::new(&path)).status.success());
    eventually("the watcher reads", || fs::OpenOptions::new().read(true).open(folder.join("lease")).is_ok());
    std::os::unix::fs::symlink(&folder, &link).expect("a link");
    let lease = Lease::shared(Engine::Postgres, &link).await.expect("a cluster without anybody's `go`");
    assert_eq!(lease.socket_folder().parent(), Some(folder.as_path()));
    lease.end().await.expect("gone");
}

#[tokio::test]
async fn a_killed_watcher_is_cleaned_up_after_by_the_next_run() {
    let (_keep, link) = link_of_this_test();
    let first = Holder::settle(Holder::start(&link));
    let (folder, server) = (first.folder.clone(), server_pid(&first.folder));
    let listed = Command::new("ps").args(["ax", "-o", "pid=,args="]).output().expect("ps runs");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let watches = format!("cluster.sh watch {}", folder.display());
    // With whatever it has just started, which has its name until it is another program, and its end of the lease for longer.
    let watchers =
        listed.lines().filter(|line| line.contains(&watches)).filter_map(|line| line.split_whitespace().next());
    let watchers: Vec<&str> = watchers.collect();
    assert!(!watchers.is_empty(), "the watcher runs");
    Command::new("kill").arg("-KILL").args(watchers).status().expect("kill runs");
    first.kill();
    eventually("nobody reads the lease", || open(&folder).is_err());

    let second = Holder::settle(Holder::start(&link));
    assert_ne!(second.folder, folder);
    assert!(!folder.exists());
    // It removes its files before it ends, and only they are waited for.
    eventually("the first server has ended", || !runs(server));
    let folder = second.folder.clone();
    second.kill();
    eventually("the second cluster is gone too", || !folder.exists());
}

#[test]
fn a_folder_of_which_only_the_link_is_left_is_no_obstacle() {
    let (keep, link) = link_of_this_test();
    std::os::unix::fs::symlink(keep.path().join("gone"), &link).expect("a link");
    let holder = Holder::settle(Holder::start(&link));
    let folder = holder.folder.clone();
    assert_eq!(fs::read_link(&link).expect("the new link"), folder);
    holder.kill();
    eventually("the cluster is gone", || !folder.exists());
}

/// The script in an environment of the test's making.
fn script(arguments: &[&str], path: &Path) -> std::process::Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/testing/cluster/cluster.sh");
    Command::new("/bin/sh").arg(script).args(arguments).env("PATH", path).output().expect("sh runs")
}

#[test]
fn programs_that_do_not_work_are_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("a folder");
    for (program, text) in [("postgres", "postgres (PostgreSQL) 9.6.24"), ("initdb", "x"), ("pg_ctl", "x")] {
        let file = bin.join(program);
        fs::write(&file, format!("#!/bin/sh\necho '{text}'\n")).expect("a program");
        assert!(Command::new("chmod").arg("755").arg(&file).arg(folder.path()).status().expect("chmod").success());
    }
    let path = format!("{}:{}", bin.display(), variable("PATH").expect("a PATH"));
    let output = script(&["find"], Path::new(&path));
    let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success() && found != bin.display().to_string(), "{output:?}");
    assert!(Path::new(&found).join("initdb").exists());
}

#[test]
fn the_watcher_of_one_who_never_came_ends() {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let path = variable("PATH").expect("a PATH");
    let arguments = ["launch", folder.to_str().expect("a text"), "0"];
    // `launch` starts the watcher from its own file, which here is the one of the sources.
    assert!(script(&arguments, Path::new(&path)).status.success());
    assert!(folder.join("lease").exists());
    eventually("the folder is gone", || !folder.exists());
}

/// What is MariaDB's own; the watcher is the same.
#[cfg(feature = "mysql")]
mod mariadb {
    use super::*;

    #[tokio::test]
    async fn a_server_of_its_own_restarts_on_its_data_and_goes_with_its_holder() {
        let lease = Lease::private(Engine::MariaDb).await.expect("a server");
        let folder = lease.socket_folder();
        let url = format!("mysql://root@localhost/mysql?socket={}", lease.socket().display());
        let db = connect(&url).await;
        run(&db, "CREATE DATABASE kept; CREATE TABLE kept.t (id int)").await;
        drop(db.close().await);
        for mode in ["fast", "immediate"] {
            lease.restart(mode).await.expect("a restart");
            let db = connect(&url).await;
            assert_eq!(text(&db, "SELECT CAST(count(*) AS char) FROM kept.t").await, "0");
            drop(db.close().await);
        }
        lease.end().await.expect("an end");
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_database_goes_with_its_value_whatever_is_open_in_it() {
        let database = super::super::mariadb::fresh_database().await.expect("a database");
        let (url, name) = (database.url(), database.name().to_owned());
        let open = connect(&url).await;
        run(&open, "CREATE TABLE t (id int)").await;
        #[expect(clippy::disallowed_methods, reason = "a transaction that is no session's")]
        let transaction = sea_orm::TransactionTrait::begin(&open).await.expect("a transaction");
        transaction.execute_unprepared("INSERT INTO t VALUES (1)").await.expect("a row");
        drop(database);
        let other = super::super::mariadb::fresh_database().await.expect("another");
        let there =
            format!("SELECT CAST(count(*) AS char) FROM information_schema.schemata WHERE schema_name = '{name}'");
        assert_eq!(text(&connect(&other.url()).await, &there).await, "0");
    }

    #[test]
    fn programs_that_do_not_work_are_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mariadbd");
        fs::write(&file, "#!/bin/sh\necho 'mariadbd  Ver 10.3.39-MariaDB for Linux'\n").expect("a program");
        assert!(Command::new("chmod").arg("755").arg(&file).arg(folder.path()).status().expect("chmod").success());
        let path = format!("{}:{}", folder.path().display(), variable("PATH").expect("a PATH"));
        let output = script(&["find", "mariadb"], Path::new(&path));
        let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success() && found != folder.path().display().to_string(), "{output:?}");
    }
}

#[tokio::test]
async fn a_replica_replays_what_its_primary_writes_and_each_goes_by_itself() {
    let primary = Cluster::start().await.expect("a cluster");
    let replica = primary.replica().await.expect("a replica");
    let (written, read) = (connect(&primary.url()).await, connect(&replica.url()).await);
    run(&written, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await;
    let there = "SELECT (to_regclass('t') IS NOT NULL)::text";
    while text(&read, there).await != "true" {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(count(&read, "t").await, 1);
    assert_eq!(text(&read, "SELECT pg_is_in_recovery()::text").await, "true");
    assert!(read.execute_unprepared("INSERT INTO t VALUES (2)").await.is_err());
    let socket = replica.socket();
    assert!(socket.as_os_str().len() < 100, "{}", socket.display());

    replica.halt().await.expect("the crash");
    assert!(Database::connect(replica.url()).await.is_err());
    replica.resume().await.expect("the start");
    assert_eq!(count(&connect(&replica.url()).await, "t").await, 1);
    replica.stop().await.expect("the end of the replica");
    assert!(!socket.exists());
    assert_eq!(count(&written, "t").await, 1);
    primary.stop().await.expect("the end of the primary");
}
