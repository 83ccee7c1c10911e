//! The entities of SeaORM's own tests and examples: `src/tests_cfg` of sea-orm 2.0.4 (MIT OR Apache-2.0), file by file,
//! with `sea_session::Tracked` added to the derives of `Model` and nothing else changed. They name SeaORM's crate `crate`,
//! which is why the program's root re-exports it.
// What SeaORM's own macros expand to is theirs.
#![allow(clippy::disallowed_methods, unexpected_cfgs, missing_docs, dead_code, unused_imports)]

pub mod cake;
pub mod cake_compact;
pub mod cake_expanded;
pub mod cake_filling;
pub mod cake_filling_price;
pub mod comment;
pub mod filling;
pub mod fruit;
pub mod indexes;
pub mod ingredient;
pub mod lunch_set;
pub mod post;
pub mod post_tag;
pub mod profile;
pub mod rust_keyword;
pub mod sea_orm_active_enums;
pub mod tag;
pub mod user;
pub mod vendor;
