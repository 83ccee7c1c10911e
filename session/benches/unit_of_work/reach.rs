//! What reaches beyond one set of objects: graphs, one statement on many rows, and an audit trail (issue 24).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::sqlx::{self, AssertSqlSafe};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait};
use sea_session::prelude::*;
use sea_session::{audit, testing::create_table};

use crate::entities::{audited, item};
use crate::floor::Floor;
use crate::harness::{Report, bounded, side};
use crate::{MANY, Sides, load_all};

/// Shelves; ten books on each, ten pages in each of those.
const SHELVES: i64 = 100;

mod shelf {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "shelf")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub name: String,
        #[sea_orm(has_many)]
        pub books: HasMany<super::book::Entity>,
    }
}

mod book {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "book")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub shelf_id: i64,
        pub title: String,
        pub price: f64,
        #[sea_orm(belongs_to, from = "shelf_id", to = "id")]
        pub shelf: BelongsTo<super::shelf::Entity>,
        #[sea_orm(has_many)]
        pub pages: HasMany<super::page::Entity>,
    }
}

mod page {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "page")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub book_id: i64,
        pub number: i32,
        pub text: String,
        #[sea_orm(belongs_to, from = "book_id", to = "id")]
        pub book: BelongsTo<super::book::Entity>,
    }
}

/// Three levels of rows as graphs of objects, beside three SELECTs into structs.
pub async fn graph_load(report: &mut Report, Sides { db, floor, .. }: &Sides) {
    create_table(db, shelf::Entity).await.expect("a table");
    create_table(db, book::Entity).await.expect("a table");
    create_table(db, page::Entity).await.expect("a table");
    for index in ["CREATE INDEX book_of ON book (shelf_id)", "CREATE INDEX page_of ON page (book_id)"] {
        floor.run(index).await;
    }
    let filled = db.run(async |s| -> Result<(), SessionError> {
        for id in 0..SHELVES {
            s.add(shelf::ActiveModel { id: Set(id), name: Set(format!("shelf {id}")) });
        }
        for id in 0..SHELVES * 10 {
            let (title, price) = (Set(format!("title of book {id}")), Set(id as f64 / 7.0));
            s.add(book::ActiveModel { id: Set(id), shelf_id: Set(id / 10), title, price });
        }
        for id in 0..SHELVES * 100 {
            let text = Set(format!("page {id} ").repeat(20));
            s.add(page::ActiveModel { id: Set(id), book_id: Set(id / 10), number: Set((id % 10) as i32), text });
        }
        Ok(())
    });
    filled.await.expect("rows");
    floor.analyze(&["shelf", "book", "page"]).await;
    let ours = side(async || {
        let mut s = db.begin().await.expect("begin");
        // BEGIN goes with the first statement; by hand it is not measured.
        s.execute_unprepared("SELECT 1").await.expect("begun");
        let start = Instant::now();
        let shelves = shelf::Entity::find().with(book::Entity.then(page::Entity)).load(&mut s).await.expect("a graph");
        let time = start.elapsed();
        let mut pages = 0;
        for shelf in &shelves {
            for book in shelf.related::<book::Entity>(&mut s).await.expect("known") {
                pages += book.related::<page::Entity>(&mut s).await.expect("known").len();
            }
        }
        assert_eq!((pages as i64, s.stats().statements), (SHELVES * 100, 4));
        s.rollback().await.expect("rollback");
        time
    });
    let by_hand = bounded("three SELECTs into structs by hand", 1.3, async || graph_by_hand(floor).await);
    report.compare("graph_load", SHELVES as usize * 111, ours, vec![by_hand]).await;
}

type Book = (i64, i64, String, f64);
type Page = (i64, i64, i32, String);

struct Shelf {
    books: Vec<(Book, Vec<Page>)>,
}

async fn graph_by_hand(floor: &Floor) -> Duration {
    /// The three statements of one backend: `$list` makes the condition on so many keys, and `$bind` gives them to `$query`.
    macro_rules! select {
        ($pool:expr, $list:expr, |$query:ident, $keys:ident| $bind:expr) => {{
            let mut tx = $pool.begin().await.expect("begin");
            let start = Instant::now();
            let shelves: Vec<(i64, String)> =
                sqlx::query_as("SELECT id, name FROM shelf").fetch_all(&mut *tx).await.expect("shelves");
            let $keys: Vec<i64> = shelves.iter().map(|shelf| shelf.0).collect();
            let sql = format!("SELECT id, shelf_id, title, price FROM book WHERE shelf_id {}", $list($keys.len()));
            let $query = sqlx::query_as(AssertSqlSafe(sql));
            let books: Vec<Book> = $bind.fetch_all(&mut *tx).await.expect("books");
            let $keys: Vec<i64> = books.iter().map(|book| book.0).collect();
            let sql = format!("SELECT id, book_id, number, text FROM page WHERE book_id {}", $list($keys.len()));
            let $query = sqlx::query_as(AssertSqlSafe(sql));
            let pages: Vec<Page> = $bind.fetch_all(&mut *tx).await.expect("pages");
            let tree = nested(shelves, books, pages);
            let time = start.elapsed();
            tx.rollback().await.expect("rollback");
            (tree, time)
        }};
    }
    let (tree, time) = match floor {
        Floor::Postgres(pool) => select!(pool, |_| "= ANY($1)", |query, keys| query.bind(keys)),
        Floor::Sqlite(pool) => {
            select!(pool, listed, |query, keys| keys.into_iter().fold(query, |query, key| query.bind(key)))
        }
        Floor::MariaDb(pool) => {
            select!(pool, listed, |query, keys| keys.into_iter().fold(query, |query, key| query.bind(key)))
        }
    };
    let pages: usize = tree.iter().flat_map(|shelf| &shelf.books).map(|(_, pages)| pages.len()).sum();
    assert_eq!(pages as i64, SHELVES * 100);
    time
}

fn listed(n: usize) -> String {
    format!("IN ({})", vec!["?"; n].join(", "))
}

fn nested(shelves: Vec<(i64, String)>, books: Vec<Book>, pages: Vec<Page>) -> Vec<Shelf> {
    let mut of_book: HashMap<i64, Vec<Page>> = HashMap::with_capacity(books.len());
    for page in pages {
        of_book.entry(page.1).or_default().push(page);
    }
    let mut of_shelf: HashMap<i64, Vec<(Book, Vec<Page>)>> = HashMap::with_capacity(shelves.len());
    for book in books {
        let pages = of_book.remove(&book.0).unwrap_or_default();
        of_shelf.entry(book.1).or_default().push((book, pages));
    }
    shelves.into_iter().map(|shelf| Shelf { books: of_shelf.remove(&shelf.0).unwrap_or_default() }).collect()
}

/// One statement on 10,000 rows, all of which are objects in the map, beside the same with a map of structs.
pub async fn update_many(report: &mut Report, Sides { db, floor, .. }: &Sides) {
    let ours = side(async || {
        floor.fill(MANY).await;
        let mut s = db.begin().await.expect("begin");
        let rows = load_all(&mut s).await;
        let more =
            item::Entity::update_many().col_expr(item::Column::Revision, Expr::col(item::Column::Revision).add(1));
        let start = Instant::now();
        assert_eq!(s.update_many(more).await.expect("update") as usize, MANY);
        // No UPDATE answers there: what came of the rows is asked for, as by hand.
        if matches!(floor, Floor::MariaDb(_)) {
            load_all(&mut s).await;
        }
        s.commit().await.expect("commit");
        let time = start.elapsed();
        assert!(rows.iter().all(|row| row.revision() == 2));
        time
    });
    let by_hand = match floor {
        Floor::MariaDb(_) => "UPDATE and SELECT into a map by hand",
        _ => "UPDATE … RETURNING into a map by hand",
    };
    let by_hand = bounded(by_hand, 1.3, async || {
        floor.fill(MANY).await;
        floor.update_many(MANY).await
    });
    report.compare("update_many", MANY, ours, vec![by_hand]).await;
}

/// A flush of 10,000 changes that are told in the audit trail, beside the flush alone.
pub async fn audit_trail(report: &mut Report, Sides { db, orm, floor }: &Sides) {
    create_table(db, audit::Entity).await.expect("a table");
    let ours = side(async || {
        audit::Entity::delete_many().exec(orm).await.expect("an empty trail");
        floor.fill(MANY).await;
        let time = flush_of_changes(db, |row: &Tracked<audited::Entity>| _ = row.set_title("audited")).await;
        let told = audit::Entity::find().all(orm).await.expect("the trail").len();
        assert_eq!(told, MANY);
        time
    });
    let alone = bounded("the flush alone", 2.0, async || {
        floor.fill(MANY).await;
        flush_of_changes(db, |row: &Tracked<item::Entity>| _ = row.set_title("not audited")).await
    });
    report.compare("audit", MANY, ours, vec![alone]).await;
}

async fn flush_of_changes<E: TrackedEntity>(db: &Db, change: impl Fn(&Tracked<E>)) -> Duration {
    let mut s = db.begin().await.expect("begin");
    let rows = E::find().load(&mut s).await.expect("load");
    rows.iter().for_each(change);
    let start = Instant::now();
    s.flush().await.expect("flush");
    let time = start.elapsed();
    s.commit().await.expect("commit");
    time
}
