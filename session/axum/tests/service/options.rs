//! Options and tenant from the request.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Extension, Router,
    body::Body,
    http::{Method, Request, StatusCode, request::Parts},
    middleware::{Next, from_fn},
    routing,
};
use sea_orm::{ConnectionTrait, PaginatorTrait, Set, entity::prelude::*};
use sea_session::{prelude::*, testing::Backend};
use sea_session_axum::{Problem, RequestOptions, Unit, UnitLayer, in_unit, retrying};

use super::support::{draft, get, notes, on, on_both, page, post, request, send};

async fn list(s: &mut Session) -> Result<String, Problem> {
    let pages = page::Entity::find().load(s).await?;
    Ok(pages.iter().map(|page| page.title()).collect::<Vec<_>>().join(","))
}

async fn create(s: &mut Session, title: String) -> Result<StatusCode, Problem> {
    s.add(page::ActiveModel { title: Set(title), ..Default::default() });
    Ok(StatusCode::CREATED)
}

fn by_header(parts: &Parts, unit: UnitOptions) -> Result<UnitOptions, Problem> {
    let account = parts.headers.get("x-account").and_then(|account| account.to_str().ok());
    let account = account.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "no-account", "No account"))?;
    let unit = unit.tenant("app.account_id", account);
    Ok(if parts.method.is_safe() { unit.read_only() } else { unit })
}

fn of(account: &str, method: Method, path: &str, body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("x-account", account);
    request.body(Body::from(body.to_owned())).unwrap()
}

#[test]
fn t2_the_tenant_comes_from_the_request() {
    on_both(async |db| {
        let app: Router = Router::new()
            .route("/pages", routing::get(in_unit(list)).post(in_unit(create)))
            .route("/retrying", routing::get(retrying(3, list)).post(retrying(3, create)))
            .layer(UnitLayer::new(db.clone()).options(by_header));
        for path in ["/pages", "/retrying"] {
            for account in ["acme", "globex"] {
                let title = format!("{account} {path}");
                assert_eq!(send(&app, of(account, Method::POST, path, &title)).await.status, 201);
            }
        }
        let seen = send(&app, of("acme", Method::GET, "/pages", "")).await.text;
        assert_eq!(seen, "acme /pages,acme /retrying");
        let seen = send(&app, of("globex", Method::GET, "/retrying", "")).await.text;
        assert_eq!(seen, "globex /pages,globex /retrying");

        // Refused by the closure, in its words.
        for path in ["/pages", "/retrying"] {
            let (status, kind, _) = get(&app, path).await.problem();
            assert_eq!((status, &*kind), (401, "no-account"), "{path}");
        }
    });
}

#[test]
fn t1_row_level_security_sees_the_requests_tenant() {
    async fn bound(s: Unit<'_>) -> Result<String, Problem> {
        let question =
            sea_orm::Statement::from_string(s.backend(), "SELECT current_setting('app.account_id') AS account");
        let row = s.query_one_raw(question).await?;
        Ok(row.map(|row| row.try_get("", "account")).transpose()?.unwrap_or_default())
    }
    on(Backend::Postgres, async |db| {
        let app: Router =
            Router::new().route("/", routing::get(bound)).layer(UnitLayer::new(db.clone()).options(by_header));
        assert_eq!(send(&app, of("acme'; --", Method::GET, "/", "")).await.text, "acme'; --");
    });
}

#[test]
fn b4_a_reading_request_cannot_write() {
    async fn write(s: &mut Session) -> Result<(), Problem> {
        s.add(draft("not in a GET"));
        Ok(s.flush().await?)
    }
    on_both(async |db| {
        let layer = UnitLayer::new(db.clone()).options(by_header);
        let app: Router = Router::new().route("/", routing::get(in_unit(write)).post(in_unit(write))).layer(layer);
        assert_eq!(send(&app, of("acme", Method::GET, "/", "")).await.status, 500);
        assert_eq!(notes(&db).await, 0);
        assert_eq!(send(&app, of("acme", Method::POST, "/", "")).await.status, 200);
        assert_eq!(notes(&db).await, 1);
    });
}

#[test]
fn options_see_what_layers_inside_have_added_and_are_asked_once_a_request() {
    #[derive(Clone)]
    struct Account(String);

    async fn first(mut s: Unit<'_>) -> Result<(), Problem> {
        s.add(page::ActiveModel { title: Set("one".into()), ..Default::default() });
        Ok(())
    }
    async fn none() {}

    on_both(async |db| {
        let asked = Arc::new(AtomicUsize::new(0));
        let counting = asked.clone();
        let layer = UnitLayer::new(db.clone()).options(move |parts: &Parts, unit: UnitOptions| {
            counting.fetch_add(1, Ordering::SeqCst);
            let Account(account) = parts.extensions.get::<Account>().cloned().unwrap_or(Account("nobody".into()));
            unit.tenant("app.account_id", account)
        });
        // Looks the account up in the request's own unit, as a log-in does, before the handler has it.
        let authenticate = async |Extension(db): Extension<Db>, mut request: Request<Body>, next: Next| {
            assert_eq!(page::Entity::find().count(db.connection()).await.unwrap(), 0);
            request.extensions_mut().insert(Account("acme".into()));
            next.run(request).await
        };
        let app: Router = Router::new()
            .route("/none", routing::get(none))
            .route("/first", routing::post(first))
            .layer(from_fn(authenticate))
            .layer(Extension(db.clone()))
            .layer(layer);
        assert_eq!(get(&app, "/none").await.status, 200);
        assert_eq!(asked.load(Ordering::SeqCst), 0, "no unit, no options");
        assert_eq!(post(&app, "/first").await.status, 200);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let pages = page::Entity::find().all(db.connection()).await.unwrap();
        assert_eq!(pages.into_iter().map(|page| page.account).collect::<Vec<_>>(), ["acme"]);
    });
}

#[test]
fn r4_a_retry_is_no_option_of_a_requests_unit() {
    async fn idle(_: Unit<'_>) {}
    on_both(async |db| {
        let layer = UnitLayer::new(db.clone()).options(|_, unit: UnitOptions| unit.retry(3));
        let app: Router = Router::new().route("/", routing::get(idle)).layer(layer);
        assert_eq!(get(&app, "/").await.problem().0, 500);
    });
}

#[test]
fn what_a_backend_cannot_do_is_refused_before_the_handler_runs() {
    async fn idle(_: Unit<'_>) {
        panic!("the handler was called");
    }
    on(Backend::Sqlite, async |db| {
        let layer = UnitLayer::new(db.clone()).options(|_, unit: UnitOptions| unit.set_local("app.user", 7));
        let app: Router = Router::new().route("/", routing::get(idle)).layer(layer);
        assert_eq!(get(&app, "/").await.problem().1, "internal");
    });
}

#[test]
fn units_of_a_handlers_own_have_the_requests_options() {
    async fn own(RequestOptions(unit): RequestOptions) -> Result<String, Problem> {
        unit.run(async |s: &mut Session| -> Result<String, Problem> { list(s).await }).await
    }
    on_both(async |db| {
        let app: Router = Router::new()
            .route("/", routing::post(in_unit(create)))
            .route("/own", routing::get(own))
            .layer(UnitLayer::new(db.clone()).options(by_header));
        assert_eq!(send(&app, of("acme", Method::POST, "/", "one")).await.status, 201);
        assert_eq!(send(&app, of("globex", Method::POST, "/", "two")).await.status, 201);
        assert_eq!(send(&app, of("globex", Method::GET, "/own", "")).await.text, "two");
        assert_eq!(send(&app, request("GET", "/own")).await.status, 401);
    });
}
