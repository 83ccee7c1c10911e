//! Carries a command out and says what to print.

mod listing;
mod transfer;

use std::{
    cell::Cell,
    fs,
    io::{IsTerminal, Read as _},
    path::Path,
    time::Duration,
};

use context_store::{
    Caller, DeleteOptions, GitOptions, Level, Link, Message, Paging, Retention, Role, Store, StoreError, Summary,
    Traverse, Uri, Write, printable_line, uri::Kind,
};
use sea_session::Session;

use self::listing::{direction_of, paging};
pub use self::transfer::progress_bar;
use crate::{
    args::{Cli, Command, Common, LevelName, RoleName},
    outbox,
    output::{self, json, table},
};

/// The account of commands that name no URI.
const DEFAULT_ACCOUNT: &str = "default";

type Outcome = Result<String, StoreError>;

/// How a command ends that did what it could: everything, all but what it lists as refused, or nothing because there was nothing.
const DONE: u8 = 0;
const REFUSED: u8 = 6;
const NOTHING_FOUND: u8 = 3;

/// Runs the command: what to print, and the exit code.
pub async fn run(cli: Cli) -> Result<(String, u8), StoreError> {
    if let Command::Completions { shell } = &cli.command {
        return Ok((completions(*shell), DONE));
    }
    let uris = uris(&cli.command)?;
    let context = Context::open(cli.common, &cli.command, uris).await?;
    let outcome = context.carry_out(cli.command).await;
    // What was changed is searchable when the command ends; where it fails, the events wait for the next one.
    if outcome.is_ok() && context.changes {
        self::transfer::drain(&context.store, !context.json).await?;
    }
    context.store.db().close().await?;
    Ok((outcome?, context.outcome.get()))
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "ctx", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The URIs of a command, read before anything is opened or created.
fn uris(command: &Command) -> Result<Vec<Uri>, StoreError> {
    let texts: Vec<&String> = match command {
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
        | Command::Conversations { uri, .. } => vec![uri],
        Command::Mv { from, to, .. } | Command::Link { from, to, .. } | Command::Unlink { from, to, .. } => {
            vec![from, to]
        }
        Command::Search { within, .. } => within.iter().collect(),
        Command::Outbox(_) | Command::Reindex(_) | Command::Migrate => Vec::new(),
        Command::Glob { .. } | Command::Status | Command::Doctor { .. } | Command::Completions { .. } => Vec::new(),
    };
    texts.into_iter().map(|text| Ok(Uri::parse(text)?)).collect()
}

/// An open store and who uses it.
struct Context {
    store: Store,
    caller: Caller,
    uris: Vec<Uri>,
    json: bool,
    changes: bool,
    /// The account, if one was named.
    account: Option<String>,
    /// The exit code.
    outcome: Cell<u8>,
}

impl Context {
    async fn open(common: Common, command: &Command, uris: Vec<Uri>) -> Result<Self, StoreError> {
        let creates = matches!(
            command,
            Command::Import { .. }
                | Command::Write { .. }
                | Command::Append { .. }
                | Command::Say { .. }
                | Command::Conversations { .. }
        );
        let changes = creates
            || matches!(
                command,
                Command::ArchiveSession { .. }
                    | Command::Doctor { repair: true }
                    | Command::Mv { .. }
                    | Command::Rm { .. }
                    | Command::Archive { .. }
                    | Command::Restore { .. }
                    | Command::Revert { .. }
            );
        if let Command::Import { folder, .. } = command {
            fs::metadata(folder)
                .map_err(|e| StoreError::Io { path: folder.display().to_string(), message: e.to_string() })?;
        }
        let migrate = common.migrate || matches!(command, Command::Migrate);
        let url = database_url(&common.database, creates || migrate)?;
        let store = match migrate {
            true => Store::open(&url).await?,
            false => match Store::connect(&url).await {
                // There is nothing in it that a migration could change.
                Err(StoreError::NotMigrated { empty: true, .. }) if creates => Store::open(&url).await?,
                opened => opened?,
            },
        };
        let caller = caller(&common, command, &uris);
        let outcome = Cell::new(DONE);
        Ok(Self { store, caller, uris, json: common.json, changes, account: common.account, outcome })
    }

    fn uri(&self, at: usize) -> Result<&Uri, StoreError> {
        self.uris.get(at).ok_or_else(|| StoreError::InvalidArgument("a URI is missing".into()))
    }

    async fn carry_out(&self, command: Command) -> Outcome {
        match command {
            Command::Import { folder, git: true, revision, commits, .. } => {
                let options = GitOptions { revision, commits, ..GitOptions::default() };
                self.import_git(&folder, &options).await
            }
            Command::Import { folder, meta, keep_identities, .. } if folder.is_file() => {
                let uri = self.uri(0)?;
                if Store::is_archive(&folder)? {
                    self.import_archive(&folder, keep_identities).await
                } else if uri.kind() == Kind::Space && uri.session_root().as_ref() == Some(uri) {
                    self.conversations(&folder).await
                } else {
                    self.import_file(&folder, metadata(&meta)?).await
                }
            }
            Command::Import { folder, ignored, batch, .. } => self.import(&folder, ignored, batch).await,
            Command::Export { target, archive: true, .. } => {
                let report = self.store.export_archive(&self.caller, self.uri(0)?, &target).await?;
                self.exported("exported", &report)
            }
            Command::Export { target, archive: false, .. } => {
                let report = self.store.export_folder(&self.caller, self.uri(0)?, &target).await?;
                self.exported("exported", &report)
            }
            Command::ArchiveSession { r#abstract, overview, .. } => {
                let summary = r#abstract.zip(overview).map(|(r#abstract, overview)| Summary { r#abstract, overview });
                self.written(self.store.archive_session(&self.caller, self.uri(0)?, summary.as_ref()).await?)
            }
            Command::Say { speaker, text, .. } => {
                let text = if text == "-" { stdin()? } else { text };
                let message = Message { speaker, text, time: Some(chrono::Utc::now()) };
                let messages = self.store.append_messages(&self.caller, self.uri(0)?, &[message]).await?;
                if self.json {
                    json(&serde_json::json!({ "messages": messages }))
                } else {
                    Ok(format!("{messages} message(s)\n"))
                }
            }
            Command::Messages { .. } => self.messages().await,
            Command::Conversations { file, .. } => self.conversations(&file).await,
            Command::Doctor { repair } => self.doctor(repair).await,
            Command::Outbox(command) => outbox::run(&self.store, self.json, command).await,
            Command::Reindex(arguments) => {
                outbox::reindex(&self.store, self.account.clone(), self.json, arguments).await
            }
            Command::Tree { level, paths, .. } => self.tree(level, paths).await,
            Command::Grep { pattern, ignore_case, fixed, list, .. } => {
                self.grep(&pattern, (fixed, ignore_case), list).await
            }
            Command::Migrate => Ok("the schema is up to date\n".to_owned()),
            Command::Ls { long, archived, page, .. } => self.ls(long, archived, &page).await,
            Command::Glob { pattern, page } => self.glob(&pattern, &page).await,
            Command::Read { level, version, .. } => self.read(level, version).await,
            Command::Stat { .. } => self.stat().await,
            Command::Write { content, file, r#abstract, overview, expect_version, create, meta, .. } => {
                let write = Write {
                    content: content_of(content, file.as_deref())?,
                    r#abstract,
                    overview,
                    expected_version: expect_version,
                    metadata: if meta.is_empty() { None } else { Some(metadata(&meta)?) },
                    create_only: create,
                    links: None,
                };
                self.written(self.store.write(&self.caller, self.uri(0)?, &write).await?)
            }
            Command::Append { text, expect_version, .. } => self.append(&text, expect_version).await,
            Command::Mv { expect_version, .. } => {
                let (from, to) = (self.uri(0)?, self.uri(1)?);
                let (store, caller) = (&self.store, &self.caller);
                let moved = match expect_version {
                    None => store.move_node(caller, from, to).await?,
                    Some(version) => {
                        let unit = store.unit(caller);
                        unit.run(async |s: &mut Session| -> Result<_, StoreError> {
                            store.within(s, caller).expect(from, version).await?;
                            store.within(s, caller).move_node(from, to).await
                        })
                        .await?
                    }
                };
                if self.json { json(&moved) } else { Ok(format!("moved {} node(s) to {}\n", moved.nodes, moved.to)) }
            }
            Command::Rm { recursive, expect_version, .. } => {
                let (uri, options) = (self.uri(0)?, DeleteOptions { recursive });
                let (store, caller) = (&self.store, &self.caller);
                let done = match expect_version {
                    None => store.delete(caller, uri, options).await?,
                    Some(version) => {
                        let unit = store.unit(caller);
                        unit.run(async |s: &mut Session| -> Result<_, StoreError> {
                            store.within(s, caller).expect(uri, version).await?;
                            store.within(s, caller).delete(uri, options).await
                        })
                        .await?
                    }
                };
                self.removed("deleted", &done)
            }
            Command::Archive { recursive, .. } => {
                let done = self.store.archive(&self.caller, self.uri(0)?, DeleteOptions { recursive }).await?;
                self.removed("archived", &done)
            }
            Command::Restore { recursive, .. } => {
                let done = self.store.restore(&self.caller, self.uri(0)?, DeleteOptions { recursive }).await?;
                self.removed("restored", &done)
            }
            Command::Link { r#type, weight, reason, .. } => {
                let link = Link::of(r#type).weighing(weight).because(reason);
                let edge = self.store.link(&self.caller, self.uri(0)?, self.uri(1)?, &link).await?;
                if self.json {
                    json(&edge)
                } else {
                    Ok(format!("{} -[{}]-> {}\n", edge.from, printable_line(&edge.edge_type), edge.to))
                }
            }
            Command::Unlink { r#type, .. } => {
                let removed = self.store.unlink(&self.caller, self.uri(0)?, self.uri(1)?, r#type.as_deref()).await?;
                if self.json {
                    json(&serde_json::json!({ "removed": removed }))
                } else {
                    Ok(format!("removed {removed} edge(s)\n"))
                }
            }
            Command::Edges { direction, page, .. } => self.edges(direction, &page).await,
            Command::Traverse { depth, direction, r#type, min_weight, page, .. } => {
                let options = Traverse {
                    depth,
                    direction: direction_of(direction),
                    edge_types: r#type,
                    min_weight,
                    paging: paging(&page),
                };
                self.traverse(options, page.limit.is_none()).await
            }
            Command::History { prune: true, keep, older_than_days, .. } => self.prune(keep, older_than_days).await,
            Command::History { page, .. } => self.history(&page).await,
            Command::Revert { version, .. } => {
                self.written(self.store.revert(&self.caller, self.uri(0)?, version).await?)
            }
            Command::Search { query, filter, limit, after, .. } => {
                self.search(&query, filter, Paging { limit, after }).await
            }
            Command::Status => self.status().await,
            Command::Completions { shell } => Ok(completions(shell)),
        }
    }

    async fn read(&self, level: LevelName, version: Option<i64>) -> Outcome {
        let uri = self.uri(0)?;
        if let Some(version) = version {
            let node = self.store.read_version(&self.caller, uri, version).await?;
            if self.json {
                return json(&node);
            }
            return Ok(shown(match level {
                LevelName::Abstract => node.r#abstract,
                LevelName::Overview => node.overview,
                LevelName::Content => node.content,
            }));
        }
        if self.json {
            return json(&self.store.read(&self.caller, uri).await?);
        }
        let level = match level {
            LevelName::Abstract => Level::Abstract,
            LevelName::Overview => Level::Overview,
            LevelName::Content => Level::Content,
        };
        let text = shown(self.store.read_level(&self.caller, uri, level).await?);
        // A program gets the text as it is; on a terminal the prompt wants a line of its own.
        let newline = std::io::stdout().is_terminal() && !text.ends_with('\n');
        Ok(if newline { text + "\n" } else { text })
    }

    async fn stat(&self) -> Outcome {
        let stat = self.store.stat(&self.caller, self.uri(0)?).await?;
        if self.json {
            return json(&stat);
        }
        let rows = [
            ["uri".into(), stat.uri.to_string()],
            ["name".into(), stat.uri.pretty()],
            ["id".into(), stat.id.to_string()],
            ["status".into(), format!("{:?}", stat.status).to_lowercase()],
            ["type".into(), stat.node_type],
            ["category".into(), stat.category.unwrap_or_else(|| "-".into())],
            ["owner".into(), stat.owner_space],
            ["version".into(), stat.version.to_string()],
            ["abstract".into(), format!("{} bytes", stat.abstract_bytes)],
            ["overview".into(), format!("{} bytes", stat.overview_bytes)],
            ["content".into(), format!("{} bytes", stat.content_bytes)],
            ["sha256".into(), stat.content_hash],
            ["created".into(), output::time(stat.created_at)],
            ["changed".into(), output::time(stat.updated_at)],
        ];
        Ok(table(["", ""], rows).trim_start().to_owned())
    }

    async fn append(&self, text: &str, expected: Option<i64>) -> Outcome {
        let text = if text == "-" { stdin()? } else { text.to_owned() };
        let uri = self.uri(0)?;
        let (store, caller) = (&self.store, &self.caller);
        self.written(match expected {
            None => store.append(caller, uri, &text).await?,
            Some(version) => {
                let unit = store.unit(caller);
                unit.run(async |s: &mut Session| -> Result<_, StoreError> {
                    store.within(s, caller).expect(uri, version).await?;
                    store.within(s, caller).append(uri, &text).await
                })
                .await?
            }
        })
    }

    async fn prune(&self, keep: Option<u64>, older_than_days: Option<u32>) -> Outcome {
        let age = older_than_days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        let retention = Retention { keep, age };
        let pruned = self.store.prune_history(&self.caller, self.uri(0)?, retention).await?;
        if self.json { json(&pruned) } else { Ok(format!("forgot {} version(s)\n", pruned.versions)) }
    }

    async fn status(&self) -> Outcome {
        self.account_must_be_there().await?;
        let status = self.store.status(&self.caller).await?;
        if self.json {
            return json(&status);
        }
        let rows = [
            ["account", self.caller.account()],
            ["nodes, active", &status.active.to_string()],
            ["nodes, archived", &status.archived.to_string()],
            ["nodes, broken", &status.broken.to_string()],
            ["bytes of text", &status.bytes.to_string()],
            ["edges", &status.edges.to_string()],
            ["versions kept", &status.versions.to_string()],
            ["index records", &status.index_records.to_string()],
            ["events waiting", &status.pending.to_string()],
            ["dead letters", &status.dead.to_string()],
        ];
        Ok(table(["", ""], rows.map(|row| row.map(str::to_owned))).trim_start().to_owned())
    }

    async fn messages(&self) -> Outcome {
        let messages = self.store.messages(&self.caller, self.uri(0)?).await?;
        if self.json {
            return json(&messages);
        }
        let said = |message: &Message| {
            format!("{}: {}\n", printable_line(&message.speaker), context_store::printable(&message.text))
        };
        let line = |message: &Message| match message.time {
            Some(time) => format!("{} {}", output::time(time), said(message)),
            None => said(message),
        };
        Ok(messages.iter().map(line).collect())
    }

    async fn doctor(&self, repair: bool) -> Outcome {
        self.account_must_be_there().await?;
        let diagnosis = self.store.doctor(&self.caller, repair).await?;
        if self.json {
            return json(&diagnosis);
        }
        if diagnosis.is_clean() {
            return Ok(format!("{} node(s): nothing is wrong\n", diagnosis.nodes));
        }
        let rows = diagnosis.findings.iter().map(|finding| {
            let repaired = if finding.repaired { "repaired" } else { "" };
            [
                format!("{:?}", finding.ailment).to_lowercase(),
                finding.place.clone(),
                finding.what.clone(),
                repaired.to_owned(),
            ]
        });
        Ok(table(["WHAT", "WHERE", "FINDING", ""], rows))
    }

    fn written(&self, written: context_store::Written) -> Outcome {
        if self.json {
            return json(&written);
        }
        let what = if written.created { "created" } else { "updated" };
        Ok(format!("{what} {} (version {})\n", written.uri, written.version))
    }

    fn removed(&self, what: &str, removed: &context_store::Removed) -> Outcome {
        if self.json { json(removed) } else { Ok(format!("{what} {} node(s) at {}\n", removed.nodes, removed.uri)) }
    }
}

/// The URL of a database, which may be given as a file's path.
fn database_url(database: &str, creates: bool) -> Result<String, StoreError> {
    if database.contains("://") || database.starts_with("sqlite:") || database.starts_with("postgres") {
        return Ok(database.to_owned());
    }
    let path = Path::new(database);
    if !path.exists() && !creates {
        let message = "there is no context store; `ctx import` and `ctx write` make one".to_owned();
        return Err(StoreError::Io { path: printable_line(database).into_owned(), message });
    }
    // In a URL `?` begins the options, and `%` an encoded character.
    let escaped = database.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    Ok(format!("sqlite://{escaped}?mode=rwc"))
}

fn caller(common: &Common, command: &Command, uris: &[Uri]) -> Caller {
    let of_pattern = match command {
        Command::Glob { pattern, .. } => {
            pattern.strip_prefix("ctx://").and_then(|rest| rest.split('/').next()).map(str::to_owned)
        }
        _ => None,
    };
    let of_uri = || uris.first().map(|uri| uri.account().into_owned());
    let account = common.account.clone().or_else(of_uri).or(of_pattern).unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned());
    let (caller, default) = match (&common.user, &common.agent) {
        (Some(user), _) => (Caller::user(account, user), Role::Member),
        (None, Some(agent)) => (Caller::agent(account, agent), Role::Member),
        (None, None) => (Caller::account_only(account), Role::Root),
    };
    caller.with_role(common.role.map_or(default, |role| match role {
        RoleName::Member => Role::Member,
        RoleName::Admin => Role::Admin,
        RoleName::Root => Role::Root,
    }))
}

fn content_of(content: Option<String>, file: Option<&Path>) -> Result<Option<String>, StoreError> {
    match (content, file) {
        (Some(text), _) if text == "-" => stdin().map(Some),
        (Some(text), _) => Ok(Some(text)),
        (None, Some(path)) => {
            let refuse = |message: String| StoreError::Io { path: path.display().to_string(), message };
            let bytes = fs::read(path).map_err(|e| refuse(e.to_string()))?;
            String::from_utf8(bytes).map(Some).map_err(|_| refuse("it is not UTF-8 text".into()))
        }
        (None, None) => Ok(None),
    }
}

/// A program gets a text as it is; a terminal gets none of the characters that would do something to it.
fn shown(text: String) -> String {
    if std::io::stdout().is_terminal() { context_store::printable(&text).into_owned() } else { text }
}

/// `KEY=VALUE` of the command line: what is JSON is that, and the rest is text.
fn metadata(pairs: &[String]) -> Result<serde_json::Map<String, serde_json::Value>, StoreError> {
    let pair = |pair: &String| {
        let (key, value) = pair.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            StoreError::InvalidArgument(format!("{pair:?} is no metadata: KEY=VALUE, the value JSON or a text"))
        })?;
        let text = || serde_json::Value::String(value.to_owned());
        Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| text())))
    };
    pairs.iter().map(pair).collect()
}

fn stdin() -> Result<String, StoreError> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|e| StoreError::Io { path: "standard input".into(), message: e.to_string() })?;
    Ok(text)
}
