//! A small SeaORM application, and the same application on sessions.
//!
//! `cargo run --example adopt` runs the twelve handlers of a blog as they were (`before.rs`) and as functions of a session
//! (`after.rs`), each on an embedded SQLite of its own, with the same entities (`entities.rs`). Every answer and every row is the
//! same, but for the numbers of tags. Then it moves one handler at a time: old ones run inside the unit of new ones.

#![allow(
    clippy::disallowed_methods,
    reason = "the plain service that the example starts from, and SeaORM's derive of nested models"
)]

mod after;
mod before;
mod entities;

use entities::{comment, post, post_tag, tag, user};
use sea_orm::{ActiveModelTrait, ActiveValue::Set, DatabaseConnection, DbErr, EntityTrait, Schema};
use sea_session::prelude::*;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
enum BlogError {
    #[error("there is no {0} {1}")]
    NotFound(&'static str, i64),
    #[error("the name {0:?} is taken")]
    Taken(String),
    #[error("somebody else was faster")]
    Stale,
    #[error("{0}")]
    Refused(&'static str),
    #[error(transparent)]
    Database(#[from] DbErr),
    #[error(transparent)]
    Session(SessionError),
}

/// What sessions need of an application's errors.
impl From<SessionError> for BlogError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Stale { .. } => BlogError::Stale,
            error => BlogError::Session(error),
        }
    }
}

/// What somebody wants to publish.
struct Draft<'a> {
    title: &'a str,
    body: &'a str,
    tags: &'a [&'a str],
}

/// A post in a list.
#[derive(Debug)]
#[expect(dead_code, reason = "it is printed")]
struct Card {
    title: String,
    author: String,
    tags: Vec<String>,
}

impl Card {
    fn new(title: String, author: String, tags: impl Iterator<Item = String>) -> Self {
        let mut tags: Vec<String> = tags.collect();
        tags.sort();
        Self { title, author, tags }
    }
}

/// A post on its own page, with the comments and who wrote them.
#[derive(Debug)]
#[expect(dead_code, reason = "it is printed")]
struct Shown {
    card: Card,
    comments: Vec<(String, String)>,
}

/// The handlers' names in both versions.
mod new {
    pub use super::after::{
        comment_on as comment, delete_post_on as delete_post, draft_on as draft, edit_on as edit, feed_on as feed,
        import_on as import, publish_on as publish, remove_comment_on as remove_comment, rename_on as rename,
        retag_on as retag, show_on as show, sign_up_on as sign_up,
    };
}

/// Everything that the blog can do, and what it answers.
macro_rules! scenario {
    ($version:ident, $db:expr, $cursor:expr) => {{
        use $version::*;
        let db = $db;
        let mut answers: Vec<String> = Vec::new();
        let mut tell = |answer: &dyn std::fmt::Debug| answers.push(format!("{answer:?}"));
        let notes = [
            Draft { title: "Punched cards", body: "…", tags: &["machines", "history"] },
            Draft { title: "", body: "nameless", tags: &["lost"] },
            Draft { title: "Compilers", body: "…", tags: &["machines", "code"] },
        ];
        for name in ["ada", "grace", "ada"] {
            tell(&sign_up(db, name).await);
        }
        tell(&rename(db, 2, 1, "grace hopper").await);
        tell(&rename(db, 2, 1, "amazing grace").await);
        tell(&rename(db, 2, 2, "ada").await);
        tell(&rename(db, 9, 1, "nobody").await);
        tell(&draft(db, 1, &Draft { title: "Notes", body: "on the engine", tags: &["machines"] }).await);
        tell(&draft(db, 1, &Draft { title: "", body: "", tags: &["lost"] }).await);
        tell(&draft(db, 9, &notes[0]).await);
        tell(&import(db, 2, &notes).await);
        tell(&edit(db, 1, 1, "Notes", "on the analytical engine").await);
        tell(&edit(db, 1, 1, "Notes", "of somebody slower").await);
        tell(&edit(db, 9, 1, "", "").await);
        for post in [1, 2, 3, 3] {
            tell(&publish(db, post).await);
        }
        for (author, text) in [(2, "good"), (1, "thanks"), (9, "who?")] {
            tell(&comment(db, 1, author, text).await);
        }
        tell(&remove_comment(db, 1).await);
        tell(&remove_comment(db, 1).await);
        tell(&retag(db, 1, &["engines", "history"]).await);
        tell(&retag(db, 2, &[]).await);
        tell(&show(db, 1).await);
        tell(&show(db, 9).await);
        let first = feed(db, None, 2).await;
        tell(&first.as_ref().map(|(cards, next)| (cards, next.is_some())));
        let next = first.ok().and_then(|(_, next)| next);
        tell(&feed(db, $cursor(&next), 2).await.map(|(cards, next)| (cards, next.is_some())));
        tell(&delete_post(db, 2).await);
        tell(&delete_post(db, 2).await);
        answers
    }};
}

async fn blog() -> Result<Db, BlogError> {
    // `Db::from(connection)` takes the pool that a service already has.
    let db = Db::connect("sqlite::memory:").await?;
    let pool = db.connection();
    let schema = Schema::new(db.backend());
    use sea_orm::ConnectionTrait;
    pool.execute(&schema.create_table_from_entity(user::Entity)).await?;
    pool.execute(&schema.create_table_from_entity(post::Entity)).await?;
    pool.execute(&schema.create_table_from_entity(comment::Entity)).await?;
    pool.execute(&schema.create_table_from_entity(tag::Entity)).await?;
    pool.execute(&schema.create_table_from_entity(post_tag::Entity)).await?;
    Ok(db)
}

/// Every row, by SeaORM alone.
async fn rows(pool: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let mut rows: Vec<String> = Vec::new();
    rows.extend(user::Entity::find().all(pool).await?.iter().map(|row| format!("{row:?}")));
    rows.extend(post::Entity::find().all(pool).await?.iter().map(|row| format!("{row:?}")));
    rows.extend(comment::Entity::find().all(pool).await?.iter().map(|row| format!("{row:?}")));
    // By name: numbers of tags that were not needed are used up before, and are not after.
    let tagged = post_tag::Entity::find().find_also_related(tag::Entity).all(pool).await?;
    let tagged = tagged.iter().filter_map(|(link, tag)| Some(format!("{}: {}", link.post_id, tag.as_ref()?.name)));
    let tags = tag::Entity::find().all(pool).await?.into_iter().map(|tag| tag.name);
    let mut named: Vec<String> = tagged.chain(tags).collect();
    named.sort();
    rows.extend(named);
    Ok(rows)
}

#[tokio::main]
async fn main() -> Result<(), BlogError> {
    let (old, new) = (blog().await?, blog().await?);
    let pool = old.connection();
    let before_answers = scenario!(before, pool, |next: &Option<i64>| *next);
    let after_answers = scenario!(new, &new, Option::as_ref);
    assert_eq!(before_answers, after_answers);
    assert_eq!(rows(pool).await?, rows(new.connection()).await?);
    println!("{} answers and {} rows are the same before and after.", after_answers.len(), rows(pool).await?.len());

    // One function at a time: a session is a SeaORM connection, so code that is not converted yet runs inside the unit.
    let refused = new
        .run(async |s| -> Result<(), BlogError> {
            let note = Draft { title: "Together", body: "", tags: &["both"] };
            let post = after::draft(s, 1, &note).await?;
            let old_way = user::ActiveModel { name: Set("kept only together".into()), ..Default::default() };
            let user = old_way.insert(&*s).await?;
            after::comment(s, post, user.id, "in one unit").await?;
            after::publish(s, 99).await
        })
        .await;
    println!("One unit of old and new, refused by its last step: {}.", refused.expect_err("there is no such post"));
    assert_eq!(rows(pool).await?, rows(new.connection()).await?, "nothing of it is left");
    Ok(())
}
