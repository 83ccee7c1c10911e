//! The interface described for programs, by `utoipa`: what the handlers say of themselves, and what all have in common.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        Components, ContentBuilder, Object, ObjectBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder, Schema,
        Type,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{api, listing};

/// What every operation may answer besides.
const REFUSALS: [(&str, &str); 8] = [
    ("400", "The query or the body cannot be read, or a value is out of its range"),
    ("401", "The request carries no token that is known"),
    ("403", "The caller may not do this"),
    ("404", "What was asked for is not there, or the caller may not see it"),
    ("409", "In conflict with what is there: read it again"),
    ("429", "The caller asks too often; `Retry-After` says when to ask again"),
    ("500", "A fault of the service"),
    ("503", "Not now; nothing was changed. `Retry-After` says when to ask again"),
];

/// What an operation with a body may answer besides.
const REFUSALS_OF_BODIES: [(&str, &str); 2] =
    [("413", "The body is too long"), ("415", "The body is not said to be JSON")];

#[derive(OpenApi)]
#[openapi(
    info(title = "Context store", description = "Agents' memory: nodes at ctx:// URIs, edges between them, history and search."),
    paths(
        api::read, api::stat, api::write, api::append, api::delete, api::move_node, api::archive, api::restore, api::revert,
        api::link, api::unlink, listing::children, listing::tree, listing::glob, listing::search, listing::history,
        listing::version, listing::edges, listing::traverse, listing::status,
    ),
    security(("bearer" = [])),
    modifiers(&Common),
)]
struct Interface;

/// The document.
pub(super) fn document() -> Document {
    Interface::openapi()
}

/// What the handlers need not repeat.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Components::new);
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.schemas.insert("Problem".to_owned(), RefOr::T(Schema::Object(problem())));
        for path in document.paths.paths.values_mut() {
            let operations = [&mut path.get, &mut path.put, &mut path.post, &mut path.delete];
            for operation in operations.into_iter().flatten() {
                let of_body = if operation.request_body.is_some() { &REFUSALS_OF_BODIES[..] } else { &[] };
                for (status, description) in REFUSALS.iter().chain(of_body) {
                    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
                    let response =
                        ResponseBuilder::new().description(*description).content("application/problem+json", content);
                    operation.responses.responses.insert((*status).to_owned(), RefOr::T(response.build()));
                }
            }
        }
    }
}

/// Problem details of RFC 9457.
fn problem() -> Object {
    let text = |description: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(description));
    let number = |description: &str| ObjectBuilder::new().schema_type(Type::Integer).description(Some(description));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("Problem details of RFC 9457"))
        .property("type", text("`urn:sea-session:problem:` and the kind, for programs"))
        .property("title", text("What kind of problem it is"))
        .property("status", number("The status of the answer"))
        .property("detail", text("What it is this time"))
        .property("expected", number("With `version-conflict`: the version that was expected"))
        .property("found", number("With `version-conflict`: the version that is there"))
        .required("type")
        .required("title")
        .required("status")
        .build()
}
