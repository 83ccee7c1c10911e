//! The store as tools for agents: MCP over streamable HTTP (`/mcp`), by `rmcp`.
//!
//! Without sessions: each message is answered by itself, in JSON, in the name of the caller whose token it carries. What
//! the store refuses is a result that the agent reads, not an error of the protocol.

use std::sync::Arc;

use axum::http::request::Parts;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    handler::server::tool::schema_for_type,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
    },
    schemars::{self, JsonSchema},
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Here, listing::paging};
use crate::{
    access::Caller,
    error::StoreError,
    store::{SearchOptions, TreeOptions, Write},
    uri::Uri,
};

const INSTRUCTIONS: &str = "\
A store of memories. Each is a node at an address: ctx://ACCOUNT/users/NAME/memories/CATEGORY/SLUG, \
ctx://ACCOUNT/agents/NAME/memories/CATEGORY/SLUG or ctx://ACCOUNT/resources/any/path. A node has an abstract (one sentence), an \
overview and a content. Look with `tree` and `search`, then `read` what you need. `write` replaces what it names and keeps what \
was there in the history; give `expected_version` where a change of somebody else's must not be lost. A node that was \
written is found by `search` a moment later.";

/// The service at `/mcp`.
pub(super) fn service(here: &Here) -> StreamableHttpService<Tools, NeverSessionManager> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(here.limits.body)
        // `guard` has looked at the host already.
        .disable_allowed_hosts();
    let here = here.clone();
    StreamableHttpService::new(move || Ok(Tools { here: here.clone() }), Arc::default(), config)
}

/// The tools.
#[derive(Clone)]
pub(super) struct Tools {
    here: Here,
}

/// Reads a node: its abstract, overview, content, metadata and version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Read {
    /// The address of the node, which begins with `ctx://`.
    #[schemars(with = "String")]
    uri: Uri,
}

/// Creates or updates a node. What is not given stays as it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WriteNode {
    /// The address of the node, which begins with `ctx://`.
    #[schemars(with = "String")]
    uri: Uri,
    /// All of it.
    content: Option<String>,
    /// One sentence.
    r#abstract: Option<String>,
    /// A paragraph or a page.
    overview: Option<String>,
    /// Only if the node has this version.
    expected_version: Option<i64>,
    /// Only if there is no node yet.
    #[serde(default)]
    create_only: bool,
}

/// Finds the nodes that answer a question best: any of its words may match.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// The question. `"in quotes"`: in this order; `-word`: without it; `begin*`: what begins so.
    query: String,
    /// Only at or below this folder.
    #[schemars(with = "Option<String>")]
    within: Option<Uri>,
    /// At most so many: 10 unless said otherwise.
    limit: Option<u64>,
    /// Go on after the `next` of the page before.
    after: Option<String>,
}

/// Lists what lies below a folder, each folder before what lies in it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tree {
    /// The address of the folder, which begins with `ctx://`.
    #[schemars(with = "String")]
    uri: Uri,
    /// Only so many levels: 1 for its children.
    depth: Option<u32>,
    /// At most so many: 100 unless said otherwise.
    limit: Option<u64>,
    /// Go on after the `next` of the page before.
    after: Option<String>,
}

/// A tool whose arguments are of a type, whose documentation is the tool's.
fn tool<T: JsonSchema + 'static>(name: &'static str, changes: bool) -> Tool {
    let mut schema = Arc::unwrap_or_clone(schema_for_type::<T>());
    // The name of the type says nothing to an agent.
    schema.remove("title");
    let description = schema.remove("description").and_then(|text| text.as_str().map(str::to_owned));
    let hints = ToolAnnotations::new().read_only(!changes).open_world(false).idempotent(true);
    Tool::new(name, description.unwrap_or_default(), Arc::new(schema)).with_annotations(hints)
}

fn tools() -> Vec<Tool> {
    vec![
        tool::<Read>("read", false),
        tool::<WriteNode>("write", true),
        tool::<Search>("search", false),
        tool::<Tree>("tree", false),
    ]
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let parts = context.extensions.get::<Parts>();
        let caller = parts.and_then(|parts| parts.extensions.get::<Caller>()).cloned();
        let caller = caller.ok_or_else(|| ErrorData::internal_error("the request has no caller", None))?;
        let arguments = request.arguments.unwrap_or_default();
        let result = match &*request.name {
            "read" => self.read(&caller, parsed(arguments)?).await,
            "write" => self.write(&caller, parsed(arguments)?).await,
            "search" => self.search(&caller, parsed(arguments)?).await,
            "tree" => self.tree(&caller, parsed(arguments)?).await,
            other => return Err(ErrorData::invalid_params(format!("there is no tool {other:?}"), None)),
        };
        Ok(result.unwrap_or_else(|error| refused(&error)).into())
    }
}

impl Tools {
    async fn read(&self, caller: &Caller, Read { uri }: Read) -> Result<CallToolResult, StoreError> {
        structured(&self.here.store.read(caller, &uri).await?)
    }

    async fn write(&self, caller: &Caller, node: WriteNode) -> Result<CallToolResult, StoreError> {
        let write = Write {
            content: node.content,
            r#abstract: node.r#abstract,
            overview: node.overview,
            expected_version: node.expected_version,
            create_only: node.create_only,
            ..Write::default()
        };
        structured(&self.here.store.write(caller, &node.uri, &write).await?)
    }

    async fn search(&self, caller: &Caller, question: Search) -> Result<CallToolResult, StoreError> {
        let options = SearchOptions {
            within: question.within,
            paging: paging(Some(question.limit.unwrap_or(10)), question.after),
            ..SearchOptions::default()
        };
        structured(&self.here.store.search(caller, &question.query, &options).await?)
    }

    async fn tree(&self, caller: &Caller, tree: Tree) -> Result<CallToolResult, StoreError> {
        let options = TreeOptions { depth: tree.depth, paging: paging(tree.limit, tree.after) };
        structured(&self.here.store.tree(caller, &tree.uri, &options).await?)
    }
}

fn parsed<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ErrorData> {
    serde_json::from_value(arguments.into()).map_err(|wrong| ErrorData::invalid_params(wrong.to_string(), None))
}

fn structured(value: &impl Serialize) -> Result<CallToolResult, StoreError> {
    let value = serde_json::to_value(value);
    value
        .map(CallToolResult::structured)
        .map_err(|e| StoreError::InvalidArgument(format!("cannot be shown as JSON: {e}")))
}

/// What the agent reads: a sentence of the store's own, and of other errors only what kind they are.
fn refused(error: &StoreError) -> CallToolResult {
    let text = match error {
        StoreError::Session(_) | StoreError::Io { .. } | StoreError::Index(_) | StoreError::Embedding(_) => {
            format!("{}: the store cannot do this now", error.code())
        }
        told => format!("{}: {}", told.code(), told.text()),
    };
    CallToolResult::error(vec![ContentBlock::text(text)])
}
