//! A function that takes a session, as its author wrote it or as `#[async_trait]` rewrote it.
//!
//! `#[async_trait]` on the `impl` or `trait` runs before attributes on its methods, so a method may arrive as a plain
//! `fn` that returns a boxed future. Both shapes are understood; whatever else there is, is refused with a sentence.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident};
use syn::{
    Attribute, Block, Error, FnArg, GenericArgument, Pat, PatType, PathArguments, Receiver, Result, ReturnType,
    Signature, Token, Type, TypeParamBound, Visibility,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

/// A function or method, with or without a body.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Option<Block>,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse().map_err(|_| not_a_function())?;
        let body = if input.peek(Token![;]) {
            input.parse::<Token![;]>()?;
            None
        } else {
            Some(input.parse()?)
        };
        Ok(Self { attrs, vis, sig, body })
    }
}

fn not_a_function() -> Error {
    crate::options::here("put this attribute on an `async fn` whose first argument is `s: &mut Session`")
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, vis, sig, body } = self;
        match body {
            Some(body) => tokens.extend(quote::quote!(#(#attrs)* #vis #sig #body)),
            None => tokens.extend(quote::quote!(#(#attrs)* #vis #sig;)),
        }
    }
}

/// The expansion of a refused attribute: the error, and the function without its body, so that its callers still compile
/// and no second error comes from a body that the first one made wrong.
pub(crate) fn refused(error: Error, item: TokenStream) -> TokenStream {
    let error = error.into_compile_error();
    let Ok(mut function) = syn::parse2::<Function>(item.clone()) else { return quote::quote!(#error #item) };
    let nameless = matches!(&function.sig.output, ReturnType::Type(_, ty) if matches!(**ty, Type::ImplTrait(_)));
    if !nameless && function.body.is_some() {
        function.body = Some(syn::parse_quote!({ ::core::unimplemented!() }));
    }
    quote::quote!(#error #[allow(unused, clippy::all)] #function)
}

/// How the function is asynchronous.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// `async fn`.
    Async,
    /// `fn … -> Pin<Box<dyn Future<Output = …>>>`, as `#[async_trait]` writes it.
    Boxed,
    /// `fn … -> impl Future<Output = …>`.
    Returned,
}

/// What was found out about a function with a session.
pub(crate) struct Analysis {
    pub(crate) shape: Shape,
    /// The position of the session among the inputs.
    pub(crate) session: usize,
    /// The session's name in the body; none where the pattern is `_`.
    pub(crate) name: Option<Ident>,
    /// What the future gives.
    pub(crate) output: Type,
}

impl Function {
    /// Checks the shape of the function for `macro_name`.
    pub(crate) fn analyse(&self, macro_name: &str) -> Result<Analysis> {
        if let Some(keyword) = &self.sig.unsafety {
            return Err(Error::new_spanned(keyword, "nothing here needs `unsafe`: remove it"));
        }
        let (shape, output) = self.output(macro_name)?;
        let session = usize::from(self.sig.receiver().is_some());
        let name = self.session_name(session, macro_name)?;
        check_result(&output)?;
        Ok(Analysis { shape, session, name, output })
    }

    fn output(&self, macro_name: &str) -> Result<(Shape, Type)> {
        let returned = match &self.sig.output {
            ReturnType::Type(_, ty) => Some(&**ty),
            ReturnType::Default => None,
        };
        if self.sig.asyncness.is_some() {
            return match returned {
                Some(ty) => Ok((Shape::Async, ty.clone())),
                None => Err(Error::new_spanned(
                    &self.sig.ident,
                    "return a `Result`, so that an error can roll the work back: write `-> Result<(), sea_session::Error>`",
                )),
            };
        }
        if let Some(output) = returned.and_then(boxed_future) {
            return Ok((Shape::Boxed, output));
        }
        if let Some(Type::ImplTrait(future)) = returned
            && let Some(output) = future_output(future.bounds.iter())
        {
            return Ok((Shape::Returned, output));
        }
        Err(Error::new_spanned(
            self.sig.fn_token,
            format!("`{macro_name}` awaits the database: write `async fn {}`", self.sig.ident),
        ))
    }

    /// The name of the session argument, which must be a `&mut Session`.
    fn session_name(&self, at: usize, macro_name: &str) -> Result<Option<Ident>> {
        let Some(FnArg::Typed(PatType { pat, ty, .. })) = self.sig.inputs.get(at) else {
            return Err(Error::new_spanned(
                &self.sig.ident,
                format!("`{macro_name}` needs a session: write `{}` as the first argument", "s: &mut Session"),
            ));
        };
        if let Err(error) = check_session(ty) {
            // Somebody else's position is the likelier slip than somebody else's type.
            let elsewhere = self.sig.inputs.iter().skip(at + 1).find(|arg| match arg {
                FnArg::Typed(arg) => check_session(&arg.ty).is_ok(),
                FnArg::Receiver(_) => false,
            });
            return Err(match elsewhere {
                Some(arg) => Error::new_spanned(arg, "the session comes first: move this argument before the others"),
                None => error,
            });
        }
        match &**pat {
            Pat::Ident(name) if name.subpat.is_none() => Ok(Some(name.ident.clone())),
            Pat::Wild(_) => Ok(None),
            other => Err(Error::new_spanned(other, "give the session a plain name: write `s: &mut Session`")),
        }
    }
}

/// Whether `ty` is `&mut Session`.
fn check_session(ty: &Type) -> Result<()> {
    let is = |ty: &Type, names: &[&str]| matches!(ty, Type::Path(p) if p.path.segments.last().is_some_and(|s| names.iter().any(|n| s.ident == n)));
    let message = match ty {
        Type::Reference(reference) if is(&reference.elem, &["Session"]) => {
            if reference.mutability.is_some() {
                return Ok(());
            }
            "a session is borrowed mutably, so that nothing else can use it meanwhile: write `s: &mut Session`"
        }
        Type::Path(_) if is(ty, &["Session"]) => "the caller keeps its session and lends it: write `s: &mut Session`",
        Type::Reference(reference) if is(&reference.elem, &["Db"]) => {
            "take the session instead, `s: &mut Session`: the function that takes `&Db` is written for you"
        }
        Type::Reference(reference)
            if is(&reference.elem, &["DatabaseTransaction", "DatabaseConnection", "DbConn", "C"]) =>
        {
            "take the session instead, `s: &mut Session`: SeaORM's queries run on it as they are"
        }
        _ => "the first argument is the session: write `s: &mut Session` before the others",
    };
    Err(Error::new_spanned(ty, message))
}

/// Refuses what is certainly no `Result`.
fn check_result(output: &Type) -> Result<()> {
    const OTHERS: [&str; 12] =
        ["Option", "Vec", "String", "bool", "i32", "i64", "u32", "u64", "usize", "f64", "Tracked", "Model"];
    let certainly_not = match output {
        Type::Path(path) => path.path.segments.last().is_some_and(|s| OTHERS.iter().any(|o| s.ident == o)),
        Type::Tuple(_) | Type::Reference(_) | Type::Array(_) | Type::Slice(_) | Type::Never(_) => true,
        _ => false,
    };
    if !certainly_not {
        return Ok(());
    }
    let shown = output.to_token_stream().to_string().replace(" < ", "<").replace(" >", ">").replace("& ", "&");
    Err(Error::new_spanned(
        output,
        format!("an error rolls the work back, so return a `Result`: write `Result<{shown}, sea_session::Error>`"),
    ))
}

/// The error type of a `Result<T, E>` that is written out.
pub(crate) fn error_type(output: &Type) -> Option<&Type> {
    let Type::Path(path) = output else { return None };
    let last = path.path.segments.last().filter(|s| s.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match (arguments.args.len(), arguments.args.last()?) {
        (2, GenericArgument::Type(error)) => Some(error),
        _ => None,
    }
}

/// The output of `Pin<Box<dyn Future<Output = …>>>`.
fn boxed_future(ty: &Type) -> Option<Type> {
    let boxed = argument(ty, "Pin")?;
    match argument(boxed, "Box")? {
        Type::TraitObject(object) => future_output(object.bounds.iter()),
        _ => None,
    }
}

fn argument<'a>(ty: &'a Type, outer: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|s| s.ident == outer)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    }
}

fn future_output<'a>(mut bounds: impl Iterator<Item = &'a TypeParamBound>) -> Option<Type> {
    bounds.find_map(|bound| {
        let TypeParamBound::Trait(bound) = bound else { return None };
        let last = bound.path.segments.last().filter(|s| s.ident == "Future")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
        arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::AssocType(output) if output.ident == "Output" => Some(output.ty.clone()),
            _ => None,
        })
    })
}

/// How an argument reaches the function.
pub(crate) enum Passing {
    /// As it is: `Copy`, certainly.
    Copied,
    /// By value, so that it can be given once, or cloned.
    Moved,
    /// `&mut`, which can be given once.
    Exclusive,
}

/// How a value of this type is passed on.
pub(crate) fn passing(ty: &Type) -> Passing {
    const COPY: [&str; 14] =
        ["bool", "char", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize"];
    match ty {
        Type::Reference(reference) if reference.mutability.is_some() => Passing::Exclusive,
        Type::Reference(_) => Passing::Copied,
        Type::Path(path) if path.path.get_ident().is_some_and(|i| COPY.iter().any(|c| i == c)) => Passing::Copied,
        _ => Passing::Moved,
    }
}

/// How `self` is passed on.
pub(crate) fn passing_self(receiver: &Receiver) -> Passing {
    match (&receiver.reference, &receiver.colon_token) {
        (Some(_), _) if receiver.mutability.is_some() => Passing::Exclusive,
        (Some(_), _) => Passing::Copied,
        (None, Some(_)) => passing(&receiver.ty),
        (None, None) => Passing::Moved,
    }
}

/// The name of an argument in generated code; a pattern gets one by its position.
pub(crate) fn argument_name(pat: &Pat, position: usize) -> Ident {
    match pat {
        Pat::Ident(name) if name.subpat.is_none() => name.ident.clone(),
        other => format_ident!("argument_{position}", span = other.span().resolved_at(Span::mixed_site())),
    }
}
