//! `#[derive(Tracked)]`: the typed handle of an entity.
//!
//! Three things carry the derive, told apart by name and shape: the `Model` (getters, setters, the entity's
//! description), the `ModelEx` that `#[sea_orm::model]` writes beside it with the same derives (relation accessors),
//! and the `Relation` enum of the compact format (relation accessors again). It must never write a second item for
//! the same name, and never touch what SeaORM's derives wrote.

mod entity;
mod fields;
mod model;
mod relations;

use proc_macro2::TokenStream;
use syn::{Data, DeriveInput, Error, Result};

use crate::crate_path;
pub(crate) use fields::skip;

/// Expands `#[derive(Tracked)]`.
///
/// A wrong use gives its `compile_error!`s beside as much of the expansion as makes sense, so that one mistake is not
/// followed by a wall of missing methods.
pub fn derive_tracked(input: TokenStream) -> TokenStream {
    syn::parse2::<DeriveInput>(input).and_then(|input| placed(&input)).unwrap_or_else(Error::into_compile_error)
}

/// The expansion, in which sea-session is where `#[tracked(crate = "…")]` says.
fn placed(input: &DeriveInput) -> Result<TokenStream> {
    match crate_path::of_derive(&input.attrs) {
        None => expand(input),
        Some(path) => Ok(crate_path::replaced(expand(input)?, &path?)),
    }
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(param) = input.generics.params.first() {
        return Err(Error::new_spanned(param, "an entity has no generic parameters: remove them from this type"));
    }
    match &input.data {
        Data::Struct(data) if input.ident == "ModelEx" => Ok(relations::of_dense(data)),
        Data::Struct(data) if input.ident == "Model" => model::expand(input, data),
        Data::Enum(data) if input.ident == "Relation" => Ok(relations::of_enum(data)),
        Data::Struct(_) => Err(Error::new_spanned(
            &input.ident,
            "put `#[derive(Tracked)]` on the entity's struct `Model`, beside `DeriveEntityModel`: SeaORM knows no other name for it",
        )),
        Data::Enum(_) => Err(Error::new_spanned(
            &input.ident,
            "put `#[derive(Tracked)]` on the struct `Model`, or on the enum `Relation` for relation accessors: this enum is neither",
        )),
        Data::Union(_) => Err(Error::new_spanned(
            &input.ident,
            "put `#[derive(Tracked)]` on the struct `Model`: a union cannot be an entity",
        )),
    }
}
