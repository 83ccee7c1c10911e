//! Values as the flush needs them: made for a column's type, compared, shown, bound as arrays, and read back.

use chrono::{DateTime, Utc};
use sea_orm::{QueryResult, Value, sea_query::ArrayType};
use sea_query::OptionEnum;

use super::{
    kinds::{ColumnKind, enum_value, read_kind},
    value_ref::ValueRef,
};
use crate::error::Error;

/// Whether a value is SQL's NULL.
pub(crate) fn is_null(value: &Value) -> bool {
    *value == value.as_null()
}

/// Refuses a number that a backend without numbers of 64 bits without a sign cannot hold; SeaORM panics over it.
pub(crate) fn fits(value: &Value) -> Result<(), Error> {
    let most = i64::MAX.cast_unsigned();
    let too_large = |value: &Value| matches!(value, Value::BigUnsigned(Some(number)) if *number > most);
    let refused = match value {
        Value::Array(ArrayType::BigUnsigned, Some(numbers)) => numbers.iter().any(too_large),
        single => too_large(single),
    };
    if refused {
        return Err(Error::usage(format!("a number is larger than {most}, the largest that the database holds")));
    }
    Ok(())
}

/// An integer of a column's type; of 64 bits where that holds no numbers.
pub(crate) fn integer(kind: &ArrayType, n: i64) -> Value {
    ColumnKind::of(kind).integer(n).unwrap_or(Value::BigInt(Some(n)))
}

/// The number in an integer value of any width.
pub(crate) fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::TinyInt(n) => n.map(Into::into),
        Value::SmallInt(n) => n.map(Into::into),
        Value::Int(n) => n.map(Into::into),
        Value::BigInt(n) => *n,
        Value::TinyUnsigned(n) => n.map(Into::into),
        Value::SmallUnsigned(n) => n.map(Into::into),
        Value::Unsigned(n) => n.map(Into::into),
        Value::BigUnsigned(n) => n.and_then(|n| n.try_into().ok()),
        _ => None,
    }
}

/// The version after `loaded`; `None` if the column's type has none (E7).
pub(crate) fn next_version(kind: &ArrayType, loaded: i64) -> Option<Value> {
    let next = loaded.checked_add(1)?;
    Some(integer(kind, next)).filter(|value| as_integer(value) == Some(next))
}

/// The largest number that a column's type holds, of those that every backend does.
pub(crate) fn last_integer(kind: &ArrayType) -> i64 {
    let ends = [i8::MAX.into(), u8::MAX.into(), i16::MAX.into(), u16::MAX.into(), i32::MAX.into(), u32::MAX.into()];
    let holds = |number: &i64| as_integer(&integer(kind, *number)) == Some(*number);
    [i64::MAX].into_iter().chain(ends.into_iter().rev()).find(holds).unwrap_or(i64::MAX)
}

/// A foreign key's value as a column of `kind` holds it: an `i64` may refer to an `i32`. A value that does not fit stays
/// as it is, for SeaORM to refuse.
pub(crate) fn as_column(value: Value, kind: &ArrayType) -> Value {
    let fitting = as_integer(&value).and_then(|n| Some((n, ColumnKind::of(kind).integer(n)?)));
    fitting.filter(|(n, fitting)| as_integer(fitting) == Some(*n)).map_or(value, |(_, fitting)| fitting)
}

/// A moment of a column's type, cut to the microseconds that every backend keeps; `None` if the type holds no moment.
pub(crate) fn time_value(kind: &ArrayType, now: DateTime<Utc>) -> Option<Value> {
    let now = DateTime::from_timestamp_micros(now.timestamp_micros())?;
    Some(match kind {
        ArrayType::ChronoDate => Value::ChronoDate(Some(now.date_naive())),
        #[cfg(feature = "with-time")]
        ArrayType::TimeDate => Value::TimeDate(Some(offset_date_time(now)?.date())),
        #[cfg(feature = "with-time")]
        ArrayType::TimeDateTime => {
            let now = offset_date_time(now)?;
            Value::TimeDateTime(Some(sea_orm::prelude::TimeDateTime::new(now.date(), now.time())))
        }
        #[cfg(feature = "with-time")]
        ArrayType::TimeDateTimeWithTimeZone => Value::TimeDateTimeWithTimeZone(Some(offset_date_time(now)?)),
        ArrayType::ChronoDateTimeUtc => Value::ChronoDateTimeUtc(Some(now)),
        ArrayType::ChronoDateTimeWithTimeZone => Value::ChronoDateTimeWithTimeZone(Some(now.fixed_offset())),
        ArrayType::ChronoDateTimeLocal => Value::ChronoDateTimeLocal(Some(now.into())),
        ArrayType::ChronoDateTime => Value::ChronoDateTime(Some(now.naive_utc())),
        ArrayType::BigInt => Value::BigInt(Some(now.timestamp_millis())),
        ArrayType::String => Value::String(Some(now.to_rfc3339())),
        _ => return None,
    })
}

/// A moment as the crate `time` knows it.
#[cfg(feature = "with-time")]
fn offset_date_time(now: DateTime<Utc>) -> Option<sea_orm::prelude::TimeDateTimeWithTimeZone> {
    let nanoseconds = i128::from(now.timestamp_micros()) * 1_000;
    sea_orm::prelude::TimeDateTimeWithTimeZone::from_unix_timestamp_nanos(nanoseconds).ok()
}

/// A tenant's name as a value of the tenant column's type.
pub(crate) fn tenant_value(kind: &ArrayType, tenant: &str) -> Result<Value, Error> {
    let wrong = || Error::usage("the unit's tenant is not of the tenant column's type");
    match kind {
        ArrayType::Uuid => Ok(Value::Uuid(Some(tenant.parse().map_err(|_| wrong())?))),
        kind if ColumnKind::of(kind).is_integer() => Ok(integer(kind, tenant.parse().map_err(|_| wrong())?)),
        ArrayType::Enum(_) => Ok(enum_value(kind, Some(tenant.to_owned()))),
        ArrayType::Char => {
            let mut characters = tenant.chars();
            let (Some(only), None) = (characters.next(), characters.next()) else { return Err(wrong()) };
            Ok(Value::Char(Some(only)))
        }
        ArrayType::String => Ok(Value::String(Some(tenant.to_owned()))),
        _ => Err(Error::usage("a tenant's column holds a text, a number, a UUID or an enum")),
    }
}

/// The tenant that a column names.
pub(crate) fn tenant_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.clone(),
        Value::Uuid(id) => id.map(|id| id.to_string()),
        Value::Enum(OptionEnum::Some(name)) => Some(name.value.clone().into_owned()),
        Value::Char(only) => only.map(String::from),
        other => as_integer(other).map(|n| n.to_string()),
    }
}

/// A key for messages: keys are shown, other values never are (L1).
pub(crate) fn show_key(key: &[Value]) -> String {
    let show = |value: &Value| match value {
        Value::String(Some(text)) => text.clone(),
        Value::Uuid(Some(id)) => id.to_string(),
        other => as_integer(other).map_or_else(|| other.to_string(), |n| n.to_string()),
    };
    match key {
        [one] => show(one),
        many => format!("({})", many.iter().map(show).collect::<Vec<_>>().join(", ")),
    }
}

/// Reads a column that came back with a write, as the type of the entity's field.
pub(crate) fn decode(row: &QueryResult, column: &str, kind: &ArrayType) -> Result<Value, Error> {
    let read = read_kind(row, column, kind);
    Ok(read.ok_or_else(|| Error::usage(format!("{kind:?} cannot be read back by itself")))??)
}

/// A value as JSON: moments, UUIDs, and numbers that JSON has no exact form for as texts, bytes as hexadecimal.
pub(crate) fn json_of(value: &Value) -> serde_json::Value {
    match ValueRef::from(value) {
        ValueRef::Null => serde_json::Value::Null,
        ValueRef::Bool(flag) => flag.into(),
        ValueRef::Small(n) => n.into(),
        ValueRef::Int(n) => n.into(),
        ValueRef::Big(n) => n.into(),
        ValueRef::Float(n) if n.is_finite() => n.into(),
        ValueRef::Float(n) => n.to_string().into(),
        ValueRef::Double(n) if n.is_finite() => n.into(),
        ValueRef::Double(n) => n.to_string().into(),
        ValueRef::Text(text) => text.into(),
        ValueRef::Char(only) => only.to_string().into(),
        ValueRef::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
        ValueRef::Json(document) => document.clone(),
        ValueRef::Date(date) => date.to_string().into(),
        ValueRef::Time(time) => time.to_string().into(),
        ValueRef::Naive(moment) => moment.format("%Y-%m-%dT%H:%M:%S%.f").to_string().into(),
        ValueRef::Utc(moment) => moment.to_rfc3339().into(),
        ValueRef::Offset(moment) => moment.to_rfc3339().into(),
        ValueRef::Uuid(id) => id.to_string().into(),
        ValueRef::Owned(value) => match &*value {
            Value::Array(_, Some(list)) => list.iter().map(json_of).collect(),
            null if is_null(null) => serde_json::Value::Null,
            // As SQL writes it, without the quotes.
            other => other.to_string().trim_matches('\'').into(),
        },
    }
}

/// A list of documents as one document.
pub(crate) fn document(list: Vec<Value>) -> serde_json::Value {
    let documents = list.into_iter().map(|value| match value {
        Value::Json(Some(document)) => *document,
        _ => serde_json::Value::Null,
    });
    serde_json::Value::Array(documents.collect())
}

/// The reason why a number cannot be sent.
pub(crate) fn too_large(value: Value) -> Error {
    fits(&value).err().unwrap_or_else(|| Error::usage("a number cannot be sent"))
}

/// Numbers as an array, to be bound as one value.
pub fn number_array(numbers: impl Iterator<Item = i64>) -> Value {
    Value::Array(ArrayType::BigInt, Some(Box::new(numbers.map(Value::from).collect())))
}
