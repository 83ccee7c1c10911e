//! `crate = "…"`: where sea-session is, for a crate that calls it by another name or gets it from a third.
//!
//! The macros write `::sea_session` throughout; one pass over what they have written puts the other path in its place.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Error, LitStr, Path, Result};

/// Expands a macro without `crate = …` among its arguments, and has what it writes name that path.
pub(crate) fn with(args: TokenStream, expand: impl FnOnce(TokenStream) -> TokenStream) -> TokenStream {
    let (args, path) = take(args);
    match path {
        None => expand(args),
        Some(Ok(path)) => replaced(expand(args), &path),
        Some(Err(error)) => {
            let (error, rest) = (error.into_compile_error(), expand(args));
            quote::quote!(#error #rest)
        }
    }
}

/// `#[tracked(crate = "…")]` on the item that has a derive.
pub(crate) fn of_derive(attrs: &[Attribute]) -> Option<Result<Path>> {
    let mut found = None;
    for attr in attrs.iter().filter(|a| a.path().is_ident("tracked")) {
        // What else is wrong in it, the derive itself says.
        let _ = attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("crate") {
                let value = meta.value()?;
                found = Some(path(value.parse::<syn::Expr>()?.into_token_stream(), &meta.path));
                return Ok(());
            }
            crate::tracked::skip(&meta)
        });
    }
    found
}

/// The arguments of a macro, separated by commas, without the one that is `crate = …`, and that one's value.
fn take(args: TokenStream) -> (TokenStream, Option<Result<Path>>) {
    let (mut kept, mut found) = (vec![], None);
    for argument in args.into_iter().collect::<Vec<_>>().split_inclusive(is(',')) {
        match argument {
            [TokenTree::Ident(word), equals, value @ ..] if word == "crate" && is('=')(equals) => {
                let value = value.iter().filter(|token| !is(',')(token)).cloned().collect();
                let given = path(value, word);
                found = Some(match found {
                    None => given,
                    Some(_) => Err(Error::new_spanned(word, "`crate` is given twice: remove one of them")),
                });
            }
            other => kept.extend_from_slice(other),
        }
    }
    (kept.into_iter().collect(), found)
}

fn is(sign: char) -> impl Fn(&TokenTree) -> bool {
    move |token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// The path in `crate = "…"`, as text or as it is.
fn path(value: TokenStream, place: impl ToTokens) -> Result<Path> {
    let text = syn::parse2::<LitStr>(value.clone());
    let path = match &text {
        Ok(text) => text.parse_with(Path::parse_mod_style),
        Err(_) => syn::parse::Parser::parse2(Path::parse_mod_style, value),
    };
    path.map_err(|_| {
        Error::new_spanned(place, "`crate` says where sea-session is: write a path such as `crate = \"my_session\"`")
    })
}

/// What a macro has written, with `path` for `::sea_session`.
pub(crate) fn replaced(written: TokenStream, path: &Path) -> TokenStream {
    let tokens: Vec<TokenTree> = written.into_iter().collect();
    let mut replaced: Vec<TokenTree> = vec![];
    let mut rest = &tokens[..];
    while let Some((first, after)) = rest.split_first() {
        // `crate::sea_session` is somebody's module, `mut ::sea_session` is not.
        let continues = matches!(replaced.last(), Some(TokenTree::Ident(before)) if is_segment(before));
        match (first, after) {
            (first, [second, TokenTree::Ident(name), after @ ..])
                if is(':')(first) && is(':')(second) && name == "sea_session" && !continues =>
            {
                replaced.extend(path.to_token_stream().into_iter().map(|token| placed(token, name)));
                rest = after;
            }
            (TokenTree::Group(group), after) => {
                let mut inside = Group::new(group.delimiter(), self::replaced(group.stream(), path));
                inside.set_span(group.span());
                replaced.push(inside.into());
                rest = after;
            }
            (other, after) => {
                replaced.push(other.clone());
                rest = after;
            }
        }
    }
    replaced.into_iter().collect()
}

/// Whether a word can stand before `::` in a path, which most keywords cannot.
fn is_segment(word: &Ident) -> bool {
    ["crate", "self", "super", "Self"].iter().any(|segment| word == segment)
        || syn::parse2::<Ident>(word.to_token_stream()).is_ok()
}

/// A token of the path where the name was that it stands for: what rustc says of it belongs there.
fn placed(mut token: TokenTree, name: &Ident) -> TokenTree {
    token.set_span(name.span());
    token
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn the_path_stands_for_the_crate_and_for_nothing_else() {
        let path: Path = syn::parse_quote!(crate::mine);
        let written = quote!(
            fn f(s: &mut ::sea_session::Session) -> a::sea_session::B {
                sea_session::x();
                { ::sea_session::y }
            }
        );
        let expected = quote!(
            fn f(s: &mut crate::mine::Session) -> a::sea_session::B {
                sea_session::x();
                { crate::mine::y }
            }
        );
        assert_eq!(replaced(written, &path).to_string(), expected.to_string());
    }

    #[test]
    fn the_argument_is_taken_out_wherever_it_stands() {
        for args in
            [quote!(retry = 5, crate = "a::b"), quote!(crate = a::b, retry = 5), quote!(crate = "a::b", retry = 5,)]
        {
            let (rest, path) = take(args);
            assert_eq!(path.expect("it is there").expect("a path").to_token_stream().to_string(), "a :: b");
            assert!(rest.to_string().starts_with("retry = 5"), "{rest}");
        }
        assert!(take(quote!(crate = 5)).1.expect("it is there").is_err());
        assert!(take(quote!(crate = "a", crate = "b")).1.expect("it is there").is_err());
        assert!(take(quote!(retry = 5)).1.is_none());
        assert!(take(quote!(allow = crate::is_mine)).1.is_none());
    }
}
