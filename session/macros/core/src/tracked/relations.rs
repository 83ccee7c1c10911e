//! Relation accessors: from the `ModelEx` of the dense format, and from the `Relation` enum of the compact one.
//!
//! Each accessor goes through SeaORM's own definition of the relation (`Relation::X.def()`, or `Related` for what is
//! reached through a junction); nothing about keys is repeated here.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, DataEnum, DataStruct, Error, Expr, ExprLit, Field, Ident, Lit, LitStr, Result, Type, ext::IdentExt,
    parse_quote_spanned, spanned::Spanned,
};

use super::fields::{self, Kind, Marks};
use crate::names;

/// One relation of an entity.
struct Relation {
    kind: Kind,
    /// The accessor's name.
    name: Ident,
    /// The related entity.
    entity: Type,
    path: Way,
    /// Whether the foreign key is this entity's own.
    owns_key: bool,
    /// What becomes of the related rows, or of this one.
    marks: Marks,
}

/// How the related rows are reached.
enum Way {
    /// By this variant of the `Relation` enum.
    Variant(Ident),
    /// By `impl Related<…> for Entity`.
    Related,
    /// By `impl Related<…> for Entity` with a junction between, of this module.
    Junction(Ident),
    /// By `impl RelatedSelfVia<…> for Entity`: the junction's module, and whether the way back is meant.
    SelfVia(Ident, bool),
}

/// What the attributes of a relation say.
#[derive(Default)]
struct Given {
    kind: Option<(Kind, Option<LitStr>)>,
    self_ref: bool,
    via: Option<LitStr>,
    reverse: bool,
    from: bool,
    relation_enum: Option<LitStr>,
    relation_reverse: bool,
    ignored: bool,
    any: bool,
}

impl Given {
    fn read(attrs: &[Attribute]) -> Self {
        let mut given = Self::default();
        for attr in attrs.iter().filter(|a| a.path().is_ident("sea_orm")) {
            given.any = true;
            // SeaORM's derive reports a malformed attribute.
            let _ = attr.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
                let text = if meta.input.peek(syn::Token![=]) { string(meta.value()?.parse()?) } else { None };
                match name.as_str() {
                    "has_one" => given.kind = Some((Kind::HasOne, text)),
                    "has_many" => given.kind = Some((Kind::HasMany, text)),
                    "belongs_to" => given.kind = Some((Kind::BelongsTo, text)),
                    "self_ref" => given.self_ref = true,
                    "via" => given.via = text,
                    "from" => given.from = true,
                    "reverse" => given.reverse = true,
                    "ignore" => given.ignored = true,
                    "relation_enum" => given.relation_enum = text,
                    "relation_reverse" => given.relation_reverse = text.is_some(),
                    _ => fields::skip(&meta)?,
                }
                Ok(())
            });
        }
        given
    }
}

fn string(expr: Expr) -> Option<LitStr> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        _ => None,
    }
}

/// The accessors of a `ModelEx`, which `#[sea_orm::model]` writes with the relation fields that `Model` lacks.
pub(super) fn of_dense(data: &DataStruct) -> TokenStream {
    let mut errors = vec![];
    let relations: Vec<Relation> = data
        .fields
        .iter()
        .filter(|field| fields::relation(&field.ty).is_some())
        .filter_map(|field| {
            // On the plain fields the derive on `Model` looks; here only for attributes that have no column.
            fields::column(field, &mut errors);
            dense(field, data, &mut errors)
        })
        .collect();
    let followed = |field: &&Field| relations.iter().any(|relation| Some(&relation.name) == field.ident.as_ref());
    let others = data.fields.iter().filter(|field| !followed(field)).filter_map(unfollowed);
    let graph = graph(&relations, others.collect());
    let accessors = write(&relations, errors);
    quote!(#accessors #graph)
}

/// How the nested active model of the dense format goes into a unit.
fn graph(relations: &[Relation], others: Vec<TokenStream>) -> TokenStream {
    let names: Vec<&Ident> = relations.iter().map(|relation| &relation.name).collect();
    let nested = relations.iter().map(Relation::add_nested);
    quote! {
        #[allow(clippy::all, clippy::pedantic, unused_imports, unused_mut)]
        impl ::sea_session::Graph for ActiveModelEx {
            type Of = Entity;

            fn add_to(
                mut self,
                __adding: &mut ::sea_session::__private::Adding<'_>,
            ) -> ::core::result::Result<::sea_session::__private::Node<Entity>, ::sea_session::Error> {
                use ::sea_session::__private::{Through as _, ThroughSelf as _};

                #(#others)*
                #(let #names = ::core::mem::take(&mut self.#names);)*
                let __node = __adding.add::<Entity>(self.into())?;
                #(#nested)*
                ::core::result::Result::Ok(__node)
            }
        }
    }
}

/// A relation field whose rows a graph cannot relate says so, if there are any.
fn unfollowed(field: &Field) -> Option<TokenStream> {
    let (kind, _) = fields::relation(&field.ty)?;
    let name = field.ident.as_ref()?;
    if Given::read(&field.attrs).ignored {
        return None;
    }
    let text = name.unraw().to_string();
    let some = match kind {
        Kind::HasMany => quote!(!self.#name.as_slice().is_empty()),
        Kind::HasOne | Kind::BelongsTo => quote!(self.#name.as_ref().is_some()),
    };
    Some(quote!(__adding.refuse_nested::<Entity>(#text, #some)?;))
}

/// One relation field, unless SeaORM gives no way to follow it.
fn dense(field: &Field, all: &DataStruct, errors: &mut Vec<Error>) -> Option<Relation> {
    let (kind, entity) = fields::relation(&field.ty)?;
    let name = field.ident.clone()?;
    let given = Given::read(&field.attrs);
    let path = dense_way(field, entity, &given, all)?;
    // A `HasOne` may be marked as `belongs_to`, and a self-reference says its columns.
    let marked = given.kind.as_ref().is_some_and(|(kind, _)| *kind == Kind::BelongsTo) || given.self_ref && given.from;
    let owns_key = matches!(path, Way::Variant(_)) && (kind == Kind::BelongsTo || marked);
    // What is wrong in them the look at the column has told.
    let relation = Relation {
        kind,
        name,
        entity: entity.clone(),
        path,
        owns_key,
        marks: fields::marks(&field.attrs, &mut vec![]),
    };
    errors.extend(relation.misplaced());
    Some(relation)
}

/// The same distinctions as SeaORM makes when it writes `Relation` and `Related`.
fn dense_way(field: &Field, entity: &Type, given: &Given, all: &DataStruct) -> Option<Way> {
    let variant = || Some(Way::Variant(forward_variant(entity, given, field.span())));
    if !given.any {
        return Some(Way::Related);
    }
    match (given.self_ref, &given.via) {
        (true, Some(via)) => Some(Way::SelfVia(module(via)?, given.reverse)),
        (true, None) if given.from || given.relation_reverse => variant(),
        (true, None) => None,
        (false, Some(via)) => only_relation_to(entity, all).then(|| module(via)).flatten().map(Way::Junction),
        (false, None) if given.kind.is_some() => variant(),
        (false, None) => None,
    }
}

/// The module in `via = "module"` or `via = "module::Relation"`.
fn module(via: &LitStr) -> Option<Ident> {
    let path: syn::Path = via.parse().ok()?;
    path.segments.first().map(|segment| segment.ident.clone())
}

/// Whether no other relation leads to the same entity; only then SeaORM writes `Related`.
fn only_relation_to(entity: &Type, all: &DataStruct) -> bool {
    all.fields.iter().filter(|f| fields::relation(&f.ty).is_some_and(|(_, other)| other == entity)).count() == 1
}

/// The variant that SeaORM names by `relation_enum`, or by the module of the entity.
fn forward_variant(entity: &Type, given: &Given, span: Span) -> Ident {
    if let Some(name) = &given.relation_enum {
        return names::enum_variant(&name.value(), name.span());
    }
    let Type::Path(path) = entity else { return names::enum_variant("entity", span) };
    let mut segments = path.path.segments.iter().rev();
    let last = segments.next().map(|s| s.ident.unraw().to_string()).unwrap_or_default();
    let module = segments.next().map_or(last, |s| s.ident.unraw().to_string());
    names::enum_variant(&module, span)
}

/// The accessors of a `Relation` enum.
pub(super) fn of_enum(data: &DataEnum) -> TokenStream {
    let mut errors = vec![];
    let mut relations = vec![];
    for variant in &data.variants {
        let given = Given::read(&variant.attrs);
        let Some((kind, Some(target))) = given.kind else { continue };
        // A path that does not parse is reported by SeaORM's derive.
        let Ok(entity) = target.parse::<Type>() else { continue };
        match accessor_name(&variant.attrs, &variant.ident) {
            Ok((name, marks)) => {
                let (path, owns_key) = (Way::Variant(variant.ident.clone()), kind == Kind::BelongsTo);
                let relation = Relation { kind, name, entity, path, owns_key, marks };
                errors.extend(relation.misplaced());
                relations.push(relation);
            }
            Err(error) => errors.push(error),
        }
    }
    write(&relations, errors)
}

/// `#[tracked(name = "…")]`, or the variant in snake case.
fn accessor_name(attrs: &[Attribute], variant: &Ident) -> Result<(Ident, Marks)> {
    let (mut name, mut marks) = (names::method(variant), Marks::default());
    for attr in attrs.iter().filter(|a| a.path().is_ident("tracked")) {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("cascade") || meta.path.is_ident("orphans") {
                return marks.take(&meta);
            }
            if !meta.path.is_ident("name") {
                return Err(Error::new_spanned(
                    &meta.path,
                    "a relation takes its accessor's name, `cascade` or `orphans`: write `#[tracked(name = \"…\")]`",
                ));
            }
            let given: LitStr = meta.value()?.parse()?;
            name = given.parse().map_err(|_| {
                Error::new_spanned(&given, "an accessor is a method: write an identifier such as `\"comments\"`")
            })?;
            Ok(())
        })?;
    }
    Ok((name, marks))
}

fn write(relations: &[Relation], errors: Vec<Error>) -> TokenStream {
    let mistakes = errors.into_iter().map(Error::into_compile_error);
    let accessors = relations.iter().map(Relation::accessors);
    let marks = marks(relations);
    if relations.is_empty() {
        return quote!(#(#mistakes)*);
    }
    quote! {
        #(#mistakes)*

        #[allow(dead_code, clippy::all, clippy::pedantic)]
        impl TrackedModel {
            #(#accessors)*
            #marks
        }
    }
}

/// What the relations' marks say of the entity: the derive on `Model`, which does not see them, calls this.
fn marks(relations: &[Relation]) -> Option<TokenStream> {
    let calls = relations.iter().flat_map(|relation| {
        let Way::Variant(variant) = &relation.path else { return vec![] };
        let cascade = relation.marks.cascade.is_some().then(|| quote!(.cascade(Relation::#variant)));
        let orphans = relation.marks.orphans.is_some().then(|| quote!(.delete_orphans(Relation::#variant)));
        cascade.into_iter().chain(orphans).collect()
    });
    let calls: Vec<TokenStream> = calls.collect();
    (!calls.is_empty()).then(|| {
        quote! {
            #[doc(hidden)]
            fn __relations(spec: ::sea_session::EntitySpec<Entity>) -> ::sea_session::EntitySpec<Entity> {
                spec #(#calls)*
            }
        }
    })
}

impl Relation {
    /// A mark on a relation that it is not for.
    fn misplaced(&self) -> Option<Error> {
        let by_variant = matches!(self.path, Way::Variant(_));
        let cascade = self.marks.cascade.as_ref().filter(|_| self.owns_key || !by_variant);
        let wrong =
            cascade.map(|path| (path, "`cascade` is for relations whose rows hold the key: a `has_many` or `has_one`"));
        let orphans = self.marks.orphans.as_ref().filter(|_| !self.owns_key);
        let wrong =
            wrong
                .or(orphans
                    .map(|path| (path, "`orphans` is for the relation whose key is this row's own: a `belongs_to`")));
        wrong.map(|(path, why)| Error::new_spanned(path, why))
    }

    fn accessors(&self) -> TokenStream {
        let (name, entity) = (&self.name, &self.entity);
        // An entity that is not tracked is reported where it is named.
        let place = self.place();
        let error: Type = parse_quote_spanned!(place=> ::sea_session::Error);
        let tracked: Type = parse_quote_spanned!(place=> ::sea_session::Tracked<#entity>);
        let plain = name.unraw();
        let many = self.kind == Kind::HasMany;
        let (output, doc): (Type, String) = if many {
            (
                parse_quote_spanned!(place=> ::std::vec::Vec<#tracked>),
                format!(" The rows of the relation `{plain}`, through the identity map."),
            )
        } else {
            (
                parse_quote_spanned!(place=> ::core::option::Option<#tracked>),
                format!(" The row of the relation `{plain}`, through the identity map."),
            )
        };
        match &self.path {
            Way::Junction(_) => {
                let doc = format!(" The rows of the many-to-many relation `{plain}`: load, attach and detach them.");
                quote_spanned! {place=>
                    #[doc = #doc]
                    #[inline]
                    pub fn #name(&self) -> ::sea_session::Junction<'_, Entity, #entity> {
                        self.0.junction()
                    }
                }
            }
            Way::SelfVia(module, reverse) => {
                let path = match reverse {
                    false => quote!(::sea_session::self_via(super::#module::Entity)),
                    true => quote!(::sea_session::self_via(super::#module::Entity).reverse()),
                };
                quote_spanned! {place=>
                    #[doc = #doc]
                    #[inline]
                    pub async fn #name(&self, s: &mut ::sea_session::Session) -> ::core::result::Result<#output, #error> {
                        self.0.follow(s, #path).await
                    }
                }
            }
            Way::Related => {
                let method = format_ident!("{}", if many { "related" } else { "related_one" });
                quote_spanned! {place=>
                    #[doc = #doc]
                    #[inline]
                    pub async fn #name(&self, s: &mut ::sea_session::Session) -> ::core::result::Result<#output, #error> {
                        self.0.#method(s).await
                    }
                }
            }
            Way::Variant(variant) => {
                let method = format_ident!("{}", if many { "related_by" } else { "related_one_by" });
                let parent = self.owns_key.then(|| self.set_parent(variant));
                quote_spanned! {place=>
                    #[doc = #doc]
                    #[inline]
                    pub async fn #name(&self, s: &mut ::sea_session::Session) -> ::core::result::Result<#output, #error> {
                        self.0.#method(s, Relation::#variant).await
                    }

                    #parent
                }
            }
        }
    }

    /// Relates what is nested in this relation's field to the row itself.
    fn add_nested(&self) -> TokenStream {
        let name = &self.name;
        let place = self.place();
        let relate = match &self.path {
            Way::Variant(variant) => {
                quote_spanned! {place=> __adding.relate(&__node, &sea_orm::RelationTrait::def(&Relation::#variant), &__other)?; }
            }
            Way::Related => quote_spanned! {place=> __adding.relate_by_entity(&__node, &__other)?; },
            Way::Junction(module) => quote_spanned! {place=>
                (&&::sea_session::__private::JunctionRows::<super::#module::Entity>::new()).relate(__adding, &__node, &__other)?;
            },
            Way::SelfVia(module, reverse) => quote_spanned! {place=>
                (&&::sea_session::__private::JunctionRows::<super::#module::Entity>::new())
                    .relate_self(__adding, &__node, &__other, #reverse)?;
            },
        };
        let nested = match self.kind {
            Kind::HasMany => quote_spanned!(place=> #name.into_vec()),
            Kind::HasOne | Kind::BelongsTo => quote_spanned!(place=> #name.into_option().into_iter()),
        };
        quote_spanned! {place=>
            for __nested in #nested {
                let __other = ::sea_session::Graph::add_to(__nested, __adding)?;
                #relate
            }
        }
    }

    fn set_parent(&self, variant: &Ident) -> TokenStream {
        let entity = &self.entity;
        let setter = names::setter(&self.name);
        let place = self.place();
        let doc =
            format!(" Makes `parent` the row of the relation `{}`; it need not be inserted yet.", self.name.unraw());
        quote_spanned! {place=>
            #[doc = #doc]
            #[inline]
            pub fn #setter(&self, parent: &::sea_session::Tracked<#entity>) -> ::core::result::Result<(), ::sea_session::Error> {
                self.0.set_parent(Relation::#variant, parent)
            }
        }
    }

    fn place(&self) -> Span {
        Span::call_site().located_at(self.entity.span())
    }
}
