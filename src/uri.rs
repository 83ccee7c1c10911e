//! Context URIs: `ctx://{account}/…`, the only names of nodes.
//!
//! What it is for: to turn any spelling of a name into its one canonical form, so that two strings never name one node
//! (V1), to say what kind of thing a URI names and whose it is, and to give the ranges in which its subtree lies. It is
//! pure: it never asks a database, and it never guesses what a malformed URI might have meant.
//!
//! # The canonical form
//!
//! `ctx://`, then segments joined by `/`, with no slash at the end. In a segment the characters `A-Z a-z 0-9 - . _ ~`
//! stand for themselves; every other byte of its UTF-8 (in Unicode's composed form, NFC) is `%` and two upper-case
//! hexadecimal digits. [`Uri::parse`] also takes what people type (spaces, umlauts, one slash at the end, lower-case
//! digits) and gives the canonical form back; `_`, `%` and `\` in a name are data and nothing else.
//!
//! # The forms
//!
//! ```text
//! ctx://{account}/users/{id}/memories[/{category}[/{slug}]]      users/{id}/memories/profile
//! ctx://{account}/agents/{id}/memories[/{category}[/{slug}]]     agents/{id}/skills[/{name}]
//! ctx://{account}/sessions/{id}/history[/{archive}]              sessions/{id}/state   sessions/{id}/state.json
//! ctx://{account}/resources[/… to any depth]
//! ```
//!
//! The folders above these (`ctx://{account}`, `…/users`, `…/users/{id}`, …) are URIs too, so that they can be listed;
//! they hold no node of their own ([`Uri::holds_nodes`]).

use std::{borrow::Cow, fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use unicode_normalization::UnicodeNormalization;

/// The longest canonical form, in bytes.
pub const MAX_URI_BYTES: usize = 1024;

pub(crate) const SCHEME: &str = "ctx://";

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A context URI in its canonical form.
///
/// Ordered and compared by that form. [`fmt::Display`] writes it; [`Uri::pretty`] is the readable spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uri {
    text: String,
    kind: Kind,
}

/// What a URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `ctx://{account}`: everything of an account.
    Account,
    /// `users`, `agents` or `sessions`: a folder of spaces.
    Spaces,
    /// `users/{id}`, `agents/{id}` or `sessions/{id}`: a space.
    Space,
    /// `…/memories`: the memories of a user or an agent.
    Memories,
    /// `…/memories/{category}`.
    Category,
    /// `…/memories/{category}/{slug}`.
    Memory,
    /// `users/{id}/memories/profile`.
    Profile,
    /// `agents/{id}/skills`.
    Skills,
    /// `agents/{id}/skills/{name}`.
    Skill,
    /// `sessions/{id}/history`.
    History,
    /// `sessions/{id}/history/{archive}`.
    Archive,
    /// `sessions/{id}/state` or `sessions/{id}/state.json`.
    State,
    /// `resources`, and everything below it.
    Resource,
}

/// The type of a node, which follows from its URI (V3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeType {
    /// What a user or an agent remembers.
    Memory,
    /// What an agent can do.
    Skill,
    /// A conversation: its archives and its state.
    Session,
    /// What the whole account shares.
    Resource,
}

impl NodeType {
    /// The name that is stored and indexed.
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeType::Memory => "memory",
            NodeType::Skill => "skill",
            NodeType::Session => "session",
            NodeType::Resource => "resource",
        }
    }
}

/// Whose a URI is, as far as the URI tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A user's space.
    User(String),
    /// An agent's space.
    Agent(String),
    /// A session: it belongs to the space that created it, which the URI does not tell (V2).
    Session(String),
    /// The resources of the account.
    Shared,
    /// A folder above the spaces, which belongs to nobody and holds no node.
    Nobody,
}

/// The owner space of the resources of an account.
pub const SHARED_SPACE: &str = "shared";

impl Owner {
    /// The name of the owner space that is stored with a node: `user:{id}`, `agent:{id}` or `shared`, the identifier
    /// percent-encoded. `None` for a session, whose space is that of its creator.
    pub fn space(&self) -> Option<String> {
        match self {
            Owner::User(id) => Some(format!("user:{}", encode(id))),
            Owner::Agent(id) => Some(format!("agent:{}", encode(id))),
            Owner::Shared => Some(SHARED_SPACE.to_owned()),
            Owner::Session(_) | Owner::Nobody => None,
        }
    }
}

/// Why a text is no context URI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriReason {
    /// Not `ctx://`.
    #[error("a context URI begins with `ctx://`")]
    Scheme,
    /// Nothing after `ctx://`.
    #[error("the account is missing after `ctx://`")]
    NoAccount,
    /// Two slashes in a row, or more than one at the end.
    #[error("it has an empty segment (`//`)")]
    EmptySegment,
    /// `.` or `..`, encoded or not.
    #[error("`.` and `..` are not allowed as segments")]
    DotSegment,
    /// A newline at the end: usually a line that was read and not trimmed.
    #[error("it ends with a newline")]
    FinalNewline,
    /// A control character, a line or paragraph separator.
    #[error("it has a control character (U+{0:04X})")]
    Control(u32),
    /// A `%` that is not followed by two hexadecimal digits.
    #[error("a `%` must be followed by two hexadecimal digits (a `%` in a name is written `%25`)")]
    BadPercent,
    /// Percent-encoded bytes that are not UTF-8.
    #[error("its percent-encoded bytes are not UTF-8")]
    NotUtf8,
    /// A `/` inside a segment, as `%2F`.
    #[error("a name cannot have a `/` in it (`%2F`)")]
    EncodedSlash,
    /// `?` or `#`, which would begin a query or a fragment.
    #[error("`{0}` must be written `%{code:02X}`: a context URI has no query and no fragment", code = *.0 as u32)]
    QueryOrFragment(char),
    /// Over [`MAX_URI_BYTES`] in canonical form.
    #[error("its canonical form has {0} bytes, more than {MAX_URI_BYTES}")]
    TooLong(usize),
    /// No place of the scheme.
    #[error("{0}")]
    Form(&'static str),
}

/// A text that was refused as a URI, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a context URI: {reason}", shown(.input))]
pub struct UriError {
    /// What was given.
    pub input: String,
    /// What is wrong with it.
    pub reason: UriReason,
}

/// The input in a message: quoted, control characters escaped, cut to a readable length.
fn shown(input: &str) -> String {
    const LONGEST: usize = 120;
    let cut: String = input.chars().take(LONGEST).collect();
    let dots = if cut.len() < input.len() { "…" } else { "" };
    format!("{cut:?}{dots}")
}

impl Uri {
    /// Reads a URI in any accepted spelling.
    ///
    /// # Errors
    /// [`UriError`] with the reason (V1).
    pub fn parse(input: &str) -> Result<Self, UriError> {
        parse(input).map_err(|reason| UriError { input: input.to_owned(), reason })
    }

    /// The root of an account.
    ///
    /// # Errors
    /// [`UriError`] if `account` cannot be a segment.
    pub fn account_root(account: &str) -> Result<Self, UriError> {
        let segment = canonical_name(account).map_err(|reason| UriError { input: account.to_owned(), reason })?;
        Self::from_canonical(format!("{SCHEME}{segment}"))
    }

    /// Takes a text that is canonical already and only finds its kind.
    fn from_canonical(text: String) -> Result<Self, UriError> {
        if text.len() > MAX_URI_BYTES {
            let reason = UriReason::TooLong(text.len());
            return Err(UriError { input: text, reason });
        }
        match kind_of(&text) {
            Ok(kind) => Ok(Self { text, kind }),
            Err(reason) => Err(UriError { input: text, reason }),
        }
    }

    /// The canonical form.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it names.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The readable spelling, with the names decoded. For people only: it is not an address.
    pub fn pretty(&self) -> String {
        let segments: Vec<_> = self.segments().map(decode).collect();
        format!("{SCHEME}{}", segments.join("/"))
    }

    /// The last segment as people read it, which [`Uri::parse`] reads back as that name behind its folder: what would mean something
    /// else there, and what does not show on a line (control and direction characters, spaces at an end), is percent-encoded.
    pub fn pasteable_name(&self) -> String {
        let name = self.name();
        let mut spelled = String::with_capacity(name.len());
        let (first, last) = (name.chars().next(), name.chars().next_back());
        for (at, c) in name.char_indices() {
            let end = (at == 0 && first == Some(c)) || (at + c.len_utf8() == name.len() && last == Some(c));
            let hidden = crate::printable::printable_line(c.encode_utf8(&mut [0; 4])) != c.to_string();
            // Any white space but one between other characters would be lost, or is not what it seems.
            if matches!(c, '%' | '?' | '#') || hidden || (c.is_whitespace() && (end || c != ' ')) {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    spelled.push_str(&format!("%{byte:02X}"));
                }
            } else {
                spelled.push(c);
            }
        }
        spelled
    }

    /// The segments, account first, in canonical spelling.
    fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text[SCHEME.len()..].split('/')
    }

    /// The account, decoded.
    pub fn account(&self) -> Cow<'_, str> {
        decode(self.segments().next().unwrap_or_default())
    }

    /// The last segment, decoded. The root of an account has the account's name.
    pub fn name(&self) -> Cow<'_, str> {
        decode(self.encoded_name())
    }

    /// The last segment, in canonical spelling.
    pub fn encoded_name(&self) -> &str {
        self.segments().next_back().unwrap_or_default()
    }

    /// How many segments follow the account.
    pub fn depth(&self) -> usize {
        self.segments().count() - 1
    }

    /// The folder that it lies in; `None` for the root of an account.
    pub fn parent(&self) -> Option<Uri> {
        let (parent, _) = self.text.rsplit_once('/').filter(|(parent, _)| parent.len() > SCHEME.len())?;
        Self::from_canonical(parent.to_owned()).ok()
    }

    /// The URI of `name` in this folder. `name` is plain text, not percent-encoded: a file's name, say.
    ///
    /// # Errors
    /// [`UriError`] if the name cannot be a segment, if the scheme has no such place, or if it becomes too long.
    pub fn child(&self, name: &str) -> Result<Uri, UriError> {
        let refuse = |reason| UriError { input: format!("{}/{name}", self.text), reason };
        let segment = canonical_name(name).map_err(refuse)?;
        Self::from_canonical(format!("{}/{segment}", self.text))
    }

    /// Whether `folder` is this URI or lies above it. Compares whole segments: `a` is not in `a_b`'s way.
    pub fn starts_with_folder(&self, folder: &Uri) -> bool {
        self.text.strip_prefix(&folder.text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether this URI lies below `folder`, and is not it.
    pub fn is_below(&self, folder: &Uri) -> bool {
        self != folder && self.starts_with_folder(folder)
    }

    /// This URI with the part that is `from` replaced by `to`, as a move does it.
    ///
    /// # Errors
    /// [`UriError`] if it does not lie in `from`, or if the result is no place of the scheme or too long.
    pub fn rebase(&self, from: &Uri, to: &Uri) -> Result<Uri, UriError> {
        match self.text.strip_prefix(&from.text) {
            Some(rest) if self.starts_with_folder(from) => Self::from_canonical(format!("{}{rest}", to.text)),
            _ => Err(UriError {
                input: self.text.clone(),
                reason: UriReason::Form("it does not lie in the folder that moves"),
            }),
        }
    }

    /// Everything strictly below this URI, as a half-open range of canonical forms in byte order: `>= .0` and `< .1`.
    ///
    /// `0` is the byte after `/`, so nothing else lies between, and no character of a name means anything (V6).
    pub fn below(&self) -> (String, String) {
        (format!("{}/", self.text), format!("{}0", self.text))
    }

    /// Whether a node may be stored here: the folders above the spaces hold none.
    pub fn holds_nodes(&self) -> bool {
        !matches!(self.kind, Kind::Account | Kind::Spaces | Kind::Space)
    }

    /// Whose it is (V3).
    pub fn owner(&self) -> Owner {
        let mut segments = self.segments().skip(1);
        let (space, id) = (segments.next(), segments.next().map(|id| decode(id).into_owned()));
        match (space, id) {
            (Some("users"), Some(id)) => Owner::User(id),
            (Some("agents"), Some(id)) => Owner::Agent(id),
            (Some("sessions"), Some(id)) => Owner::Session(id),
            (Some("resources"), _) => Owner::Shared,
            _ => Owner::Nobody,
        }
    }

    /// The category of a memory: the segment after `memories`, or `profile`, in canonical spelling, as it is stored (V3).
    pub fn category(&self) -> Option<&str> {
        match self.kind {
            Kind::Category | Kind::Memory | Kind::Profile => self.segments().nth(4),
            _ => None,
        }
    }

    /// How many levels of nodes may lie below this place; `None` if there is no bound.
    pub fn levels_below(&self) -> Option<usize> {
        match self.kind {
            Kind::Resource | Kind::Account | Kind::Spaces | Kind::Space => None,
            Kind::Memories => Some(2),
            Kind::Category | Kind::Skills | Kind::History => Some(1),
            Kind::Memory | Kind::Profile | Kind::Skill | Kind::Archive | Kind::State => Some(0),
        }
    }

    /// The session that it belongs to, as the URI of that session's folder.
    pub fn session_root(&self) -> Option<Uri> {
        let mut segments = self.segments();
        let (account, top, id) = (segments.next()?, segments.next()?, segments.next()?);
        if top != "sessions" {
            return None;
        }
        Self::from_canonical(format!("{SCHEME}{account}/{top}/{id}")).ok()
    }

    /// The type of a node here; `None` where no node is held.
    pub fn node_type(&self) -> Option<NodeType> {
        match self.kind {
            Kind::Memories | Kind::Category | Kind::Memory | Kind::Profile => Some(NodeType::Memory),
            Kind::Skills | Kind::Skill => Some(NodeType::Skill),
            Kind::History | Kind::Archive | Kind::State => Some(NodeType::Session),
            Kind::Resource => Some(NodeType::Resource),
            Kind::Account | Kind::Spaces | Kind::Space => None,
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s)
    }
}

impl AsRef<str> for Uri {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl serde::Serialize for Uri {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Uri {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Uri::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A plain name as a canonical segment.
pub(crate) fn encode(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

/// A canonical segment as a plain name.
pub(crate) fn decode(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

fn parse(input: &str) -> Result<Uri, UriReason> {
    let scheme_len = SCHEME.len();
    let scheme = input.get(..scheme_len).filter(|s| s.eq_ignore_ascii_case(SCHEME));
    if scheme.is_none() {
        return Err(UriReason::Scheme);
    }
    if input.ends_with('\n') || input.ends_with('\r') {
        return Err(UriReason::FinalNewline);
    }
    let rest = &input[scheme_len..];
    let path = rest.strip_suffix('/').unwrap_or(rest);
    if path.is_empty() {
        return Err(if rest.is_empty() || rest == "/" { UriReason::NoAccount } else { UriReason::EmptySegment });
    }
    if is_plain(input, path) {
        // Every name that is stored is spelled so, unless it has other characters.
        let kind = kind_of(input)?;
        return Ok(Uri { text: input.to_owned(), kind });
    }
    let mut text = String::with_capacity(input.len());
    text.push_str(SCHEME);
    for (i, segment) in path.split('/').enumerate() {
        if i > 0 {
            text.push('/');
        }
        text.push_str(&canonical_segment(segment)?);
    }
    if text.len() > MAX_URI_BYTES {
        return Err(UriReason::TooLong(text.len()));
    }
    let kind = kind_of(&text)?;
    Ok(Uri { text, kind })
}

/// Whether a text is canonical at first sight: characters that stand for themselves, and no segment that would be refused.
fn is_plain(input: &str, path: &str) -> bool {
    let stands_for_itself =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.' | b'/');
    input.len() <= MAX_URI_BYTES
        && input.starts_with(SCHEME)
        && input.len() == SCHEME.len() + path.len()
        && path.as_bytes().iter().all(stands_for_itself)
        && path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// A segment as it was typed, in canonical spelling.
fn canonical_segment(segment: &str) -> Result<String, UriReason> {
    if let Some(c) = segment.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(UriReason::QueryOrFragment(c));
    }
    let bytes = segment.as_bytes();
    for (i, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = bytes.get(i + 1..i + 3).ok_or(UriReason::BadPercent)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(UriReason::BadPercent);
        }
    }
    let name = percent_decode_str(segment).decode_utf8().map_err(|_| UriReason::NotUtf8)?;
    canonical_name(&name)
}

/// A plain name in canonical spelling. Checked after normalisation, so that what is stored is what was checked.
fn canonical_name(name: &str) -> Result<String, UriReason> {
    let name: String = name.nfc().collect();
    match name.as_str() {
        "" => return Err(UriReason::EmptySegment),
        "." | ".." => return Err(UriReason::DotSegment),
        _ => {}
    }
    for c in name.chars() {
        match c {
            '/' => return Err(UriReason::EncodedSlash),
            // Line and paragraph separators break listings as newlines do, though Unicode does not call them controls.
            '\u{2028}' | '\u{2029}' => return Err(UriReason::Control(c as u32)),
            c if c.is_control() => return Err(UriReason::Control(c as u32)),
            _ => {}
        }
    }
    Ok(encode(&name))
}

/// What a canonical text names, or why the scheme has no such place.
fn kind_of(text: &str) -> Result<Kind, UriReason> {
    let mut segments = text[SCHEME.len()..].split('/').skip(1);
    let Some(top) = segments.next() else { return Ok(Kind::Account) };
    let rest: Vec<&str> = segments.collect();
    match top {
        "resources" => Ok(Kind::Resource),
        "users" => user_kind(&rest),
        "agents" => agent_kind(&rest),
        "sessions" => session_kind(&rest),
        _ => Err(UriReason::Form("after the account comes `users`, `agents`, `sessions` or `resources`")),
    }
}

fn user_kind(rest: &[&str]) -> Result<Kind, UriReason> {
    match rest {
        [] => Ok(Kind::Spaces),
        [_] => Ok(Kind::Space),
        [_, "memories", "profile"] => Ok(Kind::Profile),
        [_, "memories", "profile", ..] => Err(UriReason::Form("`memories/profile` is one node, nothing lies below it")),
        [_, "memories", memory @ ..] => memory_kind(memory),
        _ => Err(UriReason::Form("a user has `memories` and nothing else")),
    }
}

fn agent_kind(rest: &[&str]) -> Result<Kind, UriReason> {
    match rest {
        [] => Ok(Kind::Spaces),
        [_] => Ok(Kind::Space),
        [_, "memories", memory @ ..] => memory_kind(memory),
        [_, "skills"] => Ok(Kind::Skills),
        [_, "skills", _] => Ok(Kind::Skill),
        [_, "skills", ..] => Err(UriReason::Form("a skill is `skills/{name}`, nothing lies below it")),
        _ => Err(UriReason::Form("an agent has `memories` and `skills` and nothing else")),
    }
}

fn memory_kind(rest: &[&str]) -> Result<Kind, UriReason> {
    match rest {
        [] => Ok(Kind::Memories),
        [_] => Ok(Kind::Category),
        [_, _] => Ok(Kind::Memory),
        _ => Err(UriReason::Form("a memory is `memories/{category}/{slug}`, nothing lies below it")),
    }
}

fn session_kind(rest: &[&str]) -> Result<Kind, UriReason> {
    match rest {
        [] => Ok(Kind::Spaces),
        [_] => Ok(Kind::Space),
        [_, "history"] => Ok(Kind::History),
        [_, "history", _] => Ok(Kind::Archive),
        [_, "history", ..] => Err(UriReason::Form("an archive is `history/{archive}`, nothing lies below it")),
        [_, "state" | "state.json"] => Ok(Kind::State),
        [_, "state" | "state.json", ..] => Err(UriReason::Form("a session's state is one node, nothing lies below it")),
        _ => Err(UriReason::Form("a session has `history`, `state` and `state.json` and nothing else")),
    }
}
