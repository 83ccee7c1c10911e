//! The store's events.

use std::str::FromStr;

/// The stream of the store's own events.
pub const TOPIC: &str = "context";

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// It was created, or its text or metadata changed.
    Write,
    /// It has another URI.
    Move,
    /// It is gone.
    Delete,
    /// It no longer takes part.
    Archive,
    /// It takes part again.
    Restore,
}

impl EventType {
    /// The name that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventType::Write => "node.write",
            EventType::Move => "node.move",
            EventType::Delete => "node.delete",
            EventType::Archive => "node.archive",
            EventType::Restore => "node.restore",
        }
    }
}

/// An event type that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown event type `{0}`")]
pub struct UnknownEvent(pub String);

impl FromStr for EventType {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let all = [EventType::Write, EventType::Move, EventType::Delete, EventType::Archive, EventType::Restore];
        all.into_iter().find(|event| event.as_str() == name).ok_or_else(|| UnknownEvent(name.to_owned()))
    }
}
