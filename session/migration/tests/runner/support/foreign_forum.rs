//! In the shape of a web application's backend, rewritten: a migration table of another name, names derived from types,
//! SeaORM's schema helpers, entities used inside a migration, a transaction of the migration's own, raw SQL with several
//! statements, and one that PostgreSQL refuses in a transaction.

use sea_orm_migration::{
    prelude::*,
    schema::{pk_auto, string, string_uniq, timestamp_with_time_zone},
    sea_orm::{ActiveModelTrait, ActiveValue::Set, ConnectionTrait, DbBackend, EntityTrait},
};

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Users), Box::new(Posts), Box::new(Search)]
    }

    fn migration_table_name() -> DynIden {
        Alias::new("forum_migrations").into_iden()
    }
}

mod user {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "forum_user")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub email: String,
        pub joined: DateTimeUtc,
    }

    #[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

struct Users;

impl MigrationName for Users {
    fn name(&self) -> &str {
        "m20230101_000001_users"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Users {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("forum_user"))
                    .col(pk_auto(Alias::new("id")))
                    .col(string_uniq(Alias::new("email")))
                    .col(timestamp_with_time_zone(Alias::new("joined")))
                    .to_owned(),
            )
            .await?;
        // The key comes from the database: where nothing answers, this cannot be recorded, and need not be.
        let administrator = user::ActiveModel {
            email: Set("admin@example.com".into()),
            joined: Set(chrono::Utc::now()),
            ..Default::default()
        };
        let administrator = administrator.insert(manager.get_connection()).await?;
        assert!(administrator.id > 0);
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("forum_user")).to_owned()).await
    }
}

struct Posts;

impl MigrationName for Posts {
    fn name(&self) -> &str {
        "m20230102_000001_posts"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Posts {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared(
                "CREATE TABLE forum_post (id integer PRIMARY KEY, title text NOT NULL); \
                 CREATE TABLE forum_tag (id integer PRIMARY KEY, name text NOT NULL UNIQUE);",
            )
            .await?;
        let inner = manager.begin().await?;
        inner
            .create_table(
                Table::create()
                    .table(Alias::new("forum_post_tag"))
                    .col(string(Alias::new("post")))
                    .col(string(Alias::new("tag")))
                    .primary_key(Index::create().col(Alias::new("post")).col(Alias::new("tag")))
                    .to_owned(),
            )
            .await?;
        inner.commit().await?;
        let users = user::Entity::find().all(manager.get_connection()).await?;
        for user in users {
            let sql = format!("INSERT INTO forum_post (id, title) VALUES ({}, 'welcome')", user.id);
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared("DROP TABLE forum_post_tag; DROP TABLE forum_tag; DROP TABLE forum_post")
            .await?;
        Ok(())
    }
}

struct Search;

impl MigrationName for Search {
    fn name(&self) -> &str {
        "m20230103_000001_search"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Search {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let concurrently = if manager.get_database_backend() == DbBackend::Postgres { "CONCURRENTLY" } else { "" };
        let sql = format!("CREATE INDEX {concurrently} forum_post_title_idx ON forum_post (title)");
        manager.get_connection().execute_unprepared(&sql).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name("forum_post_title_idx").to_owned()).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}
