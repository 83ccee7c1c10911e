//! The tables of the benchmark: nine columns each, a content of 600 bytes and a small JSON document.

use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::entity::prelude::*;

/// Rows whose keys the client knows.
pub mod item {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// A row.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "item")]
    #[tracked(no_hooks)]
    pub struct Model {
        /// Made by the client.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// Unique, 30 bytes.
        pub uri: String,
        /// 20 bytes; what the update workloads change.
        pub title: String,
        /// 600 bytes.
        pub content: String,
        /// Three members.
        pub meta: Json,
        /// A float.
        pub score: f64,
        /// A flag.
        pub active: bool,
        /// A number.
        pub revision: i32,
        /// A point in time.
        pub updated_at: DateTimeUtc,
    }

    /// None.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// The same rows, with a hook of SeaORM's that runs before each is saved.
pub mod hooked {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// A row.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "item")]
    pub struct Model {
        /// Made by the client.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// Unique, 30 bytes.
        pub uri: String,
        /// 20 bytes; what the update workloads change.
        pub title: String,
        /// 600 bytes.
        pub content: String,
        /// Three members.
        pub meta: Json,
        /// A float.
        pub score: f64,
        /// A flag.
        pub active: bool,
        /// A number, which the hook raises.
        pub revision: i32,
        /// A point in time.
        pub updated_at: DateTimeUtc,
    }

    /// None.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    #[async_trait::async_trait]
    impl ActiveModelBehavior for ActiveModel {
        async fn before_save<C: ConnectionTrait>(mut self, _: &C, _: bool) -> Result<Self, DbErr> {
            let revision = self.revision.take().unwrap_or_default();
            self.revision = sea_orm::Set(revision + 1);
            Ok(self)
        }
    }
}

/// The same rows, each change of which is told in the audit trail.
pub mod audited {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// A row.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "item")]
    #[tracked(no_hooks, audit)]
    pub struct Model {
        /// Made by the client.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// Unique, 30 bytes.
        pub uri: String,
        /// 20 bytes; what the update workloads change.
        pub title: String,
        /// 600 bytes.
        pub content: String,
        /// Three members.
        pub meta: Json,
        /// A float.
        pub score: f64,
        /// A flag.
        pub active: bool,
        /// A number.
        pub revision: i32,
        /// A point in time.
        pub updated_at: DateTimeUtc,
    }

    /// None.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Rows whose keys the database makes, and which others refer to.
pub mod parent {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// A row.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "parent")]
    #[tracked(no_hooks)]
    pub struct Model {
        /// Made by the database.
        #[sea_orm(primary_key)]
        pub id: i64,
        /// 30 bytes.
        pub uri: String,
        /// 20 bytes.
        pub title: String,
        /// 600 bytes.
        pub content: String,
        /// Three members.
        pub meta: Json,
        /// A float.
        pub score: f64,
        /// A flag.
        pub active: bool,
        /// A number.
        pub revision: i32,
        /// A point in time.
        pub updated_at: DateTimeUtc,
    }

    /// To the children.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        /// Ten a parent.
        #[sea_orm(has_many = "super::child::Entity")]
        Child,
    }

    impl Related<super::child::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Child.def()
        }
    }
}

/// Rows whose keys the database makes, and which belong to a parent.
pub mod child {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// A row.
    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "child")]
    #[tracked(no_hooks)]
    pub struct Model {
        /// Made by the database.
        #[sea_orm(primary_key)]
        pub id: i64,
        /// Whose it is.
        pub parent_id: i64,
        /// 20 bytes.
        pub title: String,
        /// 600 bytes.
        pub content: String,
        /// Three members.
        pub meta: Json,
        /// A float.
        pub score: f64,
        /// A flag.
        pub active: bool,
        /// A number.
        pub revision: i32,
        /// A point in time.
        pub updated_at: DateTimeUtc,
    }

    /// To the parent.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {
        /// Its parent.
        #[sea_orm(belongs_to = "super::parent::Entity", from = "Column::ParentId", to = "super::parent::Column::Id")]
        Parent,
    }

    impl Related<super::parent::Entity> for Entity {
        fn to() -> RelationDef {
            Relation::Parent.def()
        }
    }
}

/// Accounts that money moves between.
pub mod account {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// An account.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "account")]
    #[tracked(no_hooks)]
    pub struct Model {
        /// Its number.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// What is on it.
        pub balance: i64,
    }

    /// None.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// Rows of any size, one of whose columns the database fills in.
pub mod blob {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    /// A row.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "blob")]
    #[tracked(no_hooks)]
    pub struct Model {
        /// Made by the client.
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        /// As large as it may be.
        pub data: Vec<u8>,
        /// Made by the database.
        pub tag: String,
    }

    /// None.
    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

/// The table of large rows on PostgreSQL, its values not compressed.
pub const POSTGRES_BLOB: &str =
    "CREATE TABLE blob (id bigint PRIMARY KEY, data bytea NOT NULL, tag text NOT NULL DEFAULT 'd');
    ALTER TABLE blob ALTER data SET STORAGE EXTERNAL";

/// The table of large rows on SQLite.
pub const SQLITE_BLOB: &str =
    "CREATE TABLE blob (id integer PRIMARY KEY, data blob NOT NULL, tag text NOT NULL DEFAULT 'd')";

/// The tables on PostgreSQL.
pub const POSTGRES: &str = "
    CREATE TABLE item (id bigint PRIMARY KEY, uri text NOT NULL, title text NOT NULL, content text NOT NULL,
        meta jsonb NOT NULL, score double precision NOT NULL, active boolean NOT NULL, revision int NOT NULL,
        updated_at timestamptz NOT NULL);
    CREATE TABLE parent (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, uri text NOT NULL, title text NOT NULL,
        content text NOT NULL, meta jsonb NOT NULL, score double precision NOT NULL, active boolean NOT NULL,
        revision int NOT NULL, updated_at timestamptz NOT NULL);
    CREATE TABLE child (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
        parent_id bigint NOT NULL REFERENCES parent (id), title text NOT NULL,
        content text NOT NULL, meta jsonb NOT NULL, score double precision NOT NULL, active boolean NOT NULL,
        revision int NOT NULL, updated_at timestamptz NOT NULL);
    CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL);
";

/// The tables on SQLite.
pub const SQLITE: &str = "
    CREATE TABLE item (id integer PRIMARY KEY, uri text NOT NULL, title text NOT NULL, content text NOT NULL,
        meta json_text NOT NULL, score real NOT NULL, active boolean NOT NULL, revision integer NOT NULL,
        updated_at timestamp_with_timezone_text NOT NULL);
    CREATE TABLE parent (id integer PRIMARY KEY AUTOINCREMENT, uri text NOT NULL, title text NOT NULL,
        content text NOT NULL, meta json_text NOT NULL, score real NOT NULL, active boolean NOT NULL,
        revision integer NOT NULL, updated_at timestamp_with_timezone_text NOT NULL);
    CREATE TABLE child (id integer PRIMARY KEY AUTOINCREMENT,
        parent_id bigint NOT NULL REFERENCES parent (id), title text NOT NULL,
        content text NOT NULL, meta json_text NOT NULL, score real NOT NULL, active boolean NOT NULL,
        revision integer NOT NULL, updated_at timestamp_with_timezone_text NOT NULL);
    CREATE TABLE account (id integer PRIMARY KEY, balance bigint NOT NULL);
";

/// The tables on MariaDB.
pub const MARIADB: &str = "
    CREATE TABLE item (id bigint PRIMARY KEY, uri text NOT NULL, title text NOT NULL, content text NOT NULL,
        meta json NOT NULL, score double NOT NULL, active boolean NOT NULL, revision int NOT NULL,
        updated_at datetime(6) NOT NULL);
    CREATE TABLE parent (id bigint PRIMARY KEY AUTO_INCREMENT, uri text NOT NULL, title text NOT NULL,
        content text NOT NULL, meta json NOT NULL, score double NOT NULL, active boolean NOT NULL,
        revision int NOT NULL, updated_at datetime(6) NOT NULL);
    CREATE TABLE child (id bigint PRIMARY KEY AUTO_INCREMENT,
        parent_id bigint NOT NULL REFERENCES parent (id), title text NOT NULL,
        content text NOT NULL, meta json NOT NULL, score double NOT NULL, active boolean NOT NULL,
        revision int NOT NULL, updated_at datetime(6) NOT NULL);
    CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL);
";

/// This many rows with keys from 1.
pub fn items(n: usize) -> Vec<item::Model> {
    (1..=n as i64).map(item).collect()
}

/// The row with this key.
pub fn item(id: i64) -> item::Model {
    item::Model {
        id,
        uri: format!("ctx://bench/resources/{id:08}"),
        title: format!("title of row {id:07}"),
        content: content(id),
        meta: meta(id),
        score: id as f64 / 7.0,
        active: id % 3 == 0,
        revision: 1,
        updated_at: moment(id),
    }
}

fn content(id: i64) -> String {
    let mut text = format!("{id:020} ").repeat(29);
    text.truncate(600);
    text
}

fn meta(id: i64) -> Json {
    serde_json::json!({ "lang": "en", "rank": id % 10, "tags": ["a", "b"] })
}

fn moment(id: i64) -> DateTimeUtc {
    chrono::DateTime::from_timestamp(1_700_000_000 + id, 0).expect("a date of this century")
}

/// A new row, every column set.
pub fn new_item(row: item::Model) -> item::ActiveModel {
    item::ActiveModel {
        id: Set(row.id),
        uri: Set(row.uri),
        title: Set(row.title),
        content: Set(row.content),
        meta: Set(row.meta),
        score: Set(row.score),
        active: Set(row.active),
        revision: Set(row.revision),
        updated_at: Set(row.updated_at),
    }
}

/// A new parent from the data of an item; the database makes its key.
pub fn new_parent(row: item::Model) -> parent::ActiveModel {
    parent::ActiveModel {
        id: NotSet,
        uri: Set(row.uri),
        title: Set(row.title),
        content: Set(row.content),
        meta: Set(row.meta),
        score: Set(row.score),
        active: Set(row.active),
        revision: Set(row.revision),
        updated_at: Set(row.updated_at),
    }
}

/// A new child from the data of an item; its key and its parent's are not known yet.
pub fn new_child(row: item::Model) -> child::ActiveModel {
    child::ActiveModel {
        id: NotSet,
        parent_id: NotSet,
        title: Set(row.title),
        content: Set(row.content),
        meta: Set(row.meta),
        score: Set(row.score),
        active: Set(row.active),
        revision: Set(row.revision),
        updated_at: Set(row.updated_at),
    }
}
