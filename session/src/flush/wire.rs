//! Values in the form that a database takes: PostgreSQL's binary form, for COPY and for arrays, and SQLite's arguments.
//!
//! One pass over the rows, each value written once from where it stands. Nothing here knows tables or statements.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use sea_orm::{
    Value,
    sea_query::ArrayType,
    sqlx::{
        Arguments, Encode, Postgres, Type,
        encode::IsNull,
        error::BoxDynError,
        postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo},
        sqlite::SqliteArguments,
    },
};

use smallvec::SmallVec;

use crate::{error::Error, meta::document, value_ref::ValueRef};

/// The seconds between 1970 and 2000, which PostgreSQL counts from.
const EPOCH_SECONDS: i64 = 946_684_800;
const EPOCH_DAYS: i32 = 10_957;

/// The bytes before a value that say how long it is.
const LENGTH: usize = 4;

/// What takes rows, value by value, in the order of the statement's columns.
pub(crate) trait RowSink {
    fn begin_row(&mut self);
    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error>;
}

/// Rows for binary COPY.
pub(super) struct CopyRows<'a> {
    pub(super) data: &'a mut Vec<u8>,
    pub(super) kinds: &'a [&'a ArrayType],
    /// Whether each column is `jsonb`, whose binary form begins with its version.
    pub(super) json_binary: &'a [bool],
}

impl RowSink for CopyRows<'_> {
    fn begin_row(&mut self) {
        // A table has at most 1,600 columns.
        self.data.extend_from_slice(&i16::try_from(self.kinds.len()).unwrap_or(i16::MAX).to_be_bytes());
    }

    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        checked(value, self.kinds[at], |value| field(self.data, value, self.json_binary[at]))
    }
}

/// One array a column, for UNNEST and `= ANY`.
pub(super) struct ArrayRows<'k> {
    columns: SmallVec<[ArrayColumn<'k>; 4]>,
}

struct ArrayColumn<'k> {
    kind: &'k ArrayType,
    data: Vec<u8>,
    rows: i32,
}

impl<'k> ArrayRows<'k> {
    /// For so many rows, of columns of these kinds.
    pub(super) fn new(rows: usize, kinds: impl Iterator<Item = &'k ArrayType>) -> Result<Self, Error> {
        let columns = kinds.map(|kind| {
            let form = form(kind).ok_or_else(|| Error::usage(format!("{kind:?} cannot be sent as an array")))?;
            // One dimension, no flags, the elements' type, the length (when it is known), counted from 1.
            let header = [1, 0, form.element, 0, 1].map(u32::to_be_bytes);
            // Numbers and moments are eight bytes long at most; what is longer grows it.
            let mut data = Vec::with_capacity(header.as_flattened().len() + rows * (LENGTH + 8));
            data.extend_from_slice(header.as_flattened());
            Ok(ArrayColumn { kind, data, rows: 0 })
        });
        Ok(Self { columns: columns.collect::<Result<_, Error>>()? })
    }

    /// How many bytes the values come to so far.
    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.data.len()).sum()
    }

    pub(super) fn arguments(self) -> Result<Box<PgArguments>, Error> {
        let mut arguments = Box::new(PgArguments::default());
        arguments.reserve(self.columns.len(), self.columns.iter().map(|column| column.data.len() + 4).sum());
        for mut column in self.columns {
            column.data[12..16].copy_from_slice(&column.rows.to_be_bytes());
            arguments.add(column).map_err(|e| Error::usage(format!("a value could not be encoded: {e}")))?;
        }
        Ok(arguments)
    }
}

impl RowSink for ArrayRows<'_> {
    fn begin_row(&mut self) {}

    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        let column = &mut self.columns[at];
        column.rows += 1;
        checked(value, column.kind, |value| field(&mut column.data, value, true))
    }
}

/// Makes sure that the value has the wire form of its column.
fn checked(
    value: &ValueRef<'_>,
    kind: &ArrayType,
    put: impl FnOnce(&ValueRef<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    match value {
        ValueRef::Owned(copied) => match (&**copied, ValueRef::from(&**copied)) {
            (_, lent) if lent.fits(kind) => put(&lent),
            // What is sent by way of arrays is no array itself, so its column takes documents.
            (Value::Array(ArrayType::Json, list), _) if *kind == ArrayType::Json => match list {
                Some(list) => put(&ValueRef::Json(&document((**list).clone()))),
                None => put(&ValueRef::Null),
            },
            (Value::BigUnsigned(_), _) => Err(too_large((**copied).clone())),
            _ => Err(misfit(kind)),
        },
        lent if lent.fits(kind) => put(lent),
        _ => Err(misfit(kind)),
    }
}

/// The reason why a number cannot be sent.
fn too_large(value: Value) -> Error {
    super::value::checked(value).err().unwrap_or_else(|| Error::usage("a number cannot be sent"))
}

fn misfit(kind: &ArrayType) -> Error {
    Error::usage(format!("a column of {kind:?} holds a value of another type"))
}

impl Type<Postgres> for ArrayColumn<'_> {
    fn type_info() -> PgTypeInfo {
        <Vec<String> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for ArrayColumn<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.data);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        form(self.kind).map(|form| form.array)
    }

    fn size_hint(&self) -> usize {
        self.data.len()
    }
}

/// How a column of this kind travels: in an array whose elements have this number, or by itself.
struct Form {
    array: PgTypeInfo,
    element: u32,
    single: PgTypeInfo,
}

fn form(kind: &ArrayType) -> Option<Form> {
    fn of<T: Type<Postgres>>(element: u32) -> Form
    where
        Vec<T>: Type<Postgres>,
    {
        Form { array: <Vec<T>>::type_info(), element, single: T::type_info() }
    }
    Some(match kind {
        ArrayType::Bool => of::<bool>(16),
        ArrayType::TinyInt | ArrayType::TinyUnsigned | ArrayType::SmallInt => of::<i16>(21),
        ArrayType::SmallUnsigned | ArrayType::Int => of::<i32>(23),
        ArrayType::Unsigned | ArrayType::BigInt | ArrayType::BigUnsigned => of::<i64>(20),
        ArrayType::Float => of::<f32>(700),
        ArrayType::Double => of::<f64>(701),
        ArrayType::String | ArrayType::Enum(_) | ArrayType::Char => of::<String>(25),
        ArrayType::Bytes => of::<Vec<u8>>(17),
        ArrayType::Json => of::<serde_json::Value>(3802),
        ArrayType::ChronoDate => of::<NaiveDate>(1082),
        ArrayType::ChronoTime => of::<NaiveTime>(1083),
        ArrayType::ChronoDateTime => of::<NaiveDateTime>(1114),
        ArrayType::ChronoDateTimeUtc | ArrayType::ChronoDateTimeLocal | ArrayType::ChronoDateTimeWithTimeZone => {
            of::<DateTime<Utc>>(1184)
        }
        ArrayType::Uuid => of::<uuid::Uuid>(2950),
        #[allow(unreachable_patterns, reason = "features of SeaORM add kinds")]
        _ => return None,
    })
}

/// The arguments of a single row (PostgreSQL), of the types that a `Value` of each column has.
pub(super) struct SingleRow<'k> {
    kinds: SmallVec<[&'k ArrayType; 8]>,
    pub(super) arguments: PgArguments,
    data: Vec<u8>,
}

struct Single<'a> {
    kind: &'a ArrayType,
    /// As an array's element: the length, negative for NULL, then the value.
    data: &'a [u8],
}

impl<'k> SingleRow<'k> {
    pub(super) fn new(kinds: impl Iterator<Item = &'k ArrayType>) -> Self {
        Self { kinds: kinds.collect(), arguments: PgArguments::default(), data: Vec::new() }
    }

    /// SeaORM sends an `i8` as `"char"`, and its arrays as `smallint`.
    pub(super) fn takes(kind: &ArrayType) -> bool {
        *kind != ArrayType::TinyInt && form(kind).is_some()
    }
}

impl RowSink for SingleRow<'_> {
    fn begin_row(&mut self) {}

    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        let Self { kinds, arguments, data } = self;
        data.clear();
        checked(value, kinds[at], |value| field(data, value, true))?;
        let added = arguments.add(Single { kind: kinds[at], data });
        added.map_err(|e| Error::usage(format!("a value could not be encoded: {e}")))
    }
}

impl Type<Postgres> for Single<'_> {
    fn type_info() -> PgTypeInfo {
        <String as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Single<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let (length, value) = self.data.split_at(LENGTH);
        if length[0] & 0x80 != 0 {
            return Ok(IsNull::Yes);
        }
        buffer.extend_from_slice(value);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        form(self.kind).map(|form| form.single)
    }

    fn size_hint(&self) -> usize {
        self.data.len()
    }
}

/// The arguments of a multi-row statement, row by row (SQLite).
pub(super) struct FlatRows {
    pub(super) arguments: SqliteArguments,
    /// How many bytes its texts, documents and bytes come to.
    pub(super) bytes: usize,
}

impl FlatRows {
    pub(super) fn with_capacity(values: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(values, 0);
        Self { arguments, bytes: 0 }
    }

    /// A document as the driver would write it, once, so that its length is known.
    fn document(&mut self, value: &serde_json::Value) -> Result<(), BoxDynError> {
        let text = serde_json::to_string(value)?;
        self.bytes += text.len();
        self.arguments.add(text)
    }
}

impl RowSink for FlatRows {
    fn begin_row(&mut self) {}

    fn put(&mut self, _: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        self.bytes += match value {
            ValueRef::Text(text) => text.len(),
            ValueRef::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let arguments = &mut self.arguments;
        let added = match value {
            ValueRef::Null => arguments.add(None::<i64>),
            ValueRef::Bool(v) => arguments.add(*v),
            ValueRef::Small(v) => arguments.add(*v),
            ValueRef::Int(v) => arguments.add(*v),
            ValueRef::Big(v) => arguments.add(*v),
            ValueRef::Float(v) => arguments.add(*v),
            ValueRef::Double(v) => arguments.add(*v),
            ValueRef::Text(v) => arguments.add(*v),
            ValueRef::Char(v) => arguments.add(v.to_string()),
            ValueRef::Bytes(v) => arguments.add(*v),
            ValueRef::Json(v) => self.document(v),
            ValueRef::Date(v) => arguments.add(*v),
            ValueRef::Time(v) => arguments.add(*v),
            ValueRef::Naive(v) => arguments.add(*v),
            ValueRef::Utc(v) => arguments.add(*v),
            ValueRef::Offset(v) => arguments.add(*v),
            ValueRef::Uuid(v) => arguments.add(*v),
            ValueRef::Owned(value) => match (&**value, ValueRef::from(&**value)) {
                // SQLite has no arrays: this is a list of documents in a column that takes one.
                (Value::Array(ArrayType::Json, list), _) => match list {
                    Some(list) => self.document(&document((**list).clone())),
                    None => arguments.add(None::<i64>),
                },
                (Value::BigUnsigned(_), ValueRef::Owned(_)) => return Err(too_large((**value).clone())),
                (_, ValueRef::Owned(_)) => return Err(Error::usage("a value of this type cannot be sent in a set")),
                (_, lent) => return self.put(0, &lent),
            },
        };
        added.map_err(|e| Error::usage(format!("a value could not be encoded: {e}")))
    }
}

/// One value in PostgreSQL's binary form, its length first: a field of COPY, or an element of an array.
pub(super) fn field(data: &mut Vec<u8>, value: &ValueRef<'_>, json_binary: bool) -> Result<(), Error> {
    match value {
        ValueRef::Null => {
            data.extend_from_slice(&(-1_i32).to_be_bytes());
            Ok(())
        }
        ValueRef::Bool(v) => put(data, &[u8::from(*v)]),
        ValueRef::Small(v) => put(data, &v.to_be_bytes()),
        ValueRef::Int(v) => put(data, &v.to_be_bytes()),
        ValueRef::Big(v) => put(data, &v.to_be_bytes()),
        ValueRef::Float(v) => put(data, &v.to_be_bytes()),
        ValueRef::Double(v) => put(data, &v.to_be_bytes()),
        ValueRef::Text(v) => put(data, v.as_bytes()),
        ValueRef::Char(v) => put(data, v.encode_utf8(&mut [0; 4]).as_bytes()),
        ValueRef::Bytes(v) => put(data, v),
        ValueRef::Uuid(v) => put(data, v.as_bytes()),
        ValueRef::Date(v) => put(data, &days(*v).to_be_bytes()),
        ValueRef::Time(v) => put(data, &time_of_day(*v).to_be_bytes()),
        ValueRef::Naive(v) => put(data, &moment(v.and_utc()).to_be_bytes()),
        ValueRef::Utc(v) => put(data, &moment(*v).to_be_bytes()),
        ValueRef::Offset(v) => put(data, &moment(v.to_utc()).to_be_bytes()),
        ValueRef::Json(v) => json(data, v, json_binary),
        ValueRef::Owned(_) => Err(Error::usage("a value of this type cannot be sent in a set")),
    }
}

fn put(data: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    data.extend_from_slice(&length(bytes.len())?.to_be_bytes());
    data.extend_from_slice(bytes);
    Ok(())
}

/// Written in place; its length is known only then.
fn json(data: &mut Vec<u8>, value: &serde_json::Value, binary: bool) -> Result<(), Error> {
    let start = data.len();
    data.extend_from_slice(&[0; LENGTH]);
    if binary {
        data.push(1);
    }
    serde_json::to_writer(&mut *data, value)
        .map_err(|e| Error::usage(format!("a JSON value could not be encoded: {e}")))?;
    let length = length(data.len() - start - LENGTH)?;
    data[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn length(bytes: usize) -> Result<i32, Error> {
    i32::try_from(bytes).map_err(|_| Error::usage("a value of more than 2 GiB"))
}

fn days(date: NaiveDate) -> i32 {
    use chrono::Datelike;
    // Day 1 of the common era is 719,163 days before 1970.
    date.num_days_from_ce() - 719_163 - EPOCH_DAYS
}

fn time_of_day(time: NaiveTime) -> i64 {
    i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1_000)
}

/// Cut to microseconds towards the year 2000, as the driver does it.
fn moment(moment: DateTime<Utc>) -> i64 {
    let (seconds, nanoseconds) = (moment.timestamp() - EPOCH_SECONDS, i64::from(moment.timestamp_subsec_nanos()));
    let micros = seconds * 1_000_000 + nanoseconds / 1_000;
    let cut = nanoseconds % 1_000 != 0;
    if micros < 0 && cut { micros + 1 } else { micros }
}
