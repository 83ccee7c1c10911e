//! `#[atomic]`: the body of a function becomes a nested block of the caller's unit of work.
//!
//! The signature is never changed, so the function can be called, and documented, as it was written.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Block, Error, Expr, FnArg, Pat, Result, Stmt, Type,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    parse_quote, parse_quote_spanned,
    spanned::Spanned,
};

use crate::{
    crate_path,
    function::{self, Analysis, Function, Shape},
    suggest,
};

/// The kind of a nested block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A savepoint.
    Savepoint,
    /// No savepoint: an error inside dooms what is around it (A3).
    Merged,
    /// Refused unless it is outermost (A12).
    Durable,
}

impl Kind {
    /// Reads `merged` or `durable`.
    pub(crate) fn parse(input: ParseStream<'_>) -> Result<(Self, Ident)> {
        const KNOWN: [&str; 2] = ["merged", "durable"];
        let word = input.call(Ident::parse_any)?;
        let kind = match word.to_string().as_str() {
            "merged" => Self::Merged,
            "durable" => Self::Durable,
            other @ ("retry" | "isolation" | "read_only" | "on_primary" | "deferrable" | "immediate" | "timeout"
            | "lock_timeout" | "optimistic" | "causal" | "set_local") => {
                return Err(Error::new_spanned(
                    &word,
                    format!(
                        "`{other}` is decided where the unit of work begins: write it in `#[db_session(…)]` or `unit!(…)`"
                    ),
                ));
            }
            "savepoint" => {
                return Err(Error::new_spanned(
                    &word,
                    "a block is a savepoint unless it is `merged`: leave `savepoint` out",
                ));
            }
            other => {
                let hint = suggest::hint(other, &KNOWN);
                return Err(Error::new_spanned(&word, format!("`{other}` is not a kind of block: {hint}")));
            }
        };
        Ok((kind, word))
    }

    /// The method calls between the session and the body.
    pub(crate) fn call(self, span: Span) -> TokenStream {
        match self {
            Self::Savepoint => quote_spanned!(span=> .atomic),
            Self::Merged => quote_spanned!(span=> .block().merged().run),
            Self::Durable => quote_spanned!(span=> .block().durable().run),
        }
    }
}

/// Expands `#[atomic]`, `#[atomic(merged)]` and `#[atomic(durable)]`.
pub fn atomic(args: TokenStream, item: TokenStream) -> TokenStream {
    crate_path::with(args, |args| match expand(args, item.clone()) {
        Ok(expansion) => expansion,
        Err(error) => function::refused(error, item),
    })
}

fn expand(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut function: Function = syn::parse2(item)?;
    let kind = kind.parse2(args)?;
    let analysis = function.analyse("#[atomic]")?;
    if function.body.is_none() {
        return Err(Error::new_spanned(
            &function.sig.ident,
            "`#[atomic]` wraps a body: put it on the method in the `impl`, not on its declaration in the trait",
        ));
    }
    if analysis.shape == Shape::Boxed && !boxes(&function) {
        return Err(Error::new_spanned(
            &function.sig.ident,
            "`#[atomic]` wraps an `async` body: write `async fn`, with `#[async_trait]` on the `impl` where a trait needs it",
        ));
    }
    wrap(&mut function, &analysis, kind);
    Ok(function.into_token_stream())
}

fn kind(input: ParseStream<'_>) -> Result<Kind> {
    if input.is_empty() {
        return Ok(Kind::Savepoint);
    }
    let (kind, first) = Kind::parse(input)?;
    if input.peek(syn::Token![,]) {
        input.parse::<syn::Token![,]>()?;
    }
    if input.is_empty() {
        return Ok(kind);
    }
    let (_, second) = Kind::parse(input)?;
    let message = if first == second {
        format!("`{second}` is given twice: remove one of them")
    } else {
        "a merged block has no end of its own, a durable one must have: leave one of the two out".to_owned()
    };
    Err(Error::new_spanned(second, message))
}

/// Puts the body of `function` into a block of `kind`.
pub(crate) fn wrap(function: &mut Function, analysis: &Analysis, kind: Kind) {
    let session = match &analysis.name {
        Some(name) => name.clone(),
        None => name_session(function, analysis),
    };
    let pattern = session_pattern(function, analysis.session, &session);
    let Some(body) = &mut function.body else { return };
    // What rustc says of the error type belongs to the return type, where it is written.
    let place = Span::call_site().located_at(analysis.output.span());
    let call = kind.call(place);
    let output = returned(&analysis.output);
    let inner = |block: &Block| -> Expr {
        parse_quote_spanned!(place=> #session #call(async move |#[allow(unused_variables)] #pattern: &mut ::sea_session::Session| #output #block).await)
    };
    match analysis.shape {
        Shape::Async => {
            let wrapped = inner(body);
            body.stmts = vec![Stmt::Expr(wrapped, None)];
        }
        Shape::Boxed | Shape::Returned => {
            if let Some(block) = async_block(body) {
                let wrapped = inner(block);
                block.stmts = vec![Stmt::Expr(wrapped, None)];
            }
        }
    }
}

/// Has the body ask its unit for what it must have been opened with, before it does anything (B3, B4): each of `asked` is a
/// call on the session.
pub(crate) fn require(function: &mut Function, analysis: &Analysis, asked: &[TokenStream]) {
    if asked.is_empty() {
        return;
    }
    let session = match &analysis.name {
        Some(name) => name.clone(),
        None => name_session(function, analysis),
    };
    // What rustc says of the error type belongs to the return type, where it is written.
    let place = Span::call_site().located_at(analysis.output.span());
    let asked = asked.iter().map(|call| -> Stmt { parse_quote_spanned!(place=> #session.#call?;) });
    begin_with(function, analysis.shape, asked);
}

/// Puts statements before anything that the body does.
pub(crate) fn begin_with(function: &mut Function, shape: Shape, first: impl IntoIterator<Item = Stmt>) {
    let Some(body) = &mut function.body else { return };
    let stmts = match shape {
        Shape::Async => Some(&mut body.stmts),
        Shape::Boxed | Shape::Returned => async_block(body).map(|block| &mut block.stmts),
    };
    if let Some(stmts) = stmts {
        stmts.splice(..0, first);
    }
}

/// Whether the body of a rewritten method is the boxed block that `#[async_trait]` makes of it.
fn boxes(function: &Function) -> bool {
    function.body.clone().is_some_and(|mut body| async_block(&mut body).is_some())
}

/// The `async` block at the end of a body, alone or as the argument of `Box::pin`.
fn async_block(body: &mut Block) -> Option<&mut Block> {
    match body.stmts.last_mut()? {
        Stmt::Expr(Expr::Async(block), _) => Some(&mut block.block),
        Stmt::Expr(Expr::Call(call), _) => match call.args.first_mut()? {
            Expr::Async(block) => Some(&mut block.block),
            _ => None,
        },
        _ => None,
    }
}

/// The closure's return type, where it can be written there.
fn returned(output: &Type) -> TokenStream {
    struct Finder(bool);
    impl<'a> syn::visit::Visit<'a> for Finder {
        fn visit_type_impl_trait(&mut self, _: &'a syn::TypeImplTrait) {
            self.0 = true;
        }
    }
    let mut finder = Finder(false);
    syn::visit::visit_type(&mut finder, output);
    if finder.0 { TokenStream::new() } else { quote!(-> #output) }
}

/// Gives `_: &mut Session` a name of its own.
fn name_session(function: &mut Function, analysis: &Analysis) -> Ident {
    let name = Ident::new("session", Span::mixed_site().located_at(analysis.output.span()));
    if let Some(FnArg::Typed(argument)) = function.sig.inputs.get_mut(analysis.session) {
        *argument.pat = parse_quote!(#name);
    }
    name
}

/// The session's pattern in the body; `mut` moves there from the signature.
fn session_pattern(function: &mut Function, at: usize, name: &Ident) -> TokenStream {
    if let Some(FnArg::Typed(argument)) = function.sig.inputs.get_mut(at)
        && let Pat::Ident(pattern) = &mut *argument.pat
        && let Some(mutability) = pattern.mutability.take()
    {
        return quote!(#mutability #name);
    }
    name.to_token_stream()
}
