//! What a request has to pass before a handler sees it: the host that it names, where it comes from, and whose it is.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sea_session_axum::Problem;

use super::{Here, pages};

/// The cookie that pages are read with. Nothing but a page takes it, and pages change nothing.
pub(super) const COOKIE: &str = "ctx_token";

/// Without tokens, only requests to a loopback name are answered: a page of the web whose own name leads to this machine
/// (DNS rebinding) names that. What changes something is not taken from a page of another origin either way.
pub(super) async fn host_and_origin(State(here): State<Here>, request: Request, next: Next) -> Response {
    let host = host(&request);
    if !here.callers.ask_for_tokens() && !host.as_ref().is_some_and(|host| is_loopback(host.host())) {
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "wrong-host", "Not this host")
            .detail("Without tokens this service answers requests to localhost only.")
            .into_response();
    }
    let origin = request.headers().get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let own = |origin: &str| {
        let place = origin.split_once("://").map(|(_, place)| place);
        place.is_some_and(|place| host.as_ref().is_some_and(|host| place.eq_ignore_ascii_case(host.as_str())))
    };
    if !request.method().is_safe() && origin.is_some_and(|origin| !own(origin)) {
        return Problem::new(StatusCode::FORBIDDEN, "other-origin", "Not from this page")
            .detail("Changes are not taken from pages of another origin.")
            .into_response();
    }
    next.run(request).await
}

fn host(request: &Request) -> Option<Authority> {
    let named = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    named.map_or_else(|| request.uri().authority().cloned(), |named| Authority::try_from(named).ok())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Lets a request of the interface pass, with its caller.
pub(super) async fn by_token(State(here): State<Here>, mut request: Request, next: Next) -> Response {
    match here.callers.caller(bearer(request.headers())) {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => unknown(),
    }
}

/// The same of a page, where a browser sends what somebody has signed in with.
pub(super) async fn by_token_or_cookie(State(here): State<Here>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    match here.callers.caller(bearer(headers).or_else(|| cookie(headers))) {
        Some(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        None => pages::sign_in_first(cookie(headers).is_some()),
    }
}

/// The answer to who has not said who they are.
pub(super) fn unknown() -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "unknown-caller", "Who are you?")
        .detail("Send a token that this service knows: `Authorization: Bearer …`.");
    ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}

/// The bearer token.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The token of the cookie.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, token)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_name_and_by_address() {
        assert_eq!(["localhost", "LocalHost", "127.0.0.1", "127.8.8.8", "[::1]"].map(is_loopback), [true; 5]);
        assert_eq!(
            ["localhost.evil.example", "10.0.0.1", "[::2]", "", "127.0.0.1.evil.example"].map(is_loopback),
            [false; 5]
        );
    }

    #[test]
    fn a_token_is_read_from_its_header_or_cookie() {
        let mut headers = HeaderMap::new();
        assert_eq!((bearer(&headers), cookie(&headers)), (None, None));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("bearer abc"));
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; ctx_token=def; c=d"));
        assert_eq!((bearer(&headers), cookie(&headers)), (Some("abc"), Some("def")));
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic abc"));
        assert_eq!(bearer(&headers), None);
    }
}
