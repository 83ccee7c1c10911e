//! Conversations in the forms that they come in (V12).
//!
//! | Form | |
//! |---|---|
//! | a list of conversations | `[[turn, …], …]`, `[{"messages": [turn, …]}, …]` |
//! | one conversation | `[turn, …]`, `{"messages": [turn, …]}`, or a turn a line |
//! | a dictionary of sessions | `{"session_1": [turn, …], "session_1_date_time": "…", …}`, also as `conversation`, `sessions` or `conversations` of an object |
//!
//! A turn has a speaker (`speaker`, `role`, `author`, `name`, `from`, `sender`), a text (`text`, `content`, `message`,
//! `body`, `parts`), which may be a list of parts, and perhaps a time. A time is RFC 3339, seconds or milliseconds
//! since 1970, a date with or without a time of day, or `1:56 pm on 8 May, 2023`; one without an offset is taken as
//! UTC.
//!
//! A list is read one conversation at a time, and none is larger than [`LONGEST`]: memory does not grow with the file.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound, TimeZone, Utc};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::Message;

/// The most bytes of one conversation, or of a file that has to be read as a whole.
pub(super) const LONGEST: usize = 128 << 20;

/// A conversation, or why it cannot be one.
pub(super) type Conversation = Result<Vec<Message>, String>;

/// Where conversations go; false when nobody wants more.
pub(super) type Taker<'t> = dyn FnMut(Conversation) -> bool + 't;

/// Hands each conversation of a JSON text on.
///
/// # Errors
/// What keeps the text from being one of the forms, and which of them it is nearest to.
pub(super) fn read(reader: impl Read, take: &mut Taker<'_>) -> Result<(), String> {
    let budget = Rc::new(Cell::new(LONGEST));
    let reader = Bounded { reader: io::BufReader::new(reader), budget: budget.clone() };
    let mut json = serde_json::Deserializer::from_reader(reader);
    let mut stop = false;
    let top = Top { take, budget: &budget, stop: &mut stop };
    let first = top.deserialize(&mut json).map_err(|e| plain(&e));
    if stop {
        return Ok(());
    }
    match first? {
        Found::Done => json.end().map_err(|e| plain(&e)),
        // One value after the other: a turn or a conversation a line.
        Found::Object(first) => {
            let mut values = vec![Value::Object(first)];
            for value in json.into_iter::<Value>() {
                values.push(value.map_err(|e| plain(&e))?);
            }
            match values.len() {
                1 => object(values.remove(0), take),
                _ => lines(values, take),
            }
        }
    }
}

fn plain(e: &serde_json::Error) -> String {
    crate::printable::printable_line(&e.to_string()).into_owned()
}

/// Counts what is read since the budget was filled up.
struct Bounded<R> {
    reader: R,
    budget: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        match self.budget.get().checked_sub(n) {
            Some(left) => self.budget.set(left),
            None => return Err(io::Error::other(format!("one conversation has more than {LONGEST} bytes"))),
        }
        Ok(n)
    }
}

/// What the first value was.
enum Found {
    /// A list, of which everything was handed on.
    Done,
    Object(Map<String, Value>),
}

/// The first value of a text.
struct Top<'a, 't> {
    take: &'a mut Taker<'t>,
    budget: &'a Cell<usize>,
    stop: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = Found;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of conversations, one conversation, or a dictionary of sessions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut object = Map::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            object.insert(key, value);
        }
        Ok(Found::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        // A list of turns is one conversation; the first element says which it is.
        let mut turns: Option<Vec<Value>> = None;
        let mut number = 0_u64;
        while let Some(element) = list.next_element::<Value>()? {
            number += 1;
            if turns.is_none() && number == 1 && is_turn(&element) {
                turns = Some(Vec::new());
            }
            if let Some(turns) = &mut turns {
                turns.push(element);
                continue;
            }
            self.budget.set(LONGEST);
            for conversation in
                conversations(element).map_err(|why| A::Error::custom(format!("element {number} {why}")))?
            {
                if !(self.take)(conversation) {
                    *self.stop = true;
                    return Ok(Found::Done);
                }
            }
        }
        if let Some(turns) = turns {
            (self.take)(messages(&turns, None));
        }
        Ok(Found::Done)
    }
}

const SPEAKERS: [&str; 8] = ["speaker", "role", "author", "name", "from", "sender", "user", "type"];
const TEXTS: [&str; 8] = ["text", "content", "message", "body", "parts", "value", "utterance", "msg"];
const TIMES: [&str; 9] =
    ["time", "timestamp", "date", "datetime", "date_time", "created_at", "create_time", "created", "ts"];
const LISTS: [&str; 8] = ["messages", "turns", "conversation", "dialogue", "dialog", "history", "chat", "utterances"];
const MANY: [&str; 3] = ["sessions", "conversations", "chats"];

fn member<'v>(object: &'v Map<String, Value>, names: &[&str]) -> Option<&'v Value> {
    names.iter().find_map(|name| object.get(*name)).filter(|value| !value.is_null())
}

fn is_turn(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        member(object, &SPEAKERS).is_some() && member(object, &TEXTS).is_some() && member(object, &LISTS[..2]).is_none()
    })
}

/// The conversations of one element of a list.
fn conversations(element: Value) -> Result<Vec<Conversation>, String> {
    match element {
        Value::Array(turns) => Ok(vec![messages(&turns, None)]),
        Value::Object(object) => {
            let mut found = Vec::new();
            of_object(&object, &mut |conversation| {
                found.push(conversation);
                true
            })?;
            Ok(found)
        }
        other => Err(format!("is {}, and neither a list of turns nor an object with `messages`", kind(&other))),
    }
}

/// A text that is one object.
fn object(value: Value, take: &mut Taker<'_>) -> Result<(), String> {
    match value {
        Value::Object(object) => of_object(&object, take),
        other => Err(format!("it is {}", kind(&other))),
    }
}

fn of_object(object: &Map<String, Value>, take: &mut Taker<'_>) -> Result<(), String> {
    let said = member(object, &TIMES).and_then(time);
    for name in MANY {
        match object.get(name) {
            Some(Value::Array(list)) => {
                for (n, element) in list.iter().enumerate() {
                    let found = conversations(element.clone());
                    for conversation in found.map_err(|why| format!("element {} of `{name}` {why}", n + 1))? {
                        if !take(conversation) {
                            return Ok(());
                        }
                    }
                }
                return Ok(());
            }
            Some(Value::Object(inner)) => return of_object(inner, take),
            _ => {}
        }
    }
    for name in LISTS {
        match object.get(name) {
            Some(Value::Array(turns)) => {
                take(messages(turns, said));
                return Ok(());
            }
            Some(Value::Object(inner)) => return of_object(inner, take),
            _ => {}
        }
    }
    let mut sessions: Vec<(&String, &Vec<Value>)> = object
        .iter()
        .filter_map(|(name, value)| Some((name, value.as_array()?)))
        .filter(|(_, turns)| turns.iter().all(|turn| turn.is_object()))
        .filter(|(_, turns)| turns.is_empty() || turns.iter().any(is_turn))
        .collect();
    if sessions.iter().all(|(_, turns)| turns.is_empty()) {
        return Err(nearest(object));
    }
    sessions.sort_by_key(|(name, _)| natural(name));
    for (name, turns) in sessions {
        let dates = ["_date_time", "_datetime", "_date", "_time", "_timestamp"];
        let date = dates.iter().find_map(|suffix| object.get(&format!("{name}{suffix}")));
        let read = match date.map(|date| (date, time(date))) {
            Some((date, None)) => Err(format!("the time of {name:?} is {}: {A_TIME}", short(date))),
            Some((_, at)) => messages(turns, at),
            None => messages(turns, None),
        };
        if !take(read) {
            return Ok(());
        }
    }
    Ok(())
}

/// Values one after the other: turns of one conversation, or conversations.
fn lines(values: Vec<Value>, take: &mut Taker<'_>) -> Result<(), String> {
    if values.first().is_some_and(is_turn) {
        take(messages(&values, None));
        return Ok(());
    }
    for (n, value) in values.into_iter().enumerate() {
        for conversation in conversations(value).map_err(|why| format!("value {} {why}", n + 1))? {
            if !take(conversation) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Numbers in names by their size: `session_2` before `session_10`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(text);
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(digits);
        parts.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// Which form an object is nearest to, and what it lacks.
fn nearest(object: &Map<String, Value>) -> String {
    let keys: Vec<String> = object.keys().take(6).map(|key| short(&Value::String(key.clone()))).collect();
    let keys = keys.join(", ");
    let form = if let Some(name) = LISTS.iter().chain(&MANY).find(|name| object.contains_key(**name)) {
        format!(r#"{{"messages": [turn, …]}}, but its `{name}` is no list of turns"#)
    } else if member(object, &SPEAKERS).is_some() || member(object, &TEXTS).is_some() {
        let lacks = if member(object, &SPEAKERS).is_none() { "speaker" } else { "text" };
        format!("a turn, but has no {lacks}")
    } else if object.values().any(Value::is_array) {
        "a dictionary of sessions, but no list in it has turns with speaker and text".to_owned()
    } else {
        r#"{"messages": [turn, …]}, but has no list of turns"#.to_owned()
    };
    format!("is nearest to {form}; it has the keys {keys}")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    let cut: String = text.chars().take(60).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    crate::printable::printable_line(&format!("{cut}{dots}")).into_owned()
}

const A_TIME: &str =
    "a time is RFC 3339, seconds or milliseconds since 1970, `2023-05-08 13:56`, or `1:56 pm on 8 May, 2023`";

/// The turns of a conversation; those without a time have that of the conversation.
fn messages(turns: &[Value], said: Option<DateTime<Utc>>) -> Conversation {
    let turn = |(n, turn): (usize, &Value)| message(turn, said).map_err(|why| format!("turn {} {why}", n + 1));
    turns.iter().enumerate().map(turn).collect()
}

fn message(turn: &Value, said: Option<DateTime<Utc>>) -> Result<Message, String> {
    let Value::Object(object) = turn else { return Err(format!("is {}, and no object", kind(turn))) };
    let speaker = member(object, &SPEAKERS).and_then(speaker).ok_or("has no speaker: `speaker`, `role` or `author`")?;
    let mut text = member(object, &TEXTS).map(text).ok_or("has no text: `text`, `content` or `message`")??;
    if let Some(caption) = object.get("blip_caption").and_then(Value::as_str) {
        text += &format!(" [image: {caption}]");
    }
    let at = match member(object, &TIMES) {
        None => said,
        Some(value) => Some(time(value).ok_or_else(|| format!("has the time {}: {A_TIME}", short(value)))?),
    };
    Ok(Message { speaker, text, time: at })
}

fn speaker(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(object) => member(object, &["name", "role", "display_name", "username", "id"])
            .and_then(Value::as_str)
            .map(str::to_owned),
        _ => None,
    }
}

/// A text, a list of parts, or an object with one of them. What is no text is named by its kind.
fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Array(parts) => {
            let parts: Vec<String> = parts.iter().map(text).collect::<Result<_, _>>()?;
            Ok(parts.join("\n"))
        }
        Value::Object(object) => match member(object, &TEXTS) {
            Some(inner) if !inner.is_object() => text(inner),
            _ => match object.get("type").and_then(Value::as_str) {
                Some(kind) => Ok(format!("[{kind}]")),
                None => Err(format!("has a part without text or type: {}", short(value))),
            },
        },
        Value::Null => Ok(String::new()),
    }
}

/// The moment that a value says, to the microsecond.
fn time(value: &Value) -> Option<DateTime<Utc>> {
    let at = match value {
        Value::Number(number) => since_1970(number.as_f64()?),
        Value::String(text) => of_text(text.trim()),
        _ => None,
    };
    use chrono::Datelike;
    at.filter(|at| (1..=9999).contains(&at.year())).map(|at| at.trunc_subsecs(6))
}

/// Seconds, or by their size milli-, micro- or nanoseconds.
fn since_1970(number: f64) -> Option<DateTime<Utc>> {
    let micros = match number.abs() {
        n if n < 1e11 => number * 1e6,
        n if n < 1e14 => number * 1e3,
        n if n < 1e17 => number,
        n if n < 1e20 => number / 1e3,
        _ => return None,
    };
    DateTime::from_timestamp_micros(micros.round() as i64)
}

fn of_text(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc2822(text)) {
        return Some(at.to_utc());
    }
    if let Ok(number) = text.parse::<f64>()
        && text.len() >= 9
    {
        return since_1970(number);
    }
    const MOMENTS: [&str; 8] = [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M",
        "%Y/%m/%d %H:%M:%S",
        "%Y/%m/%d %H:%M",
        "%Y/%m/%d (%a) %H:%M",
        "%d %B %Y %H:%M",
    ];
    const OFFSETS: [&str; 3] = ["%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f %z"];
    const DATES: [&str; 5] = ["%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%B %d, %Y", "%d %B, %Y"];
    let whole = OFFSETS.iter().find_map(|form| DateTime::parse_from_str(text, form).ok()).map(|at| at.to_utc());
    let moment = || MOMENTS.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let date =
        || DATES.iter().find_map(|form| NaiveDate::parse_from_str(text, form).ok()).map(|d| d.and_time(NaiveTime::MIN));
    whole.or_else(|| moment().or_else(date).or_else(|| spoken(text)).map(|at| Utc.from_utc_datetime(&at)))
}

/// `1:56 pm on 8 May, 2023`, and its kin with a comma or an `at`.
fn spoken(text: &str) -> Option<NaiveDateTime> {
    let (clock, date) = text.split_once(" on ").or_else(|| {
        let (date, clock) = text.split_once(" at ")?;
        Some((clock, date))
    })?;
    let clock = clock.trim().to_uppercase().replace('.', "");
    let clock = ["%I:%M %p", "%I:%M%p", "%I %p", "%I%p", "%H:%M:%S", "%H:%M"]
        .iter()
        .find_map(|form| NaiveTime::parse_from_str(&on_the_hour(&clock), form).ok())?;
    let date = ["%d %B, %Y", "%d %B %Y", "%B %d, %Y", "%Y-%m-%d"]
        .iter()
        .find_map(|form| NaiveDate::parse_from_str(date.trim(), form).ok())?;
    Some(date.and_time(clock))
}

/// `3 PM` as `3:00 PM`: an hour alone is no time to the parser.
fn on_the_hour(clock: &str) -> String {
    let digits = clock.find(|c: char| !c.is_ascii_digit()).unwrap_or(clock.len());
    let rest = clock[digits..].trim_start();
    if digits > 0 && matches!(rest, "AM" | "PM") { format!("{}:00 {rest}", &clock[..digits]) } else { clock.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Vec<Conversation>, String> {
        let mut found = Vec::new();
        read(text.as_bytes(), &mut |conversation| {
            found.push(conversation);
            true
        })?;
        Ok(found)
    }

    fn told(text: &str) -> Vec<Vec<(String, String)>> {
        let found = all(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let turns = |messages: Vec<Message>| messages.into_iter().map(|m| (m.speaker, m.text)).collect();
        found.into_iter().map(|read| turns(read.unwrap_or_else(|e| panic!("{text}: {e}")))).collect()
    }

    #[test]
    fn v12_every_form_of_a_conversation_is_read() {
        let turn = |speaker: &str, text: &str| (speaker.to_owned(), text.to_owned());
        let (one, two) = (vec![turn("Ann", "hello"), turn("Bo", "hi")], vec![turn("Ann", "again")]);
        let (a, b) = (
            r#"[{"speaker":"Ann","text":"hello"},{"role":"Bo","content":"hi"}]"#,
            r#"[{"author":"Ann","message":"again"}]"#,
        );
        for text in [
            format!("[{a},{b}]"),
            format!(r#"[{{"messages":{a}}},{{"id":7,"turns":{b}}}]"#),
            format!(r#"{{"sessions":[{a},{b}]}}"#),
            format!(r#"{{"conversations":[{{"messages":{a}}},{{"messages":{b}}}]}}"#),
            format!(
                r#"{{"speaker_a":"Ann","session_10":{b},"session_10_date_time":"1:56 pm on 8 May, 2023","session_2":{a}}}"#
            ),
            format!(r#"[{{"qa":[],"conversation":{{"session_1":{a},"session_2":{b}}}}}]"#),
            format!("{{\"messages\":{a}}}\n{{\"messages\":{b}}}\n"),
        ] {
            assert_eq!(told(&text), [one.clone(), two.clone()], "{text}");
        }
        for text in [
            a.to_owned(),
            format!(r#"{{"messages":{a}}}"#),
            format!("[{a}]"),
            "{\"speaker\":\"Ann\",\"text\":\"hello\"}\n{\"role\":\"Bo\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}".to_owned(),
            r#"[{"author":{"role":"Ann"},"content":{"content_type":"text","parts":["hello"]}},{"from":"Bo","value":"hi"}]"#.to_owned(),
        ] {
            assert_eq!(told(&text), std::slice::from_ref(&one), "{text}");
        }
        let parts = r#"[{"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"x"}}]}]"#;
        assert_eq!(told(parts), [[turn("user", "see\n[image_url]")]]);
        assert!(told("[]").is_empty());
    }

    #[test]
    fn v12_times_are_read_as_people_write_them() {
        let at = "2023-05-08T13:56:00+00:00";
        for text in [
            r#""2023-05-08T13:56:00Z""#,
            r#""2023-05-08T15:56:00+02:00""#,
            r#""2023-05-08 13:56""#,
            r#""2023-05-08 13:56:00.000""#,
            r#""1:56 pm on 8 May, 2023""#,
            r#""8 May 2023 at 1:56 PM""#,
            r#""Mon, 8 May 2023 13:56:00 +0000""#,
            "1683554160",
            "1683554160000",
            "1683554160.0",
            r#""1683554160""#,
        ] {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            assert_eq!(time(&value).map(|at| at.to_rfc3339()).as_deref(), Some(at), "{text}");
        }
        assert_eq!(
            time(&Value::from("2023-05-08")).map(|at| at.to_rfc3339()).as_deref(),
            Some("2023-05-08T00:00:00+00:00")
        );
        assert_eq!(
            time(&Value::from("3 pm on 8 May, 2023")).map(|at| at.to_rfc3339()).as_deref(),
            Some("2023-05-08T15:00:00+00:00")
        );
        for text in ["yesterday", "", "99999-01-01T00:00:00Z", "25:00 on 8 May, 2023"] {
            assert_eq!(time(&Value::from(text)), None, "{text}");
        }
        let found = all(r#"{"session_1":[{"speaker":"A","text":"x"}],"session_1_date_time":"1:56 pm on 8 May, 2023"}"#);
        let first = found.ok().and_then(|mut found| found.remove(0).ok()).and_then(|messages| messages[0].time);
        assert_eq!(first.map(|at| at.to_rfc3339()).as_deref(), Some(at), "a session's time is that of its turns");
    }

    #[test]
    fn v12_what_is_refused_says_what_it_is_nearest_to() {
        for (text, why) in [
            (r#"[[{"speaker":"A","text":"x"}], {"no": "list"}]"#, "element 2 is nearest to {\"messages\": [turn, …]}"),
            (r#"{"messages": "none"}"#, "its `messages` is no list of turns"),
            (r#"{"speaker": "A"}"#, "a turn, but has no text"),
            (r#"{"a": [1, 2]}"#, "a dictionary of sessions"),
            ("[1]", "element 1 is a number"),
            ("7", "expected a list of conversations"),
            ("[[", "EOF"),
            ("", "EOF"),
        ] {
            let refused = all(text).expect_err(text);
            assert!(refused.contains(why), "{text}: {refused}");
        }
        for (text, why) in [
            (r#"[[{"speaker":"A"}]]"#, "turn 1 has no text"),
            (r#"[[{"speaker":"A","text":"x"},{"text":"x"}]]"#, "turn 2 has no speaker"),
            (r#"[[{"speaker":"A","text":"x","time":"soon"}]]"#, "turn 1 has the time \"soon\": a time is RFC 3339"),
            ("[[3]]", "turn 1 is a number"),
        ] {
            let found = all(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert!(matches!(&found[..], [Err(said)] if said.contains(why)), "{text}: {found:?}");
        }
    }

    #[test]
    fn w7_whatever_a_file_holds_it_is_read_or_refused() {
        let mut random = fastrand::Rng::with_seed(7);
        let whole = r#"[{"messages":[{"speaker":"Ann","text":["a",{"type":"text","text":"b"}],"time":1683554160}]},[{"role":"x","content":"y"}]]"#;
        for _ in 0..20_000 {
            let mut bytes = whole.as_bytes().to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                match random.u8(..3) {
                    0 => bytes[at] = random.u8(..),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"[]{},:\"0e-."[random.usize(..11)]),
                }
            }
            drop(read(&bytes[..], &mut |_| true));
        }
        assert!(all(&"[".repeat(100_000)).is_err());
        assert!(all(&"{\"a\":".repeat(100_000)).is_err());
    }
}
