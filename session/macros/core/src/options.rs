//! The options of a unit of work, as `#[db_session(…)]` and `unit!(…)` take them.
//!
//! Each option becomes one call on the builder that `Db::session()` gives. What can be seen to be wrong is refused here,
//! at the option's own tokens; an expression's value is left to the program.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Error, Expr, ExprLit, Lit, LitStr, Result, Token, Type,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    spanned::Spanned,
    token,
};

use crate::suggest;

/// The names of the options, in the order in which the documentation has them.
const NAMES: [&str; 21] = [
    "retry",
    "retry_on",
    "isolation",
    "read_only",
    "on_primary",
    "deferrable",
    "immediate",
    "optimistic",
    "unfiltered",
    "causal",
    "strict",
    "sql_debug",
    "show_values",
    "allow",
    "durable",
    "timeout",
    "lock_timeout",
    "set_local",
    "tenant",
    "settle",
    "settle_by_token",
];
const LEVELS: [(&str, &str); 4] = [
    ("read uncommitted", "ReadUncommitted"),
    ("read committed", "ReadCommitted"),
    ("repeatable read", "RepeatableRead"),
    ("serializable", "Serializable"),
];

/// One option as it is written.
struct Given {
    name: Ident,
    value: Value,
}

enum Value {
    None,
    Expr(Box<Expr>),
    /// `name("key" = value, …)`
    Pairs(Vec<(LitStr, Expr)>),
}

impl Parse for Given {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Value::Expr(Box::new(input.parse()?))
        } else if input.peek(token::Paren) {
            let inside;
            syn::parenthesized!(inside in input);
            let pairs = inside.parse_terminated(pair, Token![,]).map_err(|e| {
                Error::new(e.span(), format!("`{name}` takes pairs: write `{name}(\"app.account_id\" = account)`"))
            })?;
            Value::Pairs(pairs.into_iter().collect())
        } else {
            Value::None
        };
        Ok(Self { name, value })
    }
}

fn pair(input: ParseStream<'_>) -> Result<(LitStr, Expr)> {
    let key = input.parse()?;
    input.parse::<Token![=]>()?;
    Ok((key, input.parse()?))
}

/// The options of one unit, checked.
#[derive(Default)]
pub(crate) struct Options {
    /// The calls on the builder, in the order given.
    calls: Vec<Call>,
    seen: Vec<Ident>,
    serializable: Option<bool>,
    /// The level that is asked for, as written.
    pub(crate) isolation: Option<TokenStream>,
    pub(crate) on: Option<LitStr>,
    pub(crate) associated: bool,
    pub(crate) errors: Vec<Error>,
}

/// One call on the builder.
enum Call {
    Plain(TokenStream),
    /// A predicate over the caller's error type, which helps rustc when it is known.
    Predicate(Ident, Expr),
}

/// Where options are given; two of them make sense only on a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Function,
    Unit,
}

impl Options {
    /// Parses the whole of an attribute's arguments.
    pub(crate) fn parse_all(input: ParseStream<'_>, place: Place) -> Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            options.parse_one(input, place)?;
            if !input.is_empty() {
                input.parse::<Token![,]>().map_err(|e| Error::new(e.span(), "put a comma between two options"))?;
            }
        }
        options.check();
        Ok(options)
    }

    /// Parses one option; a wrong one is remembered and the rest still read.
    pub(crate) fn parse_one(&mut self, input: ParseStream<'_>, place: Place) -> Result<()> {
        let given = Given::parse(input)?;
        if self.seen.contains(&given.name) {
            let message = format!("`{}` is given twice: remove one of them", given.name);
            self.errors.push(Error::new_spanned(&given.name, message));
            return Ok(());
        }
        self.seen.push(given.name.clone());
        if let Err(error) = self.take(given, place) {
            self.errors.push(error);
        }
        Ok(())
    }

    fn take(&mut self, Given { name, value }: Given, place: Place) -> Result<()> {
        let word = name.to_string();
        match word.as_str() {
            "read_only" | "on_primary" | "deferrable" | "immediate" | "optimistic" | "unfiltered" | "causal"
            | "strict" | "sql_debug" | "show_values" | "settle" | "settle_by_token" => {
                flag(&name, &value)?;
                self.plain(quote_spanned!(name.span()=> .#name()));
            }
            "durable" if place == Place::Unit => {
                return Err(Error::new_spanned(
                    &name,
                    "a unit is always outermost and its `Ok` always committed: leave `durable` out",
                ));
            }
            "durable" => flag(&name, &value)?,
            "associated" if place == Place::Function => {
                flag(&name, &value)?;
                self.associated = true;
            }
            "retry" => self.retry(&name, value)?,
            "isolation" => self.isolation(&name, value)?,
            "timeout" => {
                let timeout = timeout(&name, value)?;
                self.plain(quote_spanned!(name.span()=> .statement_timeout(#timeout)));
            }
            "lock_timeout" => {
                let timeout = timeout(&name, value)?;
                self.plain(quote_spanned!(name.span()=> .lock_timeout(#timeout)));
            }
            "allow" | "retry_on" => {
                let predicate = expr(&name, value, &format!("{word} = |e: &MyError| …"))?;
                if let Expr::Lit(_) = predicate {
                    return Err(Error::new_spanned(
                        predicate,
                        format!("`{word}` asks about an error: write `{word} = |e: &MyError| …`"),
                    ));
                }
                self.calls.push(Call::Predicate(name, predicate));
            }
            "set_local" | "tenant" => self.pairs(&name, value)?,
            "on" if place == Place::Function => match expr(&name, value, "on = \"transfer_in_own_unit\"")? {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if text.parse::<Ident>().is_ok() => self.on = Some(text),
                other => {
                    return Err(Error::new_spanned(
                        other,
                        "`on` names the second function: write an identifier such as `on = \"transfer_in_own_unit\"`",
                    ));
                }
            },
            _ => return Err(Error::new_spanned(&name, unknown(&word, place))),
        }
        Ok(())
    }

    fn plain(&mut self, call: TokenStream) {
        self.calls.push(Call::Plain(call));
    }

    fn retry(&mut self, name: &Ident, value: Value) -> Result<()> {
        let given = expr(name, value, "retry = 5")?;
        let retry = match &given {
            Expr::Lit(ExprLit { lit: Lit::Int(times), .. }) => match times.base10_parse::<u32>() {
                Ok(0) => {
                    return Err(Error::new_spanned(times, "`retry = 0` never runs the unit again: leave `retry` out"));
                }
                Ok(n) if n > 1000 => {
                    return Err(Error::new_spanned(
                        times,
                        "so many attempts only hide a problem: write a smaller `retry`, at most 1000",
                    ));
                }
                Ok(_) => quote!(::sea_session::Retry::times(#times)),
                Err(_) => {
                    return Err(Error::new_spanned(
                        times,
                        "`retry` is a count of further attempts: write a plain number such as `retry = 5`",
                    ));
                }
            },
            Expr::Lit(_) | Expr::Unary(_) => {
                return Err(Error::new_spanned(
                    &given,
                    "`retry` is a count of further attempts: write `retry = 5`, or an expression such as `retry = Retry::times(5)`",
                ));
            }
            _ => given.to_token_stream(),
        };
        self.plain(quote_spanned!(name.span()=> .retry(#retry)));
        Ok(())
    }

    fn isolation(&mut self, name: &Ident, value: Value) -> Result<()> {
        let given = expr(name, value, "isolation = \"serializable\"")?;
        let level = match &given {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                let wanted = text.value().to_lowercase().replace(['_', '-'], " ");
                let known = LEVELS.map(|(words, _)| words);
                let Some((words, variant)) = LEVELS.iter().find(|(words, _)| *words == wanted) else {
                    return Err(Error::new_spanned(
                        text,
                        format!("`{}` is not an isolation level: {}", text.value(), suggest::hint(&wanted, &known)),
                    ));
                };
                self.serializable = Some(*words == "serializable");
                let variant = Ident::new(variant, text.span());
                quote!(::sea_session::prelude::IsolationLevel::#variant)
            }
            Expr::Lit(_) => {
                return Err(Error::new_spanned(
                    &given,
                    "name the isolation level: write `isolation = \"serializable\"`",
                ));
            }
            Expr::Path(path) => {
                self.serializable = path.path.segments.last().map(|s| s.ident == "Serializable");
                given.to_token_stream()
            }
            _ => given.to_token_stream(),
        };
        self.plain(quote_spanned!(name.span()=> .isolation(#level)));
        self.isolation = Some(level);
        Ok(())
    }

    fn pairs(&mut self, name: &Ident, value: Value) -> Result<()> {
        let example = format!("write `{name}(\"app.account_id\" = account)`");
        let Value::Pairs(pairs) = value else {
            return Err(Error::new_spanned(name, format!("`{name}` takes a parameter and its value: {example}")));
        };
        if pairs.is_empty() || (name == "tenant" && pairs.len() > 1) {
            return Err(Error::new_spanned(name, format!("`{name}` takes a parameter and its value: {example}")));
        }
        for (key, value) in pairs {
            let text = key.value();
            if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
                return Err(Error::new_spanned(
                    &key,
                    format!("a parameter's name has letters, digits, `_` and `.` only: {example}"),
                ));
            }
            // Borrowed, so that an argument of the function can be bound and still be passed on.
            self.plain(quote_spanned!(name.span()=> .#name(#key, &#value)));
        }
        Ok(())
    }

    /// Refuses combinations that make no sense, where they can be seen.
    pub(crate) fn check(&mut self) {
        let mut refuse = |option: Option<Ident>, message: &str| {
            if let Some(option) = option {
                self.errors.push(Error::new_spanned(option, message));
            }
        };
        let given = |name: &str| self.seen.iter().find(|n| *n == name).cloned();
        let isolation_unknown = given("isolation").is_some() && self.serializable.is_none();
        if given("read_only").is_none() || !(self.serializable == Some(true) || isolation_unknown) {
            refuse(
                given("deferrable"),
                "`deferrable` waits for a snapshot that cannot fail: write `isolation = \"serializable\", read_only, deferrable`",
            );
        }
        if given("read_only").is_some() {
            refuse(
                given("immediate"),
                "`immediate` takes the write lock, which a read-only unit has no use for: leave one of the two out",
            );
            refuse(
                given("optimistic"),
                "a read-only unit writes nothing that could be checked: leave `optimistic` or `read_only` out",
            );
            refuse(
                given("allow"),
                "a read-only unit has nothing to commit after an allowed error: leave `allow` or `read_only` out",
            );
        }
        if self.serializable == Some(true) {
            refuse(
                given("optimistic"),
                "a serializable unit is checked by the database itself: leave `optimistic` or `isolation` out",
            );
        }
        if given("read_only").is_none() {
            refuse(
                given("on_primary"),
                "a unit that may write runs on the primary anyway: write `read_only, on_primary`, or leave `on_primary` out",
            );
        }
        if given("settle").is_some() {
            refuse(
                given("settle_by_token"),
                "`settle` asks the database by the transaction's id, `settle_by_token` by a row: leave one of the two out",
            );
        }
        if given("retry").is_none() {
            refuse(
                given("retry_on"),
                "`retry_on` adds errors to those that are retried: say how often with `retry = 5`",
            );
        }
    }

    /// Whether the option was given (also wrongly).
    pub(crate) fn has(&self, name: &str) -> bool {
        self.seen.iter().any(|n| n == name)
    }

    /// The calls on the builder; `error` is the error type of the unit's body, where it can be seen.
    pub(crate) fn calls(&self, error: Option<&Type>) -> TokenStream {
        let calls = self.calls.iter().map(|call| match (call, error) {
            (Call::Plain(call), _) => call.clone(),
            (Call::Predicate(name, predicate), Some(error)) => {
                quote_spanned!(name.span()=> .#name::<#error>(#predicate))
            }
            (Call::Predicate(name, predicate), None) => quote_spanned!(name.span()=> .#name(#predicate)),
        });
        quote!(#(#calls)*)
    }
}

/// Flags stand alone.
fn flag(name: &Ident, value: &Value) -> Result<()> {
    match value {
        Value::None => Ok(()),
        Value::Expr(value) => {
            Err(Error::new(value.span(), format!("`{name}` takes no value: write `{name}` alone, or leave it out")))
        }
        Value::Pairs(_) => Err(Error::new_spanned(name, format!("`{name}` takes no value: write `{name}` alone"))),
    }
}

/// The value of an option that needs one.
fn expr(name: &Ident, value: Value, example: &str) -> Result<Expr> {
    match value {
        Value::Expr(expr) => Ok(*expr),
        Value::None | Value::Pairs(_) => {
            Err(Error::new_spanned(name, format!("`{name}` needs a value: write `{example}`")))
        }
    }
}

/// A timeout: `"5s"`, `"250ms"`, `"1m"`, or an expression.
fn timeout(name: &Ident, value: Value) -> Result<TokenStream> {
    let example = format!("{name} = \"5s\"");
    let examples = format!("write `{example}`, `\"250ms\"` or `\"1m\"`");
    let given = expr(name, value, &example)?;
    match &given {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            let Some(time) = duration(&text.value()) else {
                return Err(Error::new_spanned(
                    text,
                    format!("`{}` is not a length of time: {examples}", text.value()),
                ));
            };
            if time.is_zero() {
                return Err(Error::new_spanned(
                    text,
                    format!("no statement is done in no time: leave `{name}` out for no limit"),
                ));
            }
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            Ok(quote!(::core::time::Duration::from_millis(#millis)))
        }
        Expr::Lit(_) => Err(Error::new_spanned(&given, format!("a number alone has no unit: {examples}"))),
        _ => Ok(given.to_token_stream()),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" | "min" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

/// The sentence for a word that is no option; words of other libraries are translated.
fn unknown(word: &str, place: Place) -> String {
    let known: Vec<&str> = match place {
        Place::Function => NAMES.iter().copied().chain(["on", "associated"]).collect(),
        Place::Unit => NAMES.iter().copied().filter(|n| *n != "durable").collect(),
    };
    match word {
        "serializable" | "repeatable_read" | "read_committed" | "read_uncommitted" => {
            format!("`{word}` is an isolation level: write `isolation = \"{word}\"`")
        }
        "readonly" | "ro" => "did you mean `read_only`?".to_owned(),
        "retries" | "max_retries" | "attempts" => {
            "say how many further attempts there are: write `retry = 5`".to_owned()
        }
        "allowed_exceptions" | "allow_errors" => "did you mean `allow`?".to_owned(),
        "merged" | "savepoint" => {
            format!(
                "`{word}` is about a nested block: write `#[atomic(merged)]` on a function, or `atomic!(s, merged, {{ … }})`"
            )
        }
        "on" | "associated" => format!("`{word}` is for `#[db_session]` functions: leave it out here"),
        _ => format!("`{word}` is not an option: {}", suggest::hint(word, &known)),
    }
}

/// An error at the macro call itself.
pub(crate) fn here(message: &str) -> Error {
    Error::new(Span::call_site(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        for wrong in ["5", "s", "", "5 parsecs", "-1s", "1.5s", "99999999999999999999s"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
