//! A column's value where it stands in a model, lent for a comparison or for the wire.
//!
//! `sea_orm::Value` owns what it holds: reading a column through it copies the text. A flush reads every column of every
//! row that it writes, so the derive lends them instead. What is lent here must be what `ModelTrait::get` would copy.

use std::marker::PhantomData;

use chrono::{DateTime, FixedOffset, Local, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use sea_orm::{
    ActiveValue, Value,
    sea_query::{Enum, Nullable, OptionEnum},
};
use uuid::Uuid;

use super::kinds::Form;

/// One column's value.
#[derive(Clone, Debug)]
pub enum ValueRef<'a> {
    /// SQL's NULL, of any type.
    Null,
    /// A flag.
    Bool(bool),
    /// Integers that fit 16 bits.
    Small(i16),
    /// Integers that fit 32 bits.
    Int(i32),
    /// Integers that fit 64 bits.
    Big(i64),
    /// A float of 32 bits.
    Float(f32),
    /// A float of 64 bits.
    Double(f64),
    /// Text, and the text of an enum.
    Text(&'a str),
    /// A character.
    Char(char),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A JSON document.
    Json(&'a serde_json::Value),
    /// A date.
    Date(NaiveDate),
    /// A time of day.
    Time(NaiveTime),
    /// A moment without a zone.
    Naive(NaiveDateTime),
    /// A moment in UTC.
    Utc(DateTime<Utc>),
    /// A moment with its offset.
    Offset(DateTime<FixedOffset>),
    /// A UUID.
    Uuid(Uuid),
    /// A value of any other type, copied.
    Owned(Box<Value>),
}

/// What makes two values of a column the same: that of which the database keeps only one form, or every form for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Exactness {
    /// The column keeps the value: a moment without its offset, a number of fixed scale, a document without its order.
    Value,
    /// The column keeps how the value was written: another offset, scale or order is another value.
    #[default]
    Form,
}

impl ValueRef<'_> {
    /// Whether the database holds the same for two values of one column (F3, D12). Few kinds ask how exact it is.
    pub(crate) fn same(&self, other: &Self, exactness: impl FnOnce() -> Exactness) -> bool {
        match (self, other) {
            (ValueRef::Null, ValueRef::Null) => true,
            (ValueRef::Bool(a), ValueRef::Bool(b)) => a == b,
            (ValueRef::Small(a), ValueRef::Small(b)) => a == b,
            (ValueRef::Int(a), ValueRef::Int(b)) => a == b,
            (ValueRef::Big(a), ValueRef::Big(b)) => a == b,
            // Not-a-number is itself, and zero has two signs.
            (ValueRef::Float(a), ValueRef::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (ValueRef::Double(a), ValueRef::Double(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (ValueRef::Text(a), ValueRef::Text(b)) => a == b,
            (ValueRef::Char(a), ValueRef::Char(b)) => a == b,
            (ValueRef::Bytes(a), ValueRef::Bytes(b)) => a == b,
            (ValueRef::Json(a), ValueRef::Json(b)) => a == b && (exactness() == Exactness::Value || same_form(a, b)),
            (ValueRef::Date(a), ValueRef::Date(b)) => a == b,
            (ValueRef::Time(a), ValueRef::Time(b)) => a == b,
            (ValueRef::Naive(a), ValueRef::Naive(b)) => a == b,
            (ValueRef::Utc(a), ValueRef::Utc(b)) => a == b,
            (ValueRef::Offset(a), ValueRef::Offset(b)) => {
                a == b && (a.offset() == b.offset() || exactness() == Exactness::Value)
            }
            (ValueRef::Uuid(a), ValueRef::Uuid(b)) => a == b,
            (ValueRef::Owned(a), ValueRef::Owned(b)) => match (ValueRef::from(&**a), ValueRef::from(&**b)) {
                // Of kinds that have no name here, the text for developers tells every form apart.
                (ValueRef::Owned(a), ValueRef::Owned(b)) => {
                    a == b && (exactness() == Exactness::Value || format!("{a:?}") == format!("{b:?}"))
                }
                (a, b) => a.same(&b, exactness),
            },
            _ => false,
        }
    }

    /// Whether this value has the form that a column takes.
    pub(crate) fn fits(&self, form: Form) -> bool {
        match self {
            ValueRef::Null => true,
            ValueRef::Bool(_) => form == Form::Bool,
            ValueRef::Small(_) => form == Form::Small,
            ValueRef::Int(_) => form == Form::Int,
            ValueRef::Big(_) => form == Form::Big,
            ValueRef::Float(_) => form == Form::Float,
            ValueRef::Double(_) => form == Form::Double,
            ValueRef::Text(_) => form == Form::Text,
            ValueRef::Char(_) => form == Form::Char,
            ValueRef::Bytes(_) => form == Form::Bytes,
            ValueRef::Json(_) => form == Form::Json,
            ValueRef::Date(_) => form == Form::Date,
            ValueRef::Time(_) => form == Form::Time,
            ValueRef::Naive(_) => form == Form::Naive,
            ValueRef::Utc(_) => form == Form::Utc,
            ValueRef::Offset(_) => form == Form::Offset,
            ValueRef::Uuid(_) => form == Form::Uuid,
            ValueRef::Owned(_) => false,
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        fn lend<'a, T>(value: Option<T>, lend: impl FnOnce(T) -> ValueRef<'a>) -> ValueRef<'a> {
            value.map_or(ValueRef::Null, lend)
        }
        match value {
            Value::Bool(v) => lend(*v, ValueRef::Bool),
            Value::TinyInt(v) => lend(*v, |v| ValueRef::Small(v.into())),
            Value::TinyUnsigned(v) => lend(*v, |v| ValueRef::Small(v.into())),
            Value::SmallInt(v) => lend(*v, ValueRef::Small),
            Value::SmallUnsigned(v) => lend(*v, |v| ValueRef::Int(v.into())),
            Value::Int(v) => lend(*v, ValueRef::Int),
            Value::Unsigned(v) => lend(*v, |v| ValueRef::Big(v.into())),
            Value::BigInt(v) => lend(*v, ValueRef::Big),
            // One that is too large for every backend stays as it is, to be refused by name.
            Value::BigUnsigned(v) => match v.map(i64::try_from) {
                None => ValueRef::Null,
                Some(Ok(v)) => ValueRef::Big(v),
                Some(Err(_)) => ValueRef::Owned(Box::new(value.clone())),
            },
            Value::Float(v) => lend(*v, ValueRef::Float),
            Value::Double(v) => lend(*v, ValueRef::Double),
            Value::String(v) => lend(v.as_deref(), ValueRef::Text),
            Value::Enum(OptionEnum::Some(v)) => text_of(v),
            Value::Enum(OptionEnum::None(_)) => ValueRef::Null,
            Value::Char(v) => lend(*v, ValueRef::Char),
            Value::Bytes(v) => lend(v.as_deref(), ValueRef::Bytes),
            Value::Json(v) => lend(v.as_deref(), ValueRef::Json),
            Value::ChronoDate(v) => lend(*v, ValueRef::Date),
            Value::ChronoTime(v) => lend(*v, ValueRef::Time),
            Value::ChronoDateTime(v) => lend(*v, ValueRef::Naive),
            Value::ChronoDateTimeUtc(v) => lend(*v, ValueRef::Utc),
            Value::ChronoDateTimeLocal(v) => lend(*v, |v| ValueRef::Offset(v.fixed_offset())),
            Value::ChronoDateTimeWithTimeZone(v) => lend(*v, ValueRef::Offset),
            Value::Uuid(v) => lend(*v, ValueRef::Uuid),
            other => ValueRef::Owned(Box::new(other.clone())),
        }
    }
}

/// Whether two equal documents are written alike: in one order, with zeros of one sign.
fn same_form(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match (one, other) {
        (Json::Object(a), Json::Object(b)) => {
            a.iter().zip(b).all(|((key_a, a), (key_b, b))| key_a == key_b && same_form(a, b))
        }
        (Json::Array(a), Json::Array(b)) => a.iter().zip(b).all(|(a, b)| same_form(a, b)),
        (Json::Number(a), Json::Number(b)) => {
            a.as_f64().map(f64::is_sign_negative) == b.as_f64().map(f64::is_sign_negative)
        }
        _ => true,
    }
}

fn text_of(value: &Enum) -> ValueRef<'_> {
    ValueRef::Text(&value.value)
}

/// A type of field that can be lent.
pub trait Lend {
    /// The value where it stands.
    fn lend(&self) -> ValueRef<'_>;
}

macro_rules! lend {
    ($($type:ty => |$value:ident| $lent:expr;)*) => {$(
        impl Lend for $type {
            #[inline]
            fn lend(&self) -> ValueRef<'_> {
                let $value = self;
                $lent
            }
        }
    )*};
}

lend! {
    bool => |v| ValueRef::Bool(*v);
    i8 => |v| ValueRef::Small((*v).into());
    u8 => |v| ValueRef::Small((*v).into());
    i16 => |v| ValueRef::Small(*v);
    u16 => |v| ValueRef::Int((*v).into());
    i32 => |v| ValueRef::Int(*v);
    u32 => |v| ValueRef::Big((*v).into());
    i64 => |v| ValueRef::Big(*v);
    f32 => |v| ValueRef::Float(*v);
    f64 => |v| ValueRef::Double(*v);
    String => |v| ValueRef::Text(v);
    char => |v| ValueRef::Char(*v);
    Vec<u8> => |v| ValueRef::Bytes(v);
    serde_json::Value => |v| ValueRef::Json(v);
    NaiveDate => |v| ValueRef::Date(*v);
    NaiveTime => |v| ValueRef::Time(*v);
    NaiveDateTime => |v| ValueRef::Naive(*v);
    DateTime<Utc> => |v| ValueRef::Utc(*v);
    DateTime<FixedOffset> => |v| ValueRef::Offset(*v);
    DateTime<Local> => |v| ValueRef::Offset(v.fixed_offset());
    Uuid => |v| ValueRef::Uuid(*v);
}

impl<T: Lend> Lend for Option<T> {
    #[inline]
    fn lend(&self) -> ValueRef<'_> {
        self.as_ref().map_or(ValueRef::Null, Lend::lend)
    }
}

/// A field of a model; what the derive asks for its value. With both traits in scope `(&Field(&model.title)).value_ref()`
/// lends a type that can be lent, and copies any other: the compiler looks for methods of `Field` before those of `&Field`.
#[derive(Debug)]
pub struct Field<'a, T>(pub &'a T);

/// See [`Field`].
pub trait LentField<'a> {
    /// The value where it stands.
    fn value_ref(&self) -> ValueRef<'a>;
}

impl<'a, T: Lend> LentField<'a> for Field<'a, T> {
    #[inline]
    fn value_ref(&self) -> ValueRef<'a> {
        self.0.lend()
    }
}

/// See [`Field`].
pub trait CopiedField<'a> {
    /// A copy of the value.
    fn value_ref(&self) -> ValueRef<'a>;
}

impl<'a, T: Clone + Into<Value>> CopiedField<'a> for &Field<'a, T> {
    #[inline]
    fn value_ref(&self) -> ValueRef<'a> {
        ValueRef::Owned(Box::new(self.0.clone().into()))
    }
}

/// What stands in a column of a draft, if anything does.
#[inline]
pub fn in_draft<T: Into<Value>>(value: &ActiveValue<T>) -> Option<&T> {
    match value {
        ActiveValue::Set(value) | ActiveValue::Unchanged(value) => Some(value),
        ActiveValue::NotSet => None,
    }
}

/// The type of a field, of which the derive asks for NULL: `(&&&TypeOf::<T>::new()).null()`. The compiler looks for
/// methods of `&&TypeOf` before those of `&TypeOf` and `TypeOf`, and so takes the first of the traits below that fits.
#[derive(Debug)]
pub struct TypeOf<T>(PhantomData<fn() -> T>);

impl<T> TypeOf<T> {
    /// Stands for the type.
    #[inline]
    #[allow(clippy::new_without_default, reason = "nobody but the derive makes one")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// See [`TypeOf`].
pub trait OptionalField {
    /// NULL as a field that may be none writes it.
    fn null(&self) -> Option<Value>;
}

impl<T> OptionalField for &&TypeOf<Option<T>>
where
    Option<T>: Into<Value>,
{
    #[inline]
    fn null(&self) -> Option<Value> {
        Some(None::<T>.into())
    }
}

/// See [`TypeOf`].
pub trait NullableField {
    /// NULL of the type.
    fn null(&self) -> Option<Value>;
}

impl<T: Nullable> NullableField for &TypeOf<T> {
    #[inline]
    fn null(&self) -> Option<Value> {
        Some(T::null())
    }
}

/// See [`TypeOf`].
pub trait AnyField {
    /// Not known.
    fn null(&self) -> Option<Value>;
}

impl<T> AnyField for TypeOf<T> {
    #[inline]
    fn null(&self) -> Option<Value> {
        None
    }
}
