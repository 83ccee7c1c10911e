//! The `Model`: its handle, getters, setters, and the description of its entity.
//!
//! Everything is `#[inline]`: an accessor that nobody calls is then never compiled to machine code, which is most of what a
//! derive can cost. The code written here is what a careful hand would write; it names `Entity`, `Column`, `Model` and `ActiveModel` of
//! the user's module, where SeaORM's derives put them.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, DataStruct, DeriveInput, Error, Fields, Ident, Result, Type, ext::IdentExt};

use super::{
    entity::Options,
    fields::{self, Column, Marks, Moment},
};
use crate::names;

/// Expands the derive on `Model`.
pub(super) fn expand(input: &DeriveInput, data: &DataStruct) -> Result<TokenStream> {
    let Fields::Named(named) = &data.fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "an entity's columns have names: write `struct Model { … }` with fields",
        ));
    };
    let mut errors = vec![];
    let options = Options::read(&input.attrs, &mut errors);
    let columns: Vec<Column<'_>> = named.named.iter().filter_map(|f| fields::column(f, &mut errors)).collect();
    only_one_of_each(&columns, &mut errors);
    let of_entity = options.calls(&columns, &mut errors);
    let mistakes = errors.into_iter().map(Error::into_compile_error);

    let handle = handle(input);
    let offset = &table_iden(&input.attrs);
    let hidden = hidden(&columns, &input.attrs);
    let entity = entity(&columns, &of_entity, &hidden, columns.len() == named.named.len(), offset);
    let behavior = options.no_hooks.then(no_behavior);
    let graph = graph();
    let accessors = columns.iter().map(|column| accessors(column, &columns, offset));
    Ok(quote! {
        #(#mistakes)*
        #handle
        #entity
        #behavior
        #graph

        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl TrackedModel {
            #(#accessors)*
        }
    })
}

/// The hooks of an entity that has none. Written here, so that the compiler refuses a second, with hooks that would never
/// run.
fn no_behavior() -> TokenStream {
    quote! {
        #[automatically_derived]
        impl sea_orm::ActiveModelBehavior for ActiveModel {}
    }
}

/// A row of a graph that brings nothing nested along.
fn graph() -> TokenStream {
    quote! {
        #[automatically_derived]
        impl ::sea_session::Graph for ActiveModel {
            type Of = Entity;

            #[inline]
            fn add_to(
                self,
                adding: &mut ::sea_session::__private::Adding<'_>,
            ) -> ::core::result::Result<::sea_session::__private::Node<Entity>, ::sea_session::Error> {
                adding.add(self)
            }
        }
    }
}

/// An entity has one version, one creation time, one time of change, and one tenant.
fn only_one_of_each(columns: &[Column<'_>], errors: &mut Vec<Error>) {
    let mut seen: Vec<(&str, &Ident)> = vec![];
    for column in columns {
        for (role, path) in column.marks.roles() {
            match seen.iter().find(|(r, _)| *r == role) {
                Some((_, first)) => errors.push(Error::new_spanned(
                    path,
                    format!("an entity has one `{role}`, and `{first}` is it already: remove one of them"),
                )),
                None => seen.push((role, column.name)),
            }
        }
    }
}

/// With `#[sea_orm(table_iden)]` SeaORM puts a `Table` variant before the columns, which is not one of them.
fn table_iden(attrs: &[Attribute]) -> TokenStream {
    let mut found = false;
    for attr in attrs.iter().filter(|a| a.path().is_ident("sea_orm")) {
        // SeaORM reports what is wrong in its own attribute.
        let _ = attr.parse_nested_meta(|meta| {
            found |= meta.path.is_ident("table_iden");
            fields::skip(&meta)
        });
    }
    if found { quote!(-1) } else { TokenStream::new() }
}

fn handle(input: &DeriveInput) -> TokenStream {
    let vis = &input.vis;
    quote! {
        /// A tracked row: typed access to its columns. Reading gives values; a write is sent by the next flush.
        #[derive(Clone)]
        #vis struct TrackedModel(::sea_session::Object<Entity>);

        #[automatically_derived]
        impl ::core::convert::From<::sea_session::Object<Entity>> for TrackedModel {
            #[inline]
            fn from(object: ::sea_session::Object<Entity>) -> Self {
                Self(object)
            }
        }

        #[automatically_derived]
        impl ::core::ops::Deref for TrackedModel {
            type Target = ::sea_session::Object<Entity>;

            #[inline]
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    }
}

/// What serde calls the secret fields.
fn hidden(columns: &[Column<'_>], attrs: &[Attribute]) -> Vec<String> {
    let rule = fields::serde_text(attrs, "rename_all").map(|rule| rule.value());
    let secret = columns.iter().filter(|column| column.marks.secret.is_some());
    let names = secret.map(|column| match &column.renamed {
        Some(name) => name.value(),
        None => names::in_serde(column.name, rule.as_deref()),
    });
    names.collect()
}

/// Moments as the crate `time` has them, whose types only the user's crate is sure to know.
fn moments(columns: &[Column<'_>], column_at: &TokenStream) -> Option<TokenStream> {
    let moments = columns.iter().filter_map(|column| Some((column, fields::moment(column)?)));
    let arms = moments.map(|(Column { variant, .. }, (kind, ty))| {
        let made = match kind {
            Moment::Offset => quote!(<#ty>::from_unix_timestamp_nanos(nanoseconds).ok()?),
            Moment::Plain => quote!({
                let moment = sea_orm::prelude::TimeDateTimeWithTimeZone::from_unix_timestamp_nanos(nanoseconds).ok()?;
                <#ty>::new(moment.date(), moment.time())
            }),
        };
        quote!(::core::option::Option::Some(Column::#variant) => {
            ::core::option::Option::Some(::core::convert::Into::into(#made))
        })
    });
    let arms: Vec<TokenStream> = arms.collect();
    (!arms.is_empty()).then(|| {
        quote! {
            fn moment(position: usize, microseconds: i64) -> ::core::option::Option<sea_orm::Value> {
                let nanoseconds = ::core::convert::Into::<i128>::into(microseconds) * 1_000;
                match #column_at {
                    #(#arms)*
                    _ => ::core::option::Option::None,
                }
            }
        }
    })
}

fn entity(
    columns: &[Column<'_>],
    of_entity: &[TokenStream],
    hidden: &[String],
    whole: bool,
    offset: &TokenStream,
) -> TokenStream {
    let options = columns.iter().flat_map(options).chain(of_entity.iter().cloned());
    let options = options.chain(hidden.iter().map(|name| quote!(.hidden(#name))));
    let names: Vec<&Ident> = columns.iter().map(|column| column.name).collect();
    let types: Vec<&Type> = columns.iter().map(|column| &column.field.ty).collect();
    // Columns are told by their variants: the enum may be written by hand, in any order and with more members.
    let variants: Vec<&Ident> = columns.iter().map(|column| &column.variant).collect();
    let column_at = quote!(<Column as sea_orm::Iterable>::iter().nth(position));
    let moments = moments(columns, &column_at);
    // A model with fields that are no columns is read by SeaORM, which knows how to fill those.
    let from_row = whole.then(|| {
        quote! {
            fn from_row(row: &sea_orm::QueryResult, places: &[usize]) -> ::core::option::Option<Model> {
                ::core::option::Option::Some(Model {
                    #(#names: sea_orm::TryGetable::try_get_by(row, *places.get(Column::#variants as usize #offset)?).ok()?,)*
                })
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl ::sea_session::TrackedEntity for Entity {
            type Handle = TrackedModel;

            #[inline]
            fn spec() -> ::sea_session::EntitySpec<Self> {
                #[allow(unused_imports)]
                use ::sea_session::__private::NoRelations as _;
                TrackedModel::__relations(::sea_session::EntitySpec::new() #(#options)*)
            }

            #[inline]
            fn shape() -> &'static ::sea_session::Shape {
                static SHAPE: ::sea_session::Shape = ::sea_session::Shape::new();
                &SHAPE
            }

            #[allow(clippy::needless_borrow, unreachable_patterns)]
            fn value_of(model: &Model, position: usize) -> ::sea_session::__private::ValueRef<'_> {
                #[allow(unused_imports)]
                use ::sea_session::__private::{CopiedField as _, Field, LentField as _, ValueRef};
                match #column_at {
                    #(::core::option::Option::Some(Column::#variants) => (&Field(&model.#names)).value_ref(),)*
                    ::core::option::Option::Some(column) => {
                        ValueRef::Owned(::std::boxed::Box::new(sea_orm::ModelTrait::get(model, column)))
                    }
                    ::core::option::Option::None => ValueRef::Null,
                }
            }

            #[allow(clippy::needless_borrow)]
            fn value_of_draft(
                draft: &ActiveModel,
                position: usize,
            ) -> ::core::option::Option<::sea_session::__private::ValueRef<'_>> {
                #[allow(unused_imports)]
                use ::sea_session::__private::{CopiedField as _, Field, LentField as _, in_draft};
                match #column_at {
                    #(::core::option::Option::Some(Column::#variants) => {
                        in_draft(&draft.#names).map(|value| (&Field(value)).value_ref())
                    })*
                    _ => ::core::option::Option::None,
                }
            }

            fn null_of(position: usize) -> ::core::option::Option<sea_orm::Value> {
                #[allow(unused_imports)]
                use ::sea_session::__private::{AnyField as _, NullableField as _, OptionalField as _, TypeOf};
                match #column_at {
                    #(::core::option::Option::Some(Column::#variants) => (&&&TypeOf::<#types>::new()).null(),)*
                    _ => ::core::option::Option::None,
                }
            }

            fn value_in_row(
                row: &sea_orm::QueryResult,
                position: usize,
                name: &str,
            ) -> ::core::option::Option<::core::result::Result<sea_orm::Value, sea_orm::DbErr>> {
                match #column_at {
                    #(::core::option::Option::Some(Column::#variants) => {
                        ::core::option::Option::Some(row.try_get::<#types>("", name).map(::core::convert::Into::into))
                    })*
                    _ => ::core::option::Option::None,
                }
            }

            fn numbers() -> ::std::vec::Vec<(usize, Column)> {
                ::std::vec![#((Column::#variants as usize #offset, Column::#variants)),*]
            }

            #from_row

            #moments
        }
    }
}

/// The calls that describe one column.
fn options(column: &Column<'_>) -> Vec<TokenStream> {
    let variant = &column.variant;
    let Marks { version, created_at, updated_at, tenant, not_optimistic, read_only, secret, .. } = &column.marks;
    let given = [
        ("version", version),
        ("created_at", created_at),
        ("updated_at", updated_at),
        ("tenant", tenant),
        ("not_optimistic", not_optimistic),
        ("read_only", read_only),
        ("secret", secret),
    ];
    let marks = given.into_iter().filter(|(_, path)| path.is_some()).map(|(name, _)| {
        let method = format_ident!("{name}");
        quote!(.#method(Column::#variant))
    });
    let not_brought = column.not_brought.then(|| quote!(.not_brought(Column::#variant)));
    let marks = marks.chain(not_brought);
    marks.chain(column.unique_keys.iter().map(|key| quote!(.unique_key(#key, Column::#variant)))).collect()
}

/// The getter and, unless there is none, the setter of a column.
fn accessors(column: &Column<'_>, all: &[Column<'_>], offset: &TokenStream) -> TokenStream {
    let Column { field, name, variant, marks, .. } = column;
    let (vis, ty) = (&field.vis, &field.ty);
    let docs: Vec<&Attribute> = field.attrs.iter().filter(|a| a.path().is_ident("doc")).collect();
    let plain = name.unraw();
    let getter_doc = if docs.is_empty() {
        let text = format!(" The value of `{plain}`.");
        quote!(#[doc = #text])
    } else {
        quote!(#(#docs)*)
    };
    let position = quote!(Column::#variant as usize #offset);
    let setter = (marks.version.is_none() && marks.read_only.is_none()).then(|| {
        let setter = names::setter(name);
        let doc = format!(" Sets `{plain}`; the next flush sends it.");
        quote! {
            #[doc = #doc]
            #vis fn #setter(&self, value: impl ::core::convert::Into<#ty>) -> &Self {
                let value = value.into();
                self.0.set_field(#position, value, |m: &mut Model| &mut m.#name, |a: &mut ActiveModel| &mut a.#name);
                self
            }
        }
    });
    let try_name = format_ident!("try_{plain}", span = name.span());
    // A column of that name has a getter of its own.
    let try_getter = all.iter().all(|other| *other.name != try_name).then(|| {
        let doc = format!(" As `{plain}`; an error while the database has yet to make the value.");
        quote! {
            #[doc = #doc]
            #[inline]
            #vis fn #try_name(&self) -> ::core::result::Result<#ty, ::sea_session::Error> {
                self.0.try_get_field(#position, |m: &Model| &m.#name, |a: &ActiveModel| &a.#name)
            }
        }
    });
    quote! {
        #getter_doc
        #[inline]
        #vis fn #name(&self) -> #ty {
            self.0.get_field(#position, |m: &Model| &m.#name, |a: &ActiveModel| &a.#name)
        }

        #try_getter

        #setter
    }
}
