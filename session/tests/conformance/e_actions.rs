//! What foreign keys do, as the catalogue says it, and the order of a flush (E1, D6): the entity need not say it, and what it
//! says may be wrong.

use sea_orm::{ActiveValue::Set, QueryOrder, entity::prelude::*};
use sea_session::{Error, prelude::*};

use crate::support::{backends, on_tables};

type Done = Result<(), Error>;

mod place {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "place")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Says nothing of what its foreign key does.
mod silent {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "mark")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub place_name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "super::place::Entity", from = "Column::PlaceName", to = "super::place::Column::Name")]
        Place,
    }
}

/// Says that the database changes it with its place.
mod hopeful {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "mark")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub place_name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(
            belongs_to = "super::place::Entity",
            from = "Column::PlaceName",
            to = "super::place::Column::Name",
            on_update = "Cascade"
        )]
        Place,
    }
}

/// A tree that says nothing either.
mod twig {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "twig")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub up: Option<i64>,
        #[sea_orm(unique)]
        pub code: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "Entity", from = "Column::Up", to = "Column::Id")]
        Up,
    }
}

fn marks(actions: &str) -> [String; 2] {
    [
        "CREATE TABLE place (id bigint PRIMARY KEY, name text NOT NULL UNIQUE)".into(),
        format!("CREATE TABLE mark (id bigint PRIMARY KEY, place_name text REFERENCES place (name) {actions})"),
    ]
}

fn on(statements: &[String], test: impl AsyncFn(&mut Session) -> Done) {
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    for backend in backends() {
        on_tables(backend, &statements, async |db: Db| {
            let mut s = db.begin().await?;
            test(&mut s).await?;
            s.rollback().await
        });
    }
}

fn place(id: i64, name: &str) -> place::ActiveModel {
    place::ActiveModel { id: Set(id), name: Set(name.into()) }
}

/// Renames a place, and a mark, which may not be NULL, with it.
async fn rename(s: &mut Session) -> Result<Vec<silent::Model>, Error> {
    let x = s.add(place(1, "x"));
    let mark = s.add(silent::ActiveModel { id: Set(1), place_name: Set("x".into()) });
    s.flush().await?;
    x.set_name("y");
    mark.set_place_name("y");
    s.atomic(async |s: &mut Session| -> Done { s.flush().await }).await?;
    assert_eq!(mark.place_name(), "y");
    silent::Entity::find().all(s).await.map_err(Error::from)
}

#[test]
fn e1_what_the_catalogue_says_of_a_foreign_key_orders_rows_whose_entity_does_not_say_it() {
    for actions in ["ON UPDATE CASCADE", "ON UPDATE SET NULL", "ON UPDATE CASCADE ON DELETE SET NULL"] {
        on(&marks(actions), async |s: &mut Session| {
            let marks = rename(s).await.unwrap_or_else(|e| panic!("{actions}: {e}"));
            assert_eq!(marks, [silent::Model { id: 1, place_name: "y".into() }], "{actions}");
            Ok(())
        });
    }
}

#[test]
fn e1_where_the_catalogue_says_that_no_order_exists_nothing_is_sent() {
    for actions in ["", "ON UPDATE NO ACTION", "ON UPDATE RESTRICT", "ON DELETE CASCADE"] {
        on(&marks(actions), async |s: &mut Session| {
            let outcome = rename(s).await;
            assert!(matches!(outcome, Err(Error::Cycle { .. })), "{actions}: {outcome:?}");
            Ok(())
        });
    }
}

#[test]
fn e1_the_catalogue_is_believed_where_the_entity_says_otherwise() {
    on(&marks("ON UPDATE NO ACTION"), async |s: &mut Session| {
        let x = s.add(place(1, "x"));
        let mark = s.add(hopeful::ActiveModel { id: Set(1), place_name: Set("x".into()) });
        s.flush().await?;
        x.set_name("y");
        mark.set_place_name("y");
        let outcome = s.atomic(async |s: &mut Session| -> Done { s.flush().await }).await;
        assert!(matches!(outcome, Err(Error::Cycle { .. })), "{outcome:?}");
        Ok(())
    });
    on(&marks("ON UPDATE CASCADE"), async |s: &mut Session| {
        let x = s.add(place(1, "x"));
        let mark = s.add(hopeful::ActiveModel { id: Set(1), place_name: Set("x".into()) });
        s.flush().await?;
        x.set_name("y");
        mark.set_place_name("y");
        s.flush().await?;
        assert_eq!(hopeful::Entity::find().one(s).await?.map(|mark| mark.place_name), Some("y".into()));
        Ok(())
    });
}

fn twigs(actions: &str) -> [String; 1] {
    [format!(
        "CREATE TABLE twig (id bigint PRIMARY KEY, up bigint REFERENCES twig (id) {actions}, code int NOT NULL UNIQUE)"
    )]
}

async fn grow(s: &mut Session, rows: &[(i64, Option<i64>)]) -> Result<Vec<Tracked<twig::Entity>>, Error> {
    let code = |id: i64| i32::try_from(id).expect("a small number");
    let add =
        |(id, up): &(i64, Option<i64>)| s.add(twig::ActiveModel { id: Set(*id), up: Set(*up), code: Set(code(*id)) });
    let twigs = rows.iter().map(add).collect();
    s.flush().await?;
    Ok(twigs)
}

async fn stand(s: &mut Session) -> Result<Vec<(i64, Option<i64>, i32)>, Error> {
    let twigs = twig::Entity::find().order_by_asc(twig::Column::Id).all(s).await?;
    Ok(twigs.into_iter().map(|twig| (twig.id, twig.up, twig.code)).collect())
}

#[test]
fn e1_a_row_that_stays_below_a_deleted_one_is_changed_before_the_database_changes_it() {
    on(&twigs("ON DELETE SET NULL"), async |s: &mut Session| {
        let twigs = grow(s, &[(1, None), (2, Some(1)), (3, Some(2)), (4, None)]).await?;
        // 3 must go before 2 can have another key; 1, which 2 stays below, is deleted with it.
        twigs[1].set_id(5);
        [0, 2, 3].iter().for_each(|at| s.delete(&twigs[*at]));
        s.flush().await?;
        assert_eq!(stand(s).await?, [(5, None, 2)]);
        assert_eq!(twigs[1].up(), None);
        Ok(())
    });
    // The same in a unit that checks what it has read.
    for backend in backends() {
        on_tables(backend, &[&twigs("ON DELETE SET NULL")[0]], async |db: Db| {
            let mut s = db.session().optimistic().begin().await?;
            let twigs = grow(&mut s, &[(1, None), (2, Some(1)), (3, Some(2)), (4, None)]).await?;
            assert_eq!(twigs.iter().map(|twig| twig.up()).collect::<Vec<_>>(), [None, Some(1), Some(2), None]);
            twigs[1].set_id(5);
            [0, 2, 3].iter().for_each(|at| s.delete(&twigs[*at]));
            s.flush().await?;
            assert_eq!(stand(&mut s).await?, [(5, None, 2)]);
            s.rollback().await
        });
    }
}

#[test]
fn e1_a_row_takes_what_the_deleted_one_above_it_gives_up() {
    on(&twigs("ON DELETE SET NULL"), async |s: &mut Session| {
        let twigs = grow(s, &[(1, None), (2, Some(1)), (3, Some(1))]).await?;
        // The codes may not be NULL: 1 goes first, and the database lets the other two stay.
        s.delete(&twigs[0]);
        twigs[1].set_code(1);
        twigs[2].set_code(2);
        s.flush().await?;
        assert_eq!(stand(s).await?, [(2, None, 1), (3, None, 2)]);
        assert_eq!((twigs[1].up(), twigs[2].up()), (None, None));
        Ok(())
    });
}

#[test]
fn d6_a_row_that_is_deleted_with_another_counts_as_deleted() {
    on(&twigs("ON DELETE CASCADE"), async |s: &mut Session| {
        // 2 and 3 stand between those that are deleted, and are not part of the flush.
        let twigs = grow(s, &[(1, None), (2, Some(1)), (3, Some(2)), (4, Some(3)), (5, None)]).await?;
        [0, 3].iter().for_each(|at| s.delete(&twigs[*at]));
        s.flush().await?;
        assert_eq!(stand(s).await?, [(5, None, 5)]);
        assert!([1, 2, 3, 4].iter().all(|id| s.peek::<twig::Entity>(*id).is_none()));
        Ok(())
    });
    // A row that somebody else has deleted is missed all the same.
    on(&twigs("ON DELETE CASCADE"), async |s: &mut Session| {
        let twigs = grow(s, &[(1, None), (2, None)]).await?;
        s.execute_unprepared("DELETE FROM twig WHERE id = 2").await?;
        s.delete(&twigs[1]);
        let outcome = s.atomic(async |s: &mut Session| -> Done { s.flush().await }).await;
        assert!(matches!(outcome, Err(Error::Stale { found: None, .. })), "{outcome:?}");
        Ok(())
    });
}

/// Three tables in a row, the middle one of which is not part of the flush.
#[test]
fn d6_a_row_is_deleted_with_another_by_way_of_a_table_that_is_not_part_of_the_flush() {
    let tables = [
        "CREATE TABLE place (id bigint PRIMARY KEY, name text NOT NULL UNIQUE)".to_owned(),
        "CREATE TABLE hall (id bigint PRIMARY KEY REFERENCES place (id) ON DELETE CASCADE)".to_owned(),
        "CREATE TABLE twig (id bigint PRIMARY KEY, up bigint REFERENCES hall (id) ON DELETE CASCADE, code int)"
            .to_owned(),
    ];
    for order in [[0, 1], [1, 0]] {
        on(&tables, async |s: &mut Session| {
            let top = s.add(place(7, "x"));
            s.flush().await?;
            s.execute_unprepared("INSERT INTO hall VALUES (7)").await?;
            let low = s.add(twig::ActiveModel { id: Set(1), up: Set(Some(7)), code: Set(1) });
            s.flush().await?;
            for first in order {
                if first == 0 { s.delete(&top) } else { s.delete(&low) }
            }
            s.flush().await?;
            assert!(stand(s).await?.is_empty());
            Ok(())
        });
    }
}

#[test]
fn d7_a_linked_row_that_is_gone_does_not_stop_its_parent_from_changing() {
    for actions in ["", "ON UPDATE CASCADE", "ON DELETE SET NULL"] {
        on(&twigs(actions), async |s: &mut Session| {
            let twigs = grow(s, &[(1, None)]).await?;
            let below: Vec<_> = (2..5)
                .map(|id| s.add(twig::ActiveModel { id: Set(id), up: Set(None), code: Set(id as i32) }))
                .collect();
            below.iter().try_for_each(|twig| twig.set_parent(twig::Relation::Up, &twigs[0]))?;
            s.flush().await?;
            s.execute_unprepared("DELETE FROM twig WHERE id IN (2, 4)").await?;
            s.expire_all::<twig::Entity>();
            twigs[0].set_id(9);
            s.flush().await?;
            assert_eq!(stand(s).await?, [(3, Some(9), 3), (9, None, 1)], "{actions}");
            assert!(s.get::<twig::Entity>(2).await?.is_none() && s.get::<twig::Entity>(4).await?.is_none());
            // What somebody has set is missed.
            s.execute_unprepared("DELETE FROM twig WHERE id = 3").await?;
            s.expire_all::<twig::Entity>();
            below[1].set_code(33);
            twigs[0].set_id(1);
            let outcome = s.atomic(async |s: &mut Session| -> Done { s.flush().await }).await;
            assert!(matches!(outcome, Err(Error::Stale { found: None, .. })), "{actions}: {outcome:?}");
            Ok(())
        });
    }
}
