//! The tables that graphs are loaded from: every kind of relation that SeaORM knows, in the dense format.

use sea_orm::{ActiveValue::Set, ConnectionTrait, Linked, RelationDef, RelationTrait};
use sea_session::{
    Error, Session,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

pub mod user {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "user")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub name: String,
        pub manager_id: Option<i32>,
        #[sea_orm(has_one)]
        pub profile: HasOne<super::profile::Entity>,
        #[sea_orm(has_many)]
        pub posts: HasMany<super::post::Entity>,
        #[sea_orm(self_ref, relation_enum = "Manager", from = "manager_id", to = "id")]
        pub manager: BelongsTo<Option<Entity>>,
        #[sea_orm(self_ref, relation_enum = "Reports", relation_reverse = "Manager")]
        pub reports: HasMany<Entity>,
        #[sea_orm(self_ref, via = "follows", from = "User", to = "Follower")]
        pub followers: HasMany<Entity>,
        #[sea_orm(self_ref, via = "follows", reverse)]
        pub following: HasMany<Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod follows {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "follows")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub user_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub follower_id: i32,
        #[sea_orm(belongs_to, from = "user_id", to = "id")]
        pub user: BelongsTo<super::user::Entity>,
        #[sea_orm(belongs_to, relation_enum = "Follower", from = "follower_id", to = "id")]
        pub follower: BelongsTo<super::user::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod profile {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "profile")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub picture: String,
        #[sea_orm(unique)]
        pub user_id: i32,
        /// The older way to write it.
        #[sea_orm(belongs_to, from = "user_id", to = "id", on_delete = "Cascade")]
        pub user: HasOne<super::user::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod post {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "post")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub user_id: i32,
        pub title: String,
        #[sea_orm(belongs_to, from = "user_id", to = "id")]
        pub author: BelongsTo<super::user::Entity>,
        #[sea_orm(has_many)]
        pub comments: HasMany<super::comment::Entity>,
        #[sea_orm(has_many, via = "post_tag")]
        pub tags: HasMany<super::tag::Entity>,
    }

    impl Related<super::post_tag::Entity> for Entity {
        fn to() -> RelationDef {
            super::post_tag::Relation::Post.def().rev()
        }
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// A junction with a column of its own.
pub mod post_tag {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "post_tag")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub post_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tag_id: i32,
        #[sea_orm(default_value = 0)]
        pub place: i32,
        #[sea_orm(belongs_to, from = "post_id", to = "id")]
        pub post: BelongsTo<super::post::Entity>,
        #[sea_orm(belongs_to, from = "tag_id", to = "id")]
        pub tag: BelongsTo<super::tag::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod tag {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "tag")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub name: String,
        #[sea_orm(has_many, via = "post_tag")]
        pub posts: HasMany<super::post::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod comment {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, sea_session::Tracked)]
    #[sea_orm(table_name = "comment")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i32,
        pub text: String,
        pub post_id: i32,
        #[sea_orm(belongs_to, from = "post_id", to = "id")]
        pub post: BelongsTo<super::post::Entity>,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// From a user to the tags of what they wrote.
#[derive(Clone, Copy, Debug)]
pub struct UserToTags;

impl Linked for UserToTags {
    type FromEntity = user::Entity;
    type ToEntity = tag::Entity;

    fn link(&self) -> Vec<RelationDef> {
        vec![post::Relation::User.def().rev(), post_tag::Relation::Post.def().rev(), post_tag::Relation::Tag.def()]
    }
}

/// A new user.
pub fn user(name: &str) -> user::ActiveModel {
    user::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}

/// A new post of this user.
pub fn post(author: i32, title: &str) -> post::ActiveModel {
    post::ActiveModel { user_id: Set(author), title: Set(title.to_owned()), ..Default::default() }
}

/// A new comment on this post.
pub fn comment(post: i32, text: &str) -> comment::ActiveModel {
    comment::ActiveModel { post_id: Set(post), text: Set(text.to_owned()), ..Default::default() }
}

/// A new tag.
pub fn tag(name: &str) -> tag::ActiveModel {
    tag::ActiveModel { name: Set(name.to_owned()), ..Default::default() }
}

async fn tables(db: &Db) -> Result<(), Error> {
    create_table(db, user::Entity).await?;
    create_table(db, profile::Entity).await?;
    create_table(db, post::Entity).await?;
    create_table(db, tag::Entity).await?;
    create_table(db, post_tag::Entity).await?;
    create_table(db, comment::Entity).await?;
    create_table(db, follows::Entity).await
}

/// Runs a test on these tables, on each backend.
pub fn on_each(test: impl AsyncFn(Db)) {
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(backend, tables, async |db: Db| test(db).await);
    }
}

/// Runs a body in a unit of each backend, and once more in a nested block of one; everything is rolled back.
pub fn in_units<F>(body: F)
where
    F: for<'a> sea_session::Block<&'a mut Session, Result<(), Error>, Fut: Send> + Sync,
{
    on_each(async |db: Db| {
        let undone = || Error::Usage("undo".into());
        let plain = db.run(async |s: &mut Session| -> Result<(), Error> { body(s).await.and(Err(undone())) }).await;
        assert_undone(plain);
        let nested = db
            .run(async |s: &mut Session| -> Result<(), Error> {
                s.atomic(async |s: &mut Session| -> Result<(), Error> { body(s).await }).await?;
                Err(undone())
            })
            .await;
        assert_undone(nested);
    });
}

#[track_caller]
fn assert_undone(outcome: Result<(), Error>) {
    match outcome {
        Err(Error::Usage(text)) if text == "undo" => {}
        other => panic!("{other:?}"),
    }
}

/// Changes the database past every session.
pub async fn behind_the_back(db: &Db, sql: &str) {
    db.connection().execute_unprepared(sql).await.unwrap();
}
