#![doc = include_str!("../README.md")]
#![doc = ""]
#![doc = include_str!("../docs/crate.md")]
#![cfg_attr(feature = "document-features", doc = "# Features\n")]
#![cfg_attr(feature = "document-features", doc = document_features::document_features!())]

mod end;
mod extract;
mod function;
mod handler;
mod kinds;
mod layer;
mod non_atomic;
mod problem;
mod request_unit;

pub use end::Outcome;
pub use extract::{RequestOptions, Unit, UnitRejection};
pub use function::SessionFunction;
pub use handler::{InUnit, Retrying, in_unit, retrying};
pub use layer::{IntoUnitOptions, UnitLayer, UnitService};
pub use non_atomic::{NonAtomic, NonAtomicService};
pub use problem::{OrNotFound, Problem};
