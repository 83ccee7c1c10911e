//! What a node yields for the index, and how those records are named (V13).
//!
//! Pure: text in, records out. A level whose text is empty has no record, so emptied text leaves the index by the same
//! rule by which it never entered it.

use context_entities::{index_record::Level, node};
use sea_orm::prelude::Uuid;
use sha2::{Digest, Sha256};

use crate::uri::Uri;
pub use crate::words::{Analyzed, VERSION as WORDS_VERSION, analyze};

/// The levels, in order.
pub const LEVELS: [Level; 3] = [Level::Abstract, Level::Overview, Level::Content];

/// One text of one node, as an index holds it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// Sixteen hexadecimal digits ([`record_id`]).
    pub id: String,
    /// The tenant.
    pub account_id: String,
    /// The node whose text it is.
    pub node_id: Uuid,
    /// The record's own address ([`record_uri`]).
    pub uri: String,
    /// Which text it is.
    #[serde(with = "level")]
    pub level: Level,
    /// The owner space to filter by.
    pub owner_space: String,
    /// The category to filter by.
    pub category: Option<String>,
    /// The type to filter by.
    pub node_type: String,
    /// The node's name, readable, which weighs more in a search.
    pub title: String,
    /// The text.
    pub body: String,
    /// The node's version that the text is of.
    pub version: i64,
}

/// The number of a level.
pub const fn level_number(level: Level) -> u8 {
    match level {
        Level::Abstract => 0,
        Level::Overview => 1,
        Level::Content => 2,
    }
}

/// The level with a number.
fn level_of(number: u8) -> Option<Level> {
    LEVELS.into_iter().find(|level| level_number(*level) == number)
}

/// A level as its number, for sinks that write JSON.
mod level {
    use context_entities::index_record::Level;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(level: &Level, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(super::level_number(*level))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Level, D::Error> {
        let number = u8::deserialize(from)?;
        super::level_of(number).ok_or_else(|| D::Error::custom(format!("there is no level {number}")))
    }
}

/// The address of a node's record: the node's own for abstract and overview, `{uri}/content.md` for the content.
pub fn record_uri(node_uri: &str, level: Level) -> String {
    match level {
        Level::Abstract | Level::Overview => node_uri.to_owned(),
        Level::Content => format!("{node_uri}/content.md"),
    }
}

/// The name of a node's record: the first 16 hexadecimal digits of SHA-256 of `{record uri}:{level}`.
pub fn record_id(node_uri: &str, level: Level) -> String {
    let digest = Sha256::digest(format!("{}:{}", record_uri(node_uri, level), level_number(level)));
    hex(&digest[..8])
}

/// SHA-256 of a text in hexadecimal, as `content_hash` holds it.
pub fn content_hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The records that an index should hold of a node: none unless it is active, none for an empty text.
pub fn records_of(node: &node::Model) -> Vec<Record> {
    if node.status != node::Status::Active {
        return Vec::new();
    }
    let title = Uri::parse(&node.uri).map_or_else(|_| node.name.clone(), |uri| uri.name().into_owned());
    LEVELS
        .into_iter()
        .filter_map(|level| {
            let body = text_of(node, level);
            (!body.trim().is_empty()).then(|| Record {
                id: record_id(&node.uri, level),
                account_id: node.account_id.clone(),
                node_id: node.id,
                uri: record_uri(&node.uri, level),
                level,
                owner_space: node.owner_space.clone(),
                category: node.category.clone(),
                node_type: node.node_type.clone(),
                title: title.clone(),
                body: body.to_owned(),
                version: node.version,
            })
        })
        .collect()
}

fn text_of(node: &node::Model, level: Level) -> &str {
    match level {
        Level::Abstract => &node.r#abstract,
        Level::Overview => &node.overview,
        Level::Content => &node.content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v13_record_ids_are_the_hash_of_address_and_level() {
        let uri = "ctx://acme/resources/a";
        // `printf 'ctx://acme/resources/a:0' | sha256sum`, and so on: fixed, so that an index survives a release.
        assert_eq!(record_id(uri, Level::Abstract), ID0);
        assert_eq!(record_id(uri, Level::Overview), ID1);
        assert_eq!(record_id(uri, Level::Content), ID2);
        assert_eq!(record_uri(uri, Level::Content), "ctx://acme/resources/a/content.md");
    }

    const ID0: &str = "0a1062884082b7e6";
    const ID1: &str = "e5df9cc8be3cab24";
    const ID2: &str = "e61d1854254511bc";
}
