//! Programs: what is done, drawn from a seed. The values of a step are drawn again from its own seed when it is carried out,
//! so that a program with steps left out is still one.

use fastrand::Rng;
use sea_orm::Value;
use sea_session::testing::Backend;

use super::{
    family::{self, Kind},
    features::{self, Surroundings},
    mariadb,
    tables::{self, Table},
};

#[derive(Clone, Debug)]
pub struct Step {
    pub seed: u64,
    pub what: What,
}

/// `entity` is a number among the program's own tables.
#[derive(Clone, Debug)]
pub enum What {
    Add {
        entity: usize,
        rows: usize,
    },
    /// A row under the key of one that is gone, or is to go.
    AddAgain,
    Set {
        entity: usize,
        rows: usize,
    },
    Delete {
        entity: usize,
        rows: usize,
    },
    Rekey,
    Flush,
    Get,
    GetMany {
        entity: usize,
    },
    GetOther,
    Load {
        entity: usize,
    },
    Refresh,
    Parent,
    Parents {
        entity: usize,
    },
    Expire,
    ExpireAll {
        entity: usize,
    },
    RawUpdate {
        entity: usize,
    },
    RawDelete,
    Block {
        steps: Vec<Step>,
        good: bool,
    },
}

#[derive(Clone, Debug)]
pub struct Case {
    pub backend: Backend,
    pub seed: u64,
    pub tables: Vec<Table>,
    pub surroundings: Surroundings,
    pub steps: Vec<Step>,
    pub optimistic: bool,
    pub show_values: bool,
}

impl Case {
    /// `featured`: whether the tables may be more than tables; seeds that were kept before that know nothing of it.
    pub fn draw(backend: Backend, seed: u64, featured: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let all = family::all(backend);
        let mut chosen = std::collections::BTreeSet::new();
        for _ in 0..rng.usize(1..=2) {
            chosen.insert(rng.usize(..all.len()));
        }
        // The parents of what was chosen.
        for at in (0..all.len()).rev() {
            if chosen.contains(&at) {
                let parents = all[at].shape().parents().map(|(_, table, _)| table);
                let parents = parents.filter_map(|table| all.iter().position(|other| other.shape().table == table));
                chosen.extend(parents);
            }
        }
        let mut tables: Vec<Table> = match backend {
            Backend::MariaDb => {
                let collation = mariadb::collation(&mut rng);
                chosen.into_iter().map(|at| mariadb::draw(&mut rng, at, all[at].shape(), collation)).collect()
            }
            _ => chosen.into_iter().map(|at| tables::draw(&mut rng, backend, at, all[at].shape())).collect(),
        };
        let steps = (0..rng.usize(3..16)).map(|_| step(&mut rng, tables.len(), 2)).collect();
        let mut features = Rng::with_seed(seed ^ 0xFEA7);
        let mut surroundings = match featured && features.bool() {
            true => features::draw(&mut features, backend, &mut tables),
            false => Surroundings::default(),
        };
        if backend == Backend::MariaDb {
            surroundings.before.insert(0, mariadb::CONNECTION.to_owned());
        }
        Self { backend, seed, tables, surroundings, steps, optimistic: rng.u8(..5) == 0, show_values: rng.u8(..6) == 0 }
    }
}

/// Most sets are small; a few are as large as the ways for large sets want them.
fn rows(rng: &mut Rng) -> usize {
    match rng.u32(..2_000) {
        0..900 => 1,
        900..1_800 => 3,
        1_800..1_990 => 40,
        1_990..1_999 => 600,
        _ => 2_500,
    }
}

fn step(rng: &mut Rng, tables: usize, depth: u32) -> Step {
    let entity = rng.usize(..tables);
    let what = match rng.u8(..100) {
        0..22 => What::Add { entity, rows: rows(rng) },
        22..25 => What::AddAgain,
        25..45 => What::Set { entity, rows: rows(rng) },
        45..53 => What::Delete { entity, rows: rows(rng).min(3) },
        53..57 => What::Rekey,
        57..66 => What::Flush,
        66..68 => What::Load { entity },
        68..69 => What::Refresh,
        69..71 => What::Get,
        71..74 => What::GetMany { entity },
        74..76 => What::GetOther,
        76..79 => What::Parent,
        79..82 => What::Parents { entity },
        82..86 => What::Expire,
        86..88 => What::ExpireAll { entity },
        88..92 => What::RawUpdate { entity },
        92..95 => What::RawDelete,
        _ if depth == 0 => What::Flush,
        _ => {
            let steps = (0..rng.usize(1..6)).map(|_| step(rng, tables, depth - 1)).collect();
            What::Block { steps, good: rng.bool() }
        }
    };
    Step { seed: rng.u64(..), what }
}

/// A value of a kind. Few, so that programs set what is there already.
pub fn value(rng: &mut Rng, kind: Kind, null: bool) -> Value {
    if null && rng.u8(..4) == 0 {
        return null_of(kind);
    }
    let words = ["a", "B", "it's", "ÄÖ ü", "x,{y}", "", "made", "MADE"];
    match kind {
        Kind::Small => Value::from(rng.i16(-3..4)),
        Kind::Int => Value::from([0, 1, -1, 7, i32::MAX - 9, i32::MIN][rng.usize(..6)]),
        Kind::Big => Value::from([0, 1, -1, 7, i64::MAX, i64::MIN][rng.usize(..6)]),
        Kind::Double => Value::from([0.0, -0.0, 1.5, 1e300, 0.1][rng.usize(..5)]),
        Kind::Text => Value::from(words[rng.usize(..words.len())]),
        Kind::Bool => Value::from(rng.bool()),
        Kind::Utc => Value::from(moment(rng)),
        Kind::Naive => Value::from(moment(rng).naive_utc()),
        Kind::Day => Value::from(moment(rng).date_naive()),
        Kind::Id => Value::from(uuid::Uuid::from_u128(u128::from(rng.u64(..4)))),
        Kind::Document => {
            let texts = ["{\"b\": 1, \"a\": [null, true]}", "[]", "\"x\"", "{\"a\": 0.5}"];
            Value::from(texts[rng.usize(..4)].parse::<serde_json::Value>().expect("a document"))
        }
        Kind::Bytes => Value::from([vec![], vec![0_u8, 255], vec![7]][rng.usize(..3)].clone()),
        Kind::Mood => Value::from([family::Mood::Fine, family::Mood::Bad][rng.usize(..2)]),
        Kind::TinyUnsigned => Value::from([0_u8, 1, 7, u8::MAX][rng.usize(..4)]),
        Kind::SmallUnsigned => Value::from([0_u16, 1, 7, u16::MAX][rng.usize(..4)]),
        Kind::Unsigned => Value::from([0, 1, 7, u32::MAX][rng.usize(..4)]),
        Kind::BigUnsigned => Value::from([0, 7, 1 << 63, u64::MAX][rng.usize(..4)]),
        Kind::Number => Value::from(["1.005", "-2.5", "0.1", "100", "1.50"][rng.usize(..5)]),
        Kind::Marks => Value::from(["c,a", "b", "", "B,a,b"][rng.usize(..4)]),
        Kind::Word => Value::from(["a", "a ", "A", "\u{e4}", "Stra\u{df}e", "\u{1f980}", ""][rng.usize(..7)]),
        Kind::Stamp => Value::from(moment(rng) + chrono::TimeDelta::days(365)),
        Kind::Hour => Value::from(moment(rng).time()),
    }
}

fn moment(rng: &mut Rng) -> chrono::DateTime<chrono::Utc> {
    let micros = [0, 499_999, 500_000, 999_999][rng.usize(..4)];
    let seconds = [0, 1_700_000_000, -86_400][rng.usize(..3)];
    chrono::DateTime::from_timestamp(seconds, micros * 1_000).expect("a moment")
}

pub fn null_of(kind: Kind) -> Value {
    match kind {
        Kind::Mood => Value::from(None::<family::Mood>),
        Kind::Document => Value::Json(None),
        other => value(&mut Rng::with_seed(1), other, false).as_null(),
    }
}
