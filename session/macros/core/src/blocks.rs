//! `atomic!` and `unit!`: a block in place.
//!
//! Both expand to one awaited call, and nothing of the body is changed; `return` and `?` leave the block.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Block, Error, Expr, Result, Token, Type,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    spanned::Spanned,
    token,
};

use crate::{
    atomic::Kind,
    crate_path, function,
    options::{self, Options, Place},
};

/// Expands `atomic!(s, { … })`, with `merged` or `durable` and `-> Result<…>` before the block where wanted.
pub fn atomic_block(input: TokenStream) -> TokenStream {
    crate_path::with(input, |input| {
        syn::parse2::<Nested>(input).map_or_else(Error::into_compile_error, |nested| nested.expand())
    })
}

/// Expands `unit!(db, …, { … })`; the block has the session as `s`, or as `tx` with `unit!(db as tx, …)`.
pub fn unit_block(input: TokenStream) -> TokenStream {
    crate_path::with(input, |input| {
        syn::parse2::<Unit>(input).map_or_else(Error::into_compile_error, |unit| unit.expand())
    })
}

struct Nested {
    session: Ident,
    kind: Kind,
    output: Option<Type>,
    body: Block,
}

const NESTED: &str = "atomic!(s, { … })";

impl Parse for Nested {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Err(options::here("say which session and what to do in the block: write `atomic!(s, { … })`"));
        }
        let session = session(input)?;
        comma(input, NESTED)?;
        let mut kind = Kind::Savepoint;
        while input.peek(Ident::peek_any) && !closure(input) {
            let (given, word) = Kind::parse(input)?;
            if kind != Kind::Savepoint {
                let message = if kind == given {
                    format!("`{word}` is given twice: remove one of them")
                } else {
                    "a merged block has no end of its own, a durable one must have: leave one of the two out".to_owned()
                };
                return Err(Error::new_spanned(word, message));
            }
            kind = given;
            comma(input, NESTED)?;
        }
        let output = output(input)?;
        let body = body(input, NESTED)?;
        Ok(Self { session, kind, output, body })
    }
}

/// The session's variable.
fn session(input: ParseStream<'_>) -> Result<Ident> {
    let expr: Expr = input.parse()?;
    match &expr {
        Expr::Path(path) => path.path.get_ident().cloned(),
        Expr::Reference(_) => {
            return Err(Error::new_spanned(
                &expr,
                "the macro borrows the session itself: write its name alone, `atomic!(s, { … })`",
            ));
        }
        Expr::Block(_) => {
            return Err(Error::new_spanned(&expr, "say which session the block belongs to: write `atomic!(s, { … })`"));
        }
        _ => None,
    }
    .ok_or_else(|| {
        Error::new_spanned(
            &expr,
            "the block uses the session by a name: bind it first, `let s = &mut …;`, then `atomic!(s, { … })`",
        )
    })
}

fn comma(input: ParseStream<'_>, usage: &str) -> Result<()> {
    if input.is_empty() {
        return Err(Error::new(Span::call_site(), format!("the block is missing: write `{usage}`")));
    }
    input
        .parse::<Token![,]>()
        .map(drop)
        .map_err(|e| Error::new(e.span(), format!("a comma is missing here: write `{usage}`")))
}

fn output(input: ParseStream<'_>) -> Result<Option<Type>> {
    if !input.peek(Token![->]) {
        return Ok(None);
    }
    input.parse::<Token![->]>()?;
    Ok(Some(input.parse()?))
}

/// Whether a closure starts here, which the macros write themselves.
fn closure(input: ParseStream<'_>) -> bool {
    input.peek(Token![async]) || input.peek(Token![move]) || input.peek(Token![|])
}

fn body(input: ParseStream<'_>, usage: &str) -> Result<Block> {
    if input.is_empty() {
        return Err(Error::new(Span::call_site(), format!("the block is missing: write `{usage}`")));
    }
    if closure(input) {
        return Err(Error::new(
            input.span(),
            format!("the block alone is enough, the closure is written for you: write `{usage}`"),
        ));
    }
    if !input.peek(token::Brace) {
        return Err(Error::new(input.span(), format!("a block belongs here: write `{usage}`")));
    }
    let body = input.parse()?;
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    }
    if !input.is_empty() {
        return Err(Error::new(input.span(), format!("the block comes last: write `{usage}`")));
    }
    Ok(body)
}

impl Nested {
    fn expand(self) -> TokenStream {
        let Self { session, kind, output, body } = self;
        let output = output.map(|ty| quote!(-> #ty));
        let call = kind.call(session.span());
        quote! {
            #session #call(async |#[allow(unused_variables)] #session: &mut ::sea_session::Session| #output #body).await
        }
    }
}

struct Unit {
    db: Expr,
    session: Ident,
    options: Options,
    output: Option<Type>,
    body: Block,
}

const UNIT: &str = "unit!(db, retry = 5, { … })";

impl Parse for Unit {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Err(options::here("say which database and what to do in the unit: write `unit!(db, { … })`"));
        }
        let (db, session) = database(input)?;
        comma(input, UNIT)?;
        let mut options = Options::default();
        while input.peek(Ident::peek_any) && !closure(input) {
            options.parse_one(input, Place::Unit)?;
            comma(input, UNIT)?;
        }
        options.check();
        let output = output(input)?;
        let body = body(input, UNIT)?;
        Ok(Self { db, session, options, output, body })
    }
}

/// The database, and the name that the session has in the block.
fn database(input: ParseStream<'_>) -> Result<(Expr, Ident)> {
    match input.parse()? {
        Expr::Cast(cast) => match &*cast.ty {
            Type::Path(name) if name.path.get_ident().is_some() => {
                let name = name.path.get_ident().cloned().unwrap_or_else(default_name);
                Ok((*cast.expr, name))
            }
            other => Err(Error::new_spanned(
                other,
                "after `as` comes the session's name in the block: write `unit!(db as tx, { … })`",
            )),
        },
        block @ Expr::Block(_) => {
            Err(Error::new_spanned(block, "say which database the unit is for: write `unit!(db, { … })`"))
        }
        other => Ok((other, default_name())),
    }
}

fn default_name() -> Ident {
    Ident::new("s", Span::call_site())
}

impl Unit {
    fn expand(self) -> TokenStream {
        let Self { db, session, options, output, body } = self;
        let mistakes = options.errors.iter().map(|e| e.clone().into_compile_error());
        let calls = options.calls(output.as_ref().and_then(function::error_type));
        let output = output.map(|ty| quote!(-> #ty));
        let run = quote_spanned!(db.span()=> .run);
        quote! {{
            #(#mistakes)*
            (#db).session() #calls #run(async |#[allow(unused_variables)] #session: &mut ::sea_session::Session| #output #body).await
        }}
    }
}
