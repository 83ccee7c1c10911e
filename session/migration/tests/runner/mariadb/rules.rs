//! What holds of the runner on MariaDB as on the other backends (G1, G4, G5, G6, G8), and what is refused there by name (Y2).

use sea_orm::{DbBackend, entity::prelude::*};
use sea_orm_migration::MigratorTrait;
use sea_session_migration::{
    Direction, Error, Finding, Runner, State,
    doctor::{self, Complaint, Entities},
    role,
};

use super::{Fresh, scripts::*};
use crate::support::{foreign_bakery, foreign_forum};

#[tokio::test]
async fn g1_up_status_down_and_up_again_give_the_same_schema() {
    let fresh = Fresh::new().await;
    let runner = fresh.runner::<Procedure>();
    assert!(fresh.status::<Procedure>().await.iter().all(|status| status.state == State::Pending));
    assert_eq!(runner.up().await.unwrap().steps.len(), 2);
    assert!(runner.up().await.unwrap().steps.is_empty());
    let status = fresh.status::<Procedure>().await;
    assert!(
        status.iter().all(|one| one.state == State::Applied && one.findings.is_empty() && one.duration_ms.is_some())
    );
    let schema = fresh.catalogue().await;
    for kind in ["trigger things.things_in", "routine tidy", "view names", "column things.name", "index things.PRIMARY"]
    {
        assert!(schema.iter().any(|line| line.starts_with(kind)), "no {kind} in {schema:#?}");
    }
    assert_eq!(runner.refresh().await.unwrap().steps.len(), 4);
    assert_eq!(fresh.catalogue().await, schema);
    assert_eq!(runner.down(1).await.unwrap().steps.len(), 1);
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Base>().await);
    runner.reset().await.unwrap();
    assert_eq!(fresh.catalogue().await, Vec::<String>::new());
}

#[tokio::test]
async fn g1_the_migrations_of_other_projects_run_unchanged() {
    let fresh = Fresh::new().await;
    let runner = fresh.runner::<foreign_bakery::Migrator>();
    assert_eq!(runner.up().await.unwrap().steps.len(), 3);
    let ours = fresh.catalogue().await;
    assert_eq!(runner.refresh().await.unwrap().steps.len(), 6);
    assert_eq!(fresh.catalogue().await, ours);
    let reference = Fresh::new().await;
    foreign_bakery::Migrator::up(&reference.db, None).await.unwrap();
    assert_eq!(reference.catalogue().await, ours, "SeaORM's own tool makes the same");
    // A table of its own name, beside the first; entities, and a transaction, inside its migrations.
    let forum = fresh.runner::<foreign_forum::Migrator>();
    assert_eq!(forum.up().await.unwrap().steps.len(), 3);
    assert_eq!(fresh.count("SELECT count(*) FROM forum_migrations").await, 3);
    assert_eq!(fresh.count("SELECT count(*) FROM forum_user").await, 1);
    foreign_forum::Migrator::up(&reference.db, None).await.unwrap();
    let plain =
        |lines: Vec<String>| lines.into_iter().filter(|line| !line.contains("forum_migrations")).collect::<Vec<_>>();
    assert_eq!(plain(fresh.catalogue().await), plain(reference.catalogue().await));
}

#[tokio::test]
async fn g4_what_seaorms_own_tool_applied_is_adopted_and_a_later_change_shows() {
    let fresh = Fresh::new().await;
    Halfway::up(&fresh.db, None).await.unwrap();
    assert!(fresh.up::<Halfway>().await.unwrap().steps.is_empty());
    assert_eq!(fresh.count("SELECT count(*) FROM seaql_migrations_ledger WHERE runner = 'adopted'").await, 2);
    assert!(fresh.runner::<Halfway>().verify().await.unwrap().is_empty());
    let error = fresh.up::<HalfwayCorrected>().await.unwrap_err();
    assert!(matches!(&error, Error::Changed { names } if names == &["m2_halfway"]), "{error}");
    let found = fresh.runner::<HalfwayCorrected>().verify().await.unwrap();
    assert!(matches!(found.as_slice(), [(_, Finding::Changed { .. })]), "{found:?}");
    fresh.runner::<HalfwayCorrected>().accept("m2_halfway").await.unwrap();
    fresh.up::<HalfwayCorrected>().await.unwrap();
    let error = fresh.up::<Base>().await.unwrap_err();
    assert!(matches!(&error, Error::Missing { names } if names == &["m2_halfway"]), "{error}");
}

#[tokio::test]
async fn g5_fresh_drops_everything_of_its_database_and_nothing_of_others() {
    let (fresh, other) = (Fresh::with_things().await, Fresh::with_things().await);
    fresh
        .sql(
            "CREATE TABLE a (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int, FOREIGN KEY (a) REFERENCES a (id)); \
             ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (id); INSERT INTO a VALUES (1, NULL); INSERT INTO b VALUES (1, 1); \
             UPDATE a SET b = 1; CREATE VIEW v AS SELECT * FROM a; CREATE VIEW w AS SELECT * FROM v; \
             CREATE SEQUENCE s; CREATE TABLE counted (id int PRIMARY KEY DEFAULT NEXTVAL(s)); CREATE TABLE `odd ``name` (id int); \
             CREATE FUNCTION f() RETURNS int DETERMINISTIC RETURN 1; CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DO DELETE FROM a",
        )
        .await;
    fresh.sql("CREATE PROCEDURE p() SELECT 1").await;
    fresh.sql("CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW SET NEW.b = NULL").await;
    assert_eq!(fresh.runner::<Column>().fresh().await.unwrap().steps.len(), 2);
    assert_eq!(fresh.catalogue().await, Fresh::clean::<Column>().await);
    assert_eq!(other.catalogue().await, Fresh::clean::<Base>().await);
}

#[tokio::test]
async fn g6_a_plan_says_what_would_be_sent_and_in_which_transactions() {
    let fresh = Fresh::with_things().await;
    let plans = fresh.runner::<Rows>().plan(Direction::Up, u32::MAX).await.unwrap();
    let [plan] = plans.as_slice() else { panic!("{plans:?}") };
    assert!(plan.transaction && plan.to_string().contains("BEGIN;\nINSERT INTO things"), "{plan}");
    assert_eq!(fresh.count("SELECT count(*) FROM things").await, 0);
    let plans = Runner::<Halfway>::plan_for(DbBackend::MySql, Direction::Down).await;
    assert_eq!(plans.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), ["m2_halfway", "m1_base"]);
    assert!(plans.iter().all(|plan| !plan.transaction) && plans[0].to_string().contains("DROP TABLE last"));
    // Probes are answered without a database.
    let plans = Runner::<foreign_bakery::Migrator>::plan_for(DbBackend::MySql, Direction::Up).await;
    assert!(plans.iter().all(|plan| plan.recording.is_ok()), "{plans:?}");
}

mod thing {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "things")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub name: String,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

#[tokio::test]
async fn g4_doctor_compares_the_schema_with_entities_and_with_a_clean_one() {
    let fresh = Fresh::new().await;
    fresh.up::<Halfway>().await.unwrap();
    let databases = "SELECT count(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'doctor\\_%'";
    let entities = Entities::default().and::<thing::Entity>();
    let examine = async || doctor::examine::<Halfway>(fresh.db.clone(), &entities).await.unwrap();
    assert_eq!(examine().await, []);
    assert_eq!(thing::Entity::find().count(&fresh.db).await.unwrap(), 0);
    fresh
        .sql(
            "ALTER TABLE things MODIFY name int NULL, DROP PRIMARY KEY, ADD PRIMARY KEY (name), DROP KEY things_name_key, ADD KEY extra (id); \
             CREATE TABLE others (id int)",
        )
        .await;
    let complaints = examine().await;
    let wrong = |wanted: fn(&Complaint) -> bool| complaints.iter().any(wanted);
    assert!(wrong(
        |one| matches!(one, Complaint::WrongType { column, found, .. } if column == "name" && found.starts_with("int"))
    ));
    assert!(wrong(|one| matches!(one, Complaint::WrongKey { found, .. } if found == &["name"])), "{complaints:?}");
    assert!(wrong(
        |one| matches!(one, Complaint::Missing { what } if what.starts_with("index things.things_name_key"))
    ));
    assert!(wrong(|one| matches!(one, Complaint::Unexpected { what } if what.starts_with("index things.extra"))));
    assert!(!complaints.iter().any(|one| one.to_string().contains("others")), "{complaints:?}");
    fresh.sql("DROP TABLE things").await;
    assert!(examine().await.contains(&Complaint::MissingTable { table: "things".into() }));
    assert_eq!(fresh.count(databases).await, 0, "the clean schema's database is left");
}

#[tokio::test]
async fn y2_roles_are_refused_by_name() {
    let fresh = Fresh::new().await;
    let refused = [
        role::create_application_role(fresh.db.clone(), &role::ApplicationRole::new("app")).await.unwrap_err(),
        role::excess_rights(fresh.db.clone()).await.unwrap_err(),
        role::refuse_privileged_role(fresh.db.clone()).await.unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
        assert!(error.to_string().contains("no row-level security"), "{error}");
    }
}

#[tokio::test]
async fn y2_the_ledger_tells_names_apart_that_the_servers_collation_holds_equal() {
    let fresh = Fresh::with_things().await;
    fresh.sql("INSERT INTO seaql_migrations_ledger (version, state, started_at, runner) VALUES ('M1_BASE', 'applied', 0, 'x')").await;
    assert_eq!(fresh.count("SELECT count(*) FROM seaql_migrations_ledger").await, 2);
    let status = fresh.status::<Base>().await;
    assert_eq!(status.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["m1_base"]);
}
