//! What SeaORM's and our attributes say about the fields of a `Model`.
//!
//! SeaORM's own attributes are only read, and only the few that change what we write; whatever else stands in them is
//! SeaORM's to judge.

use proc_macro2::Ident;
use syn::{
    Attribute, Error, Field, LitBool, LitStr, Path, Result, Token, Type, ext::IdentExt, meta::ParseNestedMeta,
    spanned::Spanned,
};

use crate::{names, suggest};

/// One column of a model.
pub(super) struct Column<'a> {
    pub(super) field: &'a Field,
    pub(super) name: &'a Ident,
    /// The variant of SeaORM's `Column` enum.
    pub(super) variant: Ident,
    pub(super) marks: Marks,
    /// The names in `#[sea_orm(unique_key = "…")]`.
    pub(super) unique_keys: Vec<LitStr>,
    /// Whether serde leaves the field out of what it reads.
    pub(super) not_brought: bool,
    /// What the field is called where serde writes it, if it says so itself.
    pub(super) renamed: Option<LitStr>,
}

/// The `#[tracked(…)]` options of one field, each with the tokens that gave it.
#[derive(Default)]
pub(super) struct Marks {
    pub(super) version: Option<Path>,
    pub(super) created_at: Option<Path>,
    pub(super) updated_at: Option<Path>,
    pub(super) tenant: Option<Path>,
    pub(super) not_optimistic: Option<Path>,
    pub(super) read_only: Option<Path>,
    pub(super) secret: Option<Path>,
    pub(super) cascade: Option<Path>,
    pub(super) orphans: Option<Path>,
}

const OPTIONS: [&str; 7] = ["version", "created_at", "updated_at", "tenant", "optimistic", "read_only", "secret"];

/// What SeaORM's attributes say about one field.
#[derive(Default)]
struct SeaOrm {
    ignored: bool,
    primary_key: bool,
    variant: Option<Ident>,
    unique_keys: Vec<LitStr>,
}

/// The column that `field` is; none if SeaORM ignores it. Mistakes are added to `errors`.
pub(super) fn column<'a>(field: &'a Field, errors: &mut Vec<Error>) -> Option<Column<'a>> {
    let name = field.ident.as_ref()?;
    let sea_orm = sea_orm(&field.attrs);
    let marks = marks(&field.attrs, errors);
    let why_not = if sea_orm.ignored {
        Some("is `#[sea_orm(ignore)]`d")
    } else if relation(&field.ty).is_some() {
        Some("is a relation")
    } else {
        None
    };
    if let Some(reason) = why_not {
        if let Some(mark) = marks.first() {
            errors
                .push(Error::new_spanned(mark, format!("`{name}` {reason} and has no column: remove this attribute")));
        }
        return None;
    }
    if let Some(path) = marks.cascade.as_ref().or(marks.orphans.as_ref()) {
        errors
            .push(Error::new_spanned(path, format!("`{name}` is a column, and this is for relations: move it to one")));
    }
    check(field, name, &marks, sea_orm.primary_key, errors);
    let variant = sea_orm.variant.unwrap_or_else(|| names::column_variant(name));
    let not_brought = is_not_brought(&field.attrs);
    let renamed = serde_text(&field.attrs, "rename");
    Some(Column { field, name, variant, marks, unique_keys: sea_orm.unique_keys, not_brought, renamed })
}

/// What serde's `rename` or `rename_all` says of writing: `rename = "…"`, or `rename(serialize = "…")`.
pub(super) fn serde_text(attrs: &[Attribute], option: &str) -> Option<LitStr> {
    let mut found = None;
    for attr in attrs.iter().filter(|a| a.path().is_ident("serde")) {
        // What is wrong in it, serde's own derive reports.
        let _ = attr.parse_nested_meta(|meta| {
            if !meta.path.is_ident(option) {
                return skip(&meta);
            }
            if meta.input.peek(Token![=]) {
                found = Some(meta.value()?.parse()?);
                return Ok(());
            }
            meta.parse_nested_meta(|inside| {
                let text: LitStr = inside.value()?.parse()?;
                if inside.path.is_ident("serialize") {
                    found = Some(text);
                }
                Ok(())
            })
        });
    }
    found
}

/// The types of the crate `time` that hold a moment.
#[derive(Clone, Copy)]
pub(super) enum Moment {
    /// With an offset.
    Offset,
    /// Without.
    Plain,
}

/// The type of a tracked time, if it is one of the crate `time`, and which.
pub(super) fn moment<'a>(column: &Column<'a>) -> Option<(Moment, &'a Type)> {
    if column.marks.created_at.is_none() && column.marks.updated_at.is_none() {
        return None;
    }
    let ty = &column.field.ty;
    let time = generic(ty).filter(|(outer, _)| *outer == "Option").map_or(ty, |(_, inner)| inner);
    match last_name(time)?.as_str() {
        "TimeDateTimeWithTimeZone" | "OffsetDateTime" => Some((Moment::Offset, time)),
        "TimeDateTime" | "PrimitiveDateTime" => Some((Moment::Plain, time)),
        _ => None,
    }
}

/// Whether serde reads the field's value from nowhere, or writes none that could come back, so that it is a default which
/// nobody meant.
fn is_not_brought(attrs: &[Attribute]) -> bool {
    let (mut never_read, mut never_written, mut defaults) = (false, false, false);
    for attr in attrs.iter().filter(|a| a.path().is_ident("serde")) {
        // What is wrong in it, serde's own derive reports.
        let _ = attr.parse_nested_meta(|meta| {
            never_read |= meta.path.is_ident("skip") || meta.path.is_ident("skip_deserializing");
            never_written |= meta.path.is_ident("skip_serializing");
            defaults |= meta.path.is_ident("default");
            skip(&meta)
        });
    }
    never_read || never_written && defaults
}

/// The entity in `HasOne<…>`, `HasMany<…>` or `BelongsTo<…>`, and which of them it is.
pub(super) fn relation(ty: &Type) -> Option<(Kind, &Type)> {
    let (last, argument) = generic(ty)?;
    let kind = match last.to_string().as_str() {
        "HasOne" => Kind::HasOne,
        "HasMany" => Kind::HasMany,
        "BelongsTo" => Kind::BelongsTo,
        _ => return None,
    };
    match generic(argument) {
        Some((option, inner)) if option == "Option" => Some((kind, inner)),
        _ => Some((kind, argument)),
    }
}

/// The kinds of relation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    HasOne,
    HasMany,
    BelongsTo,
}

/// `Outer<Argument>`: the name of the outer type and its only argument.
fn generic(ty: &Type) -> Option<(&Ident, &Type)> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(argument) if arguments.args.len() == 1 => Some((&last.ident, argument)),
        _ => None,
    }
}

fn sea_orm(attrs: &[Attribute]) -> SeaOrm {
    let mut found = SeaOrm::default();
    for attr in attrs.iter().filter(|a| a.path().is_ident("sea_orm")) {
        // A malformed attribute is reported by SeaORM's derive; a second report would only be noise.
        let _ = attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("ignore") {
                found.ignored = true;
            } else if meta.path.is_ident("primary_key") {
                found.primary_key = true;
            } else if meta.path.is_ident("enum_name") {
                let name: LitStr = meta.value()?.parse()?;
                let variant = name.parse_with(Ident::parse_any)?;
                found.variant = Some(if variant == "Self" { Ident::new("Self_", name.span()) } else { variant });
            } else if meta.path.is_ident("unique_key") {
                found.unique_keys.push(meta.value()?.parse()?);
            } else {
                skip(&meta)?;
            }
            Ok(())
        });
    }
    found
}

/// Moves past whatever follows an option that is not ours.
pub(crate) fn skip(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<syn::Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let inside;
        syn::parenthesized!(inside in meta.input);
        inside.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}

pub(super) fn marks(attrs: &[Attribute], errors: &mut Vec<Error>) -> Marks {
    let mut marks = Marks::default();
    for attr in attrs.iter().filter(|a| a.path().is_ident("tracked")) {
        if let syn::Meta::Path(_) = attr.meta {
            errors.push(Error::new_spanned(
                attr,
                format!(
                    "say what this field is: write `#[tracked(version)]`, or another of {}",
                    suggest::list(&OPTIONS)
                ),
            ));
            continue;
        }
        let parsed = attr.parse_nested_meta(|meta| {
            if let Err(error) = marks.take(&meta) {
                errors.push(error);
                skip(&meta)?;
            }
            Ok(())
        });
        errors.extend(parsed.err());
    }
    marks
}

impl Marks {
    /// Reads one option.
    pub(super) fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let path = &meta.path;
        let name = path.get_ident().map(Ident::to_string).unwrap_or_default();
        let slot = match name.as_str() {
            "version" => &mut self.version,
            "created_at" => &mut self.created_at,
            "updated_at" => &mut self.updated_at,
            "tenant" => &mut self.tenant,
            "optimistic" => return self.take_optimistic(meta),
            "cascade" => &mut self.cascade,
            "orphans" => return self.take_orphans(meta),
            "read_only" => &mut self.read_only,
            "secret" => &mut self.secret,
            _ => return Err(Error::new_spanned(path, unknown(&name))),
        };
        if meta.input.peek(Token![=]) || meta.input.peek(syn::token::Paren) {
            return Err(Error::new_spanned(path, format!("`{name}` takes no value: write `#[tracked({name})]`")));
        }
        if slot.replace(path.clone()).is_some() {
            return Err(Error::new_spanned(path, format!("`{name}` is given twice: remove one of them")));
        }
        Ok(())
    }

    /// `orphans = "delete"`: there is no other choice, and the word says what happens.
    fn take_orphans(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        const WRITE: &str = "write `orphans = \"delete\"` to delete a row whose key to this relation becomes NULL";
        if !meta.input.peek(Token![=]) {
            return Err(Error::new_spanned(&meta.path, WRITE));
        }
        let given: LitStr = meta.value()?.parse().map_err(|e| Error::new(e.span(), WRITE))?;
        if given.value() != "delete" {
            return Err(Error::new_spanned(given, WRITE));
        }
        self.orphans = Some(meta.path.clone());
        Ok(())
    }

    fn take_optimistic(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        const WRITE: &str = "write `optimistic = false` to leave this column out of optimistic checks";
        if !meta.input.peek(Token![=]) {
            return Err(Error::new_spanned(
                &meta.path,
                format!("columns are checked unless they are left out: {WRITE}"),
            ));
        }
        let value = meta.value()?;
        let given: LitBool =
            value.parse().map_err(|e| Error::new(e.span(), format!("this is not a choice: {WRITE}")))?;
        if given.value {
            return Err(Error::new_spanned(
                given,
                "columns are checked unless they are left out: remove `optimistic = true`",
            ));
        }
        self.not_optimistic = Some(meta.path.clone());
        Ok(())
    }

    /// Any of the options that were given.
    fn first(&self) -> Option<&Path> {
        self.roles()
            .map(|(_, path)| path)
            .next()
            .or_else(|| [&self.not_optimistic, &self.read_only, &self.secret].into_iter().find_map(Option::as_ref))
    }

    /// The options of which a field can have only one, and an entity only one each.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [
            ("version", &self.version),
            ("created_at", &self.created_at),
            ("updated_at", &self.updated_at),
            ("tenant", &self.tenant),
        ]
        .into_iter()
        .filter_map(|(name, path)| Some((name, path.as_ref()?)))
    }
}

/// The sentence for an option that `#[tracked]` does not know.
fn unknown(name: &str) -> String {
    match name {
        "ignore" | "skip" => "a field without a column is marked for SeaORM: write `#[sea_orm(ignore)]`".to_owned(),
        "primary_key" | "id" => "the key is declared for SeaORM: write `#[sea_orm(primary_key)]`".to_owned(),
        "unique" => "a unique column is declared for SeaORM: write `#[sea_orm(unique)]`".to_owned(),
        _ => format!("`{name}` is not an option of `#[tracked(…)]`: {}", suggest::hint(name, &OPTIONS)),
    }
}

/// Refuses marks that contradict each other or the field's type.
fn check(field: &Field, name: &Ident, marks: &Marks, primary_key: bool, errors: &mut Vec<Error>) {
    let mut roles = marks.roles();
    if let (Some((first, _)), Some((second, path))) = (roles.next(), roles.next()) {
        errors.push(Error::new_spanned(
            path,
            format!("a field is either `{first}` or `{second}`: give each a field of its own"),
        ));
    }
    if let (Some(_), Some(path)) = (&marks.version, &marks.not_optimistic) {
        errors
            .push(Error::new_spanned(path, "the version is the optimistic check itself: remove `optimistic = false`"));
    }
    if let (Some(_), Some(path)) = (&marks.version, &marks.read_only) {
        errors.push(Error::new_spanned(path, "the version has no setter anyway: remove `read_only`"));
    }
    if let (Some(path), true) = (&marks.version, primary_key) {
        errors.push(Error::new_spanned(
            path,
            format!("every update changes a version, so the key `{name}` cannot be one: add a field for it"),
        ));
    }
    let wrong = |role: &str, wants: &str| {
        let shown = last_name(&field.ty).unwrap_or_default();
        let message = format!("`{role}` is {wants}, and this is `{shown}`: change the type of `{name}`");
        Error::new(field.ty.span(), message)
    };
    if marks.version.is_some() && last_name(&field.ty).is_some_and(|t| known(&t) && !COUNTS.contains(&t.as_str())) {
        errors.push(wrong("version", "an integer that is never null, such as `i32`"));
    }
    let time = generic(&field.ty).filter(|(outer, _)| *outer == "Option").map_or(&field.ty, |(_, inner)| inner);
    for (role, mark) in [("created_at", &marks.created_at), ("updated_at", &marks.updated_at)] {
        if mark.is_some() && last_name(time).is_some_and(|t| known(&t) && !TIMES.contains(&t.as_str())) {
            errors.push(wrong(role, "a date and time, such as `DateTimeUtc`"));
        }
    }
}

/// Whether a type is an `Option` of a time, as far as its name tells.
pub(super) fn is_optional_time(ty: &Type) -> bool {
    let inner = generic(ty).filter(|(outer, _)| *outer == "Option").map(|(_, inner)| inner);
    inner.is_some_and(|inner| last_name(inner).is_none_or(|name| !known(&name) || TIMES.contains(&name.as_str())))
}

const COUNTS: [&str; 8] = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"];
const TIMES: [&str; 8] = [
    "DateTime",
    "DateTimeUtc",
    "DateTimeLocal",
    "DateTimeWithTimeZone",
    "TimeDateTime",
    "TimeDateTimeWithTimeZone",
    "ChronoDateTimeUtc",
    "NaiveDateTime",
];
/// Types that are certainly neither a count nor a time; an alias could be anything and is left to the compiler.
const OTHERS: [&str; 14] = [
    "String",
    "bool",
    "f32",
    "f64",
    "char",
    "Uuid",
    "Json",
    "Vec",
    "Decimal",
    "BigDecimal",
    "Date",
    "Time",
    "Option",
    "str",
];

fn known(ty: &str) -> bool {
    COUNTS.contains(&ty) || TIMES.contains(&ty) || OTHERS.contains(&ty)
}

/// The last segment of a type's path.
fn last_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}
