//! `ctx serve`: the store on the web.

use std::{fs, io::Write as _, net::SocketAddr, num::NonZeroU32, path::PathBuf};

use clap::Args;
use context_store::{
    Caller, Store, StoreError,
    serve::{Callers, Limits, Service},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::outbox::{reported, told_to_stop};

pub const EXAMPLES: &str = "\
Without --tokens everybody who reaches the service is the one caller that --account, --user, --agent and --role name, so it
listens on this machine only. With --tokens each request says who it is from: `Authorization: Bearer TOKEN`, or on the pages by
signing in. The file has a line for each token:

  # TOKEN             ACCOUNT  WHO            ROLE (member, admin or root)
  k3y-of-alice-0001   acme     user:alice     admin
  k3y-of-planner-02   acme     agent:planner
  k3y-of-prometheus   operator

Examples:
  ctx serve --account acme --user alice --role admin
  ctx --database postgres://app@localhost/ctx serve --listen 0.0.0.0:7700 --tokens /etc/ctx/tokens
  curl 'http://127.0.0.1:7700/api/v1/search?q=retry+backoff'      /openapi.json describes the interface
  http://127.0.0.1:7700/mcp                                       the address for a client of MCP

It speaks HTTP: where the network is not one's own, a proxy in front speaks TLS. The search index is kept in step meanwhile.";

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "CTX_LISTEN", default_value = "127.0.0.1:7700", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The file with the tokens of those who may ask.
    #[arg(long, env = "CTX_TOKENS", value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Requests a second that each caller may go on making.
    #[arg(long, default_value = "100", value_name = "N")]
    rate: NonZeroU32,
    /// Requests that it may make at once after a pause.
    #[arg(long, default_value = "200", value_name = "N")]
    burst: NonZeroU32,
    /// The longest body of a request, in bytes.
    #[arg(long, default_value_t = 4 << 20, value_name = "BYTES")]
    body: usize,
}

/// Serves until it is told to stop.
pub async fn run(store: &Store, caller: &Caller, as_json: bool, arguments: &ServeArgs) -> Result<String, StoreError> {
    let callers = match &arguments.tokens {
        Some(path) => {
            let table = fs::read_to_string(path)
                .map_err(|e| StoreError::Io { path: path.display().to_string(), message: e.to_string() })?;
            Callers::parse(&table)?
        }
        None if arguments.listen.ip().is_loopback() => Callers::everybody(caller.clone()),
        None => {
            return Err(StoreError::InvalidArgument(format!(
                "{} can be reached from other machines: name those who may ask with --tokens, or listen on 127.0.0.1",
                arguments.listen
            )));
        }
    };
    let refused = |e: std::io::Error| StoreError::Io { path: arguments.listen.to_string(), message: e.to_string() };
    let listener = TcpListener::bind(arguments.listen).await.map_err(refused)?;
    let address = format!("http://{}", listener.local_addr().map_err(refused)?);
    announce(as_json, &address);
    let limits = Limits::default().rate(arguments.rate, arguments.burst).body(arguments.body);
    let report = Service::with_limits(store.clone(), callers, limits).serve(listener, told_to_stop()).await?;
    reported(as_json, &report)
}

/// At once, not at the end. Where standard output is closed there is nobody to tell.
fn announce(as_json: bool, address: &str) {
    let mut out = std::io::stdout().lock();
    let _ = match as_json {
        true => writeln!(out, "{}", json!({ "listening": address })),
        false => writeln!(out, "listening on {address}"),
    };
    let _ = out.flush();
}
