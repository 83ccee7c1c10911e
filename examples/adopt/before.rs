//! The blog's twelve handlers as they were, in plain SeaORM. Each that writes has a transaction of its own; the version of a
//! row is compared and raised by hand.

use std::collections::HashSet;

use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DatabaseConnection, EntityLoaderTrait, EntityTrait, ExprTrait, LoaderTrait,
    ModelTrait, QueryFilter, QueryOrder, QuerySelect, SqlErr, TransactionTrait,
    sea_query::{Expr, OnConflict},
};

use super::{BlogError, Card, Draft, Shown, comment, post, post_tag, tag, user};

async fn find_user(db: &impl ConnectionTrait, id: i64) -> Result<user::Model, BlogError> {
    user::Entity::find_by_id(id).one(db).await?.ok_or(BlogError::NotFound("user", id))
}

async fn find_post(db: &impl ConnectionTrait, id: i64) -> Result<post::Model, BlogError> {
    post::Entity::find_by_id(id).one(db).await?.ok_or(BlogError::NotFound("post", id))
}

/// The tags of these names; those that are missing are added.
async fn tags_named(db: &impl ConnectionTrait, names: &[&str]) -> Result<Vec<tag::Model>, BlogError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rows = names.iter().map(|name| tag::ActiveModel { name: Set((*name).to_owned()), ..Default::default() });
    tag::Entity::insert_many(rows)
        .on_conflict(OnConflict::column(tag::Column::Name).do_nothing().to_owned())
        .exec_without_returning(db)
        .await?;
    Ok(tag::Entity::find().filter(tag::Column::Name.is_in(names.iter().copied())).all(db).await?)
}

async fn link(db: &impl ConnectionTrait, post: i64, tags: &[tag::Model]) -> Result<(), BlogError> {
    if tags.is_empty() {
        return Ok(());
    }
    let rows = tags.iter().map(|tag| post_tag::ActiveModel { post_id: Set(post), tag_id: Set(tag.id) });
    post_tag::Entity::insert_many(rows).exec_without_returning(db).await?;
    Ok(())
}

pub async fn sign_up(db: &DatabaseConnection, name: &str) -> Result<i64, BlogError> {
    let user = user::ActiveModel { name: Set(name.to_owned()), ..Default::default() };
    match user.insert(db).await {
        Ok(user) => Ok(user.id),
        Err(e) if matches!(e.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            Err(BlogError::Taken(name.to_owned()))
        }
        Err(e) => Err(e.into()),
    }
}

pub async fn rename(db: &DatabaseConnection, id: i64, version: i32, name: &str) -> Result<i32, BlogError> {
    let changed = user::Entity::update_many()
        .col_expr(user::Column::Name, Expr::value(name))
        .col_expr(user::Column::Version, Expr::value(version + 1))
        .filter(user::Column::Id.eq(id))
        .filter(user::Column::Version.eq(version))
        .exec(db)
        .await;
    match changed {
        Ok(done) if done.rows_affected == 1 => Ok(version + 1),
        Ok(_) => {
            find_user(db, id).await?;
            Err(BlogError::Stale)
        }
        Err(e) if matches!(e.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            Err(BlogError::Taken(name.to_owned()))
        }
        Err(e) => Err(e.into()),
    }
}

async fn write(db: &impl ConnectionTrait, author: &user::Model, draft: &Draft<'_>) -> Result<i64, BlogError> {
    let post = post::ActiveModel {
        user_id: Set(author.id),
        title: Set(draft.title.to_owned()),
        body: Set(draft.body.to_owned()),
        ..Default::default()
    };
    let post = post.insert(db).await?;
    let tags = tags_named(db, draft.tags).await?;
    link(db, post.id, &tags).await?;
    if draft.title.is_empty() {
        return Err(BlogError::Refused("a post has a title"));
    }
    Ok(post.id)
}

pub async fn draft(db: &DatabaseConnection, author: i64, draft: &Draft<'_>) -> Result<i64, BlogError> {
    let tx = db.begin().await?;
    let author = find_user(&tx, author).await?;
    let post = write(&tx, &author, draft).await?;
    tx.commit().await?;
    Ok(post)
}

pub async fn edit(db: &DatabaseConnection, id: i64, version: i32, title: &str, body: &str) -> Result<i32, BlogError> {
    let changed = post::Entity::update_many()
        .col_expr(post::Column::Title, Expr::value(title))
        .col_expr(post::Column::Body, Expr::value(body))
        .col_expr(post::Column::Version, Expr::value(version + 1))
        .filter(post::Column::Id.eq(id))
        .filter(post::Column::Version.eq(version))
        .exec(db)
        .await?;
    if changed.rows_affected == 0 {
        find_post(db, id).await?;
        return Err(BlogError::Stale);
    }
    Ok(version + 1)
}

pub async fn publish(db: &DatabaseConnection, id: i64) -> Result<(), BlogError> {
    let tx = db.begin().await?;
    let post = find_post(&tx, id).await?;
    if post.published {
        return Err(BlogError::Refused("it is published already"));
    }
    let changed = post::Entity::update_many()
        .col_expr(post::Column::Published, Expr::value(true))
        .col_expr(post::Column::Version, Expr::value(post.version + 1))
        .filter(post::Column::Id.eq(id))
        .filter(post::Column::Version.eq(post.version))
        .exec(&tx)
        .await?;
    if changed.rows_affected == 0 {
        return Err(BlogError::Stale);
    }
    count_published(&tx, post.user_id, 1).await?;
    tx.commit().await?;
    Ok(())
}

async fn count_published(db: &impl ConnectionTrait, user: i64, by: i32) -> Result<(), BlogError> {
    user::Entity::update_many()
        .col_expr(user::Column::Published, Expr::col(user::Column::Published).add(by))
        .col_expr(user::Column::Version, Expr::col(user::Column::Version).add(1))
        .filter(user::Column::Id.eq(user))
        .exec(db)
        .await?;
    Ok(())
}

async fn count_comments(db: &impl ConnectionTrait, post: i64, by: i32) -> Result<(), BlogError> {
    post::Entity::update_many()
        .col_expr(post::Column::CommentCount, Expr::col(post::Column::CommentCount).add(by))
        .col_expr(post::Column::Version, Expr::col(post::Column::Version).add(1))
        .filter(post::Column::Id.eq(post))
        .exec(db)
        .await?;
    Ok(())
}

pub async fn comment(db: &DatabaseConnection, post: i64, author: i64, text: &str) -> Result<i64, BlogError> {
    let tx = db.begin().await?;
    let (post, author) = (find_post(&tx, post).await?, find_user(&tx, author).await?);
    let comment = comment::ActiveModel {
        post_id: Set(post.id),
        user_id: Set(author.id),
        text: Set(text.to_owned()),
        ..Default::default()
    };
    let comment = comment.insert(&tx).await?;
    count_comments(&tx, post.id, 1).await?;
    tx.commit().await?;
    Ok(comment.id)
}

pub async fn remove_comment(db: &DatabaseConnection, id: i64) -> Result<(), BlogError> {
    let tx = db.begin().await?;
    let comment = comment::Entity::find_by_id(id).one(&tx).await?.ok_or(BlogError::NotFound("comment", id))?;
    let post = comment.post_id;
    comment.delete(&tx).await?;
    count_comments(&tx, post, -1).await?;
    tx.commit().await?;
    Ok(())
}

pub async fn retag(db: &DatabaseConnection, id: i64, names: &[&str]) -> Result<(), BlogError> {
    let tx = db.begin().await?;
    let post = find_post(&tx, id).await?;
    let wanted = tags_named(&tx, names).await?;
    let present = post_tag::Entity::find().filter(post_tag::Column::PostId.eq(post.id)).all(&tx).await?;
    let present: HashSet<i64> = present.iter().map(|link| link.tag_id).collect();
    let keep: HashSet<i64> = wanted.iter().map(|tag| tag.id).collect();
    let gone: Vec<i64> = present.difference(&keep).copied().collect();
    if !gone.is_empty() {
        post_tag::Entity::delete_many()
            .filter(post_tag::Column::PostId.eq(post.id))
            .filter(post_tag::Column::TagId.is_in(gone))
            .exec(&tx)
            .await?;
    }
    let new: Vec<tag::Model> = wanted.into_iter().filter(|tag| !present.contains(&tag.id)).collect();
    link(&tx, post.id, &new).await?;
    tx.commit().await?;
    Ok(())
}

pub async fn feed(
    db: &DatabaseConnection,
    after: Option<i64>,
    size: u64,
) -> Result<(Vec<Card>, Option<i64>), BlogError> {
    let mut query = post::Entity::find().filter(post::Column::Published.eq(true));
    if let Some(after) = after {
        query = query.filter(post::Column::Id.gt(after));
    }
    let mut posts = query.order_by_asc(post::Column::Id).limit(size + 1).all(db).await?;
    let more = posts.len() as u64 > size;
    posts.truncate(size as usize);
    let next = posts.last().filter(|_| more).map(|post| post.id);
    let authors = posts.load_one(user::Entity, db).await?;
    let tags = posts.load_many(tag::Entity, db).await?;
    let cards = posts.into_iter().zip(authors).zip(tags).map(|((post, author), tags)| {
        let author = author.map(|author| author.name).unwrap_or_default();
        Card::new(post.title, author, tags.into_iter().map(|tag| tag.name))
    });
    Ok((cards.collect(), next))
}

pub async fn show(db: &DatabaseConnection, id: i64) -> Result<Shown, BlogError> {
    let query = post::Entity::load().filter_by_id(id);
    let post = query.with(user::Entity).with(tag::Entity).with((comment::Entity, user::Entity)).one(db).await?;
    let post = post.ok_or(BlogError::NotFound("post", id))?;
    let name = |author: Option<&user::ModelEx>| author.map(|author| author.name.clone()).unwrap_or_default();
    Ok(Shown {
        card: Card::new(post.title, name(post.author.as_ref()), post.tags.iter().map(|tag| tag.name.clone())),
        comments: post.comments.into_iter().map(|it| (name(it.author.as_ref()), it.text)).collect(),
    })
}

/// Each draft by itself: one that is refused leaves the others.
pub async fn import(db: &DatabaseConnection, author: i64, drafts: &[Draft<'_>]) -> Result<Vec<bool>, BlogError> {
    let tx = db.begin().await?;
    let author = find_user(&tx, author).await?;
    let mut taken = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let inner = tx.begin().await?;
        match write(&inner, &author, draft).await {
            Ok(_) => {
                inner.commit().await?;
                taken.push(true);
            }
            Err(BlogError::Refused(_)) => {
                inner.rollback().await?;
                taken.push(false);
            }
            Err(e) => return Err(e),
        }
    }
    tx.commit().await?;
    Ok(taken)
}

pub async fn delete_post(db: &DatabaseConnection, id: i64) -> Result<(), BlogError> {
    let tx = db.begin().await?;
    let post = find_post(&tx, id).await?;
    if post.published {
        count_published(&tx, post.user_id, -1).await?;
    }
    post.delete(&tx).await?;
    tx.commit().await?;
    Ok(())
}
