//! PostgreSQL's wire protocol, as far as a proxy must read it: where a message ends, what kind it is, and which
//! statement it speaks of.
//!
//! Nothing here changes a byte. A frame is forwarded exactly as it was read, or not at all.

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// No message of a test comes near this; a larger length means that the stream was misread.
const LONGEST_FRAME: usize = 1 << 30;

/// Who a message is on its way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client (frontend) to the server.
    ToServer,
    /// From the server (backend) to the client.
    ToClient,
}

/// What a frame is. Frames after the startup carry their kind in their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The first message of a connection: user, database, options.
    Startup,
    /// A question whether the connection may be encrypted.
    EncryptionRequest,
    /// A request on a connection of its own to cancel a statement.
    Cancel,
    /// Any later message, by its type byte (`b'Q'` query, `b'C'` command complete, …).
    Typed(u8),
}

/// One whole protocol message as it stood on the wire.
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Every byte of it, header included.
    pub bytes: Vec<u8>,
}

impl Frame {
    fn body(&self) -> &[u8] {
        match self.kind {
            Kind::Typed(_) => &self.bytes[5..],
            _ => &self.bytes[4..],
        }
    }
}

/// Reads the next message, or `None` at the end of the stream (a partial message counts as the end).
pub async fn read_frame(source: &mut (impl AsyncRead + Unpin), started: bool) -> io::Result<Option<Frame>> {
    let mut bytes = vec![0; if started { 5 } else { 4 }];
    if !filled(source, &mut bytes).await? {
        return Ok(None);
    }
    let header = bytes.len();
    let length = be_u32(&bytes[header - 4..]) as usize;
    if !(4..LONGEST_FRAME).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    bytes.resize(header - 4 + length, 0);
    if !filled(source, &mut bytes[header..]).await? {
        return Ok(None);
    }
    let kind = if started { Kind::Typed(bytes[0]) } else { first_kind(&bytes) };
    Ok(Some(Frame { kind, bytes }))
}

async fn filled(source: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> io::Result<bool> {
    match source.read_exact(into).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn first_kind(bytes: &[u8]) -> Kind {
    match bytes.get(4..8).map(be_u32) {
        Some(SSL_REQUEST | GSS_REQUEST) => Kind::EncryptionRequest,
        Some(CANCEL_REQUEST) => Kind::Cancel,
        _ => Kind::Startup,
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

/// The statements that a client has prepared and bound on one connection, so that Execute can be told by its text.
#[derive(Default)]
pub struct Statements {
    prepared: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, String>,
}

impl Statements {
    /// What a message is about: the SQL of a query, the tag of a completion, the SQLSTATE and text of an error,
    /// the transaction status of ReadyForQuery, the parameters of a startup; otherwise nothing.
    pub fn text_of(&mut self, direction: Direction, frame: &Frame) -> String {
        match (direction, frame.kind) {
            (Direction::ToServer, Kind::Typed(b'Q')) => string_at(frame.body()).0,
            (Direction::ToServer, Kind::Typed(b'P')) => self.parsed(frame.body()),
            (Direction::ToServer, Kind::Typed(b'B')) => self.bound(frame.body()),
            (Direction::ToServer, Kind::Typed(b'E')) => {
                self.portals.get(bytes_at(frame.body()).0).cloned().unwrap_or_default()
            }
            (Direction::ToServer, Kind::Startup) => printable(frame.body().get(4..).unwrap_or_default()),
            (Direction::ToClient, Kind::Typed(b'C')) => string_at(frame.body()).0,
            (Direction::ToClient, Kind::Typed(b'E' | b'N')) => error_text(frame.body()),
            (Direction::ToClient, Kind::Typed(b'Z')) => printable(frame.body()),
            _ => String::new(),
        }
    }

    fn parsed(&mut self, body: &[u8]) -> String {
        let (name, rest) = bytes_at(body);
        let sql = string_at(rest).0;
        self.prepared.insert(name.to_vec(), sql.clone());
        sql
    }

    fn bound(&mut self, body: &[u8]) -> String {
        let (portal, rest) = bytes_at(body);
        let sql = self.prepared.get(bytes_at(rest).0).cloned().unwrap_or_default();
        self.portals.insert(portal.to_vec(), sql.clone());
        sql
    }
}

/// `SQLSTATE message` of an ErrorResponse or NoticeResponse.
fn error_text(mut body: &[u8]) -> String {
    let (mut code, mut message) = (String::new(), String::new());
    while let Some((&field, rest)) = body.split_first().filter(|(field, _)| **field != 0) {
        let (value, rest) = string_at(rest);
        match field {
            b'C' => code = value,
            b'M' => message = value,
            _ => {}
        }
        body = rest;
    }
    format!("{code} {message}")
}

/// A FATAL ErrorResponse with this SQLSTATE, as a server sends it before it closes a connection.
pub fn fatal(sqlstate: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, value) in [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', sqlstate), (b'M', "sent by the fault proxy")] {
        body.push(field);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("a short message");
    [&[b'E'][..], &length.to_be_bytes(), &body].concat()
}

fn bytes_at(body: &[u8]) -> (&[u8], &[u8]) {
    let end = body.iter().position(|byte| *byte == 0).unwrap_or(body.len());
    (&body[..end], body.get(end + 1..).unwrap_or_default())
}

fn string_at(body: &[u8]) -> (String, &[u8]) {
    let (text, rest) = bytes_at(body);
    (String::from_utf8_lossy(text).into_owned(), rest)
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' }).collect()
}
