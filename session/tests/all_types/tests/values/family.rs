//! Entities of every kind of value, and rows of them. Each has an `at`, by which rows are told to be the same.

use std::fmt;

use mac_address::MacAddress;
use sea_orm::{ActiveValue::Set, FromJsonQueryResult, entity::prelude::*};
use sea_session::prelude::*;
use serde::{Deserialize, Serialize};
use time::Month;

use crate::matrix::Sample;

/// An entity of the family: fields, and the values of the row `at`; `None` where an optional one is not there.
macro_rules! entity {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty = |$at:ident| $value:expr;)* }
        optional { $($(#[$omet:meta])* $ofield:ident: $otype:ty = |$oat:ident| $ovalue:expr;)* }) => {
        pub mod $name {
            use super::*;

            #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
            #[sea_orm(table_name = "sample")]
            pub struct Model {
                #[sea_orm(primary_key)]
                pub id: i32,
                pub at: i32,
                $($(#[$meta])* pub $field: $type,)*
                $($(#[$omet])* pub $ofield: Option<$otype>,)*
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}

            impl Sample for Entity {
                fn full(at: i32) -> ActiveModel {
                    ActiveModel {
                        at: Set(at),
                        $($field: Set({ let $at = at; $value }),)*
                        $($ofield: Set(Some({ let $oat = at; $ovalue })),)*
                        ..Default::default()
                    }
                }

                fn none(at: i32) -> ActiveModel {
                    ActiveModel { $($ofield: Set(None),)* ..Self::full(at) }
                }

                fn unset(at: i32) -> ActiveModel {
                    ActiveModel { $($ofield: sea_orm::ActiveValue::NotSet,)* ..Self::full(at) }
                }

                fn change(row: &Tracked<Self>, at: i32) {
                    row.update(|model| {
                        $(model.$field = { let $at = at; $value };)*
                        $(model.$ofield = (at % 3 > 0).then(|| { let $oat = at; $ovalue });)*
                    });
                }

                fn changed(mut draft: ActiveModel, at: i32) -> ActiveModel {
                    $(draft.$field = Set({ let $at = at; $value });)*
                    $(draft.$ofield = Set((at % 3 > 0).then(|| { let $oat = at; $ovalue }));)*
                    draft
                }

                fn at(model: &Model) -> i32 {
                    model.at
                }
            }
        }
    };
}

// ---- wrappers and enums --------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, DeriveValueType)]
pub struct Count(pub i32);

#[derive(Clone, Debug, PartialEq, Eq, DeriveValueType)]
pub struct Name(pub String);

#[derive(Clone, Debug, PartialEq, DeriveValueType)]
pub struct Amount(pub Decimal);

#[derive(Clone, Debug, PartialEq, Eq, DeriveValueType)]
pub struct Tags(pub Vec<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, DeriveValueType)]
#[sea_orm(value_type = "String")]
pub enum Tag {
    Hard,
    Soft,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Tag::Hard { "hard" } else { "soft" })
    }
}

impl std::str::FromStr for Tag {
    type Err = sea_orm::sea_query::ValueTypeErr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hard" => Ok(Tag::Hard),
            "soft" => Ok(Tag::Soft),
            _ => Err(sea_orm::sea_query::ValueTypeErr),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Enum", enum_name = "mood")]
pub enum Mood {
    #[sea_orm(string_value = "it's fine")]
    Fine,
    #[sea_orm(string_value = "Bad")]
    Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(8))")]
pub enum Kind {
    #[sea_orm(string_value = "a")]
    A,
    #[sea_orm(string_value = "b")]
    B,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "i32", db_type = "Integer")]
pub enum Level {
    #[sea_orm(num_value = -1)]
    Low,
    #[sea_orm(num_value = 7)]
    High,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Part {
    pub name: String,
    pub size: Option<f64>,
}

fn mood(at: i32) -> Mood {
    if at % 2 == 0 { Mood::Fine } else { Mood::Bad }
}

fn part(at: i32) -> Part {
    Part { name: format!("p{at} \"ü'"), size: (at % 2 == 0).then_some(0.5) }
}

// ---- moments ---------------------------------------------------------------------------------------------------------------

fn utc(at: i32) -> DateTimeUtc {
    // Before and after the year from which PostgreSQL counts.
    chrono::DateTime::from_timestamp(946_684_800 + i64::from(at - 2) * 40_000_000, 123_456_000).unwrap()
}

fn east(at: i32) -> DateTimeWithTimeZone {
    utc(at).with_timezone(&chrono::FixedOffset::east_opt(7_200).unwrap())
}

fn day(at: i32) -> TimeDate {
    TimeDate::from_calendar_date(1999 + at % 50, Month::February, 28).unwrap()
}

fn clock(at: i32) -> TimeTime {
    TimeTime::from_hms_micro((at % 24) as u8, 59, 1, 654_321).unwrap()
}

fn offset(at: i32) -> TimeDateTimeWithTimeZone {
    TimeDateTime::new(day(at), clock(at)).assume_offset(time::UtcOffset::from_hms(2, 0, 0).unwrap())
}

fn decimal(at: i32) -> Decimal {
    // Scales differ: 1, 1.0, 1.00 …
    Decimal::new(i64::from(at) * 10_i64.pow((at % 4) as u32), (at % 4) as u32)
}

fn fixed(at: i32) -> Decimal {
    Decimal::new(i64::from(at) * 12_345 - 7, 4)
}

fn big_decimal(at: i32) -> BigDecimal {
    format!("{at}.{}0", "123456789".repeat((at % 2) as usize)).parse().unwrap()
}

fn quarters(at: i32) -> Decimal {
    Decimal::new(i64::from(at) * 25 + 25, 2)
}

fn quarters_big(at: i32) -> BigDecimal {
    format!("{at}.75").parse().unwrap()
}

// ---- the entities ------------------------------------------------------------------------------------------------------------

// What SQLite keeps of a decimal is a number.
entity!(numbers {
    small: i16 = |at| at as i16 - 2;
    int: i32 = |at| i32::MIN + at;
    big: i64 = |at| i64::MAX - i64::from(at);
    float: f32 = |at| [0.0, -0.0, 1.5, f32::MAX][at as usize % 4];
    double: f64 = |at| [0.0, 1e300, 0.1, -2.5][at as usize % 4];
    flag: bool = |at| at % 2 == 0;
    decimal: Decimal = |at| quarters(at);
    big_decimal: BigDecimal = |at| quarters_big(at);
    #[sea_orm(column_type = "Decimal(Some((16, 4)))")] fixed: Decimal = |at| quarters(at);
} optional {
    o_small: i16 = |at| at as i16;
    o_big: i64 = |at| -i64::from(at);
    o_float: f32 = |at| at as f32 / 4.0;
    o_double: f64 = |at| f64::from(at) / 8.0;
    o_flag: bool = |at| at % 2 == 1;
    o_decimal: Decimal = |at| quarters(at);
    o_big_decimal: BigDecimal = |at| quarters_big(at);
});

// PostgreSQL keeps their scale.
entity!(decimals {
    decimal: Decimal = |at| decimal(at);
    big_decimal: BigDecimal = |at| big_decimal(at);
    #[sea_orm(column_type = "Decimal(Some((16, 6)))")] rounded: Decimal = |at| fixed(at);
    #[sea_orm(column_type = "Decimal(Some((16, 2)))")] cut: BigDecimal = |at| big_decimal(at);
    amount: Amount = |at| Amount(decimal(at));
} optional {
    o_decimal: Decimal = |at| decimal(at);
    o_big_decimal: BigDecimal = |at| big_decimal(at);
    o_amount: Amount = |at| Amount(decimal(at));
});

entity!(times {
    date: Date = |at| utc(at).date_naive();
    clock: Time = |at| utc(at).time();
    moment: DateTime = |at| utc(at).naive_utc();
    utc: DateTimeUtc = |at| utc(at);
    east: DateTimeWithTimeZone = |at| east(at);
    local: DateTimeLocal = |at| utc(at).with_timezone(&chrono::Local);
    t_date: TimeDate = |at| day(at);
    t_clock: TimeTime = |at| clock(at);
    t_moment: TimeDateTime = |at| TimeDateTime::new(day(at), clock(at));
    t_offset: TimeDateTimeWithTimeZone = |at| offset(at);
} optional {
    o_utc: DateTimeUtc = |at| utc(at);
    o_east: DateTimeWithTimeZone = |at| east(at);
    o_t_date: TimeDate = |at| day(at);
    o_t_clock: TimeTime = |at| clock(at);
    o_t_moment: TimeDateTime = |at| TimeDateTime::new(day(at), clock(at));
    o_t_offset: TimeDateTimeWithTimeZone = |at| offset(at);
});

entity!(texts {
    text: String = |at| ["", "a'b", "Ä\n😀", "x"][at as usize % 4].to_owned();
    #[sea_orm(column_type = "Text")] long: String = |at| "long ".repeat(at as usize % 9) + "end";
    bytes: Vec<u8> = |at| vec![0, 255, at as u8];
    uuid: Uuid = |at| Uuid::from_u128(at as u128);
    simple: uuid::fmt::Simple = |at| Uuid::from_u128(at as u128).simple();
    hyphenated: uuid::fmt::Hyphenated = |at| Uuid::from_u128(at as u128).hyphenated();
    json: Json = |at| serde_json::json!({"b": at, "a": [null, 0.5, "x"]});
    #[sea_orm(column_type = "JsonBinary")] list: Vec<Part> = |at| (0..at % 3).map(part).collect();
    part: Part = |at| part(at);
    count: Count = |at| Count(at);
    name: Name = |at| Name(format!("n{at}"));
    tag: Tag = |at| if at % 2 == 0 { Tag::Hard } else { Tag::Soft };
    mood: Mood = |at| mood(at);
    kind: Kind = |at| if at % 2 == 0 { Kind::A } else { Kind::B };
    level: Level = |at| if at % 2 == 0 { Level::Low } else { Level::High };
} optional {
    o_text: String = |at| format!("o{at}");
    o_bytes: Vec<u8> = |at| vec![at as u8; 3];
    o_uuid: Uuid = |at| Uuid::from_u128(at as u128 + 1);
    o_json: Json = |at| serde_json::json!([at]);
    #[sea_orm(column_type = "Json")] o_list: Vec<Part> = |at| vec![part(at)];
    o_part: Part = |at| part(at);
    o_count: Count = |at| Count(-at);
    o_name: Name = |at| Name(format!("o{at}"));
    o_tag: Tag = |at| if at % 2 == 1 { Tag::Hard } else { Tag::Soft };
    o_mood: Mood = |at| mood(at + 1);
    o_kind: Kind = |at| if at % 2 == 1 { Kind::A } else { Kind::B };
    o_level: Level = |at| if at % 2 == 1 { Level::Low } else { Level::High };
});

fn network(at: i32) -> IpNetwork {
    format!("10.{}.{}.0/24", at % 200, at / 200).parse().unwrap()
}

fn mac(at: i32) -> MacAddress {
    MacAddress::new([2, 0, 0, (at >> 16) as u8, (at >> 8) as u8, at as u8])
}

fn vector(at: i32) -> PgVector {
    PgVector::from(vec![at as f32 / 2.0, -1.5, 0.0])
}

entity!(nets {
    inet: IpNetwork = |at| network(at);
    #[sea_orm(column_type = "Cidr")] cidr: IpNetwork = |at| network(at);
    mac: MacAddress = |at| mac(at);
    vector: PgVector = |at| vector(at);
    #[sea_orm(column_type = r#"custom("bit(8)")"#, select_as = "bigint", save_as = "bit(8)")] bits: i64 = |at| i64::from(at % 200);
    #[sea_orm(column_type = r#"custom("xml")"#, select_as = "text", save_as = "xml")] xml: String = |at| format!("<a n=\"{at}\"/>");
} optional {
    o_inet: IpNetwork = |at| network(at);
    o_mac: MacAddress = |at| mac(at);
    o_vector: PgVector = |at| vector(at);
});

entity!(arrays {
    flags: Vec<bool> = |at| vec![at % 2 == 0, true];
    smalls: Vec<i16> = |at| vec![at as i16, -1];
    ints: Vec<i32> = |at| vec![at, i32::MIN];
    bigs: Vec<i64> = |at| vec![i64::from(at), i64::MAX];
    floats: Vec<f32> = |at| vec![at as f32, -0.0];
    doubles: Vec<f64> = |at| vec![f64::from(at), 0.1];
    texts: Vec<String> = |at| vec![format!("a, {at}"), "{b}\"".into(), String::new()];
    bytes: Vec<Vec<u8>> = |at| vec![vec![at as u8, 0], vec![]];
    documents: Vec<Json> = |at| vec![serde_json::json!({"a": at}), serde_json::json!(null)];
    dates: Vec<Date> = |at| vec![utc(at).date_naive()];
    clocks: Vec<Time> = |at| vec![utc(at).time()];
    moments: Vec<DateTime> = |at| vec![utc(at).naive_utc()];
    utcs: Vec<DateTimeUtc> = |at| vec![utc(at)];
    easts: Vec<DateTimeWithTimeZone> = |at| vec![east(at)];
    t_dates: Vec<TimeDate> = |at| vec![day(at)];
    t_clocks: Vec<TimeTime> = |at| vec![clock(at)];
    t_moments: Vec<TimeDateTime> = |at| vec![TimeDateTime::new(day(at), clock(at))];
    t_offsets: Vec<TimeDateTimeWithTimeZone> = |at| vec![offset(at)];
    uuids: Vec<Uuid> = |at| vec![Uuid::from_u128(at as u128)];
    decimals: Vec<Decimal> = |at| vec![decimal(at)];
    big_decimals: Vec<BigDecimal> = |at| vec![big_decimal(at)];
    networks: Vec<IpNetwork> = |at| vec![network(at)];
    macs: Vec<MacAddress> = |at| vec![mac(at)];
    moods: Vec<Mood> = |at| vec![mood(at), mood(at + 1)];
    kinds: Vec<Kind> = |at| if at % 2 == 0 { vec![] } else { vec![Kind::A] };
    levels: Vec<Level> = |at| vec![if at % 2 == 0 { Level::Low } else { Level::High }];
    tags: Tags = |at| Tags(vec![format!("t{at}")]);
} optional {
    o_ints: Vec<i32> = |at| vec![at];
    o_texts: Vec<String> = |at| vec![at.to_string()];
    o_decimals: Vec<Decimal> = |at| vec![decimal(at)];
    o_t_dates: Vec<TimeDate> = |at| vec![day(at)];
    o_moods: Vec<Mood> = |at| vec![mood(at)];
    o_tags: Tags = |at| Tags(vec![at.to_string()]);
});
