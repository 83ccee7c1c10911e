//! The same twelve handlers as functions of a session. Each joins the unit of its caller, or by its `…_on` form opens one of
//! its own, which is run again when the database asks for it.

use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use sea_session::{Cursor, prelude::*};

use super::{BlogError, Card, Draft, Shown, comment, post, tag, user};

async fn find_user(s: &mut Session, id: i64) -> Result<Tracked<user::Entity>, BlogError> {
    s.get::<user::Entity>(id).await?.ok_or(BlogError::NotFound("user", id))
}

async fn find_post(s: &mut Session, id: i64) -> Result<Tracked<post::Entity>, BlogError> {
    s.get::<post::Entity>(id).await?.ok_or(BlogError::NotFound("post", id))
}

/// The tags of these names; those that are missing are added.
async fn tags_named(s: &mut Session, names: &[&str]) -> Result<Vec<Tracked<tag::Entity>>, BlogError> {
    let tags = names.iter().map(|name| tag::ActiveModel { name: Set((*name).to_owned()), ..Default::default() });
    Ok(s.get_or_add_many(tags, tag::Column::Name).await?.into_iter().map(|(tag, _)| tag).collect())
}

#[db_session(retry = 5)]
pub async fn sign_up(s: &mut Session, name: &str) -> Result<i64, BlogError> {
    let user = user::ActiveModel { name: Set(name.to_owned()), ..Default::default() };
    let (user, added) = s.get_or_add(user, user::Column::Name).await?;
    if added { Ok(user.id()) } else { Err(BlogError::Taken(name.to_owned())) }
}

#[db_session(retry = 5)]
pub async fn rename(s: &mut Session, id: i64, version: i32, name: &str) -> Result<i32, BlogError> {
    let user = find_user(s, id).await?;
    if user.version() != version {
        return Err(BlogError::Stale);
    }
    user.set_name(name);
    match s.flush().await {
        Err(e) if e.is_unique_violation() => Err(BlogError::Taken(name.to_owned())),
        flushed => Ok(flushed.map(|()| user.version())?),
    }
}

#[atomic]
async fn write(s: &mut Session, author: &Tracked<user::Entity>, draft: &Draft<'_>) -> Result<i64, BlogError> {
    let (title, body) = (draft.title.to_owned(), draft.body.to_owned());
    let post = s.add(post::ActiveModel { title: Set(title), body: Set(body), ..Default::default() });
    post.set_author(author)?;
    let tags = tags_named(s, draft.tags).await?;
    post.junction::<tag::Entity>().attach(s, &tags).await?;
    if draft.title.is_empty() {
        return Err(BlogError::Refused("a post has a title"));
    }
    Ok(post.id())
}

#[db_session(retry = 5)]
pub async fn draft(s: &mut Session, author: i64, draft: &Draft<'_>) -> Result<i64, BlogError> {
    let author = find_user(s, author).await?;
    write(s, &author, draft).await
}

#[db_session(retry = 5)]
pub async fn edit(s: &mut Session, id: i64, version: i32, title: &str, body: &str) -> Result<i32, BlogError> {
    let post = find_post(s, id).await?;
    if post.version() != version {
        return Err(BlogError::Stale);
    }
    post.set_title(title);
    post.set_body(body);
    s.flush().await?;
    Ok(post.version())
}

#[db_session(retry = 5)]
pub async fn publish(s: &mut Session, id: i64) -> Result<(), BlogError> {
    let post = find_post(s, id).await?;
    if post.published() {
        return Err(BlogError::Refused("it is published already"));
    }
    post.set_published(true);
    find_user(s, post.user_id()).await?.update(|author| author.published += 1);
    Ok(())
}

#[db_session(retry = 5)]
pub async fn comment(s: &mut Session, post: i64, author: i64, text: &str) -> Result<i64, BlogError> {
    let (post, author) = (find_post(s, post).await?, find_user(s, author).await?);
    let comment = s.add(comment::ActiveModel { text: Set(text.to_owned()), ..Default::default() });
    comment.set_post(&post)?;
    comment.set_author(&author)?;
    post.update(|post| post.comment_count += 1);
    s.flush().await?;
    Ok(comment.id())
}

#[db_session(retry = 5)]
pub async fn remove_comment(s: &mut Session, id: i64) -> Result<(), BlogError> {
    let comment = s.get::<comment::Entity>(id).await?.ok_or(BlogError::NotFound("comment", id))?;
    find_post(s, comment.post_id()).await?.update(|post| post.comment_count -= 1);
    s.delete(&comment);
    Ok(())
}

#[db_session(retry = 5)]
pub async fn retag(s: &mut Session, id: i64, names: &[&str]) -> Result<(), BlogError> {
    let (post, tags) = (find_post(s, id).await?, tags_named(s, names).await?);
    Ok(post.junction::<tag::Entity>().set(s, &tags).await?)
}

async fn card(s: &mut Session, post: &Tracked<post::Entity>) -> Result<Card, BlogError> {
    let author = post.author(s).await?.map(|author| author.name()).unwrap_or_default();
    let tags = post.related::<tag::Entity>(s).await?;
    Ok(Card::new(post.title(), author, tags.iter().map(|tag| tag.name())))
}

#[db_session(read_only)]
pub async fn feed(
    s: &mut Session,
    after: Option<&Cursor>,
    size: u64,
) -> Result<(Vec<Card>, Option<Cursor>), BlogError> {
    let query = post::Entity::find().filter(post::Column::Published.eq(true));
    let page = query.with(user::Entity).with(tag::Entity).page(after, size).load(s).await?;
    let mut cards = Vec::with_capacity(page.objects.len());
    for post in &page.objects {
        cards.push(card(s, post).await?);
    }
    Ok((cards, page.next))
}

#[db_session(read_only)]
pub async fn show(s: &mut Session, id: i64) -> Result<Shown, BlogError> {
    let query = post::Entity::find_by_id(id).with(user::Entity).with(tag::Entity);
    let post =
        query.with(comment::Entity.then(user::Entity)).load_one(s).await?.ok_or(BlogError::NotFound("post", id))?;
    let mut comments = Vec::new();
    for comment in post.comments(s).await? {
        let author = comment.author(s).await?.map(|author| author.name()).unwrap_or_default();
        comments.push((author, comment.text()));
    }
    Ok(Shown { card: card(s, &post).await?, comments })
}

/// Each draft by itself: one that is refused leaves the others.
#[db_session(retry = 5)]
pub async fn import(s: &mut Session, author: i64, drafts: &[Draft<'_>]) -> Result<Vec<bool>, BlogError> {
    let author = find_user(s, author).await?;
    let mut taken = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match write(s, &author, draft).await {
            Err(BlogError::Refused(_)) => taken.push(false),
            written => taken.push(written.map(|_| true)?),
        }
    }
    Ok(taken)
}

#[db_session(retry = 5)]
pub async fn delete_post(s: &mut Session, id: i64) -> Result<(), BlogError> {
    let post = find_post(s, id).await?;
    if post.published() {
        find_user(s, post.user_id()).await?.update(|author| author.published -= 1);
    }
    s.delete(&post);
    Ok(())
}
