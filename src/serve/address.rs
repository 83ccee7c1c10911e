//! The address of a node in a query or a body.
//!
//! A text that is no address is refused as such (`invalid-uri`), wherever in a request it stands, and not as a query or a body
//! that cannot be read.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use crate::{
    error::StoreError,
    uri::{MAX_URI_BYTES, Uri, UriError},
};

/// One character of a name as it may be typed: itself, or its bytes percent-encoded.
const CHARACTER: &str = r"(?:[^\u0000-\u001f/?#%\u007f-\u009f\u2028\u2029]|%[0-9a-fA-F]{2})";

/// What was given as an address.
#[derive(Debug)]
pub(super) struct Address(Result<Uri, UriError>);

impl Address {
    /// The address.
    ///
    /// # Errors
    /// [`StoreError::InvalidUri`] if it is none.
    pub(super) fn uri(self) -> Result<Uri, StoreError> {
        Ok(self.0?)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Uri::parse(&Cow::<str>::deserialize(deserializer)?)))
    }
}

/// What an address looks like. Some texts that the pattern lets through are none: segments `.` and `..`, percent-encoded bytes that
/// are not UTF-8 or that would not stand raw, what is too long in canonical form, and anything below a memory.
fn pattern() -> String {
    let name = format!("{CHARACTER}+");
    let memories = format!("/memories(?:/{name}){{0,2}}");
    let resources = format!("/resources(?:/{name})*");
    let users = format!("/users(?:/{name}(?:{memories})?)?");
    let agents = format!("/agents(?:/{name}(?:{memories}|/skills(?:/{name})?)?)?");
    let sessions = format!(r"/sessions(?:/{name}(?:/history(?:/{name})?|/state(?:\.json)?)?)?");
    format!("^[cC][tT][xX]://{name}(?:{resources}|{users}|{agents}|{sessions})?/?$")
}

impl PartialSchema for Uri {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A context URI, as `ctx://acme/users/alice/memories/likes/tea`"))
            .pattern(Some(pattern()))
            .max_length(Some(MAX_URI_BYTES))
            .examples([serde_json::json!("ctx://acme/resources/handbook")])
            .build();
        RefOr::T(Schema::Object(text))
    }
}

impl ToSchema for Uri {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Uri")
    }
}

// In the document an address is a URI.
impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        Uri::schema()
    }
}

impl ToSchema for Address {
    fn name() -> Cow<'static, str> {
        <Uri as ToSchema>::name()
    }
}
