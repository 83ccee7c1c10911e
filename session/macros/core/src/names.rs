//! The names that SeaORM's derives and ours give to things.
//!
//! The column variants must be SeaORM's own, letter for letter, or the generated code does not compile; this file
//! never invents a rule of its own.

use heck::{ToSnakeCase, ToUpperCamelCase};
use proc_macro2::{Ident, Span};
use quote::format_ident;
use syn::ext::IdentExt;

/// The variant of `Column` that `DeriveEntityModel` writes for a field.
pub(crate) fn column_variant(field: &Ident) -> Ident {
    enum_variant(&field.unraw().to_string(), field.span())
}

/// The variant that SeaORM derives from any name: upper camel case, `Self` escaped.
pub(crate) fn enum_variant(name: &str, span: Span) -> Ident {
    let camel = name.to_upper_camel_case();
    // `Self` is the one camel-case word that is no identifier, not even a raw one.
    if camel == "Self" { Ident::new("Self_", span) } else { Ident::new(&camel, span) }
}

/// The setter of a field: `set_` and the name without `r#`.
pub(crate) fn setter(field: &Ident) -> Ident {
    format_ident!("set_{}", field.unraw(), span = field.span())
}

/// The method named after an enum variant: snake case, raw where that is a keyword.
pub(crate) fn method(variant: &Ident) -> Ident {
    let name = variant.unraw().to_string().to_snake_case();
    match syn::parse_str::<Ident>(&name) {
        Ok(mut ident) => {
            ident.set_span(variant.span());
            ident
        }
        Err(_) => match name.as_str() {
            "self" | "super" | "crate" | "_" | "" => format_ident!("{name}_", span = variant.span()),
            _ => Ident::new_raw(&name, variant.span()),
        },
    }
}

/// What serde calls a field under a `rename_all`.
pub(crate) fn in_serde(field: &Ident, rule: Option<&str>) -> String {
    let name = field.unraw().to_string();
    // As serde does it: at underscores only.
    let pascal = || {
        name.split('_').fold(String::new(), |mut all, word| {
            let mut letters = word.chars();
            all.extend(letters.next().map(|first| first.to_ascii_uppercase()));
            all + letters.as_str()
        })
    };
    match rule {
        Some("UPPERCASE" | "SCREAMING_SNAKE_CASE") => name.to_ascii_uppercase(),
        Some("kebab-case") => name.replace('_', "-"),
        Some("SCREAMING-KEBAB-CASE") => name.to_ascii_uppercase().replace('_', "-"),
        Some("PascalCase") => pascal(),
        Some("camelCase") => {
            let pascal = pascal();
            let mut letters = pascal.chars();
            let first = letters.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().collect::<String>() + letters.as_str()
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(text: &str) -> Ident {
        syn::parse_str(text).expect("an identifier")
    }

    #[test]
    fn column_variants_are_those_of_sea_orm() {
        for (field, variant) in [
            ("id", "Id"),
            ("cake_id", "CakeId"),
            ("r#type", "Type"),
            ("crate_", "Crate"),
            ("self_", "Self_"),
            ("utf8_name", "Utf8Name"),
            ("address_2", "Address2"),
            ("_private", "Private"),
            ("httpURL", "HttpUrl"),
        ] {
            assert_eq!(column_variant(&ident(field)).to_string(), variant, "{field}");
        }
    }

    #[test]
    fn fields_are_called_as_serde_calls_them() {
        for (rule, name) in [
            (None, "pass_word_2"),
            (Some("lowercase"), "pass_word_2"),
            (Some("camelCase"), "passWord2"),
            (Some("PascalCase"), "PassWord2"),
            (Some("SCREAMING_SNAKE_CASE"), "PASS_WORD_2"),
            (Some("kebab-case"), "pass-word-2"),
            (Some("SCREAMING-KEBAB-CASE"), "PASS-WORD-2"),
        ] {
            assert_eq!(in_serde(&ident("pass_word_2"), rule), name, "{rule:?}");
        }
        assert_eq!(in_serde(&ident("r#type"), Some("camelCase")), "type");
    }

    #[test]
    fn setters_drop_the_raw_prefix() {
        assert_eq!(setter(&ident("r#type")).to_string(), "set_type");
        assert_eq!(setter(&ident("self_")).to_string(), "set_self_");
    }

    #[test]
    fn methods_are_snake_case_and_raw_where_they_must_be() {
        assert_eq!(method(&ident("CakeFilling")).to_string(), "cake_filling");
        assert_eq!(method(&ident("Type")).to_string(), "r#type");
        assert_eq!(method(&ident("SelfRef")).to_string(), "self_ref");
        assert_eq!(method(&ident("Crate")).to_string(), "crate_");
    }
}
