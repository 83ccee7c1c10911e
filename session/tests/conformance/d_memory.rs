//! D5 to D8: the map after the database. Keys that the database holds equal, foreign keys that act, rows that are gone, and
//! objects that are to be read again.

use sea_orm::{ActiveValue::Set, ConnectionTrait, entity::prelude::*};
use sea_session::{
    Error,
    prelude::*,
    testing::{Backend, run_test_on},
};

use crate::support::backends;

type Done = Result<(), Error>;

mod code {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "code")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl Related<super::sub::Entity> for Entity {
        fn to() -> RelationDef {
            super::sub::Relation::Code.def().rev()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod sub {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "sub")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub code_id: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::code::Entity", from = "Column::CodeId", to = "super::code::Column::Id")]
        Code,
    }

    impl Related<super::code::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Code.def()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod node {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "node")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub up: Option<i64>,
        pub data: Option<i32>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "Entity", from = "Column::Up", to = "Column::Id")]
        Up,
    }

    impl Related<Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Up.def().rev()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

async fn sql(db: &Db, statements: &[&str]) -> Done {
    for statement in statements {
        db.connection().execute_unprepared(statement).await?;
    }
    Ok(())
}

fn on(backend: Backend, statements: &[&str], test: impl AsyncFn(Db) -> Done) {
    run_test_on(backend, async |db: &Db| sql(db, statements).await, async |db: Db| test(db).await);
}

/// Tables whose keys compare otherwise than by their bytes, with a row, another spelling of its key, and a child that
/// spells it so.
fn folding() -> Vec<(Backend, Vec<&'static str>, &'static str)> {
    let rows = |statements: &[&'static str]| {
        let mut all = statements.to_vec();
        all.push("INSERT INTO code (id, name) VALUES ('Foo', 'x'), ('bar', 'y')");
        all.push("INSERT INTO sub VALUES (1, 'foo'), (2, 'FOO'), (3, 'bar'), (4, NULL)");
        all
    };
    let ci = "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    vec![
        (
            Backend::Postgres,
            vec![
                "CREATE TABLE code (id char(5) PRIMARY KEY, name text NOT NULL)",
                "CREATE TABLE sub (id bigint PRIMARY KEY, code_id char(5) REFERENCES code)",
                "INSERT INTO code VALUES ('Foo', 'x'), ('bar', 'y')",
                "INSERT INTO sub VALUES (1, 'Foo'), (2, 'Foo'), (3, 'bar'), (4, NULL)",
            ],
            "Foo",
        ),
        (
            Backend::Postgres,
            rows(&[
                ci,
                "CREATE TABLE code (id text COLLATE ci PRIMARY KEY, name text NOT NULL)",
                "CREATE TABLE sub (id bigint PRIMARY KEY, code_id text COLLATE ci REFERENCES code)",
            ]),
            "foo",
        ),
        (
            Backend::Postgres,
            rows(&[
                "CREATE EXTENSION citext",
                "CREATE TABLE code (id citext PRIMARY KEY, name text NOT NULL)",
                "CREATE TABLE sub (id bigint PRIMARY KEY, code_id citext REFERENCES code)",
            ]),
            "fOO",
        ),
        (
            Backend::Sqlite,
            rows(&[
                "CREATE TABLE code (id TEXT COLLATE NOCASE PRIMARY KEY, name text NOT NULL)",
                "CREATE TABLE sub (id bigint PRIMARY KEY, code_id text REFERENCES code)",
            ]),
            "foo",
        ),
        (
            Backend::MariaDb,
            rows(&[
                "CREATE TABLE code (id varchar(9) COLLATE utf8mb4_unicode_ci PRIMARY KEY, name varchar(9) NOT NULL)",
                "CREATE TABLE sub (id bigint PRIMARY KEY, code_id varchar(9) COLLATE utf8mb4_unicode_ci REFERENCES code (id))",
            ]),
            "fOO",
        ),
        (
            Backend::MariaDb,
            rows(&[
                "CREATE TABLE code (id char(9) CHARACTER SET latin1 PRIMARY KEY, name varchar(9) NOT NULL)",
                "CREATE TABLE sub (id bigint PRIMARY KEY, code_id char(9) CHARACTER SET latin1 REFERENCES code (id))",
            ]),
            "foo",
        ),
    ]
}

#[test]
fn d5_two_spellings_of_a_key_are_one_object_however_it_is_reached() {
    for (backend, statements, spelled) in folding() {
        on(backend, &statements, async |db: Db| {
            db.run(async |s: &mut Session| -> Done {
                let loaded = code::Entity::find().filter(code::Column::Name.eq("x")).load(s).await?;
                let foo = &loaded[0];
                let own = s.get::<code::Entity>(foo.id()).await?.expect("its own spelling");
                assert!(Tracked::ptr_eq(foo, &own));
                let other = s.get::<code::Entity>(spelled).await?.expect("another spelling");
                assert!(Tracked::ptr_eq(foo, &other));
                let many = s.get_many::<code::Entity>([spelled, "nothing", "bar"]).await?;
                let [Some(first), None, Some(_)] = &many[..] else { panic!("{many:?}") };
                assert!(Tracked::ptr_eq(foo, first));
                s.refresh(foo).await?;
                s.expire(foo);
                assert!(Tracked::ptr_eq(foo, &s.get::<code::Entity>(spelled).await?.expect("an expired one")));

                assert_eq!(foo.related::<sub::Entity>(s).await?.len(), 2);
                let all = code::Entity::find().load(s).await?;
                let related = s.load_related(&all, sub::Entity).await?;
                let counts: Vec<(String, usize)> =
                    all.iter().zip(&related).map(|(code, subs)| (code.name(), subs.len())).collect();
                assert_eq!(counts.iter().map(|(_, n)| n).sum::<usize>(), 3, "{counts:?}");
                assert!(counts.contains(&("x".into(), 2)), "{counts:?}");
                let subs = sub::Entity::find().load(s).await?;
                for sub in subs.iter().filter(|sub| sub.id() < 3) {
                    let up = sub
                        .related_one::<code::Entity>(s)
                        .await?
                        .unwrap_or_else(|| panic!("{sub:?} has no parent: {statements:?}"));
                    assert!(Tracked::ptr_eq(foo, &up));
                }
                let parents = s.load_related(&subs, code::Entity).await?;
                assert_eq!(parents.iter().filter(|parents| parents.len() == 1).count(), 3);
                Ok(())
            })
            .await
        });
    }
}

#[test]
fn d5_rows_are_changed_and_deleted_by_keys_that_are_not_compared_by_their_bytes() {
    for (backend, statements, _) in folding() {
        on(backend, &statements, async |db: Db| {
            db.run(async |s: &mut Session| -> Done {
                let codes = code::Entity::find().load(s).await?;
                codes.iter().for_each(|code| _ = code.set_name("changed"));
                s.flush().await?;
                let extra: Vec<_> = ["q1", "q2", "q3"]
                    .map(|id| s.add(code::ActiveModel { id: Set(id.into()), name: Set("q".into()) }))
                    .into();
                s.flush().await?;
                extra.iter().for_each(|code| s.delete(code));
                s.flush().await?;
                let names = code::Entity::find().all(s).await?;
                assert_eq!(names.iter().map(|code| &*code.name).collect::<Vec<_>>(), ["changed"; 2]);
                Ok(())
            })
            .await
        });
    }
}

fn nodes(actions: &str) -> String {
    format!("CREATE TABLE node (id bigint PRIMARY KEY, up bigint DEFAULT 9 REFERENCES node (id) {actions}, data int)")
}

fn node(id: i64, up: Option<i64>) -> node::ActiveModel {
    node::ActiveModel { id: Set(id), up: Set(up), data: Set(Some(1)) }
}

/// Runs a test on a tree of nodes on both backends: 1 above 2 and 3, 2 above 4, and 9 alone.
fn on_tree(actions: &str, test: impl AsyncFn(&mut Session, Vec<Tracked<node::Entity>>) -> Done) {
    for backend in backends() {
        on(backend, &[&nodes(actions)], async |db: Db| {
            let mut s = db.begin().await?;
            let rows = [(1, None), (2, Some(1)), (3, Some(1)), (4, Some(2)), (9, None)];
            let tree = rows.map(|(id, up)| s.add(node(id, up))).to_vec();
            s.flush().await?;
            test(&mut s, tree).await?;
            s.rollback().await
        });
    }
}

#[test]
fn d6_what_a_cascade_deletes_leaves_the_map_and_comes_back_with_a_rollback() {
    on_tree("ON DELETE CASCADE", async |s, tree| {
        let savepoint = s.savepoint().await?;
        s.delete(&tree[0]);
        s.flush().await?;
        assert!([1, 2, 3, 4].iter().all(|id| s.peek::<node::Entity>(*id).is_none()));
        assert!(s.peek::<node::Entity>(9).is_some(), "what does not hang on it stays as it is");
        assert!(s.get::<node::Entity>(4).await?.is_none());
        s.add(node(4, None));
        s.flush().await?;
        s.rollback_to(savepoint).await?;
        for (at, id) in [1, 2, 3, 4].into_iter().enumerate() {
            let again = s.get::<node::Entity>(id).await?.expect("it is a row again");
            assert!(Tracked::ptr_eq(&again, &tree[at]), "{id}");
        }
        Ok(())
    });
}

#[test]
fn d6_a_cascade_by_way_of_rows_that_nobody_holds_is_asked_about() {
    on_tree("ON DELETE CASCADE", async |s, tree| {
        s.expunge(&tree[1]);
        s.delete(&tree[0]);
        s.flush().await?;
        assert!(s.get::<node::Entity>(4).await?.is_none(), "its parent was not in the map, and went with 1");
        assert!(s.get::<node::Entity>(9).await?.is_some());
        Ok(())
    });
}

#[test]
fn d6_a_key_that_the_database_sets_to_null_is_null_in_the_object_and_what_is_set_then_is_sent() {
    on_tree("ON DELETE SET NULL", async |s, tree| {
        s.delete(&tree[0]);
        s.flush().await?;
        assert_eq!((tree[1].up(), tree[2].up(), tree[3].up()), (None, None, Some(2)));
        assert!(tree[1].changed().is_empty());
        s.add(node(1, None));
        s.flush().await?;
        tree[1].set_up(Some(1));
        s.flush().await?;
        let row = node::Entity::find_by_id(2).one(s).await?.expect("a row");
        assert_eq!(row.up, Some(1));
        Ok(())
    });
}

#[test]
fn d6_a_changed_key_is_followed_where_the_database_follows_it() {
    on_tree("ON UPDATE CASCADE", async |s, tree| {
        tree[0].set_id(100);
        if s.backend() == sea_orm::DbBackend::MySql {
            // InnoDB does not carry a change on to rows of the same table: it refuses it.
            let refused = s.flush().await.expect_err("the rows below it");
            assert!(refused.is_foreign_key_violation(), "{refused}");
            assert_eq!((tree[0].id(), tree[1].up()), (1, Some(1)));
            return Ok(());
        }
        s.flush().await?;
        assert_eq!((tree[1].up(), tree[2].up(), tree[3].up()), (Some(100), Some(100), Some(2)));
        assert!(Tracked::ptr_eq(&tree[0], &s.get::<node::Entity>(100).await?.expect("its new key")));
        tree[1].set_data(Some(7));
        s.flush().await
    });
}

#[test]
fn d6_a_default_that_the_database_sets_is_read() {
    on_tree("ON DELETE SET DEFAULT", async |s, tree| {
        s.delete(&tree[0]);
        if s.backend() == sea_orm::DbBackend::MySql {
            // InnoDB takes the words, and restricts.
            let refused = s.flush().await.expect_err("the rows below it");
            assert!(refused.is_foreign_key_violation(), "{refused}");
            return Ok(());
        }
        s.flush().await?;
        s.get::<node::Entity>(2).await?;
        s.get::<node::Entity>(3).await?;
        assert_eq!((tree[1].up(), tree[2].up()), (Some(9), Some(9)));
        Ok(())
    });
}

#[test]
fn d7_a_row_that_is_gone_takes_its_object_out_of_the_map_in_every_path() {
    on_tree("", async |s, tree| {
        s.execute_unprepared("DELETE FROM node WHERE id IN (3, 4, 9)").await?;
        s.expire_all::<node::Entity>();
        assert!(s.get::<node::Entity>(4).await?.is_none());
        assert!(s.peek::<node::Entity>(4).is_none());
        let found = s.get_many::<node::Entity>([1, 3, 2]).await?;
        let ids: Vec<_> = found.iter().map(|node| node.as_ref().map(|node| node.id())).collect();
        assert_eq!(ids, [Some(1), None, Some(2)]);
        assert!(matches!(s.refresh(&tree[4]).await, Err(Error::Stale { found: None, .. })));
        for id in [3, 4, 9] {
            let again = s.try_add(node(id, None))?;
            s.flush().await?;
            assert!(Tracked::ptr_eq(&again, &s.get::<node::Entity>(id).await?.expect("a new row")));
        }
        Ok(())
    });
}

#[test]
fn d7_a_stale_write_takes_its_object_out_of_the_map() {
    on_tree("", async |s, tree| {
        s.execute_unprepared("DELETE FROM node WHERE id = 9").await?;
        let savepoint = s.savepoint().await?;
        tree[4].set_data(Some(5));
        assert!(matches!(s.flush().await, Err(Error::Stale { found: None, .. })));
        s.rollback_to(savepoint).await?;
        assert!(s.peek::<node::Entity>(9).is_none());
        let again = s.try_add(node(9, None))?;
        s.flush().await?;
        assert!(Tracked::ptr_eq(&again, &s.get::<node::Entity>(9).await?.expect("a new row")));
        Ok(())
    });
}

#[test]
fn d7_a_row_that_a_rollback_brings_back_is_asked_for_again() {
    on_tree("", async |s, tree| {
        let savepoint = s.savepoint().await?;
        s.execute_unprepared("DELETE FROM node WHERE id = 9").await?;
        s.expire(&tree[4]);
        assert!(s.get::<node::Entity>(9).await?.is_none());
        s.rollback_to(savepoint).await?;
        let back = s.get::<node::Entity>(9).await?.expect("it is there again");
        assert!(Tracked::ptr_eq(&back, &tree[4]));
        Ok(())
    });
}

#[test]
fn d8_what_is_set_in_an_expired_object_is_sent_whatever_it_was_before() {
    on_tree("", async |s, tree| {
        let held = async |s: &mut Session, id: i64| {
            Ok::<_, Error>(node::Entity::find_by_id(id).one(s).await?.expect("a row").data)
        };
        s.execute_unprepared("UPDATE node SET data = 7").await?;
        s.expire_all::<node::Entity>();
        tree[0].set_data(Some(1));
        tree[1].set(node::Column::Data, Some(1))?;
        tree[2].update(|node| node.data = Some(2));
        s.flush().await?;
        assert_eq!((held(s, 1).await?, held(s, 2).await?, held(s, 3).await?), (Some(1), Some(1), Some(2)));

        // Set, and then read again before the flush: what was set stays, the rest is the row's.
        s.execute_unprepared("UPDATE node SET data = 8, up = 9 WHERE id = 4").await?;
        s.expire(&tree[3]);
        tree[3].set_data(Some(1));
        let mut quiet = s.no_autoflush();
        node::Entity::find().load(&mut quiet).await?;
        drop(quiet);
        assert_eq!((tree[3].data(), tree[3].up()), (Some(1), Some(9)));
        s.flush().await?;
        assert_eq!(held(s, 4).await?, Some(1));
        Ok(())
    });
}

#[test]
fn d8_an_expired_object_is_read_before_it_is_followed() {
    on_tree("", async |s, tree| {
        s.execute_unprepared("UPDATE node SET up = 9 WHERE id = 4").await?;
        s.expire_all::<node::Entity>();
        assert!(s.peek::<node::Entity>(4).is_none(), "what an expired object holds is not known");
        let up = tree[3].related_one_by::<node::Entity>(s, node::Relation::Up).await?.expect("a parent");
        assert!(Tracked::ptr_eq(&up, &tree[4]));
        s.execute_unprepared("UPDATE node SET up = NULL WHERE id = 2").await?;
        s.expire_all::<node::Entity>();
        let below = s.load_related(&[tree[0].clone(), tree[4].clone()], node::Entity).await?;
        assert_eq!(below.iter().map(|nodes| nodes.len()).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(tree[3].related_by::<node::Entity>(s, node::Relation::Up).await?.len(), 1);
        Ok(())
    });
}

#[test]
fn d8_an_expired_object_whose_row_is_gone_says_so_when_it_is_followed() {
    on_tree("", async |s, tree| {
        s.execute_unprepared("DELETE FROM node WHERE id = 4").await?;
        s.expire(&tree[3]);
        let refused = tree[3].related_one_by::<node::Entity>(s, node::Relation::Up).await;
        assert!(matches!(refused, Err(Error::Stale { found: None, .. })), "{refused:?}");
        assert_eq!(s.state(&tree[3]), State::Deleted);
        Ok(())
    });
}
