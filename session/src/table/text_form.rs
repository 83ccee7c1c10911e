//! Values as text and back, for what leaves the process and comes back (cursors of pages). A kind that has no text here cannot
//! be paged by. Knows no columns.

use std::str::FromStr;

use chrono::{DateTime, FixedOffset, Local, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use sea_orm::{Value, sea_query::ArrayType};
use sea_query::OptionEnum;

use super::{
    kinds::{ColumnKind, enum_value},
    value::{as_integer, integer, is_null},
};

/// A value's text; nothing if it is NULL, or of a kind that has none.
pub(crate) fn to_text(value: &Value) -> Option<String> {
    let moment = |moment: DateTime<FixedOffset>| moment.to_rfc3339_opts(SecondsFormat::Nanos, true);
    Some(match value {
        Value::Bool(Some(flag)) => flag.to_string(),
        Value::Float(Some(number)) => number.to_string(),
        Value::Double(Some(number)) => number.to_string(),
        Value::String(Some(text)) => text.clone(),
        Value::Char(Some(char)) => char.to_string(),
        Value::Enum(OptionEnum::Some(value)) => value.value.to_string(),
        Value::Bytes(Some(bytes)) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Value::ChronoDate(Some(date)) => date.to_string(),
        Value::ChronoTime(Some(time)) => time.to_string(),
        Value::ChronoDateTime(Some(time)) => format!("{time:?}"),
        Value::ChronoDateTimeUtc(Some(time)) => moment(time.fixed_offset()),
        Value::ChronoDateTimeLocal(Some(time)) => moment(time.fixed_offset()),
        Value::ChronoDateTimeWithTimeZone(Some(time)) => moment(*time),
        Value::Uuid(Some(id)) => id.to_string(),
        other => as_integer(other)?.to_string(),
    })
}

/// The value of a kind that a text stands for; nothing if it stands for none.
pub(crate) fn from_text(kind: &ArrayType, text: &str) -> Option<Value> {
    let moment = || DateTime::parse_from_rfc3339(text).ok();
    Some(match ColumnKind::of(kind) {
        ColumnKind::Bool => Value::Bool(Some(parse(text)?)),
        ColumnKind::TinyInt
        | ColumnKind::SmallInt
        | ColumnKind::Int
        | ColumnKind::BigInt
        | ColumnKind::TinyUnsigned
        | ColumnKind::SmallUnsigned
        | ColumnKind::Unsigned
        | ColumnKind::BigUnsigned => Some(integer(kind, parse(text)?)).filter(|value| !is_null(value))?,
        ColumnKind::Float => Value::Float(Some(parse(text)?)),
        ColumnKind::Double => Value::Double(Some(parse(text)?)),
        ColumnKind::String => Value::String(Some(text.to_owned())),
        ColumnKind::Char => Value::Char(Some(parse(text)?)),
        ColumnKind::Enum => enum_value(kind, Some(text.to_owned())),
        ColumnKind::Bytes => Value::Bytes(Some(bytes(text)?)),
        ColumnKind::ChronoDate => Value::ChronoDate(Some(parse::<NaiveDate>(text)?)),
        ColumnKind::ChronoTime => Value::ChronoTime(Some(parse::<NaiveTime>(text)?)),
        ColumnKind::ChronoDateTime => Value::ChronoDateTime(Some(parse::<NaiveDateTime>(text)?)),
        ColumnKind::ChronoDateTimeUtc => Value::ChronoDateTimeUtc(Some(moment()?.with_timezone(&Utc))),
        ColumnKind::ChronoDateTimeLocal => Value::ChronoDateTimeLocal(Some(moment()?.with_timezone(&Local))),
        ColumnKind::ChronoDateTimeWithTimeZone => Value::ChronoDateTimeWithTimeZone(Some(moment()?)),
        ColumnKind::Uuid => Value::Uuid(Some(parse(text)?)),
        ColumnKind::Json | ColumnKind::Foreign => return None,
    })
}

fn parse<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u6_values_come_back_from_their_text_as_they_were() {
        let time = DateTime::from_timestamp(1_700_000_000, 123_456_789).unwrap();
        let naive = time.naive_utc();
        for value in [
            Value::from(true),
            (-5i8).into(),
            7u8.into(),
            i64::MIN.into(),
            i64::MAX.into(),
            0.1f32.into(),
            f64::MIN_POSITIVE.into(),
            f64::NEG_INFINITY.into(),
            "a \"text\" — of any kind".into(),
            'ö'.into(),
            vec![0u8, 255, 16].into(),
            naive.date().into(),
            naive.time().into(),
            naive.into(),
            time.into(),
            time.fixed_offset().into(),
            uuid::Uuid::from_u128(7).into(),
        ] {
            let text = to_text(&value).unwrap();
            assert_eq!(from_text(&value.array_type(), &text), Some(value), "{text}");
        }
        assert_eq!(to_text(&Value::BigInt(None)), None);
        assert_eq!(from_text(&ArrayType::Int, "4294967296"), None);
        assert_eq!(from_text(&ArrayType::Uuid, "none"), None);
    }
}
