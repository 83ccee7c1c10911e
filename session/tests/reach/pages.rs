//! U6: pages by key, and joined selects through the map.

use std::collections::BTreeSet;

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use sea_session::{
    Cursor, Error, Session,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

use crate::blog::{behind_the_back, comment, in_units, post, tag, user};

/// A table to page through, with columns that may be equal, or NULL.
mod entry {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "entry")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shelf: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i64,
        pub stars: Option<i32>,
        pub weight: f64,
        pub at: DateTimeUtc,
        pub note: Option<String>,
        #[tracked(secret)]
        pub pin: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

fn entry(shelf: &str, number: i64, dice: &mut fastrand::Rng) -> entry::ActiveModel {
    let texts = [None, Some(""), Some("a"), Some("B"), Some("ä"), Some("a ")];
    entry::ActiveModel {
        shelf: Set(shelf.to_owned()),
        number: Set(number),
        stars: Set([None, Some(-1), Some(0), Some(7)][dice.usize(..4)]),
        weight: Set([0.1, 0.1 + 0.2, 1e300, -5.0][dice.usize(..4)]),
        at: Set(sea_orm::prelude::DateTimeUtc::from_timestamp_micros(1_700_000_000_000_001 + i64::from(dice.u8(..3)))
            .unwrap()),
        note: Set(texts[dice.usize(..6)].map(str::to_owned)),
        pin: Set(0),
    }
}

fn on_entries(test: impl AsyncFn(Db)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let make = async |db: &Db| create_table(db, entry::Entity).await;
        run_test_on(backend, make, async |db: Db| {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                let mut dice = fastrand::Rng::with_seed(6);
                for number in 0..60 {
                    s.add(entry(["even", "odd"][number % 2], number as i64 / 2, &mut dice));
                }
                Ok(())
            })
            .await
            .unwrap();
            test(db).await;
        });
    }
}

type Orders = Vec<(entry::Column, bool)>;

async fn read_all(s: &mut Session, order: &Orders, limit: u64) -> Result<Vec<(String, i64)>, Error> {
    let (mut seen, mut after): (Vec<(String, i64)>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let mut pages = entry::Entity::find().page(after.as_ref(), limit);
        for (column, descending) in order {
            pages = if *descending { pages.by_desc(*column) } else { pages.by(*column) };
        }
        let page = pages.load(s).await?;
        seen.extend(page.objects.iter().map(|entry| (entry.shelf(), entry.number())));
        assert!(page.objects.len() as u64 <= limit);
        match page.next {
            // Out of the process and back.
            Some(next) => {
                let through_serde: Cursor = serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap();
                assert_eq!(through_serde, next);
                after = Some(next.to_string().parse()?);
            }
            None => return Ok(seen),
        }
    }
}

#[test]
fn u6_pages_of_every_order_show_each_row_once_in_the_order_of_one_big_page() {
    use entry::Column::{At, Note, Number, Shelf, Stars, Weight};
    on_entries(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let orders: Vec<Orders> = vec![
                vec![],
                vec![(Stars, false)],
                vec![(Stars, true)],
                vec![(Weight, true)],
                vec![(At, false), (Weight, false)],
                vec![(At, true), (Weight, true), (Shelf, true), (Number, true)],
                vec![(Note, false), (Stars, true), (Weight, false)],
                vec![(Note, true), (Stars, false)],
                vec![(Number, true), (Shelf, false)],
            ];
            for order in &orders {
                let whole = read_all(s, order, 100).await?;
                assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 60, "{order:?}");
                for limit in [1, 7, 60] {
                    assert_eq!(read_all(s, order, limit).await?, whole, "{order:?} by {limit}");
                }
            }
            let by_stars = read_all(s, &orders[1], 100).await?;
            let stars = async |s: &mut Session, at: usize| -> Result<Option<i32>, Error> {
                Ok(s.get::<entry::Entity>(by_stars[at].clone()).await?.unwrap().stars())
            };
            assert!(
                stars(s, 0).await? == Some(-1) && stars(s, 59).await?.is_none(),
                "NULL comes last on every backend"
            );
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u6_rows_that_come_and_go_between_pages_shift_nothing() {
    on_entries(async |db: Db| {
        let page = async |after: Option<&Cursor>| {
            db.run(async |s: &mut Session| -> Result<_, Error> {
                let page = entry::Entity::find().page(after, 20).by(entry::Column::Number).load(s).await?;
                Ok((page.objects.iter().map(|e| (e.number(), e.shelf())).collect::<Vec<_>>(), page.next))
            })
            .await
            .unwrap()
        };
        let (first, next) = page(None).await;
        // The last row of the page is gone, another has come before it, and one after.
        behind_the_back(&db, "DELETE FROM entry WHERE number = 9 AND shelf = 'odd'").await;
        let columns = "(shelf, number, weight, at, pin)";
        let row = |shelf: &str, number: i64| {
            format!("INSERT INTO entry {columns} VALUES ('{shelf}', {number}, 0.5, '2026-01-01 00:00:00+00:00', 0)")
        };
        behind_the_back(&db, &row("more", 3)).await;
        behind_the_back(&db, &row("zoo", 9)).await;
        let (second, _) = page(next.as_ref()).await;
        assert_eq!(first.last(), Some(&(9, "odd".to_owned())));
        assert_eq!(second[..2], [(9, "zoo".to_owned()), (10, "even".to_owned())]);
    });
}

#[test]
fn u6_a_page_is_of_the_query_its_graph_and_the_units_own_changes() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        let users: Vec<_> = (0..5).map(|at| s.add(user(&format!("u{at}")))).collect();
        s.flush().await?;
        for user in &users {
            s.add(post(user.id(), "p"));
        }
        let select = || user::Entity::find().filter(user::Column::Name.ne("u1")).with(post::Entity);
        let first = select().page(None, 2).by_desc(user::Column::Name).load(s).await?;
        let names = |page: &sea_session::Page<user::Entity>| page.objects.iter().map(|u| u.name()).collect::<Vec<_>>();
        assert_eq!(names(&first), ["u4", "u3"]);
        assert!(Tracked::ptr_eq(&first.objects[0], &users[4]));
        let before = s.stats().statements;
        assert_eq!(first.objects[1].posts(s).await?.len(), 1);
        assert_eq!(s.stats().statements, before);
        users[0].set_name("u2b");
        let second = select().page(first.next.as_ref(), 5).by_desc(user::Column::Name).load(s).await?;
        assert_eq!((names(&second), second.next), (vec!["u2b".to_owned(), "u2".to_owned()], None));
        Ok(())
    });
}

#[test]
fn u6_a_page_refuses_what_it_cannot_continue() {
    on_entries(async |db: Db| {
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let find = entry::Entity::find;
            let by = entry::Column::Number;
            let next = find().page(None, 2).by(by).load(s).await?.next;
            let says = |outcome: Result<sea_session::Page<entry::Entity>, Error>, part: &str| {
                let text = outcome.unwrap_err().to_string();
                assert!(text.contains(part), "{text}");
            };
            says(find().page(next.as_ref(), 2).by_desc(by).load(s).await, "not by -number");
            says(find().order_by_asc(by).page(None, 2).load(s).await, "has its order from");
            says(find().page(None, 2).by(entry::Column::Pin).load(s).await, "is secret");
            let forged: Cursor = r#"{"by":"number, shelf","after":["'; DROP TABLE entry","x"]}"#.parse()?;
            says(find().page(Some(&forged), 2).by(by).load(s).await, "is no value of that column");
            assert!("number > 3".parse::<Cursor>().is_err());
            Ok(())
        })
        .await
        .unwrap();
    });
}

#[test]
fn u6_joined_selects_give_pairs_of_objects_in_one_statement() {
    in_units(async |s: &mut Session| -> Result<(), Error> {
        let (ann, ben) = (s.add(user("ann")), s.add(user("ben")));
        s.flush().await?;
        let posts = [s.add(post(ann.id(), "one")), s.add(post(ann.id(), "two"))];
        s.flush().await?;
        s.add(comment(posts[0].id(), "a"));
        s.flush().await?;

        let before = s.stats().statements;
        let pairs = user::Entity::find()
            .find_also_related(crate::blog::post::Entity)
            .order_by_asc(user::Column::Id)
            .order_by_asc(crate::blog::post::Column::Id)
            .load(s)
            .await?;
        assert_eq!((pairs.len(), s.stats().statements - before), (3, 1));
        assert!(Tracked::ptr_eq(&pairs[0].0, &ann) && Tracked::ptr_eq(pairs[1].1.as_ref().unwrap(), &posts[1]));
        assert!(Tracked::ptr_eq(&pairs[2].0, &ben) && pairs[2].1.is_none());

        let grouped = user::Entity::find().find_with_related(crate::blog::post::Entity).load(s).await?;
        let counts: Vec<_> = grouped.iter().map(|(user, posts)| (user.name(), posts.len())).collect();
        assert_eq!(counts, [("ann".to_owned(), 2), ("ben".to_owned(), 0)]);
        assert!(Tracked::ptr_eq(&grouped[0].1[0], &posts[0]));

        let linked = user::Entity::find().find_also_linked(crate::blog::UserToTags).load(s).await?;
        assert!(linked.iter().all(|(_, tag)| tag.is_none()));
        s.add(tag("red"));

        // A pending change is flushed first, and a dirty object keeps what it has (I3).
        posts[0].set_title("changed");
        let mut quiet = s.no_autoflush();
        let pairs = user::Entity::find().find_also_related(crate::blog::post::Entity).load(&mut quiet).await?;
        drop(quiet);
        assert_eq!((pairs.len(), posts[0].title()), (3, "changed".to_owned()));
        Ok(())
    });
}

#[test]
fn u6_s5_what_a_joined_select_of_a_rolled_back_block_loaded_leaves_the_map() {
    crate::blog::on_each(async |db: Db| {
        behind_the_back(&db, "INSERT INTO \"user\" (id, name) VALUES (1, 'ann')").await;
        behind_the_back(&db, "INSERT INTO post (id, user_id, title) VALUES (1, 1, 'one')").await;
        db.run(async |s: &mut Session| -> Result<(), Error> {
            let failed: Result<(), Error> = s
                .atomic(async |s: &mut Session| -> Result<(), Error> {
                    user::Entity::find().find_with_related(crate::blog::post::Entity).load(s).await?;
                    user::Entity::find().page(None, 1).load(s).await?;
                    assert_eq!(s.tracked(), 2);
                    Err(Error::Usage("undo".into()))
                })
                .await;
            assert!(failed.is_err());
            assert_eq!(s.tracked(), 0);
            Ok(())
        })
        .await
        .unwrap();
    });
}
