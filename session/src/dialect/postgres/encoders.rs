//! Values in PostgreSQL's binary form, for arrays and for single rows, and what COPY shares with them.
//!
//! One pass over the rows, each value written once from where it stands. Nothing here knows tables or statements.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use sea_orm::{
    Value,
    sea_query::ArrayType,
    sqlx::{
        Arguments as _, Encode, Postgres, Type,
        encode::IsNull,
        error::BoxDynError,
        postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo},
    },
};

use smallvec::SmallVec;

use crate::{
    dialect::{BoxedArguments, RowArguments, message::Arguments},
    error::Error,
    table::{
        kinds::{ColumnKind, Form},
        row_sink::RowSink,
        value::{document, too_large},
        value_ref::ValueRef,
    },
};

/// The seconds between 1970 and 2000, which PostgreSQL counts from.
const EPOCH_SECONDS: i64 = 946_684_800;
const EPOCH_DAYS: i32 = 10_957;

/// The bytes before a value that say how long it is.
const LENGTH: usize = 4;

/// One array a column, for UNNEST and `= ANY`.
struct ArrayRows<'k> {
    columns: SmallVec<[ArrayColumn<'k>; 4]>,
}

struct ArrayColumn<'k> {
    kind: &'k ArrayType,
    form: Form,
    data: Vec<u8>,
    rows: i32,
}

impl<'k> ArrayRows<'k> {
    /// For so many rows, of columns of these kinds.
    fn new(rows: usize, kinds: &[&'k ArrayType]) -> Result<Self, Error> {
        let columns = kinds.iter().map(|&kind| {
            let form = ColumnKind::of(kind)
                .form()
                .ok_or_else(|| Error::usage(format!("{kind:?} cannot be sent as an array")))?;
            // One dimension, no flags, the elements' type, the length (when it is known), counted from 1.
            let header = [1, 0, wire(form).element, 0, 1].map(u32::to_be_bytes);
            // Numbers and moments are eight bytes long at most; what is longer grows it.
            let mut data = Vec::with_capacity(header.as_flattened().len() + rows * (LENGTH + 8));
            data.extend_from_slice(header.as_flattened());
            Ok(ArrayColumn { kind, form, data, rows: 0 })
        });
        Ok(Self { columns: columns.collect::<Result<_, Error>>()? })
    }
}

impl RowSink for ArrayRows<'_> {
    fn begin_row(&mut self) {}

    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        let column = &mut self.columns[at];
        column.rows += 1;
        checked(value, column.form, column.kind, |value| field(&mut column.data, value, true))
    }
}

impl RowArguments for ArrayRows<'_> {
    fn sink(&mut self) -> &mut dyn RowSink {
        self
    }

    fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.data.len()).sum()
    }

    fn finish(self: Box<Self>) -> Result<Arguments, Error> {
        let mut arguments = Box::new(PgArguments::default());
        arguments.reserve(self.columns.len(), self.columns.iter().map(|column| column.data.len() + 4).sum());
        for mut column in self.columns {
            column.data[12..16].copy_from_slice(&column.rows.to_be_bytes());
            arguments.add(column).map_err(|e| Error::usage(format!("a value could not be encoded: {e}")))?;
        }
        Ok(arguments)
    }
}

/// Takes the values of so many rows, of columns of these kinds.
pub(super) fn rows<'k>(rows: usize, kinds: &[&'k ArrayType]) -> Result<BoxedArguments<'k>, Error> {
    Ok(Box::new(ArrayRows::new(rows, kinds)?))
}

/// Makes sure that the value has the wire form of its column.
pub(super) fn checked(
    value: &ValueRef<'_>,
    form: Form,
    kind: &ArrayType,
    put: impl FnOnce(&ValueRef<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    match value {
        ValueRef::Owned(copied) => match (&**copied, ValueRef::from(&**copied)) {
            (_, lent) if lent.fits(form) => put(&lent),
            // What is sent by way of arrays is no array itself, so its column takes documents.
            (Value::Array(ArrayType::Json, list), _) if form == Form::Json => match list {
                Some(list) => put(&ValueRef::Json(&document((**list).clone()))),
                None => put(&ValueRef::Null),
            },
            (Value::BigUnsigned(_), _) => Err(too_large((**copied).clone())),
            _ => Err(misfit(kind)),
        },
        lent if lent.fits(form) => put(lent),
        _ => Err(misfit(kind)),
    }
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
        Some(wire(self.form).array)
    }

    fn size_hint(&self) -> usize {
        self.data.len()
    }
}

/// How values of one form travel: in an array whose elements have this number, or by themselves.
struct Wire {
    array: PgTypeInfo,
    element: u32,
    single: PgTypeInfo,
}

fn wire(form: Form) -> Wire {
    fn of<T: Type<Postgres>>(element: u32) -> Wire
    where
        Vec<T>: Type<Postgres>,
    {
        Wire { array: <Vec<T>>::type_info(), element, single: T::type_info() }
    }
    match form {
        Form::Bool => of::<bool>(16),
        Form::Small => of::<i16>(21),
        Form::Int => of::<i32>(23),
        Form::Big => of::<i64>(20),
        Form::Float => of::<f32>(700),
        Form::Double => of::<f64>(701),
        Form::Text | Form::Char => of::<String>(25),
        Form::Bytes => of::<Vec<u8>>(17),
        Form::Json => of::<serde_json::Value>(3802),
        Form::Date => of::<NaiveDate>(1082),
        Form::Time => of::<NaiveTime>(1083),
        Form::Naive => of::<NaiveDateTime>(1114),
        Form::Utc | Form::Offset => of::<DateTime<Utc>>(1184),
        Form::Uuid => of::<uuid::Uuid>(2950),
    }
}

/// The arguments of a single row (PostgreSQL), of the types that a `Value` of each column has.
pub(super) struct SingleRow<'k> {
    kinds: SmallVec<[(Option<Form>, &'k ArrayType); 8]>,
    arguments: PgArguments,
    data: Vec<u8>,
}

struct Single<'a> {
    form: Form,
    /// As an array's element: the length, negative for NULL, then the value.
    data: &'a [u8],
}

impl<'k> SingleRow<'k> {
    fn new(kinds: impl Iterator<Item = &'k ArrayType>) -> Self {
        let kinds = kinds.map(|kind| (ColumnKind::of(kind).form(), kind)).collect();
        Self { kinds, arguments: PgArguments::default(), data: Vec::new() }
    }

    /// SeaORM sends an `i8` as `"char"`, and its arrays as `smallint`.
    pub(super) fn takes(kind: &ArrayType) -> bool {
        ColumnKind::of(kind) != ColumnKind::TinyInt && ColumnKind::of(kind).is_simple()
    }
}

impl RowSink for SingleRow<'_> {
    fn begin_row(&mut self) {}

    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        let Self { kinds, arguments, data } = self;
        data.clear();
        let Some((Some(form), kind)) = kinds.get(at).copied() else {
            return Err(Error::usage("a value was to be sent in a row that has no column for it"));
        };
        checked(value, form, kind, |value| field(data, value, true))?;
        let added = arguments.add(Single { form, data });
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
        Some(wire(self.form).single)
    }

    fn size_hint(&self) -> usize {
        self.data.len()
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

/// Takes the values of one row, of columns of these kinds.
pub(super) fn row<'k>(kinds: &[&'k ArrayType]) -> BoxedArguments<'k> {
    Box::new(SingleRow::new(kinds.iter().copied()))
}

impl RowArguments for SingleRow<'_> {
    fn sink(&mut self) -> &mut dyn RowSink {
        self
    }

    fn bytes(&self) -> usize {
        0
    }

    fn finish(self: Box<Self>) -> Result<Arguments, Error> {
        Ok(Box::new(self.arguments))
    }
}
