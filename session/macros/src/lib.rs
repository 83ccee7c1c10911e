//! The procedural macros of sea-session: a shell around `sea-session-macros-core`, which does the work and is tested.
//!
//! Use them through `sea_session`, which re-exports each under its documented name.

use proc_macro::TokenStream;
use sea_session_macros_core as core;

/// Typed handles for an entity: put it beside `DeriveEntityModel` on `Model`.
///
/// Every column gets a getter that returns a value and a setter `set_…`; `#[tracked(…)]` on a field says what else the
/// session should know: `version`, `created_at`, `updated_at`, `tenant`, `optimistic = false`, `read_only`, `secret`.
/// On the enum `Relation`, and in the dense format of `#[sea_orm::model]`, it writes accessors for relations.
#[proc_macro_derive(Tracked, attributes(tracked, sea_orm))]
pub fn derive_tracked(input: TokenStream) -> TokenStream {
    core::derive_tracked(input.into()).into()
}
