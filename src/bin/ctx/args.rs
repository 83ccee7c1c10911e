//! What `ctx` understands on its command line.

use std::{path::PathBuf, sync::Arc};

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use context_store::{
    Paging, SearchOptions, StoreError, Uri,
    embed::{Embedder, HttpEmbedder},
};
use serde_json::Value;

use crate::outbox;

/// Keeps and searches agents' memory: nodes at ctx:// URIs, in SQLite or PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "ctx", version, about, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ctx import ./docs ctx://acme/resources/docs       every text file below ./docs
  ctx tree -L 2 ctx://acme/resources
  ctx search --in ctx://acme/resources \"retry backoff\"
  ctx write ctx://acme/users/alice/memories/likes/tea 'Green, no sugar.' --user alice
  ctx read ctx://acme/users/alice/memories/likes/tea
  ctx mv ctx://acme/resources/docs ctx://acme/resources/handbook
  ctx --database postgres://app@localhost/ctx status --account acme

Exit codes: 0 done, 1 the database or a file, 2 wrong usage, 3 not found, 4 denied, 5 in conflict with what is there, 6 done but
for what is listed as refused, 7 to be migrated first. A folder that is imported is done when its text files are.
Without --user or --agent you are the account's operator and may do everything in it; with one of them, what a member
may do, unless --role says otherwise.";

/// Options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// A SQLite file, or a URL (sqlite:…, postgres:…, mysql:… where it is built in).
    #[arg(long, global = true, env = "CTX_DATABASE", default_value = "ctx.db", hide_env_values = true)]
    pub database: String,
    /// The account; by default that of the URI.
    #[arg(long, global = true, env = "CTX_ACCOUNT")]
    pub account: Option<String>,
    /// Act as this user.
    #[arg(long, global = true, conflicts_with = "agent")]
    pub user: Option<String>,
    /// Act as this agent.
    #[arg(long, global = true)]
    pub agent: Option<String>,
    /// With this role.
    #[arg(long, global = true)]
    pub role: Option<RoleName>,
    #[command(flatten)]
    pub embedder: EmbedderArgs,
    /// Bring the database's schema up to date first. Without it a database of an earlier version is left as it is.
    #[arg(long, global = true)]
    pub migrate: bool,
    /// Print JSON, for programs; errors too.
    #[arg(long, global = true)]
    pub json: bool,
}

/// The model of a search's second stage.
#[derive(Debug, Args)]
#[command(next_help_heading = "Embedding model")]
pub struct EmbedderArgs {
    /// The address of an embedding service that speaks as OpenAI's does, as `https://api.openai.com/v1/embeddings`: what a
    /// search finds by words is ranked again by words and vectors together.
    #[arg(long, global = true, env = "CTX_EMBEDDER", hide_env_values = true, value_name = "URL")]
    pub embedder: Option<String>,
    /// Its model.
    #[arg(long, global = true, env = "CTX_EMBEDDER_MODEL", value_name = "NAME")]
    pub embedder_model: Option<String>,
    /// How many dimensions the model's vectors have.
    #[arg(long, global = true, env = "CTX_EMBEDDER_DIMENSIONS", value_name = "N")]
    pub embedder_dimensions: Option<usize>,
    /// The key that requests carry; better in the environment, where other users of the machine do not see it.
    #[arg(long, global = true, env = "CTX_EMBEDDER_KEY", hide_env_values = true, value_name = "KEY")]
    pub embedder_key: Option<String>,
}

impl EmbedderArgs {
    /// The model, if one is named.
    pub fn open(&self) -> Result<Option<Arc<dyn Embedder>>, StoreError> {
        let Some(address) = &self.embedder else { return Ok(None) };
        let missing = |option: &str, variable: &str| {
            StoreError::InvalidArgument(format!("an embedding service needs {option} (or {variable}) too"))
        };
        let model = self.embedder_model.as_deref();
        let model = model.ok_or_else(|| missing("--embedder-model NAME", "CTX_EMBEDDER_MODEL"))?;
        let dimensions = self.embedder_dimensions;
        let dimensions = dimensions.ok_or_else(|| missing("--embedder-dimensions N", "CTX_EMBEDDER_DIMENSIONS"))?;
        let service = HttpEmbedder::new(address, model, dimensions)?;
        Ok(Some(match &self.embedder_key {
            Some(key) => Arc::new(service.key(key)?),
            None => Arc::new(service),
        }))
    }
}

/// A role, as it is written on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleName {
    Member,
    Admin,
    Root,
}

/// A text of a node.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LevelName {
    Abstract,
    Overview,
    #[default]
    Content,
}

/// Which edges.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum DirectionName {
    #[default]
    Out,
    In,
    Both,
}

/// Which page of a listing.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// At most so many items; all pages if not given.
    #[arg(long)]
    pub limit: Option<u64>,
    /// Go on after the `next` of the page before.
    #[arg(long, requires = "limit")]
    pub after: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Import the text files of a folder, one text file, an archive, conversations, or a git history; what cannot be taken is
    /// listed with the reason.
    #[command(
        after_help = "Examples:\n  ctx import one.md ctx://acme/resources/docs --meta author=ann\n  ctx import chat.json ctx://acme/sessions/s1 --user ann\n  ctx import ./src ctx://acme/resources/src\n  ctx import backup.jsonl ctx://acme/resources\n  ctx import --git . ctx://acme/resources/project     every commit; again later for the new ones"
    )]
    Import {
        /// The folder or text file, or an archive that `ctx export` wrote; into a `sessions/{id}` conversations in JSON.
        folder: PathBuf,
        /// Where its files go.
        uri: Uri,
        /// Also files that .gitignore names.
        #[arg(long)]
        ignored: bool,
        /// Files in one transaction.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
        batch: u32,
        /// Kept with the node of one text file: KEY=VALUE, the value JSON or a text; may be given more than once.
        #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_and_json, conflicts_with = "git")]
        meta: Vec<(String, Value)>,
        /// The archive is a backup of this account of one's own: identities that nobody has are the archive's again.
        #[arg(long, conflicts_with_all = ["git", "meta", "ignored"])]
        keep_identities: bool,
        /// The folder is a git repository: replay its history, each commit as writes, moves and deletes.
        #[arg(long, conflicts_with_all = ["ignored", "batch"])]
        git: bool,
        /// The branch, tag or commit to replay.
        #[arg(long, requires = "git", default_value = "HEAD")]
        revision: String,
        /// At most so many commits, the oldest first.
        #[arg(long, requires = "git")]
        commits: Option<usize>,
    },
    /// Show what lies below a folder.
    Tree {
        /// The folder.
        uri: Uri,
        /// Only so many levels.
        #[arg(short = 'L', long)]
        level: Option<u32>,
        /// The addresses of the nodes, one a line.
        #[arg(long)]
        paths: bool,
    },
    /// List the children of a folder.
    Ls {
        /// The folder.
        uri: Uri,
        /// With version, size and time.
        #[arg(short, long)]
        long: bool,
        /// The archived nodes at and below the folder instead, by their addresses.
        #[arg(long, conflicts_with = "long")]
        archived: bool,
        #[command(flatten)]
        page: PageArgs,
    },
    /// List the nodes whose URI matches a pattern (`*`, `?`, `**`, `[a-z]`, `{a,b}`).
    #[command(after_help = "Example:\n  ctx glob 'ctx://acme/resources/**/*.md'")]
    Glob {
        /// The pattern.
        pattern: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Print the lines that match a regular expression, of the contents at and below a folder.
    #[command(after_help = "Example:\n  ctx grep -i 'retry|backoff' ctx://acme/resources/src")]
    Grep {
        /// The expression.
        pattern: String,
        /// The folder or node.
        uri: Uri,
        /// Whatever the case of letters.
        #[arg(short, long)]
        ignore_case: bool,
        /// The text as it is, no expression.
        #[arg(short = 'F', long)]
        fixed: bool,
        /// Only the addresses of the nodes.
        #[arg(short = 'l', long)]
        list: bool,
    },
    /// Print a text of a node.
    Read {
        /// The node.
        uri: Uri,
        /// Which text.
        #[arg(long, default_value = "content")]
        level: LevelName,
        /// As it was in this version.
        #[arg(long)]
        version: Option<i64>,
    },
    /// Show a node without its texts.
    Stat {
        /// The node.
        uri: Uri,
    },
    /// Create or update a node.
    #[command(
        after_help = "Examples:\n  ctx write ctx://acme/resources/a 'text'\n  ctx write ctx://acme/resources/a --file a.md --expect-version 3\n  date | ctx write ctx://acme/resources/now -"
    )]
    Write {
        /// The node.
        uri: Uri,
        /// The content; `-` reads standard input.
        #[arg(conflicts_with = "file")]
        content: Option<String>,
        /// Take the content from a file.
        #[arg(long)]
        file: Option<PathBuf>,
        /// The abstract.
        #[arg(long)]
        r#abstract: Option<String>,
        /// The overview.
        #[arg(long)]
        overview: Option<String>,
        /// Only if the node has this version.
        #[arg(long)]
        expect_version: Option<i64>,
        /// Only if there is no node yet.
        #[arg(long, conflicts_with = "expect_version")]
        create: bool,
        /// Replaces the metadata: KEY=VALUE, the value JSON or a text; may be given more than once.
        #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_and_json)]
        meta: Vec<(String, Value)>,
    },
    /// Add text to the end of a node's content.
    Append {
        /// The node; created if it is not there.
        uri: Uri,
        /// The text; `-` reads standard input.
        text: String,
        /// Only if the node has this version.
        #[arg(long)]
        expect_version: Option<i64>,
    },
    /// Move a node or folder, with everything below it.
    Mv {
        /// What moves.
        from: Uri,
        /// Where to; the place must be free.
        to: Uri,
        /// Only if the node has this version.
        #[arg(long)]
        expect_version: Option<i64>,
    },
    /// Delete a node, or with -r everything below it too.
    Rm {
        /// What to delete.
        uri: Uri,
        /// Also what lies below.
        #[arg(short, long)]
        recursive: bool,
        /// Only if the node has this version.
        #[arg(long)]
        expect_version: Option<i64>,
    },
    /// Keep a node, but out of reading, listing and search.
    Archive {
        /// What to archive.
        uri: Uri,
        /// Also what lies below.
        #[arg(short, long)]
        recursive: bool,
    },
    /// Bring an archived node back.
    Restore {
        /// What to restore.
        uri: Uri,
        /// Also what lies below.
        #[arg(short, long)]
        recursive: bool,
    },
    /// Make or change an edge.
    Link {
        /// Where it leaves.
        from: Uri,
        /// Where it arrives.
        to: Uri,
        /// What kind of relation it is.
        #[arg(long, default_value = "related")]
        r#type: String,
        /// Its strength, 0 to 1.
        #[arg(long, default_value_t = 1.0)]
        weight: f64,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Remove an edge.
    Unlink {
        /// Where it leaves.
        from: Uri,
        /// Where it arrives.
        to: Uri,
        /// Only the edge of this type.
        #[arg(long)]
        r#type: Option<String>,
    },
    /// List the edges of a node.
    Edges {
        /// The node.
        uri: Uri,
        /// Those that leave it, arrive at it, or both.
        #[arg(long, default_value = "both")]
        direction: DirectionName,
        #[command(flatten)]
        page: PageArgs,
    },
    /// List what can be reached from a node along edges.
    Traverse {
        /// The node.
        uri: Uri,
        /// How many edges away.
        #[arg(long, default_value_t = 2)]
        depth: u32,
        /// Along which edges.
        #[arg(long, default_value = "out")]
        direction: DirectionName,
        /// Only edges of this type; may be given more than once.
        #[arg(long)]
        r#type: Vec<String>,
        /// Only edges of at least this weight.
        #[arg(long, default_value_t = 0.0)]
        min_weight: f64,
        #[command(flatten)]
        page: PageArgs,
    },
    /// List the versions of a node, or forget old ones of all that lies below.
    #[command(
        after_help = "Examples:\n  ctx history ctx://acme/resources/a\n  ctx history --prune --keep 10 ctx://acme/resources\n  ctx history --prune --older-than-days 90 ctx://acme     the newest of each place stays"
    )]
    History {
        /// The node, also a deleted one.
        uri: Uri,
        #[command(flatten)]
        page: PageArgs,
        /// Forget versions at and below the URI: those that neither --keep nor --older-than-days keeps.
        #[arg(long, conflicts_with_all = ["limit", "after"])]
        prune: bool,
        /// Keep so many replaced versions of each node.
        #[arg(long, requires = "prune")]
        keep: Option<u64>,
        /// Keep what was replaced less than so many days ago.
        #[arg(long, requires = "prune")]
        older_than_days: Option<u32>,
    },
    /// Write an earlier version of a node again.
    Revert {
        /// The node.
        uri: Uri,
        /// The version.
        version: i64,
    },
    /// Find the nodes that answer a question best: any of its words may match.
    #[command(
        after_help = "Examples:\n  ctx search --in ctx://acme/resources/src 'unit of work'\n  ctx search --account acme 'what did we decide about \"retry backoff\" -draft migrat*'\n  ctx search --account acme --type memory --meta project=apollo --since 2026-01-31 launch"
    )]
    Search {
        /// The question. `"in quotes"`: in this order; `-word`: without it; `begin*`: what begins so.
        #[arg(allow_hyphen_values = true)]
        query: String,
        /// Only at or below this folder.
        #[arg(long = "in")]
        within: Option<Uri>,
        /// Only what meets these.
        #[command(flatten)]
        filter: FilterArgs,
        /// By words alone, although there is an embedding model.
        #[arg(long)]
        words: bool,
        /// At most so many.
        #[arg(long, default_value_t = 10)]
        limit: u64,
        /// Go on after the `next` of the page before.
        #[arg(long)]
        after: Option<String>,
    },
    /// Write the active nodes of a folder to files, or all that it holds (history, logs, edges, what is archived) to one archive.
    #[command(
        after_help = "Examples:\n  ctx export ctx://acme/resources/docs ./docs\n  ctx export --archive ctx://acme/resources backup.jsonl"
    )]
    Export {
        /// The folder of the store.
        uri: Uri,
        /// The folder to write to, which must be new or empty; or the archive.
        target: PathBuf,
        /// One file, with checksums.
        #[arg(long)]
        archive: bool,
    },
    /// Close a conversation's log: it is summed up and searched from then on.
    ArchiveSession {
        /// The log: sessions/{id}/history/{archive}.
        uri: Uri,
        /// Its abstract; by default made from the messages.
        #[arg(long, requires = "overview")]
        r#abstract: Option<String>,
        /// Its overview; by default made from the messages.
        #[arg(long, requires = "abstract")]
        overview: Option<String>,
    },
    /// Add a message to a conversation's log, which is created by the first one.
    Say {
        /// The log: sessions/{id}/history/{archive}.
        uri: Uri,
        /// Who says it.
        speaker: String,
        /// What; `-` reads standard input.
        text: String,
    },
    /// Print the messages of a conversation's log.
    Messages {
        /// The log: sessions/{id}/history/{archive}.
        uri: Uri,
    },
    /// Import conversations from JSON: a list of conversations, one conversation, or a dictionary of sessions.
    Conversations {
        /// The file.
        file: PathBuf,
        /// The session that they become the history of: sessions/{id}.
        uri: Uri,
    },
    /// Make the database a context store, or bring its schema up to date.
    Migrate,
    /// Check every invariant of an account's part of the store.
    Doctor {
        /// Also repair what can be repaired.
        #[arg(long)]
        repair: bool,
    },
    /// Show what the store holds and how far the index is behind.
    Status,
    /// Deliver the outbox, look at it, and deal with its dead letters. It serves all accounts.
    #[command(subcommand, after_help = outbox::EXAMPLES)]
    Outbox(outbox::OutboxCommand),
    /// Serve the store on the web until Ctrl-C or SIGTERM: a JSON interface, MCP for agents, pages to look at it.
    #[cfg(feature = "serve")]
    #[command(after_help = crate::serve::EXAMPLES)]
    Serve(crate::serve::ServeArgs),
    /// Build the search index anew from what the store says, in batches, while it is in use.
    #[command(after_help = outbox::REINDEX_EXAMPLES)]
    Reindex(outbox::ReindexArgs),
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  ctx completions bash > /etc/bash_completion.d/ctx")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of ctx, or of one of its commands.
    #[command(after_help = "Examples:\n  ctx man > ctx.1\n  ctx man search > ctx-search.1")]
    Man {
        /// The command.
        of: Option<String>,
    },
}

/// What a search is limited to.
#[derive(Debug, Args)]
pub(crate) struct FilterArgs {
    /// Only what belongs to this owner space: `user:NAME`, `agent:NAME` or `shared`.
    #[arg(long)]
    pub(crate) space: Option<String>,
    /// Only this category of memories.
    #[arg(long)]
    pub(crate) category: Option<String>,
    /// Only this type: memory, skill, session or resource.
    #[arg(long = "type")]
    pub(crate) node_type: Option<String>,
    /// Only nodes whose metadata has this value there: a number, `true`, `false`, `null` or a text. May be given again.
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_and_scalar)]
    pub(crate) metadata: Vec<(String, Value)>,
    /// Only what was last changed then or later: a day (UTC) or a time in RFC 3339.
    #[arg(long, value_parser = time)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Only what was last changed before then.
    #[arg(long, value_parser = time)]
    pub(crate) until: Option<DateTime<Utc>>,
}

impl Command {
    /// Whether it makes a store of an empty database.
    pub fn creates(&self) -> bool {
        match self {
            Command::Import { .. }
            | Command::Write { .. }
            | Command::Append { .. }
            | Command::Say { .. }
            | Command::Conversations { .. } => true,
            #[cfg(feature = "serve")]
            Command::Serve(_) => true,
            _ => false,
        }
    }

    /// The account of the first place that the command names.
    pub fn account(&self) -> Option<String> {
        let place = match self {
            Command::Import { uri, .. }
            | Command::Tree { uri, .. }
            | Command::Ls { uri, .. }
            | Command::Read { uri, .. }
            | Command::Grep { uri, .. }
            | Command::Stat { uri }
            | Command::Write { uri, .. }
            | Command::Append { uri, .. }
            | Command::Rm { uri, .. }
            | Command::Archive { uri, .. }
            | Command::Restore { uri, .. }
            | Command::Edges { uri, .. }
            | Command::Traverse { uri, .. }
            | Command::History { uri, .. }
            | Command::Revert { uri, .. }
            | Command::Export { uri, .. }
            | Command::ArchiveSession { uri, .. }
            | Command::Say { uri, .. }
            | Command::Messages { uri }
            | Command::Conversations { uri, .. } => uri,
            Command::Mv { from, .. } | Command::Link { from, .. } | Command::Unlink { from, .. } => from,
            Command::Search { within, .. } => within.as_ref()?,
            Command::Glob { pattern, .. } => {
                return pattern.strip_prefix("ctx://")?.split('/').next().map(str::to_owned);
            }
            Command::Outbox(_) | Command::Reindex(_) | Command::Migrate => return None,
            Command::Status | Command::Doctor { .. } => return None,
            #[cfg(feature = "serve")]
            Command::Serve(_) => return None,
            Command::Completions { .. } | Command::Man { .. } => return None,
        };
        Some(place.account().into_owned())
    }
}

impl FilterArgs {
    pub(crate) fn options(self, paging: Paging) -> SearchOptions {
        SearchOptions {
            owner_space: self.space,
            category: self.category,
            node_type: self.node_type,
            metadata: self.metadata,
            since: self.since,
            until: self.until,
            paging,
            ..SearchOptions::default()
        }
    }
}

/// `KEY=VALUE`: what is JSON is that, and the rest is text.
fn key_and_json(text: &str) -> Result<(String, Value), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or_else(|| format!("{text:?} is no KEY=VALUE, the value JSON or a text"))?;
    Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

/// The same of a number, `true`, `false` or `null`: lists and objects are text here.
fn key_and_scalar(text: &str) -> Result<(String, Value), String> {
    let (key, value) = key_and_json(text)?;
    let scalar = !value.is_array() && !value.is_object();
    Ok(if scalar { (key, value) } else { (key, text.split_once('=').unwrap_or_default().1.into()) })
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let day = || Some(text.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok().or_else(day);
    time.ok_or_else(|| format!("{text:?} is no time: write it as 2026-01-31 or 2026-01-31T12:00:00Z"))
}
