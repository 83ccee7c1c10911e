//! SQLite under two processes, and under `kill -9`: no unit is lost, none is torn, and the file stays sound.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{ConnectionTrait, DbBackend, EntityTrait, PaginatorTrait, Statement};
use sea_session::Error;
use sea_session::prelude::*;

use crate::again;
use crate::support_proof::note;

/// Names the database of a child process, its mark, and how many units it writes.
const CHILD: &str = "SEA_SESSION_CRASH_CHILD";
const UNITS: usize = 1_000;

fn url(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", file.display())
}

/// Starts this test program again as a writer: the test named asks for its task first.
fn writer(file: &Path, mark: &str, units: usize) -> Child {
    again::program(module_path!(), "r7_two_processes_write_one_file_and_nothing_is_lost")
        .env(CHILD, format!("{}\n{mark}\n{units}", file.display()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process")
}

/// The units that a child said were committed, in its own words on standard output.
fn acknowledged(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output = child.stdout.take().expect("the child's output");
    BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix("done ").map(str::to_owned))
}

/// What a writer does.
async fn write_units(task: &str) {
    let mut task = task.lines();
    let mut next = || task.next().expect("three lines").to_owned();
    let (file, mark, units) = (next(), next(), next().parse::<usize>().expect("a number"));
    let db = Db::connect(url(Path::new(&file))).await.expect("sessions");
    for unit in 0..units {
        let title = format!("{mark} {unit}");
        let retry = Retry::times(100).backoff(Duration::from_millis(1), Duration::from_millis(20));
        db.session()
            .retry(retry)
            .run(async |s| -> Result<(), Error> {
                let counter = s.get::<note::Entity>(1).await?.expect("the counter");
                counter.set_rank(counter.rank().map(|rank| rank + 1));
                for part in ["a", "b"] {
                    s.add(note::ActiveModel { title: Set(format!("{title} {part}")), ..Default::default() });
                }
                Ok(())
            })
            .await
            .expect("a unit");
        println!("done {title}");
    }
}

async fn database(folder: &Path) -> Db {
    let db = Db::connect(url(&folder.join("crash.db"))).await.expect("sessions");
    db.connection().execute_unprepared(note::SQLITE).await.expect("tables");
    db.connection().execute_unprepared("INSERT INTO note (title, rank) VALUES ('counter', 0)").await.expect("a row");
    db
}

/// Every acknowledged unit is there once and whole, and so is every other; the counter agrees with the rows.
async fn settle(what: &str, db: &Db, acknowledged: &[String]) {
    let check = Statement::from_string(DbBackend::Sqlite, "PRAGMA integrity_check");
    let row = db.connection().query_one_raw(check).await.expect("a check").expect("a row");
    assert_eq!(row.try_get_by_index::<String>(0).expect("a text"), "ok");
    let notes = note::Entity::find().all(db.connection()).await.expect("rows");
    let mut parts: std::collections::HashMap<&str, [usize; 2]> = std::collections::HashMap::new();
    for (unit, part) in notes.iter().filter_map(|note| note.title.rsplit_once(' ')) {
        parts.entry(unit).or_default()[usize::from(part == "b")] += 1;
    }
    let lost = acknowledged.iter().filter(|unit| !parts.contains_key(unit.as_str())).count();
    let torn = parts.values().filter(|parts| **parts != [1, 1]).count();
    println!(
        "{what}: {} units stored, {} acknowledged; {lost} lost, {torn} torn or doubled",
        parts.len(),
        acknowledged.len()
    );
    assert_eq!((lost, torn), (0, 0));
    let counter = notes.iter().find(|note| note.id == 1).and_then(|note| note.rank);
    assert_eq!(counter, i32::try_from(parts.len()).ok(), "the counter read and written in every unit agrees");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_two_processes_write_one_file_and_nothing_is_lost() {
    if let Ok(task) = std::env::var(CHILD) {
        return write_units(&task).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let db = database(folder.path()).await;
    let file = folder.path().join("crash.db");
    let mut children = [writer(&file, "left", UNITS), writer(&file, "right", UNITS)];
    let readers = children.each_mut().map(|child| {
        let lines = acknowledged(child);
        std::thread::spawn(move || lines.collect::<Vec<_>>())
    });
    let told: Vec<String> = readers.into_iter().flat_map(|reader| reader.join().expect("a reader")).collect();
    for child in &mut children {
        assert!(child.wait().expect("the child").success());
    }
    assert_eq!(told.len(), 2 * UNITS);
    settle("two processes", &db, &told).await;
    assert_eq!(note::Entity::find().count(db.connection()).await.expect("a count"), 4 * UNITS as u64 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_kill_9_in_mid_commit_tears_no_unit() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = database(folder.path()).await;
    let file = folder.path().join("crash.db");
    let mut random = fastrand::Rng::new();
    let mut told = Vec::new();
    for round in 0..12 {
        let mut child = writer(&file, &format!("round {round}"), 1_000_000);
        let mut lines = acknowledged(&mut child);
        // Any moment of a unit, its COMMIT included.
        told.extend(lines.by_ref().take(random.usize(5..40)));
        std::thread::sleep(Duration::from_micros(random.u64(0..3_000)));
        child.kill().expect("SIGKILL");
        told.extend(lines);
        child.wait().expect("the child");
    }
    assert!(told.len() > 60, "{} units were acknowledged", told.len());
    settle("kill -9", &db, &told).await;
    db.run(async |s| -> Result<(), Error> {
        s.add(note::ActiveModel { title: Set("afterwards".into()), ..Default::default() });
        Ok(())
    })
    .await
    .expect("the file can be written");
}
