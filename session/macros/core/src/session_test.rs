//! `#[session_test]`: a test with a session that is rolled back at its end, or with a database of its own.
//!
//! One `#[test]` a backend, so that they run in parallel and are named in the test's output. What the tests share is
//! in `::sea_session::testing`; nothing is set up here.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, ItemFn, Lit, Result, ReturnType, Token, Type, TypePath,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    spanned::Spanned,
};

use crate::{crate_path, suggest};

/// Expands `#[session_test(…)]`.
pub fn session_test(args: TokenStream, item: TokenStream) -> TokenStream {
    crate_path::with(args, |args| match expand(args, item.clone()) {
        Ok(expansion) => expansion,
        Err(error) => crate::function::refused(error, item),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Sqlite,
    Postgres,
    MariaDb,
}

impl Backend {
    fn named(name: &str) -> Option<Self> {
        [Self::Sqlite, Self::Postgres, Self::MariaDb].into_iter().find(|backend| backend.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }

    fn path(self) -> TokenStream {
        match self {
            Self::Sqlite => quote!(::sea_session::testing::Backend::Sqlite),
            Self::Postgres => quote!(::sea_session::testing::Backend::Postgres),
            Self::MariaDb => quote!(::sea_session::testing::Backend::MariaDb),
        }
    }
}

/// What the attribute asks for.
#[derive(Default)]
struct Wanted {
    backends: Vec<Backend>,
    migrations: Option<Expr>,
    tables: Option<Expr>,
}

const KNOWN: [&str; 5] = ["sqlite", "postgres", "mariadb", "migrations", "tables"];

impl Wanted {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut wanted = Self::default();
        while !input.is_empty() {
            wanted.take(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>().map_err(|e| Error::new(e.span(), "put a comma between two options"))?;
            }
        }
        if let (Some(_), Some(tables)) = (&wanted.migrations, &wanted.tables) {
            return Err(Error::new_spanned(
                tables,
                "the tables come from migrations or from entities: leave `migrations` or `tables` out",
            ));
        }
        if wanted.backends.is_empty() {
            wanted.backends.push(Backend::Sqlite);
        }
        Ok(wanted)
    }

    fn take(&mut self, input: ParseStream<'_>) -> Result<()> {
        let word = input.call(Ident::parse_any)?;
        let twice = || Error::new_spanned(&word, format!("`{word}` is given twice: remove one of them"));
        let text = word.to_string();
        if let Some(backend) = Backend::named(&text) {
            if self.backends.contains(&backend) {
                return Err(twice());
            }
            self.backends.push(backend);
            return Ok(());
        }
        match text.as_str() {
            "migrations" => {
                let given = value(input, &word, "migrations = Migrator")?;
                if self.migrations.replace(given).is_some() {
                    return Err(twice());
                }
            }
            "tables" => {
                let given = value(input, &word, "tables = [note::Entity]")?;
                if !matches!(given, Expr::Array(_)) {
                    return Err(Error::new_spanned(
                        given,
                        "`tables` takes a list of entities: write `tables = [note::Entity]`",
                    ));
                }
                if self.tables.replace(given).is_some() {
                    return Err(twice());
                }
            }
            "postgresql" | "pg" => return Err(Error::new_spanned(&word, "did you mean `postgres`?")),
            "mysql" => {
                return Err(Error::new_spanned(
                    &word,
                    "the server that tests start is MariaDB: write `mariadb` (`TEST_MYSQL_URL` may name a MySQL)",
                ));
            }
            other => {
                let hint = suggest::hint(other, &KNOWN);
                return Err(Error::new_spanned(
                    &word,
                    format!("`{other}` is not an option of `#[session_test]`: {hint}"),
                ));
            }
        }
        Ok(())
    }
}

fn value(input: ParseStream<'_>, word: &Ident, example: &str) -> Result<Expr> {
    if !input.peek(Token![=]) {
        return Err(Error::new_spanned(word, format!("`{word}` needs a value: write `{example}`")));
    }
    input.parse::<Token![=]>()?;
    let given: Expr = input.parse()?;
    match &given {
        Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) => {
            Err(Error::new_spanned(given, format!("this is Rust, not text: write `{example}`")))
        }
        _ => Ok(given),
    }
}

/// What the test takes: a session that is rolled back, or a database.
enum Takes {
    Session,
    Db,
    DbRef,
}

fn expand(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item)
        .map_err(|_| crate::options::here("put `#[session_test]` on an `async fn` that takes `s: &mut Session`"))?;
    let wanted = Wanted::parse.parse2(args)?;
    let takes = takes(&function)?;
    let (on_test, on_body): (Vec<&Attribute>, Vec<&Attribute>) =
        function.attrs.iter().partition(|a| ["ignore", "should_panic", "cfg"].iter().any(|n| a.path().is_ident(n)));
    if let Some(test) = on_body.iter().find(|a| a.path().segments.last().is_some_and(|s| s.ident == "test")) {
        return Err(Error::new_spanned(test, "`#[session_test]` makes the test: remove this attribute"));
    }
    let name = &function.sig.ident;
    let mut body = function.clone();
    body.attrs = on_body.into_iter().cloned().collect();
    body.vis = syn::Visibility::Inherited;
    let setup = setup(&wanted)?;
    let one = |test: &Ident, backend: Backend| {
        let run = run(&takes, name, backend, &setup);
        quote! {
            #(#on_test)*
            #[test]
            fn #test() {
                #body
                #run
            }
        }
    };
    if let [backend] = wanted.backends[..] {
        return Ok(one(name, backend));
    }
    let tests = wanted.backends.iter().map(|backend| one(&format_ident!("{}", backend.name()), *backend));
    Ok(quote! {
        mod #name {
            #[allow(unused_imports)]
            use super::*;

            #(#tests)*
        }
    })
}

fn takes(function: &ItemFn) -> Result<Takes> {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            sig.fn_token,
            format!("the test awaits the database: write `async fn {}`", sig.ident),
        ));
    }
    if let Some(param) = sig.generics.params.first() {
        return Err(Error::new_spanned(param, "a test has no generic parameters: remove them"));
    }
    if sig.inputs.len() > 1 {
        return Err(Error::new_spanned(
            sig.inputs.last(),
            "a test takes one argument, `s: &mut Session` or `db: Db`: remove the others",
        ));
    }
    let argument = match sig.inputs.first() {
        Some(FnArg::Typed(argument)) => argument,
        Some(FnArg::Receiver(receiver)) => {
            return Err(Error::new_spanned(
                receiver,
                "a test is a free function: write `s: &mut Session` instead of `self`",
            ));
        }
        None => {
            return Err(Error::new_spanned(
                &sig.ident,
                "say what the test works on: write `s: &mut Session`, or `db: Db` for a database of its own",
            ));
        }
    };
    if let ReturnType::Type(_, ty) = &sig.output
        && let Type::Path(TypePath { path, .. }) = &**ty
        && path.segments.last().is_some_and(|s| s.ident == "Option")
    {
        return Err(Error::new_spanned(ty, "a test fails by a panic or an error: return nothing or a `Result`"));
    }
    let is =
        |ty: &Type, name: &str| matches!(ty, Type::Path(p) if p.path.segments.last().is_some_and(|s| s.ident == name));
    match &*argument.ty {
        Type::Reference(r) if is(&r.elem, "Session") && r.mutability.is_some() => Ok(Takes::Session),
        Type::Reference(r) if is(&r.elem, "Db") && r.mutability.is_none() => Ok(Takes::DbRef),
        ty if is(ty, "Db") => Ok(Takes::Db),
        ty => Err(Error::new_spanned(ty, "a test takes a session or a database: write `s: &mut Session` or `db: Db`")),
    }
}

/// The closure that prepares the database.
fn setup(wanted: &Wanted) -> Result<TokenStream> {
    if let Some(Expr::Array(tables)) = &wanted.tables {
        let entities = tables.elems.iter().map(|entity| match entity {
            Expr::Path(path) => {
                Ok(quote_spanned!(path.span()=> ::sea_session::testing::create_table(db, #path).await?;))
            }
            other => Err(Error::new_spanned(other, "name an entity here, such as `note::Entity`")),
        });
        let entities: Vec<TokenStream> = entities.collect::<Result<_>>()?;
        return Ok(quote! {
            async |db: &::sea_session::Db| -> ::core::result::Result<(), ::sea_session::Error> {
                #(#entities)*
                ::core::result::Result::Ok(())
            }
        });
    }
    let body = match &wanted.migrations {
        None => {
            return Ok(quote!(
                async |_: &::sea_session::Db| ::core::result::Result::<(), ::sea_session::Error>::Ok(())
            ));
        }
        Some(Expr::Path(path)) if is_type(&path.path) => {
            quote_spanned!(path.span()=> <#path as ::sea_orm_migration::MigratorTrait>::up(db.connection(), ::core::option::Option::None).await)
        }
        Some(function) => quote_spanned!(function.span()=> (#function)(db).await),
    };
    Ok(quote!(async |db: &::sea_session::Db| #body))
}

/// A migrator is a type, a function is not; Rust's own naming tells them apart.
fn is_type(path: &syn::Path) -> bool {
    path.segments.last().is_some_and(|s| s.ident.unraw().to_string().starts_with(char::is_uppercase))
}

fn run(takes: &Takes, name: &Ident, backend: Backend, setup: &TokenStream) -> TokenStream {
    let backend = backend.path();
    match takes {
        Takes::Session => quote! {
            ::sea_session::testing::run_test(#backend, #setup, async |s: &mut ::sea_session::Session| #name(s).await);
        },
        Takes::Db => quote! {
            ::sea_session::testing::run_test_on(#backend, #setup, async |db: ::sea_session::Db| #name(db).await);
        },
        Takes::DbRef => quote! {
            ::sea_session::testing::run_test_on(#backend, #setup, async |db: ::sea_session::Db| #name(&db).await);
        },
    }
}
