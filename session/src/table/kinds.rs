//! The one table of column kinds: what values of each are on the wire, what can be done with them, their NULL, and how they are
//! read. Everything else that depends on a kind is a `match` on [`ColumnKind`] or [`Form`] without a wildcard, so that a kind that is
//! added here asks for its place everywhere.

use sea_orm::{DbErr, QueryResult, TryGetable, Value, sea_query::ArrayType};
use sea_query::{Enum, EnumTypeName, OptionEnum};

/// What values of a kind are on their way to a database. Kinds of one form are told apart by their columns alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    /// Integers that fit 16 bits.
    Small,
    /// Integers that fit 32 bits.
    Int,
    /// Integers that fit 64 bits.
    Big,
    Float,
    Double,
    Text,
    Char,
    Bytes,
    Json,
    Date,
    Time,
    Naive,
    Utc,
    Offset,
    Uuid,
}

/// What can be done with values of a kind.
#[derive(Clone, Copy)]
pub(crate) enum Sort {
    /// They are counted with, and made of any number; one that does not fit is none.
    Integer(fn(i64) -> Value),
    /// Equal ones need not be the same.
    Approximate,
    /// Texts, of which a database may hold different ones equal (D5).
    Folding,
    /// Points in time, of which a database may keep less than was sent (D4).
    Moment,
    /// Documents, which are equal by what they say.
    Document,
    /// Equal ones are the same.
    Exact,
}

type Null = fn(&ArrayType) -> Value;
type Read = fn(&QueryResult, &str, &ArrayType) -> Result<Value, DbErr>;

/// One row of the table.
struct Facts {
    form: Form,
    sort: Sort,
    null: Null,
    read: Read,
}

macro_rules! kinds {
    ($($kind:ident: $form:ident, $sort:expr, $null:expr, $read:expr;)*) => {
        /// The kind of a column's values, or of the elements of its arrays.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ColumnKind {
            $($kind,)*
            /// A kind that only a feature of SeaORM brings: it has no name here, and is read and written by SeaORM alone.
            Foreign,
        }

        impl ColumnKind {
            /// The one place that reads SeaORM's list of kinds, to which its features add.
            pub(crate) fn of(kind: &ArrayType) -> Self {
                match kind {
                    $(ArrayType::$kind { .. } => ColumnKind::$kind,)*
                    #[allow(unreachable_patterns, reason = "features of SeaORM add kinds")]
                    _ => ColumnKind::Foreign,
                }
            }

            fn facts(self) -> Option<&'static Facts> {
                match self {
                    $(ColumnKind::$kind => {
                        const FACTS: Facts = Facts { form: Form::$form, sort: $sort, null: $null, read: $read };
                        Some(&FACTS)
                    })*
                    ColumnKind::Foreign => None,
                }
            }

            /// Every kind but the foreign ones.
            #[cfg(test)]
            pub(crate) const ALL: &[ColumnKind] = &[$(ColumnKind::$kind,)*];
        }
    };
}

kinds! {
    Bool: Bool, Sort::Exact, |_| Value::Bool(None), read::<bool>;
    TinyInt: Small, Sort::Integer(|n| Value::TinyInt(n.try_into().ok())), |_| Value::TinyInt(None), read::<i8>;
    SmallInt: Small, Sort::Integer(|n| Value::SmallInt(n.try_into().ok())), |_| Value::SmallInt(None), read::<i16>;
    Int: Int, Sort::Integer(|n| Value::Int(n.try_into().ok())), |_| Value::Int(None), read::<i32>;
    BigInt: Big, Sort::Integer(|n| Value::BigInt(Some(n))), |_| Value::BigInt(None), read::<i64>;
    TinyUnsigned: Small, Sort::Integer(|n| Value::TinyUnsigned(n.try_into().ok())), |_| Value::TinyUnsigned(None), read::<u8>;
    SmallUnsigned: Int, Sort::Integer(|n| Value::SmallUnsigned(n.try_into().ok())), |_| Value::SmallUnsigned(None), read::<u16>;
    Unsigned: Big, Sort::Integer(|n| Value::Unsigned(n.try_into().ok())), |_| Value::Unsigned(None), read::<u32>;
    BigUnsigned: Big, Sort::Integer(|n| Value::BigUnsigned(n.try_into().ok())), |_| Value::BigUnsigned(None), read_big_unsigned;
    Float: Float, Sort::Approximate, |_| Value::Float(None), read::<f32>;
    Double: Double, Sort::Approximate, |_| Value::Double(None), read::<f64>;
    String: Text, Sort::Folding, |_| Value::String(None), read::<String>;
    Char: Char, Sort::Folding, |_| Value::Char(None), read_char;
    Enum: Text, Sort::Exact, |kind| enum_value(kind, None), read_enum;
    Bytes: Bytes, Sort::Exact, |_| Value::Bytes(None), read::<Vec<u8>>;
    Json: Json, Sort::Document, |_| Value::Json(None), read::<serde_json::Value>;
    ChronoDate: Date, Sort::Moment, |_| Value::ChronoDate(None), read::<chrono::NaiveDate>;
    ChronoTime: Time, Sort::Moment, |_| Value::ChronoTime(None), read::<chrono::NaiveTime>;
    ChronoDateTime: Naive, Sort::Moment, |_| Value::ChronoDateTime(None), read::<chrono::NaiveDateTime>;
    ChronoDateTimeUtc: Utc, Sort::Moment, |_| Value::ChronoDateTimeUtc(None), read::<chrono::DateTime<chrono::Utc>>;
    ChronoDateTimeLocal: Offset, Sort::Moment, |_| Value::ChronoDateTimeLocal(None), read::<chrono::DateTime<chrono::Local>>;
    ChronoDateTimeWithTimeZone: Offset, Sort::Moment, |_| Value::ChronoDateTimeWithTimeZone(None), read::<chrono::DateTime<chrono::FixedOffset>>;
    Uuid: Uuid, Sort::Exact, |_| Value::Uuid(None), read::<uuid::Uuid>;
}

impl ColumnKind {
    /// What its values are on the wire; nothing for a foreign kind, which cannot travel in a set, nor be read back by itself.
    pub(crate) fn form(self) -> Option<Form> {
        Some(self.facts()?.form)
    }

    /// Whether values can travel in a set, and be read back by themselves.
    pub(crate) fn is_simple(self) -> bool {
        self.facts().is_some()
    }

    pub(crate) fn is_integer(self) -> bool {
        self.maker().is_some()
    }

    /// A number as a value of this kind; the value is NULL if the number does not fit. `None`: the kind has no numbers.
    pub(crate) fn integer(self, n: i64) -> Option<Value> {
        self.maker().map(|make| make(n))
    }

    fn maker(self) -> Option<fn(i64) -> Value> {
        match self.facts()?.sort {
            Sort::Integer(make) => Some(make),
            Sort::Approximate | Sort::Folding | Sort::Moment | Sort::Document | Sort::Exact => None,
        }
    }

    pub(crate) fn is_moment(self) -> bool {
        self.facts().is_some_and(|facts| matches!(facts.sort, Sort::Moment))
    }

    /// Whether the database may hold values equal that are not the same (D5).
    pub(crate) fn may_fold(self) -> bool {
        self.facts().is_none_or(|facts| matches!(facts.sort, Sort::Folding))
    }

    pub(crate) fn is_approximate(self) -> bool {
        self.facts().is_some_and(|facts| matches!(facts.sort, Sort::Approximate))
    }

    pub(crate) fn is_document(self) -> bool {
        self.facts().is_some_and(|facts| matches!(facts.sort, Sort::Document))
    }
}

/// NULL of a kind. Of a foreign one the derive knows it; text, which every type can be read from, stands in for it where there
/// is no derive.
pub(crate) fn null_of_kind(kind: &ArrayType) -> Value {
    ColumnKind::of(kind).facts().map_or(Value::String(None), |facts| (facts.null)(kind))
}

/// Reads a column that came back with a write, as the type of the entity's field. `None`: only SeaORM can read the kind.
pub(crate) fn read_kind(row: &QueryResult, column: &str, kind: &ArrayType) -> Option<Result<Value, DbErr>> {
    Some((ColumnKind::of(kind).facts()?.read)(row, column, kind))
}

fn read<T>(row: &QueryResult, column: &str, _: &ArrayType) -> Result<Value, DbErr>
where
    T: TryGetable,
    Option<T>: Into<Value>,
{
    row.try_get::<Option<T>>("", column).map(Into::into)
}

fn read_big_unsigned(row: &QueryResult, column: &str, _: &ArrayType) -> Result<Value, DbErr> {
    let read: Option<i64> = row.try_get("", column)?;
    Ok(Value::BigUnsigned(read.and_then(|number| number.try_into().ok())))
}

fn read_char(row: &QueryResult, column: &str, _: &ArrayType) -> Result<Value, DbErr> {
    let read: Option<String> = row.try_get("", column)?;
    Ok(Value::Char(read.and_then(|text| text.chars().next())))
}

fn read_enum(row: &QueryResult, column: &str, kind: &ArrayType) -> Result<Value, DbErr> {
    row.try_get("", column).map(|text| enum_value(kind, text))
}

/// A value of a native enum, which SeaORM keeps apart from text; text where the kind is none.
pub(crate) fn enum_value(kind: &ArrayType, text: Option<String>) -> Value {
    let named = |name: &EnumTypeName, text: Option<String>| match text {
        Some(text) => OptionEnum::Some(Box::new(Enum { type_name: name.clone(), value: text.into() })),
        None => OptionEnum::None(name.clone()),
    };
    match kind {
        ArrayType::Enum(name) => Value::Enum(named(name, text)),
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{value::as_integer, value_ref::ValueRef};

    #[test]
    fn d4_the_null_of_each_kind_is_of_that_kind_and_numbers_are_made_of_it() {
        for kind in ColumnKind::ALL {
            let facts = kind.facts().unwrap();
            let null = match kind {
                ColumnKind::Enum => continue,
                _ => (facts.null)(&ArrayType::Bool),
            };
            assert_eq!(null, null.as_null(), "{kind:?}");
            assert_eq!(ColumnKind::of(&null.array_type()), *kind);
            assert_eq!(kind.is_integer(), matches!(facts.form, Form::Small | Form::Int | Form::Big), "{kind:?}");
            if let Some(seven) = kind.integer(7) {
                assert_eq!((as_integer(&seven), seven.as_null()), (Some(7), null), "{kind:?}");
                assert!(ValueRef::from(&seven).fits(facts.form), "{kind:?}");
            }
        }
    }
}
