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

/// A function that joins its caller's unit of work, and beside it `…_on(&db, …)`, which opens one with these options.
///
/// Flags: `read_only`, `on_primary`, `deferrable`, `immediate`, `optimistic`, `unfiltered`, `causal`, `strict`, `sql_debug`,
/// `show_values`, `settle`, `settle_by_token`, `durable`, `associated`. With a value: `retry`, `retry_on`, `isolation`, `timeout`,
/// `lock_timeout`, `allow`, `on`. Pairs: `set_local("key" = value)` and `tenant("key" = value)`.
#[proc_macro_attribute]
pub fn db_session(args: TokenStream, item: TokenStream) -> TokenStream {
    core::db_session(args.into(), item.into()).into()
}

/// Makes the body of a function a nested block of its caller's unit of work: a savepoint, or `merged`, or `durable`.
///
/// As `atomic!(s, { … })` the same in place; see [`macro@atomic_block`].
#[proc_macro_attribute]
pub fn atomic(args: TokenStream, item: TokenStream) -> TokenStream {
    core::atomic(args.into(), item.into()).into()
}

/// A nested block in place: `atomic!(s, { … })`, `atomic!(s, merged, { … })`, `atomic!(s, -> Result<(), MyError> { … })`.
///
/// The value is the block's `Result`, awaited. `return` and `?` leave the block. `sea_session` exports it as `atomic!`.
#[proc_macro]
pub fn atomic_block(input: TokenStream) -> TokenStream {
    core::atomic_block(input.into()).into()
}

/// A unit of work in place: `unit!(db, retry = 5, { … })`; the block has its session as `s`, or as `tx` in
/// `unit!(db as tx, { … })`.
///
/// The value is the unit's `Result`, awaited. `return` and `?` leave the block.
#[proc_macro]
pub fn unit(input: TokenStream) -> TokenStream {
    core::unit_block(input.into()).into()
}

/// A test with a session that is rolled back at its end (`s: &mut Session`), or with a database of its own (`db: Db`).
///
/// `sqlite` (the default), `postgres` and `mariadb` say where it runs, one test each; `migrations = Migrator` or
/// `tables = [note::Entity]` prepare the database.
#[proc_macro_attribute]
pub fn session_test(args: TokenStream, item: TokenStream) -> TokenStream {
    core::session_test(args.into(), item.into()).into()
}
