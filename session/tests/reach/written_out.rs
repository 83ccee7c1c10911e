//! U10: objects as serde writes them, and the forms of what panics that do not.

use sea_orm::{Set, entity::prelude::*};
use sea_session::{Error, Session, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::json;

mod user {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked, Serialize, Deserialize)]
    #[sea_orm(table_name = "user_of_shop")]
    #[tracked(no_hooks)]
    #[serde(rename_all = "camelCase")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub full_name: String,
        #[tracked(secret)]
        pub pass_word: String,
        #[tracked(secret)]
        #[serde(rename = "key")]
        pub recovery: Option<String>,
        #[serde(skip_serializing, default)]
        pub note: String,
        #[tracked(version)]
        pub version: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

mod point {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked, Serialize)]
    #[sea_orm(table_name = "point")]
    #[tracked(no_hooks)]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub x: i32,
        pub try_x: i32,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

fn user() -> user::ActiveModel {
    user::ActiveModel {
        full_name: Set("Ann".into()),
        pass_word: Set("SECRET".into()),
        recovery: Set(Some("SECRET".into())),
        note: Set("tall".into()),
        ..Default::default()
    }
}

#[session_test(sqlite, postgres, tables = [user::Entity, point::Entity])]
async fn u10_an_object_is_written_as_its_model_without_secrets(s: &mut Session) -> Result<(), Error> {
    let (ann, point) = (s.add(user()), s.add(point::ActiveModel { x: Set(1), try_x: Set(2), ..Default::default() }));
    let early = serde_json::to_value(&ann).unwrap_err().to_string();
    assert!(early.contains("flush") && !early.contains("SECRET"), "{early}");
    s.flush().await?;
    assert_eq!(serde_json::to_value(&ann).unwrap(), json!({ "id": 1, "fullName": "Ann", "version": 1 }));
    assert_eq!(serde_json::to_string(&point).unwrap(), r#"{"id":1,"x":1,"try_x":2}"#, "in the order of the model");
    ann.set_full_name("Anna");
    let both = serde_json::to_string(&vec![ann.clone(), ann.clone()]).unwrap();
    assert_eq!(both.matches("Anna").count(), 2, "what was set and not flushed is shown: {both}");
    assert!(!both.contains("SECRET") && !format!("{ann:?}").contains("SECRET"));
    Ok(())
}

#[session_test(sqlite, postgres, tables = [user::Entity, point::Entity])]
async fn u10_whatever_panics_has_a_form_that_does_not(s: &mut Session) -> Result<(), Error> {
    let ann = s.add(user());
    assert_eq!(ann.try_full_name()?, "Ann");
    let refused = ann.try_id().unwrap_err();
    assert!(matches!(&refused, Error::Usage(text) if text.contains("user_of_shop.id")), "{refused}");
    for refused in [ann.try_model().map(drop), ann.try_with(|_| ()), ann.try_update(|_| ())] {
        assert!(matches!(refused, Err(Error::Usage(text)) if text.contains("s.flush()")));
    }
    s.flush().await?;
    assert_eq!((ann.try_id()?, ann.try_version()?), (1, 1));
    ann.try_update(|user| user.full_name = "Anna".into())?;
    assert_eq!(ann.try_with(|user| user.full_name.len())?, 4);
    assert_eq!(ann.try_model()?.full_name, "Anna");

    // A column of that name has its own getter.
    let point = s.add(point::ActiveModel { x: Set(1), try_x: Set(2), ..Default::default() });
    let own: i32 = point.try_x();
    assert_eq!((own, point.try_try_x()?), (2, 2));
    Ok(())
}

#[session_test(sqlite, postgres, tables = [user::Entity, point::Entity])]
async fn u10_a_late_write_of_a_strict_unit_is_an_error_where_one_can_be_given(db: Db) -> Result<(), Error> {
    let unit = db.session().strict();
    let ann = unit.run(async |s: &mut Session| -> Result<_, Error> { Ok(s.add(user())) }).await?;
    let refused = ann.set(user::Column::FullName, "late");
    assert!(matches!(refused, Err(Error::Usage(text)) if text.contains("had ended")));
    assert!(ann.try_update(|user| user.full_name = "late".into()).is_err());
    assert_eq!(ann.full_name(), "Ann");
    Ok(())
}
