//! What `#[tracked(…)]` on the struct says about the entity as a whole.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{Attribute, Error, LitStr, Path, Result, ext::IdentExt, meta::ParseNestedMeta};

use super::fields::{self, Column};
use crate::suggest;

/// The options of an entity.
#[derive(Default)]
pub(super) struct Options {
    pub(super) no_hooks: bool,
    soft_delete: Option<LitStr>,
    audit: bool,
    outbox: Option<LitStr>,
}

const OPTIONS: [&str; 5] = ["no_hooks", "soft_delete", "audit", "outbox", "crate"];

impl Options {
    /// Reads them. Mistakes are added to `errors`.
    pub(super) fn read(attrs: &[Attribute], errors: &mut Vec<Error>) -> Self {
        let mut options = Self::default();
        for attr in attrs.iter().filter(|a| a.path().is_ident("tracked")) {
            let parsed = attr.parse_nested_meta(|meta| options.take(&meta));
            errors.extend(parsed.err());
        }
        options
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
        match name.as_str() {
            // It is about the macro's own output, and read there.
            "crate" => fields::skip(meta)?,
            "no_hooks" => self.no_hooks = true,
            "audit" => self.audit = true,
            "soft_delete" => only_one(
                &mut self.soft_delete,
                meta,
                "the column that marks deleted rows: `soft_delete = \"deleted_at\"`",
            )?,
            "outbox" => only_one(&mut self.outbox, meta, "the topic of its events: `outbox = \"notes\"`")?,
            _ => {
                return Err(meta.error(format!(
                    "`#[tracked(…)]` on the struct knows {}: move what describes a field to that field",
                    suggest::list(&OPTIONS)
                )));
            }
        }
        Ok(())
    }

    /// The calls that describe the entity. Mistakes are added to `errors`.
    pub(super) fn calls(&self, columns: &[Column<'_>], errors: &mut Vec<Error>) -> Vec<TokenStream> {
        let mut calls = vec![];
        if self.no_hooks {
            calls.push(quote!(.no_hooks()));
        }
        if let Some(named) = &self.soft_delete {
            match soft_delete(named, columns) {
                Ok(column) => calls.push(quote!(.soft_delete(Column::#column))),
                Err(error) => errors.push(error),
            }
        }
        if self.audit {
            calls.push(quote!(.audit()));
        }
        calls.extend(self.outbox.iter().map(|topic| quote!(.outbox(#topic))));
        calls
    }
}

fn only_one(slot: &mut Option<LitStr>, meta: &ParseNestedMeta<'_>, write: &str) -> Result<()> {
    let path: &Path = &meta.path;
    if !meta.input.peek(syn::Token![=]) {
        return Err(Error::new_spanned(path, format!("say {write}")));
    }
    let value = meta.value()?;
    let given: LitStr = value.parse().map_err(|e| Error::new(e.span(), format!("this is not a text: say {write}")))?;
    match slot.replace(given) {
        Some(_) => Err(Error::new_spanned(path, "this is given twice: remove one of them")),
        None => Ok(()),
    }
}

/// The column that marks deleted rows: a time that may be null.
fn soft_delete<'a>(named: &LitStr, columns: &'a [Column<'_>]) -> Result<&'a Ident> {
    let name = named.value();
    let Some(column) = columns.iter().find(|column| column.name.unraw() == name.as_str()) else {
        let names: Vec<String> = columns.iter().map(|column| column.name.unraw().to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return Err(Error::new_spanned(named, format!("`{name}` is no column: {}", suggest::hint(&name, &names))));
    };
    match fields::is_optional_time(&column.field.ty) {
        true => Ok(&column.variant),
        false => Err(Error::new_spanned(
            &column.field.ty,
            format!("`{name}` marks deleted rows, so it is a time that may be null: write `Option<DateTimeUtc>`"),
        )),
    }
}
