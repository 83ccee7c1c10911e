//! {1, 3, 600 rows} × {set, none, not set} × {insert, update, optimistic, merge, delete}: as SeaORM's own statements leave it.

use std::{collections::BTreeMap, fmt::Debug};

use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait, Schema};
use sea_session::{
    Error, LoadExt, Session, Tracked, TrackedEntity,
    testing::{Backend, run_test_on},
};

/// An entity with rows to try.
pub trait Sample: TrackedEntity<Model: Debug + Sync + IntoActiveModel<<Self as EntityTrait>::ActiveModel>> {
    fn full(at: i32) -> Self::ActiveModel;
    fn none(at: i32) -> Self::ActiveModel;
    fn unset(at: i32) -> Self::ActiveModel;
    /// Gives the object the values of another row.
    fn change(row: &Tracked<Self>, at: i32);
    /// Gives SeaORM's active model those values.
    fn changed(draft: Self::ActiveModel, at: i32) -> Self::ActiveModel;
    fn at(model: &Self::Model) -> i32;
}

type Done = Result<(), Error>;

/// What the rows hold, by `at`, without their keys: a text tells scales, offsets and signs apart.
fn shown<E: Sample>(models: &[E::Model]) -> BTreeMap<i32, String> {
    let text = |model: &E::Model| {
        let whole = format!("{model:?}");
        let from = whole.find(", at:").unwrap_or_default();
        (E::at(model), whole[from..].to_owned())
    };
    models.iter().map(text).collect()
}

/// Two tables would have two schemas; here both worlds take turns in one.
pub fn matrix<E: Sample>(backend: Backend, before: &'static [&'static str])
where
    E::ActiveModel: sea_orm::ActiveModelBehavior,
{
    let setup = async |db: &sea_session::Db| -> Done {
        for statement in before {
            db.connection().execute_unprepared(statement).await?;
        }
        let schema = Schema::new(db.connection().get_database_backend());
        let table = db.connection().get_database_backend().build(&schema.create_table_from_entity(E::default()));
        // SeaORM quotes the type of an array of enums as one name.
        db.connection().execute_unprepared(&table.to_string().replace("\"mood[]\"", "mood[]")).await?;
        Ok(())
    };
    run_test_on(backend, setup, async |db: sea_session::Db| -> Done {
        for rows in [1, 3, 600] {
            for (name, new) in [("set", E::full as fn(i32) -> E::ActiveModel), ("none", E::none), ("not set", E::unset)]
            {
                let case = format!("{backend:?}, {rows} rows, {name}");
                let plain = by_sea_orm::<E>(&db, rows, new).await?;
                for show in [false, true] {
                    if show && rows == 600 {
                        continue;
                    }
                    let ours = by_session::<E>(&db, rows, new, show, &case).await?;
                    for step in 0..plain.len() {
                        assert_eq!(ours[step], plain[step], "{case}, step {step}");
                    }
                }
            }
        }
        Ok(())
    });
}

/// The rows after the inserts and after the updates, by SeaORM's own statements.
async fn by_sea_orm<E: Sample>(
    db: &sea_session::Db,
    rows: i32,
    new: fn(i32) -> E::ActiveModel,
) -> Result<Vec<BTreeMap<i32, String>>, Error>
where
    E::ActiveModel: sea_orm::ActiveModelBehavior,
{
    let connection = db.connection();
    for at in 0..rows {
        new(at).insert(connection).await?;
    }
    let inserted = E::find().all(connection).await?;
    for model in inserted.iter().cloned() {
        let at = E::at(&model);
        E::changed(model.into_active_model(), at + 1).update(connection).await?;
    }
    let updated = E::find().all(connection).await?;
    E::delete_many().exec(connection).await?;
    Ok(vec![shown::<E>(&inserted), shown::<E>(&updated)])
}

/// The same by sessions; what the objects hold is what the rows hold, at every step.
async fn by_session<E: Sample>(
    db: &sea_session::Db,
    rows: i32,
    new: fn(i32) -> E::ActiveModel,
    show: bool,
    case: &str,
) -> Result<Vec<BTreeMap<i32, String>>, Error>
where
    E::ActiveModel: sea_orm::ActiveModelBehavior,
{
    let unit = || if show { db.session().show_values() } else { db.session() };
    let held = async |s: &mut Session, objects: &[Tracked<E>], step: &str| -> Result<BTreeMap<i32, String>, Error> {
        let stored = shown::<E>(&E::find().all(&*s).await?);
        let models: Vec<E::Model> = objects.iter().map(|object| object.model()).collect();
        assert_eq!(shown::<E>(&models), stored, "{case}, {step}: memory and rows");
        Ok(stored)
    };
    let mut steps = Vec::new();
    let mut s = unit().begin().await?;
    let objects: Vec<Tracked<E>> = (0..rows).map(|at| s.add(new(at))).collect();
    s.flush().await?;
    steps.push(held(&mut s, &objects, "insert").await?);
    for object in &objects {
        let at = object.with(|model| E::at(model));
        E::change(object, at + 1);
    }
    s.flush().await?;
    steps.push(held(&mut s, &objects, "update").await?);
    s.commit().await?;

    // Every column was read before, and is compared with what was loaded.
    let mut s = unit().optimistic().begin().await?;
    let objects = E::find().load(&mut s).await?;
    for object in &objects {
        let at = object.with(|model| E::at(model));
        E::change(object, at + 2);
    }
    s.flush().await?;
    held(&mut s, &objects, "optimistic").await?;
    // The same once more, against what was written.
    for object in &objects {
        let at = object.with(|model| E::at(model));
        E::change(object, at + 1);
    }
    s.flush().await?;
    assert_eq!(held(&mut s, &objects, "optimistic, again").await?, steps[1], "{case}");
    // Set to what they hold: nothing is sent.
    for object in &objects {
        object.update(|_| ());
    }
    assert!(objects.iter().all(|object| object.changed().is_empty()), "{case}: what was written is the baseline");
    s.commit().await?;

    let mut s = unit().begin().await?;
    let models = E::find().all(&s).await?;
    for model in models {
        s.merge::<E>(model).await?;
    }
    s.flush().await?;
    let objects = E::find().load(&mut s).await?;
    assert_eq!(held(&mut s, &objects, "merge").await?, steps[1], "{case}");
    objects.iter().for_each(|object| s.delete(object));
    s.commit().await?;
    assert_eq!(E::find().count(db.connection()).await?, 0, "{case}: all deleted");
    Ok(steps)
}
