//! What a line of an archive may say (W1).
//!
//! An archive comes from outside: nothing that it says is true because it says so. Each check names what is wrong and
//! what would be right. Pure: what depends on the database is asked by the import.

use chrono::{DateTime, Datelike, SubsecRound, Utc};
use context_entities::node::Status;
use sea_orm::prelude::Json;

use super::format::{EdgeLine, LogLine, NodeLine, Texts, VersionLine};
use crate::{
    record::content_hash,
    store::sessions::{Message, log_hash},
    uri::{Kind, Uri},
};

/// The highest version and sequence that a line may have: what every reader of JSON can tell from its neighbour, and so
/// far from the type's end that no number of writes gets there.
pub(in crate::store) const MOST: i64 = (1 << 53) - 1;

/// The longest type of an edge, in bytes.
const LONGEST_EDGE_TYPE: usize = 1_000;

pub(super) type Checked = Result<(), String>;

pub(super) fn node(line: &NodeLine, uri: &Uri) -> Checked {
    number("version", line.version)?;
    time("created_at", &line.created_at)?;
    time("updated_at", &line.updated_at)?;
    space(&line.owner_space)?;
    texts(&line.texts)?;
    if uri.kind() == Kind::Space {
        let bare = line.texts == Texts::emptied() && line.status == Status::Active;
        if !bare {
            return Err("the row that a session keeps for itself is active and has no text and no metadata".into());
        }
    }
    Ok(())
}

pub(super) fn version(line: &VersionLine) -> Checked {
    number("version", line.version)?;
    time("written_at", &line.written_at)?;
    time("recorded_at", &line.recorded_at)?;
    space(&line.owner_space)?;
    texts(&line.texts)
}

pub(super) fn log(line: &LogLine, uri: &Uri) -> Checked {
    if uri.kind() != Kind::Archive {
        return Err(format!("{uri} holds no log; a log is at `sessions/{{id}}/history/{{archive}}`"));
    }
    number("version", line.version)?;
    number("sequence", line.sequence)?;
    space(&line.owner_space)?;
    for (name, at) in [("started_at", &line.started_at), ("ended_at", &line.ended_at)] {
        at.as_ref().map_or(Ok(()), |at| time(name, at))?;
    }
    time("created_at", &line.created_at)?;
    time("updated_at", &line.updated_at)?;
    let mut messages = Vec::with_capacity(line.messages.len());
    for (at, message) in line.messages.iter().enumerate() {
        let read = without_nul("a message", message)
            .and_then(|()| serde_json::from_value::<Message>(message.clone()).map_err(|e| e.to_string()))
            .and_then(|read| match serde_json::to_value(&read) {
                Ok(again) if again == *message => Ok(read),
                _ => Err("it says more, or says it otherwise".to_owned()),
            });
        let message = read.map_err(|e| {
            format!("its message {} is none: {e}; a message has `speaker`, `text`, perhaps `time`, and no more", at + 1)
        })?;
        if let Some(said) = &message.time {
            time("the time of a message", said)?;
        }
        messages.push(message);
    }
    match log_hash(&messages) {
        Ok(hash) if hash == line.sha256 => Ok(()),
        Ok(hash) => Err(format!("its sha256 is not that of its messages, which is {hash}")),
        Err(e) => Err(e.to_string()),
    }
}

/// The weight of the edge, if all is right.
pub(super) fn edge(line: &EdgeLine) -> Result<f64, String> {
    let kind = &line.edge_type;
    if kind.trim().is_empty() || kind.len() > LONGEST_EDGE_TYPE || kind.contains('\0') {
        return Err(format!(
            "{kind:.40?} is no type of an edge; it has 1 to {LONGEST_EDGE_TYPE} bytes and no NUL character"
        ));
    }
    text("reason", &line.reason)?;
    metadata(&line.metadata)?;
    time("created_at", &line.created_at)?;
    time("updated_at", &line.updated_at)?;
    let weight: Option<f64> = line.weight.parse().ok();
    weight
        .filter(|weight| (0.0..=1.0).contains(weight))
        .ok_or_else(|| format!("its weight is {:.40?}; a weight is a number from 0 to 1", line.weight))
}

fn number(name: &str, found: i64) -> Checked {
    if (1..=MOST).contains(&found) {
        return Ok(());
    }
    Err(format!("its {name} is {found}; it is from 1 to {MOST}"))
}

fn time(name: &str, found: &DateTime<Utc>) -> Checked {
    if (1..=9999).contains(&found.year()) {
        return Ok(());
    }
    Err(format!("its {name} is in the year {}; a time is in the years 1 to 9999", found.year()))
}

fn space(found: &str) -> Checked {
    let (kind, id) = found.split_once(':').unwrap_or((found, ""));
    let right = match kind {
        "shared" => found == crate::uri::SHARED_SPACE,
        "user" => Uri::parse(&format!("ctx://a/users/{id}")).is_ok_and(|uri| uri.as_str()[14..] == *id),
        "agent" => Uri::parse(&format!("ctx://a/agents/{id}")).is_ok_and(|uri| uri.as_str()[15..] == *id),
        _ => false,
    };
    if right {
        return Ok(());
    }
    Err(format!("{found:.80?} is no owner space; it is `shared`, `user:ID` or `agent:ID`"))
}

fn texts(found: &Texts) -> Checked {
    text("abstract", &found.r#abstract)?;
    text("overview", &found.overview)?;
    text("content", &found.content)?;
    metadata(&found.metadata)?;
    let hash = content_hash(&found.content);
    if found.sha256 == hash {
        return Ok(());
    }
    Err(format!("its sha256 is not that of its content, which is {hash}"))
}

fn text(name: &str, found: &str) -> Checked {
    if found.contains('\0') {
        return Err(format!("its {name} has a NUL character: it is not text"));
    }
    Ok(())
}

fn metadata(found: &Json) -> Checked {
    let Json::Object(members) = found else { return Err("its metadata is no JSON object".into()) };
    if let Some(key) = members.keys().find(|key| key.starts_with('_') || *key == "expected_version") {
        return Err(format!("its metadata has {key:.40?}; such a key is never stored"));
    }
    without_nul("its metadata", found)
}

/// PostgreSQL's JSON holds no NUL character, in whatever depth.
pub(in crate::store) fn without_nul(name: &str, found: &Json) -> Checked {
    let right = match found {
        Json::String(text) => !text.contains('\0'),
        Json::Array(items) => return items.iter().try_for_each(|item| without_nul(name, item)),
        Json::Object(members) => {
            members.values().try_for_each(|member| without_nul(name, member))?;
            !members.keys().any(|key| key.contains('\0'))
        }
        _ => true,
    };
    if right { Ok(()) } else { Err(format!("{name} has a NUL character: it is not text")) }
}

/// To the microsecond, which both backends keep.
pub(in crate::store) fn stored(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}
