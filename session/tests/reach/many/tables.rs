//! Tables that do something with rows: triggers, views, tenants, row-level security (U2, U4).

use super::*;

/// Items, of which triggers and views make what they like.
mod item {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "item")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[sea_orm(unique)]
        pub name: String,
        pub price: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

const ITEM: &str = "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL UNIQUE, price int NOT NULL)";

fn new_item(id: i64, name: &str) -> item::ActiveModel {
    item::ActiveModel { id: Set(id), name: Set(name.to_owned()), price: Set(1) }
}

async fn priced(db: Db) -> Done {
    db.run(async |s: &mut Session| -> Done {
        let (a, b) = (s.add(new_item(1, "a")), s.add(new_item(2, "b")));
        s.flush().await?;
        let dearer = item::Entity::update_many().col_expr(item::Column::Price, Expr::value(10));
        assert_eq!(s.update_many(dearer.filter(item::Column::Id.eq(1))).await?, 1);
        s.get_many::<item::Entity>([1, 2]).await?;
        assert_eq!((a.price(), b.price()), (11, 1), "one more than was set, by the trigger");
        let upserted = s.upsert(item::ActiveModel { price: Set(20), ..new_item(3, "b") }, item::Column::Name).await?;
        assert!(Tracked::ptr_eq(&upserted, &b));
        assert_eq!(b.price(), 21);
        let (c, added) = s.get_or_add(new_item(4, "c"), item::Column::Name).await?;
        assert!(added && c.price() == 1 && c.id() == 4);
        assert_eq!(s.delete_many(item::Entity::delete_many()).await?, 3);
        assert_eq!((s.state(&a), s.state(&c)), (State::Deleted, State::Deleted));
        Ok(())
    })
    .await
}

#[test]
fn u2_what_triggers_make_of_rows_reaches_the_objects() {
    let after = "CREATE TRIGGER more AFTER UPDATE OF price ON item WHEN NEW.price % 10 = 0 \
                 BEGIN UPDATE item SET price = NEW.price + 1 WHERE id = NEW.id; END";
    on_tables(Backend::Sqlite, &[ITEM, after], priced);
    let function =
        |body: &str| format!("CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$");
    let before = function("NEW.price := NEW.price + 1; RETURN NEW;");
    let trigger = "CREATE TRIGGER more BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION more()";
    on_tables(Backend::Postgres, &[ITEM, &before, trigger], priced);
    let after = function("UPDATE item SET price = NEW.price + 1 WHERE id = NEW.id; RETURN NULL;");
    let trigger =
        "CREATE TRIGGER more AFTER UPDATE ON item FOR EACH ROW WHEN (NEW.price % 10 = 0) EXECUTE FUNCTION more()";
    on_tables(Backend::Postgres, &[ITEM, &after, trigger], priced);
}

#[test]
fn u2_rows_of_a_view_are_counted_by_what_they_answer() {
    let store = "CREATE TABLE store (id integer PRIMARY KEY, name text NOT NULL, price integer NOT NULL)";
    let view = "CREATE VIEW item AS SELECT id, name, price FROM store";
    let update = "CREATE TRIGGER changed INSTEAD OF UPDATE ON item \
                  BEGIN UPDATE store SET price = NEW.price + 1 WHERE id = OLD.id; END";
    let delete = "CREATE TRIGGER gone INSTEAD OF DELETE ON item BEGIN DELETE FROM store WHERE id = OLD.id; END";
    let rows = "INSERT INTO store VALUES (1, 'a', 1), (2, 'b', 1)";
    on_tables(Backend::Sqlite, &[store, view, update, delete, rows], async |db: Db| {
        db.run(async |s: &mut Session| -> Done {
            let a = s.get::<item::Entity>(1).await?.unwrap();
            let dearer = || item::Entity::update_many().col_expr(item::Column::Price, Expr::value(10));
            assert_eq!(s.update_many(dearer()).await?, 2);
            s.get::<item::Entity>(1).await?;
            assert_eq!(a.price(), 11);
            assert_eq!(s.delete_many(item::Entity::delete_many()).await?, 2);
            assert_eq!(s.state(&a), State::Deleted);
            assert_eq!(s.update_many(dearer()).await?, 0);
            Ok(())
        })
        .await
    });
}

/// A tenant's row.
mod memo {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "memo")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[tracked(tenant)]
        #[sea_orm(unique_key = "name")]
        pub account: String,
        #[sea_orm(unique_key = "name")]
        pub name: String,
        pub body: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

const MEMO_INDEX: &str = "CREATE UNIQUE INDEX memo_key ON memo (account, name)";
const TENANT: &str = "app.account_id";
const MEMO_KEY: [memo::Column; 2] = [memo::Column::Account, memo::Column::Name];

fn new_memo(id: i64, name: &str, body: &str) -> memo::ActiveModel {
    memo::ActiveModel { id: Set(id), account: NotSet, name: Set(name.to_owned()), body: Set(body.to_owned()) }
}

async fn of_two_tenants(db: Db) {
    let in_unit = async |account: &str, id: i64| {
        db.session()
            .tenant(TENANT, account)
            .run(async |s: &mut Session| -> Done {
                let (memo, added) = s.get_or_add(new_memo(id, "same", "first"), MEMO_KEY).await?;
                assert!(added && memo.id() == id);
                let (again, added) = s.get_or_add(new_memo(id + 1, "same", "second"), MEMO_KEY).await?;
                assert!(!added && Tracked::ptr_eq(&memo, &again));
                let upserted = s.upsert(new_memo(id + 1, "same", "third"), MEMO_KEY).await?;
                assert!(Tracked::ptr_eq(&memo, &upserted) && memo.body() == "third" && memo.id() == id);
                let many = (0..3).map(|n| new_memo(id + 2 + n, &format!("memo {n}"), "many"));
                assert!(s.get_or_add_many(many.clone(), MEMO_KEY).await?.iter().all(|(_, added)| *added));
                assert!(s.get_or_add_many(many, MEMO_KEY).await?.iter().all(|(_, added)| !added));
                let changed = memo::Entity::update_many().col_expr(memo::Column::Body, Expr::value("all"));
                assert_eq!(s.update_many(changed).await?, 4, "only those of this tenant");
                assert_eq!(s.get::<memo::Entity>(id).await?.unwrap().body(), "all");
                assert_eq!(memo.body(), "all");
                assert!(!s.delete_by_key::<memo::Entity>(if id == 1 { 101 } else { 1 }).await?);
                assert!(s.delete_by_key::<memo::Entity>(id + 2).await?);
                assert!(s.get::<memo::Entity>(id + 2).await?.is_none());
                Ok(())
            })
            .await
            .unwrap();
    };
    in_unit("a", 1).await;
    in_unit("b", 101).await;
}

#[test]
fn u2_u4_only_rows_of_the_units_tenant_are_touched() {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        let make = async |db: &Db| -> Done {
            create_table(db, memo::Entity).await?;
            behind_the_back(db, MEMO_INDEX).await;
            Ok(())
        };
        run_test_on(backend, make, async |db: Db| {
            of_two_tenants(db.clone()).await;
            let without = db.run(async |s: &mut Session| -> Result<u64, Error> {
                s.delete_many(memo::Entity::delete_many()).await
            });
            assert!(matches!(without.await, Err(Error::Tenant { .. })));
        });
    }
}

#[test]
fn u2_u4_under_row_level_security_nothing_is_asked_of_the_writes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let database = cluster::fresh_database().await.unwrap();
        let owner = Db::connect(database.url()).await.unwrap();
        create_table(&owner, memo::Entity).await.unwrap();
        behind_the_back(&owner, MEMO_INDEX).await;
        let role = database.create_role().await.unwrap();
        let sql = format!(
            "ALTER TABLE memo ENABLE ROW LEVEL SECURITY; ALTER TABLE memo FORCE ROW LEVEL SECURITY; \
             CREATE POLICY own ON memo USING (account = current_setting('{TENANT}', true)); \
             GRANT SELECT, INSERT, UPDATE, DELETE ON memo TO {}",
            role.name()
        );
        behind_the_back(&owner, &sql).await;
        let db = Db::connect(ConnectOptions::new(role.url())).await.unwrap();
        of_two_tenants(db.clone()).await;
        drop(db.close().await);
        drop(owner.close().await);
    });
}

#[test]
fn u2_an_expression_on_a_row_that_triggers_change_reads_what_they_made() {
    let trigger = "CREATE TRIGGER more AFTER UPDATE OF price ON item WHEN NEW.price % 10 = 0 \
                   BEGIN UPDATE item SET price = NEW.price + 1 WHERE id = NEW.id; END";
    let priced = async |db: Db| -> Done {
        db.run(async |s: &mut Session| -> Done {
            let a = s.add(new_item(1, "a"));
            s.flush().await?;
            a.set_expr(item::Column::Price, Expr::col(item::Column::Price).add(9))?;
            s.flush().await?;
            s.get::<item::Entity>(1).await?;
            assert_eq!(a.price(), 11);
            Ok(())
        })
        .await
    };
    on_tables(Backend::Sqlite, &[ITEM, trigger], priced);
    let function = "CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.price := NEW.price + 1; RETURN NEW; END $$";
    let trigger = "CREATE TRIGGER more BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION more()";
    on_tables(Backend::Postgres, &[ITEM, function, trigger], priced);
}
