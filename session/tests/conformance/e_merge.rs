//! What comes from outside: models that are merged, and patches (E3, O3).

use sea_orm::{ActiveValue::Set, entity::prelude::*};
use sea_session::{Error, Session, State, Tracked, prelude::*, testing::run_test_on};
use serde::Deserialize;

use crate::support::{backends, behind_the_back, create_table};

mod form {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked, Deserialize)]
    #[sea_orm(table_name = "form")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        #[tracked(tenant)]
        pub account: String,
        pub title: String,
        pub note: Option<String>,
        #[tracked(read_only)]
        pub owner: String,
        #[serde(skip)]
        #[tracked(secret)]
        #[sea_orm(default_value = "unset")]
        pub password: String,
        #[serde(default, skip_serializing)]
        pub inner: Option<i32>,
        #[tracked(version)]
        pub version: i32,
        #[tracked(created_at)]
        pub created_at: DateTimeUtc,
        #[tracked(updated_at)]
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// An entity without a version.
mod plain {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "plain")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub title: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

async fn tables(db: &Db) -> Result<(), Error> {
    create_table(db, form::Entity).await?;
    create_table(db, plain::Entity).await
}

async fn stored(db: &Db, id: i64) -> Option<form::Model> {
    form::Entity::find_by_id(id).one(db.connection()).await.unwrap()
}

fn new(id: i64) -> form::ActiveModel {
    form::ActiveModel {
        id: Set(id),
        title: Set("first".into()),
        owner: Set("ann".into()),
        password: Set("hash".into()),
        inner: Set(Some(7)),
        ..Default::default()
    }
}

/// Runs a body on a row with version 2, in a unit's own block and in a nested one, on both backends.
fn on_a_row<F>(body: F)
where
    F: for<'a> sea_session::Block<&'a mut Session, Result<(), Error>, Fut: Send> + Sync,
{
    for backend in backends() {
        for nested in [false, true] {
            run_test_on(backend, tables, async |db: Db| {
                let acme = || db.session().tenant("app.account", "acme");
                let made = acme().run(async |s: &mut Session| -> Result<(), Error> {
                    let form = s.add(new(1));
                    s.flush().await?;
                    form.set_title("second");
                    Ok(())
                });
                made.await.unwrap();
                let unit = async |s: &mut Session| -> Result<(), Error> {
                    match nested {
                        false => body(s).await,
                        true => s.atomic(async |s: &mut Session| -> Result<(), Error> { body(s).await }).await,
                    }
                };
                acme().run(unit).await.unwrap();
            });
        }
    }
}

async fn held(s: &mut Session) -> Result<form::Model, Error> {
    Ok(s.get::<form::Entity>(1).await?.expect("the row").model())
}

#[test]
fn e3_merge_accepts_only_the_version_that_it_finds() {
    on_a_row(async |s: &mut Session| -> Result<(), Error> {
        let shown = held(s).await?;
        for version in [-1, 0, 1, 3, 99, i32::MAX] {
            let forged = form::Model { version, title: "forged".into(), ..shown.clone() };
            let refused = s.merge::<form::Entity>(forged).await.unwrap_err();
            let expected = i64::from(version);
            assert!(
                matches!(&refused, Error::Stale { expected: Some(e), found: Some(2), .. } if *e == expected),
                "{refused}"
            );
        }
        assert_eq!((held(s).await?, s.is_dirty()), (shown.clone(), false));
        let form = s.merge::<form::Entity>(form::Model { title: "third".into(), ..shown }).await?;
        s.flush().await?;
        assert_eq!((form.title(), form.version()), ("third".into(), 3));
        Ok(())
    });
}

#[test]
fn e3_merge_never_writes_what_is_the_rows_own() {
    on_a_row(async |s: &mut Session| -> Result<(), Error> {
        let shown = held(s).await?;
        let forged = form::Model {
            account: "other".into(),
            owner: "mallory".into(),
            created_at: Default::default(),
            updated_at: Default::default(),
            ..shown.clone()
        };
        let form = s.merge::<form::Entity>(forged.clone()).await?;
        assert_eq!(form.changed(), Vec::<&str>::new());
        s.merge::<form::Entity>(form::Model { note: Some("mine".into()), ..forged }).await?;
        s.flush().await?;
        s.refresh(&form).await?;
        let now = form.model();
        assert!(now.updated_at >= shown.updated_at, "the flush has set it");
        let expected = form::Model { note: Some("mine".into()), version: 3, updated_at: now.updated_at, ..shown };
        assert_eq!(now, expected);
        Ok(())
    });
}

#[test]
fn e3_merge_takes_no_field_that_its_model_did_not_bring() {
    on_a_row(async |s: &mut Session| -> Result<(), Error> {
        let shown = held(s).await?;
        let brought: form::Model = serde_json::from_value(serde_json::json!({
            "id": 1, "account": "acme", "title": "from a form", "note": null, "owner": "ann", "version": 2,
            "created_at": shown.created_at, "updated_at": shown.updated_at,
        }))
        .unwrap();
        assert_eq!((brought.password.as_str(), brought.inner), ("", None), "serde made them up");
        let form = s.merge::<form::Entity>(brought).await?;
        assert_eq!(form.changed(), ["title"]);
        s.flush().await?;
        s.refresh(&form).await?;
        assert_eq!((form.password(), form.inner(), form.title()), ("hash".into(), Some(7), "from a form".into()));
        Ok(())
    });
}

#[test]
fn e3_merge_of_a_key_without_a_row_is_new_or_gone() {
    on_a_row(async |s: &mut Session| -> Result<(), Error> {
        let shown = held(s).await?;
        // It was changed where it was read, so that row is gone.
        let gone = s.merge::<form::Entity>(form::Model { id: 5, ..shown.clone() }).await.unwrap_err();
        assert!(matches!(gone, Error::Stale { expected: Some(2), found: None, .. }), "{gone}");
        let long_ago = DateTimeUtc::default();
        let model = form::Model { id: 6, version: 1, account: "other".into(), created_at: long_ago, ..shown };
        let form = s.merge::<form::Entity>(model).await?;
        assert_eq!(s.state(&form), State::Pending);
        s.flush().await?;
        s.refresh(&form).await?;
        assert_eq!((form.version(), form.account(), form.title()), (1, "acme".into(), "second".into()));
        assert_eq!((form.password(), form.inner()), ("unset".into(), None), "what serde skips is not brought");
        assert!(form.created_at() > long_ago && form.updated_at() > long_ago);
        Ok(())
    });
}

#[test]
fn e3_a_row_without_a_version_is_merged_as_it_is() {
    for backend in backends() {
        run_test_on(backend, tables, async |db: Db| {
            db.run(async |s: &mut Session| -> Result<(), Error> {
                let one = s.merge::<plain::Entity>(plain::Model { id: 1, title: "new".into() }).await?;
                s.flush().await?;
                let same = s.merge::<plain::Entity>(plain::Model { id: 1, title: "merged".into() }).await?;
                assert!(Tracked::ptr_eq(&one, &same));
                Ok(())
            })
            .await
            .unwrap();
            let stored = plain::Entity::find_by_id(1).one(db.connection()).await.unwrap();
            assert_eq!(stored.map(|plain| plain.title), Some("merged".into()));
        });
    }
}

#[test]
fn e3_a_patch_changes_what_is_set_and_nothing_else() {
    on_a_row(async |s: &mut Session| -> Result<(), Error> {
        let shown = held(s).await?;
        let patch = form::ActiveModel { note: Set(Some("patched".into())), ..Default::default() };
        let form = s.patch::<form::Entity>(1, patch).await?.expect("the row");
        assert_eq!(form.changed(), ["note"]);
        // Values that a model brought along unchanged are not set.
        let unchanged: form::ActiveModel = form::Model { title: "elsewhere".into(), ..shown.clone() }.into();
        s.patch::<form::Entity>(1, unchanged).await?;
        assert_eq!(form.changed(), ["note"]);
        // To what it is: nothing; to what it may be: that.
        let same = form::ActiveModel {
            id: Set(1),
            title: Set("second".into()),
            owner: Set("ann".into()),
            account: Set("acme".into()),
            version: Set(2),
            password: Set("another".into()),
            ..Default::default()
        };
        s.patch::<form::Entity>(1, same).await?;
        assert_eq!(form.changed(), ["note", "password"]);
        s.flush().await?;
        s.refresh(&form).await?;
        let now = form.model();
        let expected = form::Model {
            note: Some("patched".into()),
            password: "another".into(),
            version: 3,
            updated_at: now.updated_at,
            ..shown
        };
        assert_eq!(now, expected);
        Ok(())
    });
}

#[test]
fn e3_a_patch_never_inserts_and_refuses_what_is_the_rows_own() {
    on_a_row(async |s: &mut Session| -> Result<(), Error> {
        let title = || form::ActiveModel { title: Set("patched".into()), ..Default::default() };
        assert!(s.patch::<form::Entity>(2, title()).await?.is_none());
        assert!(!s.is_dirty());
        let shown = held(s).await?;
        let forged = [
            form::ActiveModel { id: Set(2), ..title() },
            form::ActiveModel { account: Set("other".into()), ..title() },
            form::ActiveModel { owner: Set("mallory".into()), ..title() },
            form::ActiveModel { created_at: Set(Default::default()), ..title() },
            form::ActiveModel { updated_at: Set(Default::default()), ..title() },
        ];
        for forged in forged {
            let refused = s.patch::<form::Entity>(1, forged).await.unwrap_err();
            assert!(matches!(&refused, Error::Usage(text) if text.starts_with("form.")), "{refused}");
        }
        let stale = s.patch::<form::Entity>(1, form::ActiveModel { version: Set(1), ..title() }).await.unwrap_err();
        assert!(matches!(stale, Error::Stale { expected: Some(1), found: Some(2), .. }), "{stale}");
        assert_eq!((held(s).await?, s.is_dirty()), (shown, false), "a patch that is refused changes nothing");
        Ok(())
    });
}

#[test]
fn e3_a_row_that_is_gone_is_not_patched_back() {
    for backend in backends() {
        run_test_on(backend, tables, async |db: Db| {
            let acme = || db.session().tenant("app.account", "acme");
            let made = async |s: &mut Session| -> Result<form::Model, Error> {
                let form = s.add(new(1));
                s.flush().await?;
                form.set_title("second");
                s.flush().await?;
                Ok(form.model())
            };
            let shown = acme().run(made).await.unwrap();
            behind_the_back(&db, "DELETE FROM form").await;
            let unit = acme().run(async |s: &mut Session| -> Result<(), Error> {
                let patch = form::ActiveModel { title: Set("back".into()), ..Default::default() };
                assert!(s.patch::<form::Entity>(1, patch).await?.is_none());
                let merged = s.merge::<form::Entity>(shown.clone()).await;
                assert!(matches!(merged, Err(Error::Stale { found: None, .. })));
                Ok(())
            });
            unit.await.unwrap();
            assert_eq!(stored(&db, 1).await, None);
        });
    }
}
