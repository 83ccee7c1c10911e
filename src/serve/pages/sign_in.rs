//! Signing in with a token, where the service asks for tokens: a browser keeps it in a cookie that scripts do not see and
//! other sites cannot send.

use axum::{
    Form,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame::{Section, answered, framed};
use crate::serve::{Here, guard::COOKIE};

#[derive(Deserialize)]
pub(super) struct Token {
    token: String,
}

/// The page of who has not said who they are.
pub(in crate::serve) fn sign_in_first(unknown: bool) -> Response {
    let why = if unknown { "This token is not known any more." } else { "This store asks who you are." };
    let mut response = answered(StatusCode::UNAUTHORIZED, sheet(why));
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}

/// `GET /sign-in`
pub(super) async fn form() -> Response {
    answered(StatusCode::OK, sheet("This store asks who you are."))
}

/// `POST /sign-in`
pub(super) async fn sign_in(
    State(here): State<Here>,
    headers: HeaderMap,
    Form(Token { token }): Form<Token>,
) -> Response {
    let token = token.trim();
    if !here.callers.ask_for_tokens() || here.callers.caller(Some(token)).is_none() {
        return answered(StatusCode::UNAUTHORIZED, sheet("This token is not known."));
    }
    (cookie(&headers, token, ""), Redirect::to("/")).into_response()
}

/// `POST /sign-out`
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    (cookie(&headers, "", "; Max-Age=0"), Redirect::to("/sign-in")).into_response()
}

/// Where a proxy in front says that it speaks TLS, the cookie goes nowhere else.
fn cookie(headers: &HeaderMap, token: &str, more: &str) -> [(header::HeaderName, String); 1] {
    let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes() == b"https");
    let secure = if secure { "; Secure" } else { "" };
    [(header::SET_COOKIE, format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{secure}{more}"))]
}

fn sheet(why: &str) -> Markup {
    framed(
        Section::None,
        "Sign in",
        false,
        html! {
            p { (why) }
            form.search method="post" action="/sign-in" {
                label for="token" { "Token" }
                input #token name="token" type="password" autocomplete="current-password" required;
                button { "Sign in" }
            }
        },
    )
}
