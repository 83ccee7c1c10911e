//! The generated code, as a reader would meet it: each `*.in.rs` expands to its `*.out.rs`, letter for letter.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test -p sea-session-macros-core --test snapshots` writes the outputs anew; read the
//! difference before you commit it.

use std::{fs, path::Path};

use proc_macro2::TokenStream;
use quote::quote;
use sea_session_macros_core as core;
use syn::{Attribute, File, ImplItem, Item, Meta, TraitItem};

/// Expands the one macro that an input uses: the attribute of one of its items, or a macro call.
fn expand(input: &str) -> String {
    let file: File = syn::parse_file(input).expect("an input is Rust");
    let mut items: Vec<TokenStream> = vec![];
    for item in file.items {
        items.push(match item {
            Item::Struct(mut item) => {
                remove_derive(&mut item.attrs);
                core::derive_tracked(quote!(#item))
            }
            Item::Enum(mut item) => {
                remove_derive(&mut item.attrs);
                core::derive_tracked(quote!(#item))
            }
            Item::Fn(mut item) => {
                let attr = take(&mut item.attrs);
                attribute(attr, quote!(#item))
            }
            Item::Impl(mut item) => {
                for method in &mut item.items {
                    if let ImplItem::Fn(function) = method {
                        let attr = take(&mut function.attrs);
                        *method = ImplItem::Verbatim(attribute(attr, quote!(#function)));
                    }
                }
                quote!(#item)
            }
            Item::Trait(mut item) => {
                for method in &mut item.items {
                    if let TraitItem::Fn(function) = method {
                        let attr = take(&mut function.attrs);
                        *method = TraitItem::Verbatim(attribute(attr, quote!(#function)));
                    }
                }
                quote!(#item)
            }
            Item::Macro(item) => {
                let tokens = item.mac.tokens.clone();
                let expansion = if item.mac.path.is_ident("atomic") {
                    core::atomic_block(tokens)
                } else {
                    core::unit_block(tokens)
                };
                quote!(fn in_place() { #expansion })
            }
            other => quote!(#other),
        });
    }
    let expansion: File = syn::parse2(quote!(#(#items)*)).expect("an expansion is Rust");
    prettyplease::unparse(&expansion)
}

/// Derives are gone from a derive's input.
fn remove_derive(attrs: &mut Vec<Attribute>) {
    attrs.retain(|a| !a.path().is_ident("derive"));
}

/// The macro's attribute comes first.
fn take(attrs: &mut Vec<Attribute>) -> Option<Attribute> {
    let at =
        attrs.iter().position(|a| ["db_session", "atomic", "session_test"].iter().any(|n| a.path().is_ident(n)))?;
    Some(attrs.remove(at))
}

fn attribute(attr: Option<Attribute>, item: TokenStream) -> TokenStream {
    let Some(attr) = attr else { return item };
    let args = match &attr.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    if attr.path().is_ident("db_session") {
        core::db_session(args, item)
    } else if attr.path().is_ident("atomic") {
        core::atomic(args, item)
    } else {
        core::session_test(args, item)
    }
}

#[test]
fn every_expansion_is_its_snapshot() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let mut compared = 0;
    for entry in fs::read_dir(&folder).expect("the folder of snapshots") {
        let input = entry.expect("an entry").path();
        let Some(name) = input.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".in.rs")) else {
            continue;
        };
        let output = folder.join(format!("{name}.out.rs"));
        let expansion = expand(&fs::read_to_string(&input).expect("an input"));
        assert!(!expansion.contains("compile_error"), "{name} is refused:\n{expansion}");
        if update {
            fs::write(&output, expansion).expect("a snapshot is written");
        } else {
            let expected = fs::read_to_string(&output).unwrap_or_else(|_| panic!("{name} has no snapshot yet"));
            assert_eq!(expansion, expected, "the expansion of `{name}` is not its snapshot");
        }
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} snapshots were found");
}

/// `crate = "…"` (U10): whatever a macro writes of this library, it writes under that path.
#[test]
fn nothing_names_the_crate_but_the_path() {
    let function = || {
        quote!(
            async fn f(s: &mut Session, a: i64) -> Result<(), E> {
                Ok(())
            }
        )
    };
    let written = [
        core::derive_tracked(quote! {
            #[tracked(crate = "a::mine", no_hooks)]
            struct Model {
                #[sea_orm(primary_key)]
                id: i64,
                #[tracked(secret)]
                word: Option<String>,
                #[tracked(created_at)]
                at: TimeDateTime,
            }
        }),
        core::derive_tracked(quote! {
            #[tracked(crate = "a::mine")]
            enum Relation {
                #[sea_orm(belongs_to = "super::b::Entity", from = "Column::B", to = "super::b::Column::Id")]
                B,
                #[sea_orm(has_many = "super::c::Entity")]
                C,
            }
        }),
        core::derive_tracked(quote! {
            #[tracked(crate = "a::mine")]
            struct ModelEx {
                id: i64,
                #[sea_orm(has_many, via = "d")]
                all: HasMany<super::b::Entity>,
                #[sea_orm(has_one)]
                one: HasOne<super::c::Entity>,
            }
        }),
        core::db_session(
            quote!(retry = 5, isolation = "serializable", read_only, crate = "a::mine", set_local("a" = a)),
            function(),
        ),
        core::db_session(quote!(durable, crate = "a::mine"), function()),
        core::atomic(quote!(crate = a::mine, merged), function()),
        core::atomic_block(quote!(s, crate = "a::mine", { Ok(()) })),
        core::unit_block(quote!(db, crate = "a::mine", retry = 5, { Ok(()) })),
        core::session_test(
            quote!(sqlite, postgres, tables = [b::Entity], crate = "a::mine"),
            quote!(
                async fn t(s: &mut Session) {}
            ),
        ),
        core::session_test(
            quote!(migrations = up, crate = "a::mine"),
            quote!(
                async fn t(db: Db) {}
            ),
        ),
    ];
    for written in written {
        let text = written.to_string();
        assert!(!text.contains("compile_error"), "{text}");
        assert!(text.contains("a :: mine") && !text.contains("sea_session"), "{text}");
    }
}
