//! D1 to D3: what a table does to its rows is asked of the database, and each object holds what its row holds, on
//! tables that other people made.

mod columns;
mod sizes;

use sea_orm::{ActiveValue::Set, ConnectionTrait, FromQueryResult, Statement, entity::prelude::*};
use sea_session::{
    Error, Recorder,
    prelude::*,
    testing::{Backend, run_test_on},
};

type Done = Result<(), Error>;

mod item {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "item")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod person {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "person")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub first: String,
        pub last: String,
        pub full_name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod log {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "log")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub at: DateTimeUtc,
        pub whole: DateTimeUtc,
        pub ratio: f64,
        pub code: String,
        pub short: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod token {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "token")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod doc {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "doc")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub body: Json,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// The sizes that take each of the ways: alone, together, and with keys drawn or copied.
const SIZES: [usize; 4] = [1, 3, 40, 600];

const ITEM: &str = "CREATE TABLE item (id bigserial PRIMARY KEY, name text NOT NULL)";

fn named(name: &str) -> item::ActiveModel {
    item::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
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

/// A test on a table of each size that is there afresh.
fn sizes(backend: Backend, statements: &[&str], test: impl AsyncFn(Db, usize) -> Done) {
    for size in SIZES {
        on(backend, statements, async |db: Db| test(db, size).await);
    }
}

/// Adds so many items in a unit of their own: what the objects hold.
async fn added(db: &Db, count: usize) -> Result<Vec<(i64, String)>, Error> {
    db.run(async |s: &mut Session| -> Result<_, Error> {
        let items: Vec<_> = (0..count).map(|n| s.add(named(&format!("n{n:04}")))).collect();
        s.flush().await?;
        Ok(items.iter().map(|item| (item.id(), item.name())).collect())
    })
    .await
}

async fn held(db: &Db) -> Result<Vec<(i64, String)>, Error> {
    let items = item::Entity::find().all(db.connection()).await?;
    Ok(items.into_iter().map(|item| (item.id, item.name)).collect())
}

fn sorted(mut rows: Vec<(i64, String)>) -> Vec<(i64, String)> {
    rows.sort();
    rows
}

/// Objects hold what the rows hold, each its own, and none is there twice.
async fn each_its_own(db: &Db, count: usize) -> Done {
    let (told, rows) = (added(db, count).await?, held(db).await?);
    assert_eq!(rows.len(), count);
    assert_eq!(sorted(told), sorted(rows));
    Ok(())
}

const TRIGGER: &str = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$";

fn trigger(body: &str) -> String {
    TRIGGER.replace("{body}", body)
}

fn fires(when: &str) -> String {
    format!("CREATE TRIGGER t {when} ON item FOR EACH ROW EXECUTE FUNCTION f()")
}

#[test]
fn d3_a_trigger_that_changes_the_key_is_believed() {
    let body = trigger("NEW.id := NEW.id + 1000; RETURN NEW;");
    sizes(Backend::Postgres, &[ITEM, &body, &fires("BEFORE INSERT")], async |db: Db, n| each_its_own(&db, n).await);
}

#[test]
fn d3_a_key_that_a_trigger_takes_from_elsewhere_is_believed() {
    let body = trigger("NEW.id := nextval('elsewhere'); RETURN NEW;");
    sizes(
        Backend::Postgres,
        &[
            ITEM,
            "CREATE SEQUENCE elsewhere START 500 INCREMENT -3 MINVALUE -100000 MAXVALUE 500",
            &body,
            &fires("BEFORE INSERT"),
        ],
        async |db: Db, n| each_its_own(&db, n).await,
    );
}

#[test]
fn d3_a_write_after_keys_were_changed_meets_its_own_row() {
    let body = trigger("NEW.id := NEW.id + 100; RETURN NEW;");
    let victims = "INSERT INTO item (id, name) SELECT i, 'victim' FROM generate_series(1, 499) i";
    let set = "SELECT setval('item_id_seq', 499)";
    on(Backend::Postgres, &[ITEM, victims, set, &body, &fires("BEFORE INSERT")], async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            let items: Vec<_> = (0..600).map(|n| s.add(named(&format!("n{n:03}")))).collect();
            s.flush().await?;
            items[150].set_name("changed");
            s.delete(&items[200]);
            s.flush().await
        })
        .await?;
        let rows = held(&db).await?;
        let count = |name: &str| rows.iter().filter(|(_, held)| held == name).count();
        assert_eq!([count("n150"), count("changed"), count("n050"), count("n200"), count("n100")], [0, 1, 1, 0, 1]);
        Ok(())
    });
}

#[test]
fn d3_a_row_that_a_trigger_drops_is_an_error_and_nothing_is_sent_again() {
    let body = trigger("IF NEW.name = 'n0000' THEN RETURN NULL; END IF; RETURN NEW;");
    sizes(Backend::Postgres, &[ITEM, &body, &fires("BEFORE INSERT")], async |db: Db, n| {
        let refused = added(&db, n).await.unwrap_err();
        assert!(matches!(&refused, Error::Diverted { what, .. } if what.contains("inserted")), "{refused:?}");
        assert_eq!(held(&db).await?, []);
        Ok(())
    });
}

#[test]
fn d3_a_default_that_is_not_the_owned_sequence_itself_is_not_passed_over() {
    let ten = "ALTER TABLE item ALTER id SET DEFAULT (nextval('item_id_seq') * 10)";
    sizes(Backend::Postgres, &[ITEM, ten], async |db: Db, n| {
        each_its_own(&db, n).await?;
        assert!(held(&db).await?.iter().all(|(id, _)| id % 10 == 0));
        Ok(())
    });
    let function = "CREATE FUNCTION next() RETURNS bigint LANGUAGE sql AS \
                    $$ SELECT coalesce(max(id), 0) + 7 FROM item $$";
    let by_function = "ALTER TABLE item ALTER id SET DEFAULT next()";
    sizes(Backend::Postgres, &[ITEM, function, by_function], async |db: Db, n| {
        each_its_own(&db, n).await?;
        assert!(held(&db).await?.iter().all(|(id, _)| id % 7 == 0));
        Ok(())
    });
    let foreign = "CREATE TABLE item (id bigint PRIMARY KEY DEFAULT nextval('free'), name text NOT NULL)";
    sizes(Backend::Postgres, &["CREATE SEQUENCE free START 77", foreign], async |db: Db, n| each_its_own(&db, n).await);
}

#[test]
fn d3_identities_always_and_by_default_give_each_object_its_key() {
    for kind in ["ALWAYS", "BY DEFAULT"] {
        let table =
            format!("CREATE TABLE item (id bigint GENERATED {kind} AS IDENTITY PRIMARY KEY, name text NOT NULL)");
        sizes(Backend::Postgres, &[&table], async |db: Db, n| each_its_own(&db, n).await);
    }
}

#[test]
fn d2_an_identity_that_refuses_values_refuses_them_in_sets_too() {
    let table = "CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL)";
    sizes(Backend::Postgres, &[table], async |db: Db, n| {
        let refused = db
            .run(async |s: &mut Session| -> Done {
                let draft = |n: usize| item::ActiveModel { id: Set(9_000 + n as i64), ..named("own") };
                (0..n).for_each(|n| drop(s.add(draft(n))));
                Ok(())
            })
            .await;
        assert!(refused.unwrap_err().to_string().contains("428C9"));
        assert_eq!(held(&db).await?, []);
        Ok(())
    });
}

#[test]
fn d3_a_domain_with_a_default_gives_each_object_its_key() {
    let domain = "CREATE DOMAIN number AS bigint DEFAULT nextval('free')";
    let table = "CREATE TABLE item (id number PRIMARY KEY, name text NOT NULL)";
    sizes(Backend::Postgres, &["CREATE SEQUENCE free START 9", domain, table], async |db: Db, n| {
        each_its_own(&db, n).await
    });
}

#[test]
fn d3_keys_that_are_made_at_random_reach_their_objects() {
    let table = "CREATE TABLE token (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL)";
    sizes(Backend::Postgres, &[table], async |db: Db, n| {
        let told = db
            .run(async |s: &mut Session| -> Result<Vec<token::Model>, Error> {
                let draft = |n: usize| token::ActiveModel { name: Set(format!("n{n}")), ..Default::default() };
                let tokens: Vec<_> = (0..n).map(|n| s.add(draft(n))).collect();
                s.flush().await?;
                Ok(tokens.iter().map(|token| token.model()).collect())
            })
            .await?;
        for token in told {
            assert_eq!(token::Entity::find_by_id(token.id).one(db.connection()).await?, Some(token));
        }
        Ok(())
    });
}

#[test]
fn d3_a_partitioned_table_and_a_view_give_each_object_its_key() {
    let root = "CREATE TABLE item (id bigserial, name text NOT NULL, PRIMARY KEY (id)) PARTITION BY HASH (id)";
    let half = |n: usize| format!("CREATE TABLE item_{n} PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER {n})");
    sizes(Backend::Postgres, &[root, &half(0), &half(1)], async |db: Db, n| each_its_own(&db, n).await);
    // A trigger of one partition alone changes the name there.
    let shout = trigger("NEW.name := upper(NEW.name); RETURN NEW;");
    let in_one = "CREATE TRIGGER t BEFORE INSERT ON item_1 FOR EACH ROW EXECUTE FUNCTION f()";
    sizes(Backend::Postgres, &[root, &half(0), &half(1), &shout, in_one], async |db: Db, n| each_its_own(&db, n).await);
    let table = "CREATE TABLE behind (id bigserial PRIMARY KEY, name text NOT NULL)";
    let view = "CREATE VIEW item AS SELECT id, name FROM behind";
    sizes(Backend::Postgres, &[table, view], async |db: Db, n| each_its_own(&db, n).await);
}

#[test]
fn d3_a_role_that_may_not_draw_from_the_sequence_writes_all_the_same() {
    let identity = "CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL)";
    sizes(Backend::Postgres, &[identity], async |db: Db, n| {
        let role = format!("plain_{}", fresh_name());
        sql(&db, &[&format!("CREATE ROLE {role}"), &format!("GRANT SELECT, INSERT ON item TO {role}")]).await?;
        let told = db
            .session()
            .set_local("role", &role)
            .run(async |s: &mut Session| -> Result<Vec<(i64, String)>, Error> {
                let items: Vec<_> = (0..n).map(|n| s.add(named(&format!("n{n:04}")))).collect();
                s.flush().await?;
                Ok(items.iter().map(|item| (item.id(), item.name())).collect())
            })
            .await?;
        assert_eq!(sorted(told), sorted(held(&db).await?));
        sql(&db, &[&format!("DROP OWNED BY {role}"), &format!("DROP ROLE {role}")]).await
    });
}

/// Roles belong to the whole server.
fn fresh_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

#[test]
fn d3_sqlite_gives_random_numbers_at_the_end_and_each_object_keeps_its_own() {
    let table = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL)";
    for last in [i64::MAX, i64::MAX - 2, 41, -5] {
        let row = format!("INSERT INTO item VALUES ({last}, 'last')");
        sizes(Backend::Sqlite, &[table, &row], async |db: Db, n| {
            let told = added(&db, n).await?;
            let mut rows = held(&db).await?;
            rows.retain(|(id, _)| *id != last);
            assert_eq!(sorted(told), sorted(rows));
            Ok(())
        });
    }
}

#[test]
fn d3_sqlite_never_gives_a_number_again_where_the_table_says_so() {
    let table = "CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)";
    sizes(Backend::Sqlite, &[table], async |db: Db, n| {
        each_its_own(&db, n).await?;
        let last = held(&db).await?.iter().map(|(id, _)| *id).max().unwrap();
        sql(&db, &["DELETE FROM item"]).await?;
        let again = added(&db, n).await?;
        assert!(again.iter().all(|(id, _)| *id > last), "{again:?} after {last}");
        assert_eq!(sorted(again), sorted(held(&db).await?));
        Ok(())
    });
}

#[test]
fn d3_sqlite_tables_of_other_kinds_keep_their_rows_apart() {
    let triggered = [
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "CREATE TRIGGER t AFTER INSERT ON item BEGIN UPDATE item SET name = upper(name) WHERE id = NEW.id; END",
    ];
    sizes(Backend::Sqlite, &triggered, async |db: Db, n| {
        each_its_own(&db, n).await?;
        assert!(held(&db).await?.iter().all(|(_, name)| name.starts_with('N')));
        Ok(())
    });
    let strict = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT";
    sizes(Backend::Sqlite, &[strict], async |db: Db, n| each_its_own(&db, n).await);
    let between = [
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "CREATE TABLE other (n)",
        // Rows of other people come in between ours.
        "CREATE TRIGGER t BEFORE INSERT ON item WHEN NEW.name LIKE 'n%' BEGIN INSERT INTO item (name) VALUES ('other'); END",
    ];
    sizes(Backend::Sqlite, &between, async |db: Db, n| {
        let told = added(&db, n).await?;
        let mut rows = held(&db).await?;
        rows.retain(|(_, name)| name != "other");
        assert_eq!(sorted(told), sorted(rows));
        Ok(())
    });
}

fn person(id: i64, first: &str, last: &str) -> person::ActiveModel {
    person::ActiveModel { id: Set(id), first: Set(first.into()), last: Set(last.into()), ..Default::default() }
}

#[test]
fn d2_statement_triggers_and_rules_see_what_single_rows_would_show_them() {
    let counted = "CREATE TABLE counted (n int)";
    let body = trigger("INSERT INTO counted VALUES (1); RETURN NULL;");
    let once = "CREATE TRIGGER t AFTER INSERT ON item FOR EACH STATEMENT EXECUTE FUNCTION f()";
    sizes(Backend::Postgres, &[ITEM, counted, &body, once], async |db: Db, n| {
        each_its_own(&db, n).await?;
        assert_eq!(number(&db, "SELECT count(*) FROM counted").await, i64::try_from(n).unwrap());
        Ok(())
    });
    let rule = "CREATE RULE r AS ON UPDATE TO item DO ALSO INSERT INTO counted VALUES (1)";
    sizes(Backend::Postgres, &[ITEM, counted, rule], async |db: Db, n| {
        db.run(async |s: &mut Session| -> Done {
            let items: Vec<_> = (0..n).map(|n| s.add(named(&format!("n{n}")))).collect();
            s.flush().await?;
            items.iter().for_each(|item| _ = item.set_name("x"));
            Ok(())
        })
        .await?;
        assert_eq!(number(&db, "SELECT count(*) FROM item WHERE name = 'x'").await, i64::try_from(n).unwrap());
        assert_eq!(number(&db, "SELECT count(*) FROM counted").await, i64::try_from(n).unwrap());
        Ok(())
    });
}

async fn number(db: &Db, sql: &str) -> i64 {
    #[derive(FromQueryResult)]
    struct One {
        count: i64,
    }
    let sql = sql.replace("count(*)", "count(*) AS count");
    let row = One::find_by_statement(Statement::from_string(db.backend(), sql)).one(db.connection()).await;
    row.unwrap().unwrap().count
}

#[test]
fn d1_a_table_is_asked_about_once_for_each_pool_and_its_way_is_told() {
    for (backend, table) in [
        (Backend::Postgres, ITEM),
        (Backend::Sqlite, "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT)"),
        (Backend::MariaDb, "CREATE TABLE item (id bigint AUTO_INCREMENT PRIMARY KEY, name TEXT)"),
    ] {
        on(backend, &[table], async |db: Db| {
            let unit = async |count: usize| {
                let options = db.session();
                let done = options.clone().run(async |s: &mut Session| -> Done {
                    (0..count).for_each(|n| drop(s.add(named(&format!("n{n}")))));
                    Ok(())
                });
                done.await?;
                Ok::<_, Error>(options.stats())
            };
            assert_eq!(unit(3).await?.facts, 1);
            for count in [1, 3, 600] {
                assert_eq!(unit(count).await?.facts, 0);
            }
            let paths = unit(600).await?.paths;
            match backend {
                Backend::Postgres => assert_eq!((paths.copied, paths.single), (600, 0)),
                _ => assert_eq!((paths.chunks, paths.single), (600, 0)),
            }
            assert_eq!(unit(1).await?.paths.single, 1);
            Ok(())
        });
    }
}

#[test]
fn d1_a_table_that_has_changed_is_asked_about_again() {
    on(Backend::Postgres, &[ITEM], async |db: Db| {
        assert_eq!(added(&db, 600).await?.len(), 600);
        // Past every session: before the numbers are drawn, the table is looked at.
        sql(&db, &[&trigger("NEW.id := NEW.id + 5000; RETURN NEW;"), &fires("BEFORE INSERT")]).await?;
        let told = added(&db, 600).await?;
        assert!(told.iter().all(|(id, _)| *id > 5_000), "{:?}", &told[..3]);
        // In a unit: noticed at once, and forgotten with its rollback.
        let mut s = db.begin().await?;
        s.execute_unprepared("DROP TRIGGER t ON item").await?;
        s.execute_unprepared("ALTER TABLE item ADD COLUMN more int GENERATED ALWAYS AS (length(name)) STORED").await?;
        let item = s.add(named("x"));
        s.flush().await?;
        assert!(item.id() < 5_000);
        s.rollback().await?;
        let told = added(&db, 3).await?;
        assert!(told.iter().all(|(id, _)| *id > 5_000), "{told:?}");
        Ok(())
    });
}

#[test]
fn d1_the_first_error_of_a_changed_table_has_it_asked_about_again() {
    let (_, table) = columns::COMPUTED[0];
    let plain = table.replace(" GENERATED ALWAYS AS (first || ' ' || last) STORED", " NOT NULL DEFAULT 'x'");
    on(Backend::Postgres, &[&plain], async |db: Db| {
        let write = async |id: i64| {
            db.run(async |s: &mut Session| -> Result<String, Error> {
                let person = s.add(person::ActiveModel { full_name: Set("set".into()), ..person(id, "a", "b") });
                s.flush().await?;
                Ok(person.full_name())
            })
            .await
        };
        assert_eq!(write(1).await?, "set");
        sql(&db, &["DROP TABLE person", table]).await?;
        assert!(write(2).await.is_err(), "the computed column was written, because it was not known to be one");
        assert_eq!(write(2).await?, "a b");
        Ok(())
    });
}

#[test]
fn d2_a_table_under_row_level_security_takes_no_copy() {
    let secured = [ITEM, "ALTER TABLE item ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON item USING (true)"];
    on(Backend::Postgres, &secured, async |db: Db| {
        let role = format!("plain_{}", fresh_name());
        let grant = format!("GRANT ALL ON item TO {role}");
        let sequence = format!("GRANT ALL ON SEQUENCE item_id_seq TO {role}");
        sql(&db, &[&format!("CREATE ROLE {role}"), &grant, &sequence]).await?;
        let unit = db.session().set_local("role", &role);
        let done = unit.clone().run(async |s: &mut Session| -> Done {
            (0..600).for_each(|n| drop(s.add(named(&format!("n{n}")))));
            Ok(())
        });
        done.await?;
        assert_eq!((unit.stats().paths.copied, unit.stats().paths.arrays), (0, 600));
        // The owner is not bound by it: what one role was told does not serve another.
        let owner = db.session();
        owner
            .clone()
            .run(async |s: &mut Session| -> Done {
                (0..600).for_each(|n| drop(s.add(named(&format!("n{n}")))));
                Ok(())
            })
            .await?;
        assert_eq!(owner.stats().paths.copied, 600);
        sql(&db, &[&format!("DROP OWNED BY {role}"), &format!("DROP ROLE {role}")]).await
    });
}
