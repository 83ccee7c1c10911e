//! The outbox: what a commit owes to the index, and the dispatcher that pays it.
//!
//! Events are written in the transaction of their change (Q1) and delivered afterwards, at least once, for each node in
//! the order of its versions (Q2). An event says *that* a node changed; what the index should hold is read from the node
//! when the event is delivered, under a lock that keeps the node as it is until the index has followed. A redelivery, and
//! an event whose change was overtaken, therefore write what is right.

mod dispatcher;
mod event;

pub use dispatcher::{DispatchReport, Dispatcher};
pub use event::{EventType, TOPIC};
