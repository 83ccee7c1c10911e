//! Binary COPY: what it takes, and its form.

use sea_orm::sea_query::ArrayType;

use super::{
    POSTGRES,
    encoders::{checked, field},
    facts::undisturbed,
};
use crate::{
    dialect::{CopyColumn, CopyRows, Copying},
    error::Error,
    table::{kinds::ColumnKind, row_sink::RowSink, value_ref::ValueRef},
};

pub(super) const COPY: Copying = Copying {
    column: |column, type_oid| {
        // COPY has no place for a cast.
        let fits = column.save(&POSTGRES, "v") == "v" && types(&column.kind).contains(&type_oid);
        let form = ColumnKind::of(&column.kind).form().filter(|_| fits)?;
        Some(CopyColumn { form, kind: &column.kind, type_oid })
    },
    still: |tables| {
        let undisturbed = undisturbed(tables);
        format!("{undisturbed} AND NOT pg_catalog.row_security_active(({tables})[1]::oid)")
    },
    statement: |table, columns| format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)"),
    header: b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0",
    trailer: &(-1_i16).to_be_bytes(),
    rows: |data, columns| Box::new(BinaryRows { data, columns }),
};

/// Rows in COPY's binary form.
struct BinaryRows<'r> {
    data: &'r mut Vec<u8>,
    columns: &'r [CopyColumn<'r>],
}

impl CopyRows for BinaryRows<'_> {
    fn sink(&mut self) -> &mut dyn RowSink {
        self
    }

    fn bytes(&self) -> usize {
        self.data.len()
    }
}

impl RowSink for BinaryRows<'_> {
    fn begin_row(&mut self) {
        // A table has at most 1,600 columns.
        self.data.extend_from_slice(&i16::try_from(self.columns.len()).unwrap_or(i16::MAX).to_be_bytes());
    }

    fn put(&mut self, at: usize, value: &ValueRef<'_>) -> Result<(), Error> {
        let CopyColumn { form, kind, type_oid } = self.columns[at];
        checked(value, form, kind, |value| field(self.data, value, type_oid == JSONB))
    }
}

/// The number of `jsonb`.
const JSONB: i64 = 3802;

/// The types (by PostgreSQL's fixed numbers) whose binary form is the one that this kind of value is encoded in; none where the
/// column may be of another type than the value travels as.
fn types(kind: &ArrayType) -> &'static [i64] {
    match ColumnKind::of(kind) {
        ColumnKind::Bool => &[16],
        ColumnKind::SmallInt => &[21],
        ColumnKind::Int => &[23],
        ColumnKind::BigInt => &[20],
        ColumnKind::Float => &[700],
        ColumnKind::Double => &[701],
        ColumnKind::String => &[25, 1043],
        ColumnKind::Bytes => &[17],
        ColumnKind::Json => &[114, JSONB],
        ColumnKind::ChronoDate => &[1082],
        ColumnKind::ChronoTime => &[1083],
        ColumnKind::ChronoDateTime => &[1114],
        ColumnKind::ChronoDateTimeUtc | ColumnKind::ChronoDateTimeLocal | ColumnKind::ChronoDateTimeWithTimeZone => {
            &[1184]
        }
        ColumnKind::Uuid => &[2950],
        ColumnKind::TinyInt
        | ColumnKind::TinyUnsigned
        | ColumnKind::SmallUnsigned
        | ColumnKind::Unsigned
        | ColumnKind::BigUnsigned
        | ColumnKind::Char
        | ColumnKind::Enum
        | ColumnKind::Foreign => &[],
    }
}
