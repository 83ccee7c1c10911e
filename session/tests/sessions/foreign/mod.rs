//! Entities that nobody here wrote work with sessions after adding the one derive: SeaORM's own test entities, what
//! `sea-orm-cli` generates from a schema of Pagila's shape, and the same in the dense format.

mod pagila;
#[rustfmt::skip]
pub mod tests_cfg;

use sea_orm::{ActiveValue::Set, *};
use sea_session::{Error, prelude::*};
use tests_cfg::*;

type Done = Result<(), Error>;

#[session_test(tables = [cake::Entity, vendor::Entity, filling::Entity, cake_filling::Entity, fruit::Entity])]
async fn tests_cfg_a_cake_is_added_changed_and_found(s: &mut Session) -> Done {
    let cake = s.add(cake::ActiveModel { name: Set("Cheese".into()), ..Default::default() });
    s.flush().await?;
    let id = cake.id();
    cake.set_name(cake.name() + "cake");
    s.flush().await?;
    let found = s.get::<cake::Entity>(id).await?.expect("the cake");
    assert!(Tracked::ptr_eq(&cake, &found));
    assert_eq!(found.with(|c| c.name.len()), 10);
    let stored = cake::Entity::find_by_id(id).one(&*s).await?.expect("the row");
    assert_eq!(stored.name, "Cheesecake");
    Ok(())
}

#[session_test(tables = [cake::Entity, vendor::Entity, filling::Entity, cake_filling::Entity, fruit::Entity])]
async fn tests_cfg_dense_relations_have_accessors(s: &mut Session) -> Done {
    let cake = s.add(cake::ActiveModel { name: Set("Apple".into()), ..Default::default() });
    let fruit = s.add(fruit::ActiveModel { name: Set("Bramley".into()), ..Default::default() });
    fruit.set_parent::<cake::Entity>(fruit::Relation::Cake, &cake)?;
    let filling = s.add(filling::ActiveModel { name: Set("Jam".into()), ..Default::default() });
    s.flush().await?;
    assert_eq!(fruit.cake_id(), Some(cake.id()));
    let one = cake.fruit(s).await?.expect("the fruit");
    assert!(Tracked::ptr_eq(&one, &fruit));
    cake.fillings().attach(s, [&filling]).await?;
    let fillings = cake.related::<filling::Entity>(s).await?;
    assert_eq!(fillings.len(), 1);
    assert!(Tracked::ptr_eq(&fillings[0], &filling));
    cake.fillings().detach(s, [&filling]).await?;
    assert!(cake.related::<filling::Entity>(s).await?.is_empty());
    Ok(())
}

#[session_test(tables = [user::Entity, post::Entity, tag::Entity, post_tag::Entity, comment::Entity, profile::Entity])]
async fn tests_cfg_a_dense_blog_in_one_unit(s: &mut Session) -> Done {
    let user = s.add(user::ActiveModel {
        name: Set("Ada".into()),
        email: Set("ada@example.org".into()),
        ..Default::default()
    });
    let post = s.add(post::ActiveModel { title: Set("Notes".into()), ..Default::default() });
    post.set_author(&user)?;
    let tags: Vec<_> =
        ["a", "b"].map(|t| s.add(tag::ActiveModel { tag: Set(t.into()), ..Default::default() })).into_iter().collect();
    s.flush().await?;
    post.tags().attach(s, &tags).await?;
    assert_eq!(user.posts(s).await?.len(), 1);
    assert!(Tracked::ptr_eq(&post.author(s).await?.expect("the author"), &user));
    assert_eq!(post.related::<tag::Entity>(s).await?.len(), 2);
    assert!(user.profile(s).await?.is_none());
    Ok(())
}

#[session_test(tables = [vendor::Entity, filling::Entity, ingredient::Entity])]
async fn tests_cfg_a_self_reference_follows_its_parent(s: &mut Session) -> Done {
    let flour = s.add(ingredient::ActiveModel { name: Set("Flour".into()), ..Default::default() });
    let wheat = s.add(ingredient::ActiveModel { name: Set("Wheat".into()), ..Default::default() });
    flour.set_ingredient(&wheat)?;
    s.flush().await?;
    assert_eq!(flour.ingredient_id(), Some(wheat.id()));
    let parent = flour.ingredient(s).await?.expect("wheat");
    assert!(Tracked::ptr_eq(&parent, &wheat));
    assert!(wheat.ingredient(s).await?.is_none());
    Ok(())
}

#[session_test(tables = [rust_keyword::Entity])]
async fn tests_cfg_keywords_are_field_names(s: &mut Session) -> Done {
    let all = rust_keyword::ActiveModel::from_json_free();
    let row = s.add(all);
    s.flush().await?;
    row.set_type(7).set_self_(8).set_crate_(9).set_await(10);
    s.flush().await?;
    let stored = rust_keyword::Entity::find_by_id(row.id()).one(&*s).await?.expect("the row");
    assert_eq!((stored.r#type, stored.self_, stored.crate_, stored.r#await), (7, 8, 9, 10));
    assert_eq!((row.r#type(), row.self_(), row.crate_(), row.r#await()), (7, 8, 9, 10));
    Ok(())
}

impl rust_keyword::ActiveModel {
    /// Every column set to one.
    fn from_json_free() -> Self {
        use sea_orm::{ActiveModelTrait, Iterable};
        let mut row = <Self as ActiveModelTrait>::default();
        for column in rust_keyword::Column::iter().skip(1) {
            row.set(column, 1i32.into());
        }
        row
    }
}

#[session_test(sqlite, postgres, tables = [lunch_set::Entity])]
async fn tests_cfg_an_enum_is_a_field(s: &mut Session) -> Done {
    use sea_orm_active_enums::Tea;
    let set = s.add(lunch_set::ActiveModel { name: Set("A".into()), tea: Set(Tea::EverydayTea), ..Default::default() });
    s.flush().await?;
    set.set_tea(Tea::BreakfastTea);
    s.flush().await?;
    let stored = lunch_set::Entity::find_by_id(set.id()).one(&*s).await?.expect("the row");
    assert_eq!(stored.tea, Tea::BreakfastTea);
    assert_eq!(set.tea(), Tea::BreakfastTea);
    Ok(())
}

#[session_test(postgres, tables = [indexes::Entity])]
async fn tests_cfg_a_named_schema_and_unique_keys(s: &mut Session) -> Done {
    let row = |n: i32| indexes::ActiveModel {
        unique_attr: Set(n),
        index1_attr: Set(n),
        index2_attr: Set(n),
        unique_key_a: Set(format!("a{n}")),
        unique_key_b: Set("b".into()),
        ..Default::default()
    };
    let (one, two) = (s.add(row(1)), s.add(row(2)));
    s.flush().await?;
    // Two rows swap a unique value in one flush.
    one.set_unique_key_a("a2");
    two.set_unique_key_a("a3");
    s.flush().await?;
    assert_eq!(indexes::Entity::find().load(s).await?.len(), 2);
    Ok(())
}

#[session_test(tables = [cake_compact::Entity, fruit::Entity])]
async fn tests_cfg_the_compact_and_the_expanded_format(s: &mut Session) -> Done {
    let compact = s.add(cake_compact::ActiveModel { name: Set("Plum".into()), ..Default::default() });
    s.flush().await?;
    compact.set_name("Plum tart");
    s.flush().await?;
    // Both entities are the table `cake`.
    let expanded = s.get::<cake_expanded::Entity>(compact.id()).await?.expect("the row");
    assert_eq!(expanded.name(), "Plum tart");
    assert!(compact.related::<fruit::Entity>(s).await?.is_empty());
    Ok(())
}

#[session_test(postgres, migrations = pagila::migrate)]
async fn pagila_generated_compact_entities_work(s: &mut Session) -> Done {
    use pagila::compact::{
        actor, category, film, film_actor, film_category, language, sea_orm_active_enums::MpaaRating,
    };
    let language = s.add(language::ActiveModel { name: Set("English".into()), ..Default::default() });
    let film = s.add(film::ActiveModel {
        title: Set("ACADEMY DINOSAUR".into()),
        rating: Set(Some(MpaaRating::Pg)),
        special_features: Set(Some(vec!["Deleted Scenes".into(), "It\"s, {tricky}".into()])),
        ..Default::default()
    });
    // Two relations lead to `language`, so there is no `Related`: the relation is named.
    film.set_parent::<language::Entity>(film::Relation::Language2, &language)?;
    let actors: Vec<_> = ["GUINESS", "CAGE", "GUINESS"]
        .map(|name| {
            s.add(actor::ActiveModel { first_name: Set("A".into()), last_name: Set(name.into()), ..Default::default() })
        })
        .into();
    s.flush().await?;

    // Columns that were not set took the database's defaults, and came back.
    assert_eq!((film.rental_duration(), film.rental_rate()), (3, 4.99));
    assert_eq!(film.language_id(), language.language_id());
    let found = film.related_one_by::<language::Entity>(s, film::Relation::Language2).await?.expect("English");
    assert!(Tracked::ptr_eq(&found, &language));
    assert!(film.related_one_by::<language::Entity>(s, film::Relation::Language1).await?.is_none());

    film.set_rating(Some(MpaaRating::Nc17))
        .set_special_features(Some(vec!["Trailers".to_owned()]))
        .set_length(Some(86));
    film.junction::<actor::Entity>().attach(s, &actors).await?;
    assert_eq!(film.related::<actor::Entity>(s).await?.len(), 3);
    let stored = film::Entity::find_by_id(film.film_id()).one(&*s).await?.expect("the film");
    assert_eq!(stored.rating, Some(MpaaRating::Nc17));
    assert_eq!(stored.special_features, Some(vec!["Trailers".to_owned()]));

    // Many rows with arrays and enums in one flush, changed in another.
    let films: Vec<_> = (0..5)
        .map(|n| {
            let features = (n % 2 == 0).then(|| vec![format!("feature {n}"), "NULL".to_owned()]);
            let film = film::ActiveModel {
                title: Set(format!("FILM {n}")),
                special_features: Set(features),
                ..Default::default()
            };
            let film = s.add(film);
            film.set_parent::<language::Entity>(film::Relation::Language2, &language).map(|()| film)
        })
        .collect::<Result<_, Error>>()?;
    s.flush().await?;
    films.iter().for_each(|film| {
        film.set_special_features(film.special_features().map(|features| features[..1].to_vec()));
        film.set_rating(Some(MpaaRating::R));
    });
    s.flush().await?;
    let ids = films.iter().map(|film| film.film_id());
    let stored = film::Entity::find().filter(film::Column::FilmId.is_in(ids)).all(&*s).await?;
    assert_eq!(stored.iter().filter(|f| f.special_features.as_ref().is_some_and(|v| v.len() == 1)).count(), 3);
    assert!(stored.iter().all(|f| f.rating == Some(MpaaRating::R)));

    // A composite key, through the map.
    let category = s.add(category::ActiveModel { name: Set("Documentary".into()), ..Default::default() });
    s.flush().await?;
    let (film_id, category_id) = (film.film_id(), category.category_id());
    let link = s.add(film_category::ActiveModel {
        film_id: Set(film_id),
        category_id: Set(category_id),
        ..Default::default()
    });
    s.flush().await?;
    let again = s.get::<film_category::Entity>((film_id, category_id)).await?.expect("the link");
    assert!(Tracked::ptr_eq(&again, &link));
    s.delete(&link);
    s.flush().await?;
    assert!(s.get::<film_category::Entity>((film_id, category_id)).await?.is_none());
    assert_eq!(film_actor::Entity::find().load(s).await?.len(), 3);
    Ok(())
}

#[session_test(postgres, migrations = pagila::migrate)]
async fn pagila_generated_dense_entities_have_relations(s: &mut Session) -> Done {
    use pagila::dense::{address, city, country, film, inventory, language, staff, store};
    let country = s.add(country::ActiveModel { country: Set("Ecuador".into()), ..Default::default() });
    let city = s.add(city::ActiveModel { city: Set("Robamba".into()), ..Default::default() });
    city.set_country(&country)?;
    let address = s.add(address::ActiveModel {
        address: Set("28 MySQL Boulevard".into()),
        district: Set("QLD".into()),
        phone: Set("0".into()),
        ..Default::default()
    });
    address.set_city(&city)?;
    // A store and its manager refer to each other; the nullable side is written after both inserts.
    let store = s.add(store::ActiveModel { ..Default::default() });
    store.set_address(&address)?;
    let manager = s.add(staff::ActiveModel {
        first_name: Set("Mike".into()),
        last_name: Set("Hillyer".into()),
        username: Set("Mike".into()),
        picture: Set(Some(vec![0, 159, 146, 150])),
        ..Default::default()
    });
    manager.set_address(&address)?;
    manager.set_store(&store)?;
    store.set_staff(&manager)?;
    s.flush().await?;
    assert_eq!(store.manager_staff_id(), Some(manager.staff_id()));
    assert!(Tracked::ptr_eq(&store.staff(s).await?.expect("the manager"), &manager));
    assert!(Tracked::ptr_eq(&address.city(s).await?.expect("the city"), &city));
    let stored = staff::Entity::find_by_id(manager.staff_id()).one(&*s).await?.expect("the row");
    assert_eq!(stored.picture, Some(vec![0, 159, 146, 150]));

    // Both relations of a film to its languages, by their own names.
    let (english, german) = (
        s.add(language::ActiveModel { name: Set("English".into()), ..Default::default() }),
        s.add(language::ActiveModel { name: Set("German".into()), ..Default::default() }),
    );
    let film = s.add(film::ActiveModel { title: Set("ALIEN CENTER".into()), ..Default::default() });
    film.set_language_2(&english)?;
    film.set_language_1(&german)?;
    let copies: Vec<_> = (0..3)
        .map(|_| {
            let copy = s.add(inventory::ActiveModel { ..Default::default() });
            copy.set_film(&film).and_then(|()| copy.set_store(&store)).map(|()| copy)
        })
        .collect::<Result<_, Error>>()?;
    s.flush().await?;
    assert!(Tracked::ptr_eq(&film.language_2(s).await?.expect("English"), &english));
    assert!(Tracked::ptr_eq(&film.language_1(s).await?.expect("German"), &german));
    assert_eq!(film.inventories(s).await?.len(), copies.len());
    assert_eq!(store.inventories(s).await?.len(), copies.len());
    Ok(())
}
