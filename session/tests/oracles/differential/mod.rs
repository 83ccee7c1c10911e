//! The differential test (D13): whatever the tables do to their rows, a session gives the same database as SeaORM's own
//! statements, one row at a time in a valid order, and objects that hold what their rows hold.
//!
//! A program is drawn from a seed: which entities of the family take part, what their tables are (types that round, pad and
//! fold, defaults, identities, triggers, generated columns, actions of foreign keys), and what is done. A session carries it
//! out in one world, SeaORM in another; they are compared after every flush. A failing program is made smaller and shown.
//!
//! 300 programs on each backend. `DIFFERENTIAL_PROGRAMS=20000 cargo test -p sea-session --release --test oracles --
//! differential::` runs more, `DIFFERENTIAL_SEED=17` one alone, with every step (`DIFFERENTIAL_PLAIN=1` without rules, views,
//! partitions and their kin: a kept seed without `+`); `DIFFERENTIAL_FAILURES=100` goes on until so many have failed, and
//! `DIFFERENTIAL_BRIEF=1` does not make them smaller. A seed that fails is added to `seeds.txt`; those come first.
//!
//! What SeaORM cannot carry and is therefore not drawn: `u8`, `u16`, `u32` and `u64` on PostgreSQL (it writes some of them and
//! reads none back), `u64` on SQLite, and `i8` on PostgreSQL, which it sends as `"char"`. Unsigned numbers, decimal ones, sets and
//! times of day are drawn on MariaDB alone.

mod family;
mod features;
mod mariadb;
mod oracle;
mod program;
mod reduce;
mod run;
mod tables;
mod world;

use std::sync::Mutex;

use program::Case;
use run::{Outcome, Places};
use sea_session::testing::{Backend, cluster};

const KEPT: &str = include_str!("seeds.txt");

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

/// The seeds of a run, and whether their tables may be more than tables: `+` behind a kept one says so.
fn seeds(backend: Backend) -> Vec<(u64, bool)> {
    if let Some(seed) = number("DIFFERENTIAL_SEED") {
        return vec![(seed, number("DIFFERENTIAL_PLAIN").is_none())];
    }
    let kept = KEPT.lines().filter_map(|line| line.split_once(' '));
    let kept = kept.filter(|(name, _)| *name == format!("{backend:?}")).map(|(_, seed)| seed);
    let kept = kept.filter_map(|seed| Some((seed.trim_end_matches('+').parse().ok()?, seed.ends_with('+'))));
    let first = number("DIFFERENTIAL_FIRST").unwrap_or(0);
    let new = first..first + number("DIFFERENTIAL_PROGRAMS").unwrap_or(300);
    kept.chain(new.map(|seed| (seed, true))).collect()
}

/// Has every run begin with this seed.
fn keep(backend: Backend, seed: u64, featured: bool) {
    let line = format!("{backend:?} {seed}{}\n", if featured { "+" } else { "" });
    if KEPT.contains(&line) || number("DIFFERENTIAL_BRIEF").is_some() {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracles/differential/seeds.txt");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
}

fn differential(backend: Backend) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        // Databases go with their values.
        let (database, ours, theirs);
        let places = match backend {
            Backend::Sqlite => Places::in_memory(),
            Backend::Postgres => {
                database = cluster::fresh_database().await.unwrap();
                Places::schemas(&database.url())
            }
            Backend::MariaDb => {
                ours = cluster::mariadb::fresh_database().await.unwrap();
                theirs = cluster::mariadb::fresh_database().await.unwrap();
                Places::databases(&ours, &theirs)
            }
        };
        let most = number("DIFFERENTIAL_FAILURES").unwrap_or(1);
        let (mut same, mut refused, mut open, mut failures) = (0, 0, 0, Vec::new());
        for (seed, featured) in seeds(backend) {
            let case = Case::draw(backend, seed, featured);
            let log = Mutex::new(Vec::new());
            let outcome = run::run(&case, &places, &log).await;
            if number("DIFFERENTIAL_SEED").is_some() {
                println!("{}{outcome:?}", reduce::show(&case, &log.lock().unwrap()));
            }
            match outcome {
                Outcome::Same => same += 1,
                Outcome::Refused => refused += 1,
                Outcome::Open => open += 1,
                Outcome::Different(what) => {
                    keep(backend, seed, featured);
                    println!("{backend:?} seed {seed}: {what}");
                    failures.push(match number("DIFFERENTIAL_BRIEF") {
                        Some(_) => format!("{backend:?} seed {seed}: {what}"),
                        None => reduce::smallest(case, what, &places).await,
                    });
                    if failures.len() as u64 >= most {
                        break;
                    }
                }
            }
        }
        println!(
            "{backend:?}: {same} programs the same, {refused} refused by both, {open} without an order for single rows"
        );
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
        if number("DIFFERENTIAL_SEED").is_none() {
            let all = same + refused + open;
            assert!(same * 10 > all * 6, "programs that are refused, or have no order, prove little");
        }
    });
}

#[test]
fn d13_a_session_and_single_statements_give_the_same_on_sqlite() {
    differential(Backend::Sqlite);
}

#[test]
fn d13_a_session_and_single_statements_give_the_same_on_postgres() {
    differential(Backend::Postgres);
}

#[test]
fn d13_a_session_and_single_statements_give_the_same_on_mariadb() {
    differential(Backend::MariaDb);
}
