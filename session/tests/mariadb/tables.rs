//! The tables, and how a test is run.

use sea_orm::{ConnectOptions, ConnectionTrait, entity::prelude::*, sqlx::ConnectOptions as _};
use sea_session::{
    Error, Recorder,
    prelude::*,
    testing::{Backend, run_test_on},
};

pub mod item {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "item")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub name: String,
        pub amount: i32,
        #[tracked(version)]
        pub version: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Everything that the database makes of a row.
pub mod made {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "made")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub name: String,
        pub status: String,
        pub length: Option<i32>,
        pub at: DateTimeUtc,
        pub touched: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Values of every kind.
pub mod kinds {
    use super::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "kinds")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub big: Option<u64>,
        pub small: Option<u8>,
        pub single: Option<f32>,
        pub double: Option<f64>,
        pub flag: Option<bool>,
        pub text: Option<String>,
        pub bytes: Option<Vec<u8>>,
        pub day: Option<Date>,
        pub hour: Option<Time>,
        pub naive: Option<DateTime>,
        pub moment: Option<DateTimeUtc>,
        pub offset: Option<DateTimeWithTimeZone>,
        pub document: Option<Json>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Words whose spelling does not matter to the database.
pub mod word {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "word")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub text: String,
        pub n: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// A tree.
pub mod node {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "node")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub parent_id: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        #[sea_orm(belongs_to = "Entity", from = "Column::ParentId", to = "Column::Id")]
        Parent,
    }
}

const TABLES: [&str; 6] = [
    "CREATE TABLE item (id bigint AUTO_INCREMENT PRIMARY KEY, name varchar(20) NOT NULL, amount int NOT NULL DEFAULT 0, \
     version int NOT NULL)",
    "CREATE TABLE made (id bigint PRIMARY KEY, name varchar(20) NOT NULL, status varchar(20) NOT NULL DEFAULT 'draft', \
     length int AS (char_length(name)) STORED, at datetime(0) NOT NULL DEFAULT '2020-01-01', \
     touched datetime(6) NOT NULL DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP(6))",
    "CREATE TABLE kinds (id binary(16) PRIMARY KEY, big bigint unsigned, small tinyint unsigned, single float, `double` double, \
     flag tinyint(1), text text, bytes varbinary(40), day date, hour time(6), naive datetime(6), moment timestamp(6) NULL, \
     `offset` timestamp(6) NULL, document json)",
    "CREATE TABLE word (text varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, n int NOT NULL)",
    "CREATE TABLE node (id bigint PRIMARY KEY, parent_id bigint, \
     CONSTRAINT tree FOREIGN KEY (parent_id) REFERENCES node (id) ON DELETE CASCADE)",
    "CREATE PROCEDURE ends() COMMIT",
];

pub fn on_mariadb(test: impl AsyncFn(Db)) {
    let make = async |db: &Db| -> Result<(), Error> {
        for table in TABLES {
            behind(db, table).await;
        }
        Ok(())
    };
    run_test_on(Backend::MariaDb, make, async |db: Db| test(db).await);
}

/// Another pool on the same database, of one connection.
pub async fn one_connection(db: &Db) -> Db {
    let mut options = ConnectOptions::new(url_of(db));
    options.max_connections(1);
    Db::connect(options).await.unwrap()
}

/// The URL of the test's database.
pub fn url_of(db: &Db) -> String {
    db.connection().get_mysql_connection_pool().connect_options().to_url_lossy().to_string()
}

/// Changes the database past every session.
pub async fn behind(db: &Db, sql: &str) {
    db.connection().execute_unprepared(sql).await.unwrap();
}

/// What was recorded but for control and reads of one kind.
pub fn writes(recorder: &Recorder) -> Vec<String> {
    let writes = |sql: &String| ["INSERT", "UPDATE", "DELETE"].iter().any(|word| sql.starts_with(word));
    recorder.take().into_iter().filter(writes).collect()
}

pub fn named(name: &str) -> item::ActiveModel {
    use sea_orm::Set;
    item::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}
