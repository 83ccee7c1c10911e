//! The entities of the macro tests.
#![allow(missing_docs)]

pub mod note {
    use sea_orm::{FromJsonQueryResult, entity::prelude::*};
    use sea_session::Tracked;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "String(StringLen::None)")]
    pub enum Kind {
        #[default]
        #[sea_orm(string_value = "plain")]
        Plain,
        #[sea_orm(string_value = "urgent")]
        Urgent,
    }

    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
    pub struct Labels(pub Vec<String>);

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "note")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub title: String,
        pub body: Option<String>,
        #[sea_orm(default_value = "plain")]
        pub r#type: Kind,
        #[sea_orm(column_type = "Json", default_value = "[]")]
        pub labels: Labels,
        #[tracked(secret)]
        pub token: Option<String>,
        #[tracked(version)]
        pub version: i32,
        #[tracked(created_at)]
        pub created_at: DateTimeUtc,
        #[tracked(updated_at)]
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Without a version: only what was read protects it.
pub mod paper {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "paper")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub title: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Belongs to a tenant.
pub mod owned {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "owned")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        #[tracked(tenant)]
        pub account_id: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Deleted by a mark.
pub mod binned {
    use sea_orm::entity::prelude::*;
    use sea_session::Tracked;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "binned")]
    #[tracked(no_hooks, soft_delete = "gone_at")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub gone_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}
