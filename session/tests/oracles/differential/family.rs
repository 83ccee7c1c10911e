//! The entities of the test. What is under them, types, defaults, triggers, actions, is drawn anew for each program
//! ([`super::tables`]); here stands only what the compiler must know.
//!
//! Every row has a `tag`, which nothing else than the program writes: by it the rows of the two worlds are told to be the
//! same, because keys that the database makes may differ.

use std::{any::Any, sync::Arc};

use futures_util::future::BoxFuture;
use sea_orm::entity::prelude::*;
use sea_session::{Error, prelude::*, testing::Backend};

use super::world::{Of, Subject, World};

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Small,
    Int,
    Big,
    Double,
    Text,
    Bool,
    Utc,
    Naive,
    Day,
    Id,
    Document,
    Bytes,
    Mood,
    // What only MariaDB's tables have.
    TinyUnsigned,
    SmallUnsigned,
    Unsigned,
    BigUnsigned,
    /// A decimal number, carried as a text.
    Number,
    /// Words of a SET.
    Marks,
    /// A text whose spaces, case and accents a collation may not tell apart.
    Word,
    /// A moment that a TIMESTAMP can hold.
    Stamp,
    Hour,
}

/// What a column is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of a key that the program sets.
    Key,
    /// A key that the database makes.
    Made,
    Tag,
    Plain,
    /// Refers to a column of another entity, by their numbers.
    Parent(&'static str, &'static str),
    Unique,
    Version,
    /// The database computes it.
    Computed,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub null: bool,
    pub role: Role,
}

const fn column(name: &'static str, kind: Kind, null: bool, role: Role) -> Column {
    Column { name, kind, null, role }
}

/// An entity as the generator sees it.
#[derive(Debug)]
pub struct Shape {
    pub table: &'static str,
    pub columns: &'static [Column],
}

impl Shape {
    pub fn at(&self, name: &str) -> usize {
        self.columns.iter().position(|column| column.name == name).expect("a column of the entity")
    }

    pub fn tag(&self) -> usize {
        self.at("tag")
    }

    pub fn keys(&self) -> impl Iterator<Item = usize> {
        (0..self.columns.len()).filter(|at| matches!(self.columns[*at].role, Role::Key | Role::Made))
    }

    pub fn parents(&self) -> impl Iterator<Item = (usize, &'static str, &'static str)> {
        self.columns.iter().enumerate().filter_map(|(at, column)| match column.role {
            Role::Parent(table, of) => Some((at, table, of)),
            _ => None,
        })
    }
}

/// An enum that is text in SQLite, a type of its own in PostgreSQL and the column's in MariaDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Enum", enum_name = "mood u.")]
pub enum Mood {
    #[sea_orm(string_value = "it's fine")]
    Fine,
    #[sea_orm(string_value = "Bad")]
    Bad,
}

/// An entity with its shape, and the relations to its parents.
macro_rules! entity {
    (
        $name:ident, $table:literal, { $($fields:tt)* }, [$($column:expr),* $(,)?],
        { $($(#[$relation:meta])* $variant:ident $from:literal $parent:ident,)* }
    ) => {
        pub mod $name {
            use super::*;

            #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
            #[sea_orm(table_name = $table)]
            #[tracked(no_hooks)]
            pub struct Model {
                $($fields)*
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {
                $($(#[$relation])* $variant,)*
            }

            subject!($table, [$($column),*], { $($variant $from $parent,)* });
        }
    };
}

/// What the test asks of an entity, inside its module.
macro_rules! subject {
    (
        $table:literal, [$($column:expr),*], { $($variant:ident $from:literal $parent:ident,)* }
        $(, { $($accessors:item)* })?
    ) => {
        $(
            impl Related<super::$parent::Entity> for Entity {
                fn to() -> RelationDef {
                    Relation::$variant.def()
                }
            }
        )*

        impl Subject for Entity {
            const SHAPE: &'static Shape = &Shape { table: $table, columns: &[$($column),*] };

            $($($accessors)*)?

            #[allow(unused_variables)]
            fn link(own: &Tracked<Self>, column: &str, parent: &dyn Any) -> Result<(), Error> {
                match column {
                    $($from => {
                        let parent = parent.downcast_ref::<Tracked<super::$parent::Entity>>().expect("the parent's type");
                        own.set_parent(Relation::$variant, parent)
                    })*
                    other => panic!("{other} refers to nothing"),
                }
            }

            #[allow(unused_variables)]
            fn parent<'a>(
                own: &'a Tracked<Self>,
                column: &'a str,
                s: &'a mut Session,
            ) -> BoxFuture<'a, Result<Option<i64>, Error>> {
                Box::pin(async move {
                    match column {
                        $($from => {
                            let parent = own.related_one_by::<super::$parent::Entity>(s, Relation::$variant).await?;
                            Ok(parent.map(|parent| parent.tag()))
                        })*
                        other => panic!("{other} refers to nothing"),
                    }
                })
            }

            #[allow(unused_variables)]
            fn parents<'a>(
                all: &'a [Tracked<Self>],
                column: &'a str,
                s: &'a mut Session,
            ) -> BoxFuture<'a, Result<Vec<Option<i64>>, Error>> {
                Box::pin(async move {
                    match column {
                        $($from => {
                            let parents = s.load_related(all, super::$parent::Entity).await?;
                            Ok(parents.iter().map(|list| list.first().map(|parent| parent.tag())).collect())
                        })*
                        other => panic!("{other} refers to nothing"),
                    }
                })
            }
        }
    };
}

use Kind::*;
use Role::{Computed, Key, Made, Parent, Plain, Tag, Unique, Version};

entity!(plain, "plain", {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub tag: i64,
    pub name: String,
    pub count: Option<i32>,
    pub flag: bool,
    pub at: DateTimeUtc,
    pub ratio: f64,
}, [
    column("id", Big, false, Made), column("tag", Big, false, Tag), column("name", Text, false, Plain),
    column("count", Int, true, Plain), column("flag", Bool, false, Plain), column("at", Utc, false, Plain),
    column("ratio", Double, false, Plain),
], {});

entity!(keyed, "keyed", {
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    pub tag: i64,
    pub label: Option<String>,
    pub n: i32,
}, [
    column("key", Text, false, Key), column("tag", Big, false, Tag), column("label", Text, true, Plain),
    column("n", Int, false, Plain),
], {});

entity!(pair, "pair", {
    #[sea_orm(primary_key, auto_increment = false)]
    pub left: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub right: String,
    pub tag: i64,
    pub text: Option<String>,
    pub size: i16,
}, [
    column("left", Int, false, Key), column("right", Text, false, Key), column("tag", Big, false, Tag),
    column("text", Text, true, Plain), column("size", Small, false, Plain),
], {});

entity!(ident, "ident", {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub tag: i64,
    pub name: Option<String>,
    pub data: Json,
}, [
    column("id", Id, false, Key), column("tag", Big, false, Tag), column("name", Text, true, Plain),
    column("data", Document, false, Plain),
], {});

entity!(child, "child", {
    #[sea_orm(primary_key)]
    pub id: i32,
    pub tag: i64,
    pub plain_id: Option<i64>,
    pub keyed_key: Option<String>,
    pub note: String,
}, [
    column("id", Int, false, Made), column("tag", Big, false, Tag), column("plain_id", Big, true, Parent("plain", "id")),
    column("keyed_key", Text, true, Parent("keyed", "key")), column("note", Text, false, Plain),
], {
    #[sea_orm(belongs_to = "super::plain::Entity", from = "Column::PlainId", to = "super::plain::Column::Id")]
    Plain "plain_id" plain,
    #[sea_orm(belongs_to = "super::keyed::Entity", from = "Column::KeyedKey", to = "super::keyed::Column::Key")]
    Keyed "keyed_key" keyed,
});

entity!(strict, "strict", {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub tag: i64,
    pub plain_id: i64,
    #[sea_orm(unique)]
    pub position: Option<i32>,
}, [
    column("id", Big, false, Made), column("tag", Big, false, Tag), column("plain_id", Big, false, Parent("plain", "id")),
    column("position", Int, true, Unique),
], {
    #[sea_orm(belongs_to = "super::plain::Entity", from = "Column::PlainId", to = "super::plain::Column::Id")]
    Plain "plain_id" plain,
});

entity!(tree, "tree", {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub tag: i64,
    pub up: Option<i64>,
    pub name: String,
}, [
    column("id", Big, false, Made), column("tag", Big, false, Tag), column("up", Big, true, Parent("tree", "id")),
    column("name", Text, false, Plain),
], {
    #[sea_orm(belongs_to = "super::tree::Entity", from = "Column::Up", to = "super::tree::Column::Id")]
    Up "up" tree,
});

entity!(knot, "knot", {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub tag: i64,
    pub up: Option<i64>,
    #[sea_orm(unique)]
    pub code: Option<i32>,
}, [
    column("id", Big, false, Key), column("tag", Big, false, Tag), column("up", Big, true, Parent("knot", "id")),
    column("code", Int, true, Unique),
], {
    #[sea_orm(belongs_to = "super::knot::Entity", from = "Column::Up", to = "super::knot::Column::Id")]
    Up "up" knot,
});

entity!(versioned, "versioned", {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub tag: i64,
    #[tracked(version)]
    pub version: i32,
    pub body: String,
    pub score: Option<f64>,
}, [
    column("id", Big, false, Made), column("tag", Big, false, Tag), column("version", Int, false, Version),
    column("body", Text, false, Plain), column("score", Double, true, Plain),
], {});

entity!(computed, "computed", {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub tag: i64,
    pub first: String,
    pub last: String,
    #[tracked(read_only)]
    pub full: Option<String>,
    pub part: i32,
    #[tracked(read_only)]
    pub twice: Option<i64>,
}, [
    column("id", Big, false, Key), column("tag", Big, false, Tag), column("first", Text, false, Plain),
    column("last", Text, false, Plain), column("full", Text, true, Computed), column("part", Int, false, Plain),
    column("twice", Big, true, Computed),
], {});

entity!(kinds, "kinds", {
    #[sea_orm(primary_key)]
    pub id: i32,
    pub tag: i64,
    pub mood: super::Mood,
    pub maybe: Option<super::Mood>,
    pub raw: Option<Vec<u8>>,
    pub day: Option<Date>,
    pub moment: Option<DateTime>,
    pub uid: Uuid,
}, [
    column("id", Int, false, Made), column("tag", Big, false, Tag), column("mood", Kind::Mood, false, Plain),
    column("maybe", Kind::Mood, true, Plain), column("raw", Bytes, true, Plain), column("day", Day, true, Plain),
    column("moment", Naive, true, Plain), column("uid", Id, false, Plain),
], {});

entity!(coded, "coded", {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub tag: i64,
    #[sea_orm(unique)]
    pub code: String,
}, [
    column("id", Big, false, Made), column("tag", Big, false, Tag), column("code", Text, false, Unique),
], {});

entity!(refer, "refer", {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub tag: i64,
    pub code: Option<String>,
    pub n: i32,
}, [
    column("id", Big, false, Made), column("tag", Big, false, Tag), column("code", Text, true, Parent("coded", "code")),
    column("n", Int, false, Plain),
], {
    #[sea_orm(belongs_to = "super::coded::Entity", from = "Column::Code", to = "super::coded::Column::Code")]
    Coded "code" coded,
});

entity!(counted, "counted", {
    #[sea_orm(primary_key)]
    pub id: u64,
    pub tag: i64,
    pub tiny: u8,
    pub small: Option<u16>,
    pub whole: u32,
    pub large: Option<u64>,
}, [
    column("id", BigUnsigned, false, Made), column("tag", Big, false, Tag), column("tiny", TinyUnsigned, false, Plain),
    column("small", SmallUnsigned, true, Plain), column("whole", Unsigned, false, Plain),
    column("large", BigUnsigned, true, Plain),
], {});

entity!(entry, "entry", {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: u32,
    pub tag: i64,
    pub counted_id: Option<u64>,
    #[sea_orm(column_type = "Text", select_as = "CHAR(80)", save_as = "DECIMAL(30, 10)")]
    pub price: String,
    pub marks: Option<String>,
    pub word: String,
}, [
    column("id", Unsigned, false, Key), column("tag", Big, false, Tag),
    column("counted_id", BigUnsigned, true, Parent("counted", "id")), column("price", Number, false, Plain),
    column("marks", Marks, true, Plain), column("word", Word, false, Plain),
], {
    #[sea_orm(belongs_to = "super::counted::Entity", from = "Column::CountedId", to = "super::counted::Column::Id")]
    Counted "counted_id" counted,
});

entity!(touched, "touched", {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    pub tag: i64,
    pub name: String,
    pub at: DateTimeUtc,
    pub stamp: Option<DateTimeUtc>,
    pub hour: Option<Time>,
}, [
    column("id", Big, false, Key), column("tag", Big, false, Tag), column("name", Text, false, Plain),
    column("at", Utc, false, Plain), column("stamp", Stamp, true, Plain), column("hour", Hour, true, Plain),
], {});

/// Columns called as ours are, in an enum of another order.
pub mod odd {
    use super::*;

    #[derive(Copy, Clone, Default, Debug, DeriveEntity)]
    pub struct Entity;

    impl EntityName for Entity {
        fn table_name(&self) -> &'static str {
            "u"
        }
    }

    #[derive(Clone, Debug, PartialEq, Eq, DeriveModel, DeriveActiveModel, Tracked)]
    #[tracked(no_hooks)]
    pub struct Model {
        pub c0: i32,
        pub tag: i64,
        pub ord: String,
        pub m: Option<String>,
        pub written: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveColumn)]
    pub enum Column {
        Written,
        M,
        C0,
        Ord,
        Tag,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DerivePrimaryKey)]
    pub enum PrimaryKey {
        C0,
    }

    impl PrimaryKeyTrait for PrimaryKey {
        type ValueType = i32;

        fn auto_increment() -> bool {
            true
        }
    }

    impl ColumnTrait for Column {
        type EntityName = Entity;

        fn def(&self) -> ColumnDef {
            match self {
                Self::C0 => ColumnType::Integer.def(),
                Self::Tag | Self::Written => ColumnType::BigInteger.def(),
                Self::Ord => ColumnType::Text.def(),
                Self::M => ColumnType::Text.def().null(),
            }
        }
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    subject!(
        "u",
        [
            column("c0", Int, false, Made),
            column("tag", Big, false, super::Tag),
            column("ord", Text, false, Plain),
            column("m", Text, true, Plain),
            column("written", Big, false, Plain)
        ],
        {},
        {
            fn set_by_accessor(own: &Tracked<Self>, column: &str, value: &Value) -> bool {
                match (column, value) {
                    ("ord", Value::String(Some(text))) => _ = own.set_ord(text.as_str()),
                    ("m", Value::String(text)) => _ = own.set_m(text.clone()),
                    ("written", Value::BigInt(Some(number))) => _ = own.set_written(*number),
                    _ => return false,
                }
                true
            }

            fn row_by_accessors(own: &Tracked<Self>) -> crate::differential::world::Row {
                vec![own.c0().into(), own.tag().into(), own.ord().into(), own.m().into(), own.written().into()]
            }
        }
    );
}

/// All entities that a backend carries, parents before children.
pub fn all(backend: Backend) -> Vec<Arc<dyn World>> {
    let mut all = vec![
        Of::<plain::Entity>::new(),
        Of::<keyed::Entity>::new(),
        Of::<pair::Entity>::new(),
        Of::<ident::Entity>::new(),
        Of::<child::Entity>::new(),
        Of::<strict::Entity>::new(),
        Of::<tree::Entity>::new(),
        Of::<knot::Entity>::new(),
        Of::<versioned::Entity>::new(),
        Of::<computed::Entity>::new(),
        Of::<kinds::Entity>::new(),
        Of::<coded::Entity>::new(),
        Of::<refer::Entity>::new(),
        Of::<odd::Entity>::new(),
    ];
    if backend == Backend::MariaDb {
        all.extend([Of::<counted::Entity>::new(), Of::<entry::Entity>::new(), Of::<touched::Entity>::new()]);
    }
    all
}
