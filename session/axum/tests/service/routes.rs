//! Who gets the request's unit: extractors one after the other, none twice at once, none where the route has opted out.

use axum::{
    Router,
    extract::{FromRequestParts, OptionalFromRequestParts},
    handler::Handler,
    http::request::Parts,
    routing,
};
use sea_orm::{ConnectionTrait, PaginatorTrait, entity::prelude::*};
use sea_session::{Tracked, prelude::*};
use sea_session_axum::{NonAtomic, Problem, RequestOptions, Unit, UnitLayer, UnitRejection, in_unit, retrying};

use super::support::{draft, get, note, notes, on_both, post, watched};

/// Who asks: looked up in the request's unit, or in a unit of its own where there is none.
#[derive(Clone)]
struct Caller(Tracked<note::Entity>);

async fn look_up(s: &mut Session) -> Result<Tracked<note::Entity>, Problem> {
    let caller = s.add(draft("caller"));
    s.flush().await?;
    Ok(caller)
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let misused = |_: UnitRejection| Problem::not_found("a unit");
        let unit = <Unit as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await.map_err(misused)?;
        if let Some(mut unit) = unit {
            return look_up(&mut unit).await.map(Self);
        }
        let RequestOptions(own) = RequestOptions::from_request_parts(parts, state).await.map_err(misused)?;
        own.run(async |s: &mut Session| -> Result<Self, Problem> { look_up(s).await.map(Self) }).await
    }
}

#[test]
fn i1_an_extractor_and_the_handler_share_the_unit_and_its_objects() {
    async fn argument(Caller(caller): Caller, mut s: Unit<'_>) -> Result<String, Problem> {
        let again = s.get::<note::Entity>(caller.id()).await?;
        Ok(again.is_some_and(|again| Tracked::ptr_eq(&again, &caller)).to_string())
    }
    async fn function(s: &mut Session, Caller(caller): Caller) -> Result<String, Problem> {
        let again = s.get::<note::Entity>(caller.id()).await?;
        Ok(again.is_some_and(|again| Tracked::ptr_eq(&again, &caller)).to_string())
    }
    async fn refused(_: Caller, _: Unit<'_>) -> axum::http::StatusCode {
        axum::http::StatusCode::FORBIDDEN
    }
    on_both(async |db| {
        let (layer, recorder) = watched(&db);
        let app: Router = Router::new()
            .route("/refused", routing::get(refused))
            .route("/argument", routing::get(argument))
            .layer(layer);
        assert_eq!(get(&app, "/refused").await.status, 403);
        assert_eq!(notes(&db).await, 0, "what the extractor wrote goes with the request");
        recorder.take();
        assert_eq!(get(&app, "/argument").await.text, "true");
        let sent = recorder.take();
        assert_eq!(sent.iter().filter(|sql| sql.starts_with("BEGIN")).count(), 1, "{sent:?}");
        assert_eq!(notes(&db).await, 1);
    });
    on_both(async |db| {
        let app: Router = Router::new().route("/", routing::get(in_unit(function))).layer(watched(&db).0);
        assert_eq!(get(&app, "/").await.text, "true");
        assert_eq!(notes(&db).await, 1);
    });
}

#[test]
fn an_extractor_works_on_routes_that_have_opted_out() {
    async fn listed(_: Caller, RequestOptions(unit): RequestOptions) -> Result<String, Problem> {
        let count =
            unit.run(async |s: &mut Session| -> Result<u64, Problem> { Ok(note::Entity::find().count(s).await?) });
        Ok(count.await?.to_string())
    }
    async fn retried(s: &mut Session, _: Caller) -> Result<String, Problem> {
        Ok(note::Entity::find().count(s).await?.to_string())
    }
    for way in ["layer", "retrying"] {
        on_both(async |db| {
            let handler = match way {
                "layer" => routing::get(listed.layer(NonAtomic)),
                _ => routing::get(retrying(1, retried)),
            };
            let app: Router = Router::new().route("/", handler).layer(watched(&db).0);
            assert_eq!(get(&app, "/").await.text, "1", "the extractor's unit was committed before the handler ran");
        });
    }
}

#[test]
fn a_route_that_has_opted_out_has_no_unit() {
    async fn asks(_: Unit<'_>) {}
    async fn may_have(unit: Option<Unit<'_>>) -> String {
        unit.is_some().to_string()
    }
    on_both(async |db| {
        let (layer, recorder) = watched(&db);
        let app: Router = Router::new()
            .route("/asks", routing::get(asks).layer(NonAtomic))
            .route("/optional", routing::get(may_have).layer(NonAtomic))
            .route("/atomic", routing::get(may_have).post(may_have.layer(NonAtomic)))
            .layer(layer);
        assert_eq!(get(&app, "/asks").await.problem().1, "internal");
        assert_eq!(get(&app, "/optional").await.text, "false");
        assert_eq!(get(&app, "/atomic").await.text, "true", "the other handlers of a path are not concerned");
        assert_eq!(post(&app, "/atomic").await.text, "false");
        assert_eq!(recorder.take(), [""; 0]);
    });
}

#[test]
fn to_opt_out_after_the_unit_was_used_is_refused() {
    async fn own(_: RequestOptions) -> &'static str {
        "was called"
    }
    let uses = async |mut s: Unit<'_>, request: axum::extract::Request, next: axum::middleware::Next| {
        s.add(draft("by a layer"));
        drop(s);
        next.run(request).await
    };
    on_both(async |db| {
        let app: Router = Router::new()
            .route("/", routing::get(own.layer(NonAtomic)))
            .layer(axum::middleware::from_fn(uses))
            .layer(watched(&db).0);
        assert_eq!(get(&app, "/").await.problem().1, "internal");
        assert_eq!(notes(&db).await, 0);
    });
}

#[test]
fn two_sessions_of_a_request_are_not_to_be_had() {
    async fn twice(_: Unit<'_>, _: Unit<'_>) -> &'static str {
        "was called"
    }
    async fn lent_twice(_: &mut Session, _: Unit<'_>) -> &'static str {
        "was called"
    }
    async fn maybe_twice(_: Unit<'_>, _: Option<Unit<'_>>) -> &'static str {
        "was called"
    }
    on_both(async |db| {
        let app: Router = Router::new()
            .route("/twice", routing::get(twice))
            .route("/lent_twice", routing::get(in_unit(lent_twice)))
            .route("/maybe_twice", routing::get(maybe_twice))
            .layer(watched(&db).0);
        for path in ["/twice", "/lent_twice", "/maybe_twice"] {
            assert_eq!(get(&app, path).await.problem().1, "internal", "{path}");
        }
    });
}

#[test]
fn without_a_layer_there_is_no_unit() {
    async fn asks(_: Unit<'_>) {}
    async fn may_have(unit: Option<Unit<'_>>) -> String {
        unit.is_some().to_string()
    }
    async fn lent(_: &mut Session) {}
    async fn own(_: RequestOptions) {}
    on_both(async |_| {
        let app: Router = Router::new()
            .route("/asks", routing::get(asks))
            .route("/lent", routing::get(in_unit(lent)))
            .route("/retrying", routing::get(retrying(1, lent)))
            .route("/own", routing::get(own))
            .route("/optional", routing::get(may_have.layer(NonAtomic)));
        for path in ["/asks", "/lent", "/retrying", "/own"] {
            assert_eq!(get(&app, path).await.problem().0, 500, "{path}");
        }
        assert_eq!(get(&app, "/optional").await.text, "false");
    });
    assert!(UnitRejection::NoLayer.to_string().contains("add `.layer(UnitLayer::new(db))`"));
}

#[test]
fn the_innermost_layer_of_two_is_the_requests() {
    async fn add(s: &mut Session) -> Result<String, Problem> {
        s.execute_unprepared("CREATE TABLE here (id BIGINT)").await?;
        Ok(String::new())
    }
    on_both(async |db| {
        let other = Db::connect("sqlite::memory:").await.unwrap();
        let inner: Router = Router::new().route("/", routing::post(in_unit(add))).layer(UnitLayer::new(other.clone()));
        let app: Router = Router::new().nest("/inner", inner).layer(watched(&db).0);
        assert_eq!(post(&app, "/inner").await.status, 200);
        other.connection().execute_unprepared("SELECT id FROM here").await.unwrap();
        db.connection().execute_unprepared("SELECT id FROM here").await.unwrap_err();
    });
}
