//! `ctx outbox` and `ctx reindex`: the operator's side of the search index.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use context_store::{
    Store, StoreError,
    index::{self, EmbeddedIndex, FileSink, HttpSink, IndexSink, ReindexOptions, ReindexProgress},
    printable_line,
};
use sea_session::outbox::{DeadLetter, Dispatcher, Metrics, Outbox, Report};
use serde_json::json;

use crate::{
    command::progress_bar,
    output::{self, json, table},
};

type Outcome = Result<String, StoreError>;

pub const EXAMPLES: &str = "\
Every change of a node leaves an event in the outbox, in the same transaction. A dispatcher takes the events to the search
index: at least once, and for each node in order. Any number of dispatchers may run, on one machine or many.

Examples:
  ctx outbox run                                      until Ctrl-C or SIGTERM
  ctx outbox run --once                               until nothing is due
  ctx outbox run --sink https://index.example/ctx     to an index elsewhere, signed with $CTX_INDEX_SECRET
  ctx outbox run --sink file:records.jsonl            to a file
  ctx outbox streams                                  the indexes elsewhere, and what waits for each
  ctx outbox streams --forget context.0123456789abcdef
  ctx outbox status
  ctx outbox dead list
  ctx outbox dead show 17
  ctx outbox replay 17 18                             after the cause is gone
  ctx outbox purge --done --older-than 7d

An index elsewhere has a stream of its own, which begins with every node when it is first named: what it waits for, no other
dispatcher and no other command delivers.

An event that fails holds its node's later events back until it succeeds, or is a dead letter after 10 attempts. An index
that cannot be reached kills nothing: its events wait.";

pub const REINDEX_EXAMPLES: &str = "\
Examples:
  ctx reindex
  ctx reindex --account acme
  ctx reindex --sink https://index.example/ctx        to fill an index elsewhere

A search finds all along what it would find otherwise. It can be stopped and begun again at any time.";

/// To which index.
#[derive(Debug, Args)]
pub struct SinkArgs {
    /// `embedded` (the one that `ctx search` asks), an http:// or https:// address, or file:PATH.
    #[arg(long, default_value = "embedded")]
    sink: String,
    /// The secret that requests to an address are signed with.
    #[arg(long, env = "CTX_INDEX_SECRET", hide_env_values = true)]
    secret: Option<String>,
}

#[derive(Debug, Args)]
pub struct ReindexArgs {
    #[command(flatten)]
    sink: SinkArgs,
    /// Nodes in one batch.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5000))]
    batch: u32,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    sink: SinkArgs,
    /// End when nothing is due any more.
    #[arg(long)]
    once: bool,
    /// Events in one claim.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Claims side by side.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    claims: u32,
    /// How long a claim holds if its dispatcher dies, as 30s or 5m.
    #[arg(long, default_value = "30s", value_parser = duration)]
    lease: Duration,
    /// How often to look without having been woken.
    #[arg(long, default_value = "1s", value_parser = duration)]
    poll: Duration,
    /// How long to wait for the batch at hand when told to stop.
    #[arg(long, default_value = "10s", value_parser = duration)]
    deadline: Duration,
    /// How long delivered events are kept; 0 removes them at once.
    #[arg(long, default_value = "1d", value_parser = duration)]
    keep: Duration,
    /// After so many failed attempts an event is a dead letter.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..))]
    attempts: i32,
}

#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// Deliver events to an index.
    Run(RunArgs),
    /// Show how many events wait, how long, and how many are dead.
    Status,
    /// List the streams of indexes elsewhere, or end one.
    Streams {
        /// End this one, with what waits in it: its index is gone.
        #[arg(long, value_name = "NAME")]
        forget: Option<String>,
    },
    /// Look at dead letters: events that were given up.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Have dead letters delivered after all.
    #[command(after_help = "Examples:\n  ctx outbox replay 17 18\n  ctx outbox replay --all")]
    Replay {
        /// Their numbers.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<i64>,
        /// All of them.
        #[arg(long)]
        all: bool,
    },
    /// Remove dead letters, or delivered events.
    #[command(
        after_help = "Examples:\n  ctx outbox purge --dead 17\n  ctx outbox purge --dead-all\n  ctx outbox purge --done --older-than 7d"
    )]
    Purge(PurgeArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct PurgeWhat {
    /// These dead letters.
    #[arg(long, value_name = "ID", num_args = 1.., conflicts_with = "dead_all")]
    dead: Vec<i64>,
    /// All dead letters.
    #[arg(long)]
    dead_all: bool,
    /// Delivered events.
    #[arg(long)]
    done: bool,
}

#[derive(Debug, Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    what: PurgeWhat,
    /// Only delivered events that are older, as 12h or 7d.
    #[arg(long, default_value = "0s", value_parser = duration)]
    older_than: Duration,
}

#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead letters, oldest first.
    List {
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// Only those with a number above this: the last of the page before.
        #[arg(long, default_value_t = 0)]
        after: i64,
    },
    /// Show one dead letter with its payload.
    Show {
        /// Its number.
        id: i64,
    },
}

/// `30s`, `5m`, `12h`, `7d`, `250ms`, or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no length of time: 30s, 5m, 12h, 7d"))?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" => Some(number),
        "m" => number.checked_mul(60),
        "h" => number.checked_mul(60 * 60),
        "d" => number.checked_mul(24 * 60 * 60),
        _ => return Err(format!("`{unit}` is no unit of time: ms, s, m, h, d")),
    };
    let most = 100 * 365 * 24 * 60 * 60;
    match seconds {
        Some(seconds) if seconds <= most => Ok(Duration::from_secs(seconds)),
        _ => Err("a century at most".to_owned()),
    }
}

fn sink(store: &Store, arguments: SinkArgs) -> Result<Arc<dyn IndexSink>, StoreError> {
    if arguments.sink == "embedded" {
        return Ok(Arc::new(EmbeddedIndex::new(store.db())));
    }
    if let Some(path) = arguments.sink.strip_prefix("file:") {
        return Ok(Arc::new(FileSink::open(&PathBuf::from(path))?));
    }
    let http = HttpSink::new(&arguments.sink)?;
    Ok(match arguments.secret {
        Some(secret) => Arc::new(http.secret(secret)),
        None => Arc::new(http),
    })
}

/// `ctx outbox …`
pub async fn run(store: &Store, as_json: bool, command: OutboxCommand) -> Outcome {
    match command {
        OutboxCommand::Run(arguments) => dispatch(store, as_json, arguments).await,
        OutboxCommand::Status => status(store, as_json).await,
        OutboxCommand::Streams { forget: Some(name) } => match store.forget_sink_stream(&name).await? {
            true => counted(as_json, "forgotten", 1, "stream ended"),
            false => {
                Err(StoreError::InvalidArgument(format!("there is no stream {name:?}: `ctx outbox streams` has them")))
            }
        },
        OutboxCommand::Streams { forget: None } => streams(store, as_json).await,
        OutboxCommand::Dead(DeadCommand::List { limit, after }) => {
            let mut letters = Vec::new();
            for (_, outbox) in outboxes(store).await? {
                letters.extend(outbox.dead(after, limit).await?);
            }
            letters.sort_by_key(|letter| letter.id);
            letters.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            list(as_json, &letters, limit)
        }
        OutboxCommand::Dead(DeadCommand::Show { id }) => {
            for (_, outbox) in outboxes(store).await? {
                if let Some(letter) = outbox.dead_letter(id).await? {
                    return show(as_json, &letter);
                }
            }
            Err(none(id))
        }
        OutboxCommand::Replay { ids, all } => {
            let mut replayed = 0;
            for (_, outbox) in outboxes(store).await? {
                replayed += outbox.replay((!all).then_some(&ids)).await?;
            }
            missing(replayed, &ids)?;
            counted(as_json, "replayed", replayed, "dead letter(s) wait for delivery again")
        }
        OutboxCommand::Purge(PurgeArgs { what: PurgeWhat { dead, dead_all, done }, older_than }) => {
            purge(store, as_json, &dead, dead_all, done.then_some(older_than)).await
        }
    }
}

/// The store's own stream and those of indexes elsewhere, by where they lead.
async fn outboxes(store: &Store) -> Result<Vec<(String, Outbox)>, StoreError> {
    let mut all = vec![("embedded".to_owned(), store.outbox())];
    all.extend(store.sink_streams().await?.into_iter().map(|(info, stream)| (info.sink, stream.outbox().clone())));
    Ok(all)
}

async fn streams(store: &Store, as_json: bool) -> Outcome {
    let mut rows = Vec::new();
    for (info, stream) in store.sink_streams().await? {
        rows.push((info, stream.outbox().metrics().await?));
    }
    if as_json {
        let all: Vec<_> = rows
            .iter()
            .map(|(info, metrics)| {
                json!({ "name": info.name, "sink": info.sink, "created_at": info.created_at,
                    "waiting": metrics.pending + metrics.processing, "dead": metrics.dead })
            })
            .collect();
        return json(&all);
    }
    if rows.is_empty() {
        return Ok("no index elsewhere\n".to_owned());
    }
    let rows = rows.iter().map(|(info, metrics)| {
        [
            info.name.clone(),
            printable_line(&info.sink).into_owned(),
            output::time(info.created_at),
            (metrics.pending + metrics.processing).to_string(),
            metrics.dead.to_string(),
        ]
    });
    Ok(table(["NAME", "SINK", "SINCE", "WAITING", "DEAD"], rows))
}

async fn purge(store: &Store, as_json: bool, dead: &[i64], all: bool, done: Option<Duration>) -> Outcome {
    const A_TIME: u64 = 10_000;
    let (mut removed, mut letters) = (0, 0);
    for (_, outbox) in outboxes(store).await? {
        if all || !dead.is_empty() {
            letters += outbox.purge_dead((!all).then_some(dead)).await?;
        }
        while let Some(age) = done {
            let some = outbox.purge_done(age, A_TIME).await?;
            removed += some;
            if some < A_TIME {
                break;
            }
        }
    }
    missing(letters, dead)?;
    counted(as_json, "purged", removed + letters, "event(s) removed")
}

fn counted(as_json: bool, name: &str, n: u64, what: &str) -> Outcome {
    if as_json { json(&json!({ name: n })) } else { Ok(format!("{n} {what}\n")) }
}

/// Numbers that are no dead letters' are a mistake worth telling.
fn missing(found: u64, ids: &[i64]) -> Result<(), StoreError> {
    if found == 0 && !ids.is_empty() {
        return Err(none(ids[0]));
    }
    Ok(())
}

fn none(id: i64) -> StoreError {
    StoreError::InvalidArgument(format!("there is no dead letter {id}: `ctx outbox dead list` has them"))
}

async fn dispatch(store: &Store, as_json: bool, arguments: RunArgs) -> Outcome {
    let embedded = arguments.sink.sink == "embedded";
    let name = arguments.sink.sink.clone();
    let sink = sink(store, arguments.sink)?;
    let own = store.dispatcher(Arc::new(EmbeddedIndex::new(store.db())));
    let stream = if embedded { None } else { Some(store.sink_stream(&stream_of(&name)).await?) };
    let dispatcher = match &stream {
        Some(stream) => stream.dispatcher(sink),
        None => own.clone(),
    };
    let dispatcher = dispatcher
        .batch(arguments.batch as usize)
        .claims(arguments.claims as usize)
        .lease(arguments.lease)
        .poll(arguments.poll)
        .deadline(arguments.deadline)
        .most_attempts(arguments.attempts)
        .retention((!arguments.keep.is_zero()).then_some(arguments.keep));
    // What is copied to a stream comes from the store's own.
    let own = stream.is_some().then_some(own);
    let vectors = store.vector_dispatcher().await?;
    if arguments.once {
        if let Some(own) = own {
            own.drain().await?;
        }
        let report = dispatcher.drain().await?;
        if let Some(vectors) = vectors {
            vectors.drain().await?;
        }
        return reported(as_json, &report);
    }
    let (told, stop) = tokio::sync::watch::channel(false);
    let stopped = || {
        let mut stop = stop.clone();
        async move { drop(stop.wait_for(|told| *told).await) }
    };
    let mut beside = tokio::task::JoinSet::new();
    for other in own.into_iter().chain(vectors) {
        let (other, stopped) = (other.poll(arguments.poll).deadline(arguments.deadline), stopped());
        beside.spawn(async move { watch(&other, as_json, stopped).await });
    }
    let (report, ()) = tokio::join!(watch(&dispatcher, as_json, stopped()), async {
        told_to_stop().await;
        told.send_replace(true);
    });
    beside.join_all().await;
    reported(as_json, &report)
}

/// What tells an index elsewhere from others: a file by its whole path, an address without what is secret in it.
fn stream_of(sink: &str) -> String {
    match sink.strip_prefix("file:") {
        Some(path) => match std::path::absolute(path) {
            Ok(path) => format!("file:{}", path.display()),
            Err(_) => sink.to_owned(),
        },
        None => sink.to_owned(),
    }
}

/// Until Ctrl-C or SIGTERM; trouble, and its end, are told on standard error.
async fn watch(dispatcher: &Dispatcher, as_json: bool, stop: impl Future<Output = ()> + Send) -> Report {
    const EVERY: Duration = Duration::from_secs(1);
    let watched = dispatcher.clone();
    let watching = tokio::spawn(async move {
        let mut told = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let health = watched.health();
            let trouble = health.database.or(health.receiver);
            if trouble != told {
                let line = trouble.as_deref().unwrap_or("all is well again");
                if as_json {
                    eprintln!("{}", json!({ "trouble": trouble }));
                } else {
                    eprintln!("ctx: {line}");
                }
                told = trouble;
            }
        }
    });
    let report = dispatcher.run(stop).await;
    watching.abort();
    report
}

/// Until Ctrl-C or SIGTERM.
#[cfg(unix)]
pub async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        drop(tokio::signal::ctrl_c().await);
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

#[cfg(not(unix))]
pub async fn told_to_stop() {
    drop(tokio::signal::ctrl_c().await);
}

pub fn reported(as_json: bool, report: &Report) -> Outcome {
    if as_json {
        return json(&json!({
            "delivered": report.delivered, "retried": report.retried, "dead": report.dead, "stale": report.stale,
            "batches": report.batches, "mean_latency_ms": millis(report.mean_latency),
        }));
    }
    let Report { delivered, retried, dead, stale, batches, .. } = report;
    Ok(format!(
        "{delivered} event(s) delivered in {batches} batch(es), {retried} to be tried again, {dead} dead, {stale} stale\n"
    ))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn status(store: &Store, as_json: bool) -> Outcome {
    let mut metrics = Metrics::default();
    for (_, outbox) in outboxes(store).await? {
        let some = outbox.metrics().await?;
        metrics.pending += some.pending;
        metrics.processing += some.processing;
        metrics.done += some.done;
        metrics.dead += some.dead;
        metrics.oldest = metrics.oldest.max(some.oldest);
        metrics.most_attempts = metrics.most_attempts.max(some.most_attempts);
    }
    let capabilities = EmbeddedIndex::new(store.db()).capabilities().await?;
    if as_json {
        return json(&json!({
            "pending": metrics.pending, "processing": metrics.processing, "done": metrics.done, "dead": metrics.dead,
            "oldest_ms": metrics.oldest.map(millis), "most_attempts": metrics.most_attempts, "index": capabilities,
        }));
    }
    let oldest = metrics.oldest.map_or_else(|| "-".to_owned(), |age| format!("{:.1} s", age.as_secs_f64()));
    let vectors = match (&capabilities.pgvector, &capabilities.pgvector_available) {
        (Some(version), _) => format!("pgvector {version}"),
        (None, Some(version)) => format!("pgvector {version} could be installed"),
        (None, None) => "-".to_owned(),
    };
    let rows = [
        ["waiting", &metrics.pending.to_string()],
        ["claimed", &metrics.processing.to_string()],
        ["oldest of them", &oldest],
        ["most attempts", &metrics.most_attempts.to_string()],
        ["delivered, kept", &metrics.done.to_string()],
        ["dead letters", &metrics.dead.to_string()],
        ["full text", capabilities.full_text],
        ["vectors", &vectors],
    ];
    Ok(table(["", ""], rows.map(|row| row.map(str::to_owned))).trim_start().to_owned())
}

fn value(letter: &DeadLetter) -> serde_json::Value {
    json!({
        "id": letter.id, "account": letter.account_id, "key": letter.event_key, "sequence": letter.sequence,
        "type": letter.event_type, "payload": letter.payload, "attempts": letter.attempts, "error": letter.last_error,
        "created_at": letter.created_at, "finished_at": letter.finished_at,
    })
}

fn list(as_json: bool, letters: &[DeadLetter], limit: u64) -> Outcome {
    if as_json {
        return json(&letters.iter().map(value).collect::<Vec<_>>());
    }
    if letters.is_empty() {
        return Ok("no dead letters\n".to_owned());
    }
    let rows = letters.iter().map(|letter| {
        [
            letter.id.to_string(),
            letter.finished_at.map(output::time).unwrap_or_default(),
            letter.account_id.clone(),
            letter.event_type.clone(),
            letter.payload.get("uri").and_then(|uri| uri.as_str()).unwrap_or(&letter.event_key).to_owned(),
            letter.attempts.to_string(),
            printable_line(letter.last_error.as_deref().unwrap_or_default()).into_owned(),
        ]
    });
    let text = table(["ID", "GIVEN UP", "ACCOUNT", "EVENT", "OF", "ATTEMPTS", "BECAUSE"], rows);
    let more =
        letters.last().filter(|_| letters.len() as u64 == limit).map(|last| format!("more: --after {}\n", last.id));
    Ok(text + &more.unwrap_or_default())
}

fn show(as_json: bool, letter: &DeadLetter) -> Outcome {
    if as_json {
        return json(&value(letter));
    }
    let rows = [
        ["id".to_owned(), letter.id.to_string()],
        ["account".into(), letter.account_id.clone()],
        ["event".into(), letter.event_type.clone()],
        ["key".into(), letter.event_key.clone()],
        ["sequence".into(), letter.sequence.to_string()],
        ["attempts".into(), letter.attempts.to_string()],
        ["written".into(), output::time(letter.created_at)],
        ["given up".into(), letter.finished_at.map(output::time).unwrap_or_default()],
        ["because".into(), printable_line(letter.last_error.as_deref().unwrap_or_default()).into_owned()],
        ["payload".into(), printable_line(&letter.payload.to_string()).into_owned()],
    ];
    Ok(table(["", ""], rows).trim_start().to_owned())
}

/// `ctx reindex`
pub async fn reindex(store: &Store, account: Option<String>, as_json: bool, arguments: ReindexArgs) -> Outcome {
    let options = ReindexOptions { account, batch: arguments.batch as usize, after: None };
    let bar = progress_bar(!as_json, "nodes");
    let mut progress = |state: ReindexProgress| {
        bar.set_length(state.nodes);
        bar.set_position(state.done);
    };
    let embedded = arguments.sink.sink == "embedded";
    let sink = sink(store, arguments.sink)?;
    let report = match embedded {
        true => store.reindex(&options, &mut progress).await,
        false => index::reindex(store.db(), &*sink, &options, &mut progress).await,
    };
    bar.finish_and_clear();
    let report = report?;
    if as_json {
        return json(&report);
    }
    let mut text: String =
        report.refused.iter().map(|refused| format!("refused {}\n", printable_line(refused))).collect();
    text += &format!(
        "{} node(s), {} record(s), {} of nodes that are gone removed, {} refused\n",
        report.nodes,
        report.records,
        report.orphans,
        report.refused.len()
    );
    Ok(text)
}
