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
    Caller, DeleteOptions, GitOptions, Level, Link, Message, Paging, Retention, Role, SearchOptions, Store, StoreError,
    Summary, Traverse, Uri, Write, printable_line, uri::Kind,
};
use sea_session::Session;

use self::listing::{direction_of, paging};
pub use self::transfer::progress_bar;
#[cfg(feature = "serve")]
use crate::serve;
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
    // What the parser knows needs no database.
    match &cli.command {
        Command::Completions { shell } => return Ok((completions(*shell), DONE)),
        Command::Man { of } => return Ok((manual(of.as_deref())?, DONE)),
        _ => {}
    }
    let context = Context::open(cli.common, &cli.command).await?;
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

/// The manual page of the command, or of one of its commands, from the parser itself.
fn manual(of: Option<&str>) -> Outcome {
    let mut command = <Cli as clap::CommandFactory>::command();
    command.build();
    if let Some(name) = of {
        let unknown = || StoreError::InvalidArgument(format!("ctx has no command `{name}`: `ctx --help` lists them"));
        command = command.find_subcommand(name).cloned().ok_or_else(unknown)?;
    }
    let mut page = Vec::new();
    let written = clap_mangen::Man::new(command).render(&mut page);
    written.map_err(|e| StoreError::InvalidArgument(format!("the manual page could not be written: {e}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// An open store and who uses it.
struct Context {
    store: Store,
    caller: Caller,
    json: bool,
    changes: bool,
    /// The account, if one was named.
    account: Option<String>,
    /// The exit code.
    outcome: Cell<u8>,
}

impl Context {
    async fn open(common: Common, command: &Command) -> Result<Self, StoreError> {
        let creates = command.creates();
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
        let embedder = common.embedder.open()?;
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
        let store = match embedder {
            Some(embedder) => store.with_embedder(embedder),
            None => store,
        };
        let caller = caller(&common, command);
        let outcome = Cell::new(DONE);
        Ok(Self { store, caller, json: common.json, changes, account: common.account, outcome })
    }

    async fn carry_out(&self, command: Command) -> Outcome {
        match command {
            Command::Import { folder, uri, git: true, revision, commits, .. } => {
                let options = GitOptions { revision, commits, ..GitOptions::default() };
                self.import_git(&folder, &uri, &options).await
            }
            Command::Import { folder, uri, meta, keep_identities, .. } if folder.is_file() => {
                if Store::is_archive(&folder)? {
                    self.import_archive(&folder, &uri, keep_identities).await
                } else if uri.kind() == Kind::Space && uri.session_root().as_ref() == Some(&uri) {
                    self.conversations(&folder, &uri).await
                } else {
                    self.import_file(&folder, &uri, meta.into_iter().collect()).await
                }
            }
            Command::Import { folder, uri, ignored, batch, .. } => self.import(&folder, &uri, ignored, batch).await,
            Command::Export { uri, target, archive: true } => {
                let report = self.store.export_archive(&self.caller, &uri, &target).await?;
                self.exported("exported", &report)
            }
            Command::Export { uri, target, archive: false } => {
                let report = self.store.export_folder(&self.caller, &uri, &target).await?;
                self.exported("exported", &report)
            }
            Command::ArchiveSession { uri, r#abstract, overview } => {
                let summary = r#abstract.zip(overview).map(|(r#abstract, overview)| Summary { r#abstract, overview });
                self.written(self.store.archive_session(&self.caller, &uri, summary.as_ref()).await?)
            }
            Command::Say { uri, speaker, text } => {
                let text = if text == "-" { stdin()? } else { text };
                let message = Message { speaker, text, time: Some(chrono::Utc::now()) };
                let messages = self.store.append_messages(&self.caller, &uri, &[message]).await?;
                if self.json {
                    json(&serde_json::json!({ "messages": messages }))
                } else {
                    Ok(format!("{messages} message(s)\n"))
                }
            }
            Command::Messages { uri } => self.messages(&uri).await,
            Command::Conversations { file, uri } => self.conversations(&file, &uri).await,
            Command::Doctor { repair } => self.doctor(repair).await,
            Command::Outbox(command) => outbox::run(&self.store, self.json, command).await,
            #[cfg(feature = "serve")]
            Command::Serve(arguments) => serve::run(&self.store, &self.caller, self.json, &arguments).await,
            Command::Reindex(arguments) => {
                outbox::reindex(&self.store, self.account.clone(), self.json, arguments).await
            }
            Command::Tree { uri, level, paths } => self.tree(&uri, level, paths).await,
            Command::Grep { pattern, uri, ignore_case, fixed, list } => {
                self.grep(&pattern, &uri, (fixed, ignore_case), list).await
            }
            Command::Migrate => Ok("the schema is up to date\n".to_owned()),
            Command::Ls { uri, long, archived, page } => self.ls(&uri, long, archived, &page).await,
            Command::Glob { pattern, page } => self.glob(&pattern, &page).await,
            Command::Read { uri, level, version } => self.read(&uri, level, version).await,
            Command::Stat { uri } => self.stat(&uri).await,
            Command::Write { uri, content, file, r#abstract, overview, expect_version, create, meta } => {
                let write = Write {
                    content: content_of(content, file.as_deref())?,
                    r#abstract,
                    overview,
                    expected_version: expect_version,
                    metadata: (!meta.is_empty()).then(|| meta.into_iter().collect()),
                    create_only: create,
                    links: None,
                };
                self.written(self.store.write(&self.caller, &uri, &write).await?)
            }
            Command::Append { uri, text, expect_version } => self.append(&uri, &text, expect_version).await,
            Command::Mv { from, to, expect_version } => {
                let (store, caller) = (&self.store, &self.caller);
                let moved = match expect_version {
                    None => store.move_node(caller, &from, &to).await?,
                    Some(version) => {
                        let unit = store.unit(caller);
                        unit.run(async |s: &mut Session| -> Result<_, StoreError> {
                            let mut here = store.within(s, caller);
                            here.expect(&from, version).await?;
                            here.move_node(&from, &to).await
                        })
                        .await?
                    }
                };
                if self.json { json(&moved) } else { Ok(format!("moved {} node(s) to {}\n", moved.nodes, moved.to)) }
            }
            Command::Rm { uri, recursive, expect_version } => {
                let options = DeleteOptions { recursive };
                let (store, caller) = (&self.store, &self.caller);
                let done = match expect_version {
                    None => store.delete(caller, &uri, options).await?,
                    Some(version) => {
                        let unit = store.unit(caller);
                        unit.run(async |s: &mut Session| -> Result<_, StoreError> {
                            let mut here = store.within(s, caller);
                            here.expect(&uri, version).await?;
                            here.delete(&uri, options).await
                        })
                        .await?
                    }
                };
                self.removed("deleted", &done)
            }
            Command::Archive { uri, recursive } => {
                let done = self.store.archive(&self.caller, &uri, DeleteOptions { recursive }).await?;
                self.removed("archived", &done)
            }
            Command::Restore { uri, recursive } => {
                let done = self.store.restore(&self.caller, &uri, DeleteOptions { recursive }).await?;
                self.removed("restored", &done)
            }
            Command::Link { from, to, r#type, weight, reason } => {
                let link = Link::of(r#type).weighing(weight).because(reason);
                let edge = self.store.link(&self.caller, &from, &to, &link).await?;
                if self.json {
                    json(&edge)
                } else {
                    Ok(format!("{} -[{}]-> {}\n", edge.from, printable_line(&edge.edge_type), edge.to))
                }
            }
            Command::Unlink { from, to, r#type } => {
                let removed = self.store.unlink(&self.caller, &from, &to, r#type.as_deref()).await?;
                if self.json {
                    json(&serde_json::json!({ "removed": removed }))
                } else {
                    Ok(format!("removed {removed} edge(s)\n"))
                }
            }
            Command::Edges { uri, direction, page } => self.edges(&uri, direction, &page).await,
            Command::Traverse { uri, depth, direction, r#type, min_weight, page } => {
                let options = Traverse {
                    depth,
                    direction: direction_of(direction),
                    edge_types: r#type,
                    min_weight,
                    paging: paging(&page),
                };
                self.traverse(&uri, options, page.limit.is_none()).await
            }
            Command::History { uri, prune: true, keep, older_than_days, .. } => {
                self.prune(&uri, keep, older_than_days).await
            }
            Command::History { uri, page, .. } => self.history(&uri, &page).await,
            Command::Revert { uri, version } => self.written(self.store.revert(&self.caller, &uri, version).await?),
            Command::Search { query, within, filter, words, limit, after } => {
                let options = SearchOptions { within, words_only: words, ..filter.options(Paging { limit, after }) };
                self.search(&query, &options).await
            }
            Command::Status => self.status().await,
            Command::Completions { shell } => Ok(completions(shell)),
            Command::Man { of } => manual(of.as_deref()),
        }
    }

    async fn read(&self, uri: &Uri, level: LevelName, version: Option<i64>) -> Outcome {
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

    async fn stat(&self, uri: &Uri) -> Outcome {
        let stat = self.store.stat(&self.caller, uri).await?;
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

    async fn append(&self, uri: &Uri, text: &str, expected: Option<i64>) -> Outcome {
        let text = if text == "-" { stdin()? } else { text.to_owned() };
        let (store, caller) = (&self.store, &self.caller);
        self.written(match expected {
            None => store.append(caller, uri, &text).await?,
            Some(version) => {
                let unit = store.unit(caller);
                unit.run(async |s: &mut Session| -> Result<_, StoreError> {
                    let mut here = store.within(s, caller);
                    here.expect(uri, version).await?;
                    here.append(uri, &text).await
                })
                .await?
            }
        })
    }

    async fn prune(&self, uri: &Uri, keep: Option<u64>, older_than_days: Option<u32>) -> Outcome {
        let age = older_than_days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        let retention = Retention { keep, age };
        let pruned = self.store.prune_history(&self.caller, uri, retention).await?;
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

    async fn messages(&self, uri: &Uri) -> Outcome {
        let messages = self.store.messages(&self.caller, uri).await?;
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

fn caller(common: &Common, command: &Command) -> Caller {
    let account = common.account.clone().or_else(|| command.account()).unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned());
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

fn stdin() -> Result<String, StoreError> {
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|e| StoreError::Io { path: "standard input".into(), message: e.to_string() })?;
    Ok(text)
}
