//! `#[db_session(…)]`: beside a function that joins its caller's unit of work, one that opens a unit for it.
//!
//! The function itself stays as it was written (with `durable`, its body becomes a durable block; with `isolation`, `read_only`
//! or `deferrable`, it refuses a unit that was opened without it first). The second function must never run a body that the first would not run: it calls the first.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, FnArg, GenericParam, Pat, PatType, Result, Stmt, Type, WhereClause, parse::Parser, parse_quote,
    spanned::Spanned, visit_mut::VisitMut,
};

use crate::{
    atomic::{self, Kind},
    crate_path,
    function::{self, Analysis, Function, Passing, Shape},
    options::{Options, Place},
};

/// Expands `#[db_session(…)]`.
///
/// A wrong use gives its `compile_error!`s beside the function's signature, so that calls of it still compile.
pub fn db_session(args: TokenStream, item: TokenStream) -> TokenStream {
    crate_path::with(args, |args| match expand(args, item.clone()) {
        Ok(expansion) => expansion,
        Err(error) => function::refused(error, item),
    })
}

fn expand(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: Function = syn::parse2(item)?;
    let analysis = function.analyse("#[db_session]")?;
    let options = (|input: syn::parse::ParseStream<'_>| Options::parse_all(input, Place::Function)).parse2(args)?;
    let mut errors = vec![];
    let unit = Unit { function: &function, analysis: &analysis, options: &options };
    unit.check(&mut errors);
    let mistakes: Vec<TokenStream> =
        options.errors.iter().chain(&errors).map(|e| e.clone().into_compile_error()).collect();
    if !mistakes.is_empty() {
        // The second function is still written where it can be: its callers are not to blame.
        let second = if errors.is_empty() { unit.opener() } else { TokenStream::new() };
        return Ok(quote!(#(#mistakes)* #function #second));
    }
    let joined = unit.joined();
    let opener = unit.opener();
    Ok(quote!(#joined #opener))
}

struct Unit<'a> {
    function: &'a Function,
    analysis: &'a Analysis,
    options: &'a Options,
}

/// An argument after the session, in the second function.
struct Argument {
    name: Ident,
    ty: Type,
    passing: Passing,
}

impl Unit<'_> {
    fn retries(&self) -> bool {
        self.options.has("retry")
    }

    fn durable(&self) -> bool {
        self.options.has("durable")
    }

    /// Refuses what this function cannot have.
    fn check(&self, errors: &mut Vec<Error>) {
        let sig = &self.function.sig;
        if self.opener_name() == sig.ident {
            errors.push(Error::new(
                self.options.on.as_ref().map_or(sig.ident.span(), syn::LitStr::span),
                format!("`{}` is this function already: write another name after `on`", sig.ident),
            ));
        }
        if self.analysis.shape == Shape::Async && self.function.body.is_none() {
            errors.push(Error::new_spanned(
                &sig.ident,
                "an `async fn` of a trait does not promise a future that can be spawned: write `#[async_trait]` on the trait",
            ));
        }
        if self.durable() && self.analysis.shape != Shape::Async {
            errors.push(Error::new_spanned(
                &sig.ident,
                "`durable` needs the function's own body: write it on an `async fn` outside of a trait",
            ));
        }
        if !self.retries() {
            return;
        }
        for argument in &sig.inputs {
            let (exclusive, what) = match argument {
                FnArg::Receiver(receiver) => (function::passing_self(receiver), "&mut self"),
                FnArg::Typed(argument) => (function::passing(&argument.ty), "a `&mut` argument"),
            };
            let session = matches!(argument, FnArg::Typed(a) if is_session(&a.ty));
            if matches!(exclusive, Passing::Exclusive) && !session {
                let what = if what.starts_with('&') { format!("`{what}`") } else { what.to_owned() };
                errors.push(Error::new_spanned(
                    argument,
                    format!("an attempt that fails leaves {what} half changed for the next: take it by `&` or by value, or leave `retry` out"),
                ));
            }
        }
    }

    fn opener_name(&self) -> Ident {
        match &self.options.on {
            Some(name) => Ident::new(&name.value(), name.span()),
            None => format_ident!("{}_on", self.function.sig.ident, span = self.function.sig.ident.span()),
        }
    }

    /// The function that joins the caller's unit.
    fn joined(&self) -> TokenStream {
        let mut joined = self.function.clone();
        atomic::begin_with(&mut joined, self.analysis.shape, self.mentioned());
        if !self.durable() {
            atomic::require(&mut joined, self.analysis, &self.requirements());
            return joined.to_token_stream();
        }
        let mut body = joined.clone();
        atomic::wrap(&mut joined, self.analysis, Kind::Durable);
        body.sig.ident = self.body_name();
        body.vis = syn::Visibility::Inherited;
        body.attrs.retain(|a| !a.path().is_ident("doc"));
        quote!(#joined #[doc(hidden)] #body)
    }

    /// What the caller's unit must have been opened with: it cannot be had inside its transaction any more (B3, B4).
    fn requirements(&self) -> Vec<TokenStream> {
        let mut asked: Vec<TokenStream> =
            self.options.isolation.iter().map(|level| quote!(require_isolation(#level))).collect();
        if self.options.has("read_only") {
            asked.push(quote!(require_read_only()));
        }
        if self.options.has("deferrable") {
            asked.push(quote!(require_deferrable()));
        }
        asked
    }

    /// The arguments that options look at (`tenant("app.tenant" = account)`). The body may make no use of them, and rustc shall
    /// not call them unused.
    fn mentioned(&self) -> Vec<Stmt> {
        let mut looked_at = vec![];
        words(self.options.calls(None), &mut looked_at);
        let names = self.function.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(PatType { pat, .. }) => match &**pat {
                Pat::Ident(name) if looked_at.contains(&name.ident) => Some(&name.ident),
                _ => None,
            },
            FnArg::Receiver(_) => None,
        });
        names.map(|name| parse_quote!(let _ = &#name;)).collect()
    }

    /// With `durable`, the name of the body without the durable block around it.
    fn body_name(&self) -> Ident {
        format_ident!("{}_in_its_own_unit", self.function.sig.ident)
    }

    /// The function that opens a unit and calls the other in it.
    fn opener(&self) -> TokenStream {
        let db = self.own_name("db");
        let session = self.own_name("s");
        let (attrs, vis) = (self.opener_attrs(), &self.function.vis);
        let mut sig = self.function.sig.clone();
        sig.ident = self.opener_name();
        let arguments = self.arguments(&mut sig.inputs, &db);
        self.bounds(&mut sig, &arguments);
        let calls = self.options.calls(function::error_type(&self.analysis.output).filter(|e| names_itself(e)));
        let (before, inside, passed) = self.pass(&arguments);
        let callee = self.callee();
        let own = self.own();
        // What rustc says of the error type belongs to the return type, where it is written.
        let place = Span::call_site().located_at(self.analysis.output.span());
        let (options, unit) = if before.is_empty() {
            (TokenStream::new(), quote_spanned!(place=> #db.session() #calls))
        } else {
            // The options may look at arguments that are given away afterwards.
            let unit = self.own_name("unit");
            (quote_spanned!(place=> let #unit = #db.session() #calls;), unit.to_token_stream())
        };
        let body = quote_spanned! {place=>
            #options
            #before
            #unit
                .run(async |#session: &mut ::sea_session::Session| {
                    #inside
                    #callee(#own #session #(, #passed)*).await
                })
                .await
        };
        let body = match self.analysis.shape {
            Shape::Async => body,
            Shape::Boxed => quote!(::std::boxed::Box::pin(async move { #body })),
            Shape::Returned => quote!(async move { #body }),
        };
        // Lints about the signature were heard at the function that it repeats.
        quote! {
            #(#attrs)*
            #[allow(clippy::multiple_bound_locations, clippy::needless_lifetimes, clippy::too_many_arguments)]
            #vis #sig { #body }
        }
    }

    /// A name of our own, which no argument can be mistaken for.
    fn own_name(&self, name: &str) -> Ident {
        Ident::new(name, Span::mixed_site().located_at(self.analysis.output.span()))
    }

    /// The documentation of the second function, and those attributes that mean the same on it.
    fn opener_attrs(&self) -> Vec<Attribute> {
        const KEPT: [&str; 7] = ["doc", "cfg", "must_use", "deprecated", "allow", "expect", "warn"];
        let name = &self.function.sig.ident;
        let how =
            if self.retries() { "a unit of work of its own, retried as a whole" } else { "a unit of work of its own" };
        let doc = format!(" `{name}` in {how}: commits on `Ok`, rolls back on `Err`.");
        let kept = self.function.attrs.iter().filter(|a| KEPT.iter().any(|k| a.path().is_ident(k)));
        let documented = self.function.attrs.iter().any(|a| a.path().is_ident("doc"));
        let mut attrs: Vec<Attribute> = vec![parse_quote!(#[doc = #doc])];
        if documented {
            attrs.push(parse_quote!(#[doc = ""]));
        }
        attrs.extend(kept.cloned());
        attrs
    }

    /// Replaces the session by the database, patterns by names, and returns what follows them.
    fn arguments(&self, inputs: &mut syn::punctuated::Punctuated<FnArg, syn::Token![,]>, db: &Ident) -> Vec<Argument> {
        let mut arguments = vec![];
        for (position, input) in inputs.iter_mut().enumerate() {
            let FnArg::Typed(PatType { pat, ty, .. }) = input else {
                if let FnArg::Receiver(receiver) = input
                    && receiver.reference.is_none()
                {
                    receiver.mutability = None;
                }
                continue;
            };
            if position == self.analysis.session {
                // The lifetime stays: `#[async_trait]` names it.
                let lifetime = match &**ty {
                    Type::Reference(reference) => reference.lifetime.clone(),
                    _ => None,
                };
                *input = parse_quote!(#db: &#lifetime ::sea_session::Db);
                continue;
            }
            let name = function::argument_name(pat, position);
            // One that has the function's own name would hide the function from the call.
            let hides = name == self.function.sig.ident;
            let name = if hides { self.own_name(&name.to_string()) } else { name };
            let passing = function::passing(ty);
            **pat = parse_quote!(#name);
            let ty = (**ty).clone();
            arguments.push(Argument { name, ty, passing });
        }
        arguments
    }

    /// The bounds without which the unit's future could not be sent to another thread.
    fn bounds(&self, sig: &mut syn::Signature, arguments: &[Argument]) {
        let retries = self.retries();
        let cloned = |ident: &Ident| {
            retries && arguments.iter().any(|a| matches!(&a.ty, Type::Path(p) if p.path.is_ident(ident)))
        };
        let mut wanted: Vec<syn::WherePredicate> = vec![];
        for param in &sig.generics.params {
            if let GenericParam::Type(param) = param {
                let name = &param.ident;
                wanted.push(parse_quote!(#name: ::core::marker::Send + ::core::marker::Sync));
                if cloned(name) {
                    wanted.push(parse_quote!(#name: ::core::clone::Clone));
                }
            }
        }
        if self.function.body.is_none() && sig.receiver().is_some() {
            wanted.push(parse_quote!(Self: ::core::marker::Sync));
        }
        if !wanted.is_empty() {
            let clause: &mut WhereClause = sig.generics.make_where_clause();
            clause.predicates.extend(wanted);
        }
        for input in &mut sig.inputs {
            if let FnArg::Typed(argument) = input {
                let by_value = matches!(&*argument.ty, Type::ImplTrait(_));
                SendableImpl { clone: retries && by_value }.visit_type_mut(&mut argument.ty);
            }
        }
    }

    /// What stands before the unit, at the start of its body, and the arguments of the call.
    fn pass(&self, arguments: &[Argument]) -> (TokenStream, TokenStream, Vec<TokenStream>) {
        if self.retries() {
            let passed = arguments.iter().map(|Argument { name, ty, passing }| match passing {
                // At the type, where the message that it is not `Clone` belongs.
                Passing::Moved => quote_spanned!(ty.span()=> ::core::clone::Clone::clone(&#name)),
                Passing::Copied | Passing::Exclusive => name.to_token_stream(),
            });
            return (TokenStream::new(), TokenStream::new(), passed.collect());
        }
        let passed = arguments.iter().map(|a| a.name.to_token_stream()).collect();
        let mut once: Vec<TokenStream> = vec![];
        let mut names: Vec<TokenStream> = vec![];
        if let Some(receiver) = self.function.sig.receiver()
            && !matches!(function::passing_self(receiver), Passing::Copied)
        {
            once.push(quote!(self));
            names.push(this().to_token_stream());
        }
        for argument in arguments.iter().filter(|a| !matches!(a.passing, Passing::Copied)) {
            once.push(argument.name.to_token_stream());
            names.push(argument.name.to_token_stream());
        }
        if once.is_empty() {
            return (TokenStream::new(), TokenStream::new(), passed);
        }
        let given = self.own_name("arguments");
        let before = quote! {
            let #given = ::std::sync::Mutex::new(::core::option::Option::Some((#(#once,)*)));
        };
        let inside = quote! {
            let (#(#names,)*) = #given
                .lock()
                .unwrap_or_else(::std::sync::PoisonError::into_inner)
                .take()
                .expect("a unit that does not retry runs its body once");
        };
        (before, inside, passed)
    }

    /// The function to call, with its type parameters.
    fn callee(&self) -> TokenStream {
        let sig = &self.function.sig;
        let name = if self.durable() { self.body_name() } else { sig.ident.clone() };
        let method = sig.receiver().is_some() || self.options.associated || mentions_self(sig);
        let path = if method { quote!(Self::#name) } else { quote!(#name) };
        let params: Vec<&Ident> = sig
            .generics
            .params
            .iter()
            .filter_map(|param| match param {
                GenericParam::Type(param) => Some(&param.ident),
                GenericParam::Const(param) => Some(&param.ident),
                GenericParam::Lifetime(_) => None,
            })
            .collect();
        if params.is_empty() { path } else { quote!(#path::<#(#params),*>) }
    }

    /// `self`, as the first argument of the call.
    fn own(&self) -> TokenStream {
        let Some(receiver) = self.function.sig.receiver() else { return TokenStream::new() };
        match function::passing_self(receiver) {
            Passing::Copied => quote!(self,),
            _ if !self.retries() => {
                let this = this();
                quote!(#this,)
            }
            _ => quote_spanned!(receiver.span()=> ::core::clone::Clone::clone(&self),),
        }
    }
}

/// The words of a text, those in its groups too.
fn words(text: TokenStream, found: &mut Vec<Ident>) {
    for token in text {
        match token {
            TokenTree::Ident(word) => found.push(word),
            TokenTree::Group(group) => words(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn this() -> Ident {
    Ident::new("this", Span::mixed_site())
}

fn is_session(ty: &Type) -> bool {
    matches!(ty, Type::Reference(r) if matches!(&*r.elem, Type::Path(p) if p.path.segments.last().is_some_and(|s| s.ident == "Session")))
}

/// Whether the signature says `Self`, so that the function is one of a type.
fn mentions_self(sig: &syn::Signature) -> bool {
    struct Finder(bool);
    impl<'a> syn::visit::Visit<'a> for Finder {
        fn visit_ident(&mut self, ident: &'a Ident) {
            self.0 |= ident == "Self";
        }
    }
    let mut finder = Finder(false);
    syn::visit::visit_signature(&mut finder, sig);
    finder.0
}

/// Whether a type can be written a second time, in the body: not with `impl` or an elided lifetime in it.
fn names_itself(ty: &Type) -> bool {
    struct Finder(bool);
    impl<'a> syn::visit::Visit<'a> for Finder {
        fn visit_type_impl_trait(&mut self, _: &'a syn::TypeImplTrait) {
            self.0 = true;
        }
        fn visit_type_reference(&mut self, reference: &'a syn::TypeReference) {
            self.0 |= reference.lifetime.is_none();
            syn::visit::visit_type_reference(self, reference);
        }
    }
    let mut finder = Finder(false);
    syn::visit::visit_type(&mut finder, ty);
    !finder.0
}

/// Adds to `impl Trait` arguments what their use in a unit needs.
struct SendableImpl {
    clone: bool,
}

impl VisitMut for SendableImpl {
    fn visit_type_impl_trait_mut(&mut self, ty: &mut syn::TypeImplTrait) {
        ty.bounds.push(parse_quote!(::core::marker::Send));
        ty.bounds.push(parse_quote!(::core::marker::Sync));
        if self.clone {
            ty.bounds.push(parse_quote!(::core::clone::Clone));
        }
    }

    fn visit_type_reference_mut(&mut self, reference: &mut syn::TypeReference) {
        self.visit_type_mut(&mut reference.elem);
        if matches!(*reference.elem, Type::ImplTrait(_)) {
            let bare = &reference.elem;
            *reference.elem = parse_quote!((#bare));
        }
    }

    // What stands in a closure's or trait object's own arguments is not ours to bound.
    fn visit_path_arguments_mut(&mut self, _: &mut syn::PathArguments) {}

    fn visit_pat_mut(&mut self, _: &mut Pat) {}
}
