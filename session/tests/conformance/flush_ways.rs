//! The flush has two ways: rows that need no order go straight from their objects to the wire, all others through the
//! planner. Whatever a program does, both must send the same statements, leave the same rows, give the objects the same
//! values, and fail with the same error. A unit with `show_values` always takes the planner's way, so every program here is
//! run with and without it.
//!
//! 60 programs on each backend; `FLUSH_PROGRAMS=2000 cargo test -p sea-session --release --test conformance -- flush_ways::`
//! runs more.

use std::cell::Cell;

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, QueryOrder, entity::prelude::*};
use sea_session::{
    Error, Recorder, Session, Tracked,
    prelude::*,
    testing::{Backend, run_test_on},
};

use crate::support::create_table;

mod shelf {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "shelf")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        #[sea_orm(unique)]
        pub code: Option<i16>,
        pub label: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

mod book {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "String(StringLen::N(8))")]
    pub enum Kind {
        #[sea_orm(string_value = "paper")]
        Paper,
        #[sea_orm(string_value = "tape")]
        Tape,
    }

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "book")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// Wider than the key that it refers to.
        pub shelf_id: Option<i64>,
        pub title: String,
        #[sea_orm(default_value = "draft")]
        pub status: String,
        pub kind: Kind,
        pub flag: bool,
        pub pages: Option<i16>,
        pub weight: f64,
        pub data: Json,
        pub raw: Option<Vec<u8>>,
        pub born: Option<Date>,
        pub at: Option<DateTimeUtc>,
        pub uid: Uuid,
        #[tracked(version)]
        pub version: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::shelf::Entity", from = "Column::ShelfId", to = "super::shelf::Column::Id")]
        Shelf,
    }

    impl Related<super::shelf::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Shelf.def()
        }
    }
}

/// A key of two columns, no version, and hooks.
mod card {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "card")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub row: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub place: String,
        pub text: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    #[async_trait::async_trait]
    impl ActiveModelBehavior for ActiveModel {
        async fn before_save<C: ConnectionTrait>(mut self, _: &C, insert: bool) -> Result<Self, DbErr> {
            if insert && self.text.is_not_set() {
                self.text = Set(Some("by the hook".to_owned()));
            }
            Ok(self)
        }
    }
}

// ---- programs --------------------------------------------------------------------------------------------------------

/// One step of a unit. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    AddShelves {
        many: usize,
        code: Option<i16>,
    },
    AddBooks {
        first: i64,
        many: usize,
        shelf: Shelved,
        set: u8,
    },
    AddCards {
        first: i32,
        many: usize,
        text: Option<Option<u8>>,
    },
    Change {
        from: usize,
        many: usize,
        set: u8,
        value: u8,
    },
    Recode {
        at: usize,
        code: Option<i16>,
    },
    ChangeCards {
        from: usize,
        many: usize,
        value: u8,
    },
    DeleteBooks {
        from: usize,
        many: usize,
    },
    DeleteShelf {
        at: usize,
    },
    DeleteCards {
        from: usize,
        many: usize,
    },
    /// SQL behind the objects: a row is changed, or gone.
    Behind {
        at: usize,
        gone: bool,
    },
    Flush,
}

#[derive(Clone, Copy, Debug)]
enum Shelved {
    Not,
    Follows(usize),
    Set(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let few = prop_oneof![6 => 1..6_usize, 1 => 40..80_usize, 1 => 500..700_usize];
    let shelved =
        prop_oneof![Just(Shelved::Not), (0..4_usize).prop_map(Shelved::Follows), (0..4_usize).prop_map(Shelved::Set)];
    let code = prop::option::of(0..4_i16);
    let text = prop::option::of(prop::option::of(any::<u8>()));
    prop_oneof![
        3 => (few.clone(), code.clone()).prop_map(|(many, code)| Step::AddShelves { many, code }),
        4 => (0..40_i64, few.clone(), shelved, any::<u8>())
            .prop_map(|(first, many, shelf, set)| Step::AddBooks { first: first * 100, many, shelf, set }),
        2 => (0..6_i32, few.clone(), text).prop_map(|(first, many, text)| Step::AddCards { first, many, text }),
        4 => (any::<usize>(), few.clone(), 1..=255_u8, 0..4_u8)
            .prop_map(|(from, many, set, value)| Step::Change { from, many, set, value }),
        1 => (any::<usize>(), code).prop_map(|(at, code)| Step::Recode { at, code }),
        2 => (any::<usize>(), few.clone(), any::<u8>())
            .prop_map(|(from, many, value)| Step::ChangeCards { from, many, value }),
        2 => (any::<usize>(), few.clone()).prop_map(|(from, many)| Step::DeleteBooks { from, many }),
        1 => any::<usize>().prop_map(|at| Step::DeleteShelf { at }),
        1 => (any::<usize>(), few).prop_map(|(from, many)| Step::DeleteCards { from, many }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(at, gone)| Step::Behind { at, gone }),
        4 => Just(Step::Flush),
    ]
}

/// Units of work, one after the other.
type Program = Vec<Vec<Step>>;

fn programs() -> impl Strategy<Value = Program> {
    prop::collection::vec(prop::collection::vec(steps(), 1..12), 1..4)
}

// ---- running them ----------------------------------------------------------------------------------------------------

/// What a program's objects were while it ran.
#[derive(Default)]
struct Objects {
    shelves: Vec<Tracked<shelf::Entity>>,
    books: Vec<Tracked<book::Entity>>,
    cards: Vec<Tracked<card::Entity>>,
}

/// `many` of `all`, from the one that `from` chooses on.
fn some<T>(all: &[T], from: usize, many: usize) -> impl Iterator<Item = &T> {
    let start = if all.is_empty() { 0 } else { from % all.len() };
    all[start..].iter().take(many)
}

fn text(value: u8) -> String {
    ["", "plain", "quo'te\"d", "ünï\u{0301}code \\ \t"][usize::from(value % 4)].to_owned()
}

fn new_book(id: i64, set: u8) -> book::ActiveModel {
    let at = DateTimeUtc::from_timestamp_micros(1_700_000_000_123_456 + id).unwrap();
    let mut draft = book::ActiveModel {
        id: Set(id),
        title: Set(format!("{}{id}", text(set))),
        kind: Set(if set & 1 == 0 { book::Kind::Paper } else { book::Kind::Tape }),
        flag: Set(set & 2 == 0),
        weight: Set(id as f64 / 7.0),
        data: Set(serde_json::json!({ "id": id, "list": [null, true, text(set)] })),
        uid: Set(Uuid::from_u128(id as u128)),
        ..Default::default()
    };
    if set & 4 != 0 {
        draft.status = Set("set".to_owned());
    }
    // Every other row has them, so that arrays hold NULLs in between.
    draft.pages = Set((set & 8 != 0 && id % 2 == 0).then_some(7));
    draft.raw = Set((set & 16 != 0 && id % 2 == 0).then(|| vec![0, 255, set]));
    draft.born = Set((set & 32 != 0).then(|| at.date_naive()));
    draft.at = Set((set & 64 != 0 && id % 3 != 0).then_some(at));
    draft
}

fn change(book: &Tracked<book::Entity>, set: u8, value: u8) {
    if set & 1 != 0 {
        book.set_title(text(value));
    }
    if set & 2 != 0 {
        book.set_flag(value.is_multiple_of(2));
    }
    if set & 4 != 0 {
        book.set_data(serde_json::json!({ "value": value }));
    }
    if set & 8 != 0 {
        book.set_pages((value != 0).then_some(value.into()));
    }
    if set & 16 != 0 {
        book.set_raw((value != 0).then(|| vec![value; 3]));
    }
    if set & 32 != 0 {
        book.set_weight(f64::from(value) * 0.1);
    }
}

impl Objects {
    fn add(&mut self, s: &mut Session, step: &Step) -> Result<(), Error> {
        match step {
            Step::AddShelves { many, code } => {
                for at in 0..*many {
                    let code = code.filter(|_| at == 0);
                    let label = format!("shelf {at}");
                    self.shelves.push(s.add(shelf::ActiveModel {
                        code: Set(code),
                        label: Set(label),
                        ..Default::default()
                    }));
                }
            }
            Step::AddBooks { first, many, shelf, set } => {
                for at in 0..*many as i64 {
                    let book = s.add(new_book(first + at, *set));
                    match *shelf {
                        Shelved::Follows(shelf) if !self.shelves.is_empty() => {
                            book.set_parent(book::Relation::Shelf, &self.shelves[shelf % self.shelves.len()])?;
                        }
                        Shelved::Set(shelf) => {
                            book.set_shelf_id(Some(shelf as i64));
                        }
                        _ => {}
                    }
                    self.books.push(book);
                }
            }
            Step::AddCards { first, many, text: given } => {
                for at in 0..*many as i32 {
                    let mut draft =
                        card::ActiveModel { row: Set(first + at), place: Set(text(at as u8)), ..Default::default() };
                    if let Some(given) = given {
                        draft.text = Set(given.map(text));
                    }
                    self.cards.push(s.add(draft));
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn step(&mut self, s: &mut Session, step: &Step) -> Result<(), Error> {
        self.add(s, step)?;
        match step {
            Step::Change { from, many, set, value } => {
                some(&self.books, *from, *many).for_each(|book| change(book, *set, *value));
            }
            Step::Recode { at, code } => {
                some(&self.shelves, *at, 1).for_each(|shelf| {
                    shelf.set_code(*code);
                });
            }
            Step::ChangeCards { from, many, value } => {
                some(&self.cards, *from, *many).for_each(|card| {
                    card.set_text(Some(text(*value)));
                });
            }
            Step::DeleteBooks { from, many } => some(&self.books, *from, *many).for_each(|book| s.delete(book)),
            Step::DeleteShelf { at } => some(&self.shelves, *at, 1).for_each(|shelf| s.delete(shelf)),
            Step::DeleteCards { from, many } => some(&self.cards, *from, *many).for_each(|card| s.delete(card)),
            Step::Behind { at, gone } => {
                let Some(id) = some(&self.books, *at, 1).next().map(|book| book.id()) else { return Ok(()) };
                let sql = match gone {
                    true => format!("DELETE FROM book WHERE id = {id}"),
                    false => format!("UPDATE book SET version = version + 10 WHERE id = {id}"),
                };
                s.execute_unprepared(&sql).await?;
            }
            Step::Flush => s.flush().await?,
            Step::AddShelves { .. } | Step::AddBooks { .. } | Step::AddCards { .. } => {}
        }
        Ok(())
    }

    /// What the objects hold; of those that are gone nothing.
    fn held(&self) -> Vec<String> {
        use sea_session::State::Persistent;
        let shelves = self.shelves.iter().filter(|o| o.state() == Persistent).map(|o| format!("{:?}", o.model()));
        let books = self.books.iter().filter(|o| o.state() == Persistent).map(|o| format!("{:?}", o.model()));
        let cards = self.cards.iter().filter(|o| o.state() == Persistent).map(|o| format!("{:?}", o.model()));
        shelves.chain(books).chain(cards).collect()
    }
}

/// Everything that can be seen of one run.
#[derive(Debug, PartialEq)]
struct Run {
    outcomes: Vec<Result<Vec<String>, String>>,
    sent: Vec<String>,
    rows: Vec<String>,
}

async fn tables(db: &Db) -> Result<(), Error> {
    create_table(db, shelf::Entity).await?;
    if db.backend() == sea_orm::DbBackend::MySql {
        // A key there is of the very type that it refers to.
        db.connection().execute_unprepared("ALTER TABLE shelf MODIFY id bigint AUTO_INCREMENT").await?;
    }
    create_table(db, book::Entity).await?;
    create_table(db, card::Entity).await
}

async fn run(db: &Db, program: &Program, planned: bool) -> Result<Run, Error> {
    for table in ["book", "card", "shelf"] {
        db.connection().execute_unprepared(&format!("DROP TABLE {table}")).await?;
    }
    tables(db).await?;
    let (recorder, mut outcomes) = (Recorder::new(), Vec::new());
    for unit in program {
        let options = db.session().record(&recorder);
        let options = if planned { options.show_values() } else { options };
        let mut session = options.begin().await?;
        let mut objects = Objects::default();
        let mut outcome = Ok(());
        for step in unit {
            outcome = objects.step(&mut session, step).await;
            if outcome.is_err() {
                break;
            }
        }
        let outcome = match outcome {
            Ok(()) => session.commit().await,
            Err(error) => session.rollback().await.and(Err(error)),
        };
        outcomes.push(outcome.map(|()| objects.held()).map_err(|error| error.to_string()));
    }
    let shelves = shelf::Entity::find().order_by_asc(shelf::Column::Id).all(db.connection()).await?;
    let books = book::Entity::find().order_by_asc(book::Column::Id).all(db.connection()).await?;
    let cards = card::Entity::find().order_by_asc(card::Column::Row).order_by_asc(card::Column::Place);
    let rows = shelves.iter().map(|row| format!("{row:?}")).chain(books.iter().map(|row| format!("{row:?}")));
    let cards = cards.all(db.connection()).await?;
    let rows = rows.chain(cards.iter().map(|row| format!("{row:?}"))).collect();
    // Which texts a collation holds equal only the planner asks.
    let sent = recorder.statements().into_iter().filter(|sql| !sql.contains("OVER (PARTITION BY")).collect();
    Ok(Run { outcomes, sent, rows })
}

/// Programs that once told the two ways apart.
fn kept() -> Vec<Program> {
    let (cards, books) = (
        Step::AddCards { first: 0, many: 1, text: None },
        Step::AddBooks { first: 0, many: 2, shelf: Shelved::Not, set: 0 },
    );
    let (card, book) =
        (Step::ChangeCards { from: 0, many: 1, value: 0 }, Step::Change { from: 0, many: 1, set: 3, value: 0 });
    let delete = Step::DeleteBooks { from: 1, many: 1 };
    // Two tables of one rank, and a row of the second is deleted: which is written first?
    vec![vec![vec![cards, books, Step::Flush, card, delete, book]]]
}

fn count() -> u32 {
    std::env::var("FLUSH_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
}

fn both_ways_are_one(backend: Backend) {
    run_test_on(backend, tables, async |db: Db| {
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            let config =
                Config { cases: count(), failure_persistence: None, max_shrink_iters: 400, ..Config::default() };
            let (written, failed) = (Cell::new(0), Cell::new(0));
            let both = |program: &Program| {
                let runs = handle.block_on(async {
                    Ok::<_, Error>((run(&db, program, false).await?, run(&db, program, true).await?))
                });
                let (straight, planned) = runs.map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(&straight, &planned);
                Ok(straight)
            };
            for program in kept() {
                both(&program).unwrap_or_else(|e| panic!("{backend:?}: {program:#?}: {e}"));
            }
            let outcome = TestRunner::new(config).run(&programs(), |program| {
                let straight = both(&program)?;
                written.set(written.get() + straight.rows.len());
                let broken = straight.outcomes.iter().filter(|outcome| outcome.is_err());
                failed.set(failed.get() + broken.count());
                Ok(())
            });
            outcome.unwrap_or_else(|e| panic!("{backend:?}: {e}"));
            let (written, failed) = (written.get(), failed.get());
            println!(
                "{backend:?}: {} programs left {written} rows; {failed} units failed, the same both ways",
                count()
            );
            assert!(written > 0 && failed > 0, "programs that write nothing, or never fail, prove nothing");
        });
    });
}

#[test]
fn f1_f8_rows_that_need_no_plan_are_written_as_if_they_had_one_on_sqlite() {
    both_ways_are_one(Backend::Sqlite);
}

#[test]
fn f1_f8_rows_that_need_no_plan_are_written_as_if_they_had_one_on_postgres() {
    both_ways_are_one(Backend::Postgres);
}

#[test]
fn f1_f8_rows_that_need_no_plan_are_written_as_if_they_had_one_on_mariadb() {
    both_ways_are_one(Backend::MariaDb);
}
