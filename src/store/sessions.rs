//! Conversations: message logs that grow while a session is open, and are summarised when it is closed.
//!
//! A log is a row of `session_archives` at `sessions/{id}/history/{archive}`. While it is open its node is there and
//! empty; when it is closed the node gets abstract, overview and the transcript, and with them its place in the index. A
//! log belongs to the space that created its session, and nobody else reads it (V2).

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    path::Path,
};

use context_entities::session_archive;
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set, prelude::DateTimeUtc, prelude::Json,
    prelude::Uuid,
};
use sea_session::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Store, Within, Write, Written, allow, allow_node,
    archive::stored,
    conversation::{self, Conversation},
    write::known_sessions,
};
use crate::{
    access::{Access, Caller},
    error::StoreError,
    page::{Page, Paging},
    record::content_hash,
    uri::{Kind, Uri},
};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    #[serde(alias = "role", alias = "author", alias = "name")]
    pub speaker: String,
    /// What was said.
    #[serde(alias = "content", alias = "message")]
    pub text: String,
    /// When, if it is known.
    #[serde(default, alias = "timestamp", alias = "date", skip_serializing_if = "Option::is_none")]
    pub time: Option<DateTimeUtc>,
}

impl Message {
    /// A message without a time.
    pub fn new(speaker: impl Into<String>, text: impl Into<String>) -> Self {
        Self { speaker: speaker.into(), text: text.into(), time: None }
    }
}

/// What a closed log is summed up by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// One sentence.
    pub r#abstract: String,
    /// A paragraph or a page.
    pub overview: String,
}

impl Summary {
    /// A summary by extraction, for those who have no better one: who spoke how often and when, and how each began.
    pub fn of(messages: &[Message]) -> Self {
        let mut speakers: Vec<(&str, usize)> = Vec::new();
        for message in messages {
            match speakers.iter_mut().find(|(name, _)| *name == message.speaker) {
                Some((_, n)) => *n += 1,
                None => speakers.push((&message.speaker, 1)),
            }
        }
        let names = speakers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let opening =
            messages.iter().map(|message| beginning(&message.text)).find(|text| !text.is_empty()).unwrap_or_default();
        let mut overview = String::new();
        if let (Some(first), Some(last)) =
            (messages.iter().find_map(|m| m.time), messages.iter().rev().find_map(|m| m.time))
        {
            overview += &format!("From {} to {}.\n", first.format("%Y-%m-%d %H:%M"), last.format("%Y-%m-%d %H:%M"));
        }
        for (name, n) in &speakers {
            let first =
                messages.iter().find(|message| message.speaker == *name).map(|message| beginning(&message.text));
            overview += &format!("{name}, {n} message(s), beginning: {}\n", first.unwrap_or_default());
        }
        Self { r#abstract: format!("{} message(s) between {names}: {opening}", messages.len()), overview }
    }
}

fn beginning(text: &str) -> String {
    const LONGEST: usize = 160;
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().chars().take(LONGEST).collect()
}

/// A log without its messages.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LogEntry {
    /// Where it is.
    pub uri: Uri,
    /// Its place in the session, from 1.
    pub sequence: i64,
    /// Whether it may grow.
    pub open: bool,
    /// How many messages it has.
    pub messages: i64,
    /// When the conversation began, if it is known.
    pub started_at: Option<DateTimeUtc>,
    /// When it ended, if it is known.
    pub ended_at: Option<DateTimeUtc>,
}

/// What an import of conversations did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConversationReport {
    /// Logs created.
    pub created: u64,
    /// Logs that were there with the same messages.
    pub unchanged: u64,
    /// Messages in the logs created.
    pub messages: u64,
    /// Logs refused, by number from 1, and why.
    pub refused: Vec<(u64, String)>,
    /// Units of work.
    pub batches: u64,
}

/// Conversations in one unit of work.
const BATCH: usize = 50;

impl Store {
    /// Adds messages to the end of a log; the first ones create it, and its session if need be. Returns how many it has.
    ///
    /// # Errors
    /// [`StoreError::NotANode`] if `uri` is no `history/{archive}`, [`StoreError::Denied`], [`StoreError::Archived`] if the log is
    /// closed.
    pub async fn append_messages(&self, caller: &Caller, uri: &Uri, messages: &[Message]) -> Result<i64, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).append_messages(uri, messages).await).await
    }

    /// Closes a log: its node gets the summary and the transcript, and is searchable from then on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a log that is not there; [`StoreError::Archived`] if it is closed already; otherwise as
    /// [`Store::append_messages`].
    pub async fn archive_session(
        &self,
        caller: &Caller,
        uri: &Uri,
        summary: Option<&Summary>,
    ) -> Result<Written, StoreError> {
        self.unit(caller).run(async |s: &mut Session| self.within(s, caller).archive_session(uri, summary).await).await
    }

    /// The messages of a log, open or closed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for a log of another space; [`StoreError::Denied`], [`StoreError::NotANode`].
    pub async fn messages(&self, caller: &Caller, uri: &Uri) -> Result<Vec<Message>, StoreError> {
        self.read_unit(caller).run(async |s: &mut Session| self.within(s, caller).messages(uri).await).await
    }

    /// The logs of a session, oldest first, without their messages.
    ///
    /// # Errors
    /// [`StoreError::Denied`], [`StoreError::InvalidCursor`]; [`StoreError::NotANode`] if `session` is no `sessions/{id}`.
    pub async fn session_history(
        &self,
        caller: &Caller,
        session: &Uri,
        paging: &Paging,
    ) -> Result<Page<LogEntry>, StoreError> {
        self.read_unit(caller)
            .run(async |s: &mut Session| self.within(s, caller).session_history(session, paging).await)
            .await
    }

    /// Imports conversations from a JSON file into a session, in whatever of the usual forms they come: a list of conversations,
    /// each a list of turns or an object with `messages`; one conversation; a dictionary of sessions. Each becomes a closed log,
    /// `history/0001` and on. A list is streamed; whole batches are there if it is interrupted, and a run again leaves alone what
    /// has the same messages (V12). A conversation with a turn that is none is refused, with the reason, and the others are taken.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file cannot be read or is of none of the forms: it says which it is nearest to, and the batches
    /// before are there; [`StoreError::Denied`], [`StoreError::NotANode`].
    pub async fn import_conversations(
        &self,
        caller: &Caller,
        file: &Path,
        session: &Uri,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<ConversationReport, StoreError> {
        allow(caller, session, Access::Write)?;
        let root = session.session_root().filter(|root| root == session);
        let root = root.ok_or_else(|| StoreError::NotANode {
            uri: session.clone(),
            what: "take conversations: name a `sessions/{id}`",
        })?;
        let reader = File::open(file).map_err(|e| StoreError::io(file, &e))?;
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Conversation>(BATCH);
        // Parsing blocks, and waits while the channel is full: memory holds two batches, whatever the file has.
        let parsing = tokio::task::spawn_blocking(move || {
            conversation::read(reader, &mut |conversation| sender.blocking_send(conversation).is_ok())
        });
        let mut report = ConversationReport::default();
        let mut number = 0;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            if receiver.recv_many(&mut batch, BATCH).await == 0 {
                break;
            }
            let first = number + 1;
            number += batch.len() as u64;
            let mut whole = Vec::with_capacity(batch.len());
            for (n, read) in (first..).zip(batch) {
                match read {
                    Ok(messages) => whole.push((n, messages)),
                    Err(reason) => report.refused.push((n, reason)),
                }
            }
            let done = self
                .unit(caller)
                .run(async |s: &mut Session| self.within(s, caller).import_logs(&root, &whole).await)
                .await?;
            report.created += done.created;
            report.unchanged += done.unchanged;
            report.messages += done.messages;
            report.refused.extend(done.refused);
            report.batches += 1;
            progress(number);
        }
        report.refused.sort();
        let refuse = |message: String| StoreError::Io { path: file.display().to_string(), message };
        match parsing.await {
            Ok(Ok(())) => Ok(report),
            Ok(Err(e)) => Err(refuse(format!("not a list of conversations, nor another of its forms: {e}"))),
            Err(e) => Err(refuse(e.to_string())),
        }
    }
}

impl Within<'_> {
    /// [`Store::append_messages`] in this unit.
    ///
    /// # Errors
    /// As [`Store::append_messages`].
    pub async fn append_messages(&mut self, uri: &Uri, messages: &[Message]) -> Result<i64, StoreError> {
        let caller = self.caller;
        let key = LogKey::of(caller, uri, Access::Write)?;
        own_session(self.s, caller, uri).await?;
        let log = match key.find(self.s, caller).await? {
            Some(log) if log.state() == session_archive::State::Closed => {
                return Err(StoreError::Archived { uri: uri.clone() });
            }
            Some(log) => log,
            None => {
                let node = self.write(uri, &Write::new()).await?;
                self.s.flush().await?;
                self.new_log(&key, &node).await?
            }
        };
        let mut all = messages_of(log.messages(), &log.name())?;
        all.extend_from_slice(messages);
        fill(&log, &all)?;
        Ok(log.message_count())
    }

    /// [`Store::archive_session`] in this unit.
    ///
    /// # Errors
    /// As [`Store::archive_session`].
    pub async fn archive_session(&mut self, uri: &Uri, summary: Option<&Summary>) -> Result<Written, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let key = LogKey::of(caller, uri, Access::Write)?;
        own_session(s, caller, uri).await?;
        let log = key.find(s, caller).await?.ok_or_else(|| StoreError::not_found(uri))?;
        if log.state() == session_archive::State::Closed {
            return Err(StoreError::Archived { uri: uri.clone() });
        }
        let messages = messages_of(log.messages(), &log.name())?;
        log.set_state(session_archive::State::Closed);
        self.write(uri, &closing(&messages, summary)).await
    }

    /// [`Store::messages`] in this unit.
    ///
    /// # Errors
    /// As [`Store::messages`].
    pub async fn messages(&mut self, uri: &Uri) -> Result<Vec<Message>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let key = LogKey::of(caller, uri, Access::Read)?;
        let mut found = key.select(caller);
        if let Some(spaces) = caller.owner_filter() {
            found = found.filter(session_archive::Column::OwnerSpace.is_in(spaces));
        }
        let log = found.load_one(s).await?.ok_or_else(|| StoreError::not_found(uri))?;
        messages_of(log.messages(), &log.name())
    }

    /// [`Store::session_history`] in this unit.
    ///
    /// # Errors
    /// As [`Store::session_history`].
    pub async fn session_history(&mut self, session: &Uri, paging: &Paging) -> Result<Page<LogEntry>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        allow(caller, session, Access::Read)?;
        let root =
            session.session_root().ok_or_else(|| StoreError::NotANode { uri: session.clone(), what: "have logs" })?;
        let limit = paging.checked_limit()?;
        let after = paging
            .after
            .as_deref()
            .map_or(Ok(0), |after| after.parse::<i64>().map_err(|_| StoreError::InvalidCursor))?;
        use session_archive::Column;
        type Row = (String, i64, session_archive::State, i64, Option<DateTimeUtc>, Option<DateTimeUtc>);
        let mut logs = session_archive::Entity::find()
            .select_only()
            .columns([
                Column::Name,
                Column::Sequence,
                Column::State,
                Column::MessageCount,
                Column::StartedAt,
                Column::EndedAt,
            ])
            .filter(Column::AccountId.eq(caller.account()))
            .filter(Column::SessionId.eq(root.encoded_name()))
            .filter(Column::Sequence.gt(after));
        if let Some(spaces) = caller.owner_filter() {
            logs = logs.filter(Column::OwnerSpace.is_in(spaces));
        }
        let rows: Vec<Row> = logs.order_by_asc(Column::Sequence).limit(limit + 1).into_tuple().all(s).await?;
        let mut items = Vec::with_capacity(rows.len());
        for (name, sequence, state, messages, started_at, ended_at) in rows {
            let uri = Uri::parse(&format!("{root}/history/{name}"))?;
            items.push(LogEntry {
                uri,
                sequence,
                open: state == session_archive::State::Open,
                messages,
                started_at,
                ended_at,
            });
        }
        Ok(Page::of(items, limit, |entry| entry.sequence.to_string()))
    }

    async fn import_logs(
        &mut self,
        root: &Uri,
        batch: &[(u64, Vec<Message>)],
    ) -> Result<ConversationReport, StoreError> {
        let caller = self.caller;
        let mut report = ConversationReport::default();
        let history = root.child("history")?;
        let uris: Vec<Uri> = batch.iter().map(|(n, _)| history.child(&format!("{n:04}"))).collect::<Result<_, _>>()?;
        let held = present_logs(self.s, caller, root, &uris).await?;
        let mut new = Vec::new();
        for (uri, (n, messages)) in uris.iter().zip(batch) {
            match held.get(uri.encoded_name()) {
                Some(hash) if *hash == log_hash(messages)? => report.unchanged += 1,
                Some(_) => report.refused.push((*n, format!("{uri} holds another log"))),
                None => {
                    report.messages += messages.len() as u64;
                    new.push((uri, messages));
                }
            }
        }
        let writes: Vec<(Uri, Write)> =
            new.iter().map(|(uri, messages)| ((*uri).clone(), closing(messages, None))).collect();
        let nodes = self.write_many(&writes).await?;
        let s = &mut *self.s;
        let mut sequence = next_sequence(s, caller, root).await?;
        for ((uri, messages), node) in new.iter().zip(&nodes) {
            let key = LogKey::of(caller, uri, Access::Write)?;
            let owner = owner_of(s, node).await?;
            let log = s.add(log_row(caller, &key, node, sequence, owner));
            fill(&log, messages)?;
            log.set_state(session_archive::State::Closed);
            sequence += 1;
        }
        report.created = nodes.len() as u64;
        Ok(report)
    }

    async fn new_log(&mut self, key: &LogKey, node: &Written) -> Result<Tracked<session_archive::Entity>, StoreError> {
        let (s, caller) = (&mut *self.s, self.caller);
        let sequence = next_sequence(s, caller, &key.root).await?;
        let owner = owner_of(s, node).await?;
        Ok(s.add(log_row(caller, key, node, sequence, owner)))
    }
}

/// What finds a log.
struct LogKey {
    root: Uri,
    name: String,
}

impl LogKey {
    fn of(caller: &Caller, uri: &Uri, access: Access) -> Result<Self, StoreError> {
        allow_node(caller, uri, access, "hold a log")?;
        match uri.session_root().filter(|_| uri.kind() == Kind::Archive) {
            Some(root) => Ok(Self { root, name: uri.encoded_name().to_owned() }),
            None => Err(StoreError::NotANode {
                uri: uri.clone(),
                what: "hold a log: that is a `sessions/{id}/history/{archive}`",
            }),
        }
    }

    fn select(&self, caller: &Caller) -> sea_orm::Select<session_archive::Entity> {
        session_archive::Entity::find()
            .filter(session_archive::Column::AccountId.eq(caller.account()))
            .filter(session_archive::Column::SessionId.eq(self.root.encoded_name()))
            .filter(session_archive::Column::Name.eq(&self.name))
    }

    /// The log, held until the unit ends: appenders wait for each other.
    async fn find(
        &self,
        s: &mut Session,
        caller: &Caller,
    ) -> Result<Option<Tracked<session_archive::Entity>>, StoreError> {
        Ok(self.select(caller).for_update().load_one(s).await?)
    }
}

/// An existing session must be the caller's.
async fn own_session(s: &mut Session, caller: &Caller, uri: &Uri) -> Result<(), StoreError> {
    if let Some(root) = uri.session_root() {
        known_sessions(s, caller, &HashSet::from([root])).await?;
    }
    Ok(())
}

/// The owner of a log is that of its node.
async fn owner_of(s: &mut Session, node: &Written) -> Result<String, StoreError> {
    let row = s.get::<context_entities::node::Entity>(node.id).await?;
    row.map(|row| row.owner_space()).ok_or_else(|| StoreError::not_found(&node.uri))
}

fn log_row(
    caller: &Caller,
    key: &LogKey,
    node: &Written,
    sequence: i64,
    owner: String,
) -> session_archive::ActiveModel {
    session_archive::ActiveModel {
        id: Set(Uuid::now_v7()),
        account_id: Set(caller.account().to_owned()),
        session_id: Set(key.root.encoded_name().to_owned()),
        sequence: Set(sequence),
        name: Set(key.name.clone()),
        owner_space: Set(owner),
        node_id: Set(Some(node.id)),
        state: Set(session_archive::State::Open),
        messages: Set(Json::Array(Vec::new())),
        message_count: Set(0),
        content_hash: Set(String::new()),
        version: Set(1),
        started_at: Set(None),
        ended_at: Set(None),
        ..Default::default()
    }
}

/// Sets the messages and what follows from them.
fn fill(log: &Tracked<session_archive::Entity>, messages: &[Message]) -> Result<(), StoreError> {
    log.set_messages(as_json(messages)?);
    log.set_message_count(i64::try_from(messages.len()).unwrap_or(i64::MAX));
    log.set_content_hash(log_hash(messages)?);
    log.set_started_at(messages.iter().find_map(|message| message.time).map(stored));
    log.set_ended_at(messages.iter().rev().find_map(|message| message.time).map(stored));
    Ok(())
}

/// What closes a log writes into its node.
fn closing(messages: &[Message], summary: Option<&Summary>) -> Write {
    let summary = summary.cloned().unwrap_or_else(|| Summary::of(messages));
    Write::of(transcript(messages)).with_abstract(summary.r#abstract).with_overview(summary.overview)
}

fn transcript(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        match message.time {
            Some(time) => text += &format!("{} ({}): {}\n", message.speaker, time.to_rfc3339(), message.text),
            None => text += &format!("{}: {}\n", message.speaker, message.text),
        }
    }
    // A log may have been typed into anything; a text of the store has no NUL.
    text.replace('\0', "\u{fffd}")
}

pub(super) fn as_json(messages: &[Message]) -> Result<Json, StoreError> {
    let clean: Vec<Message> = messages
        .iter()
        .map(|m| Message {
            speaker: m.speaker.replace('\0', "\u{fffd}"),
            text: m.text.replace('\0', "\u{fffd}"),
            time: m.time,
        })
        .collect();
    serde_json::to_value(clean).map_err(|e| StoreError::InvalidArgument(format!("a message cannot be stored: {e}")))
}

fn messages_of(messages: Json, name: &str) -> Result<Vec<Message>, StoreError> {
    serde_json::from_value(messages).map_err(|e| StoreError::InvalidArgument(format!("the log {name} is damaged: {e}")))
}

pub(super) fn log_hash(messages: &[Message]) -> Result<String, StoreError> {
    Ok(content_hash(&as_json(messages)?.to_string()))
}

async fn next_sequence(s: &mut Session, caller: &Caller, root: &Uri) -> Result<i64, StoreError> {
    let last: Option<Option<i64>> = session_archive::Entity::find()
        .select_only()
        .column_as(session_archive::Column::Sequence.max(), "last")
        .filter(session_archive::Column::AccountId.eq(caller.account()))
        .filter(session_archive::Column::SessionId.eq(root.encoded_name()))
        .into_tuple()
        .one(s)
        .await?;
    Ok(last.flatten().unwrap_or_default() + 1)
}

/// The hashes of the logs that are there, by name.
async fn present_logs(
    s: &mut Session,
    caller: &Caller,
    root: &Uri,
    uris: &[Uri],
) -> Result<HashMap<String, String>, StoreError> {
    known_sessions(s, caller, &HashSet::from([root.clone()])).await?;
    let rows: Vec<(String, String)> = session_archive::Entity::find()
        .select_only()
        .columns([session_archive::Column::Name, session_archive::Column::ContentHash])
        .filter(session_archive::Column::AccountId.eq(caller.account()))
        .filter(session_archive::Column::SessionId.eq(root.encoded_name()))
        .filter(session_archive::Column::Name.is_in(uris.iter().map(Uri::encoded_name)))
        .into_tuple()
        .all(s)
        .await?;
    Ok(rows.into_iter().collect())
}
