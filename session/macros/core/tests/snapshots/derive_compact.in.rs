#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "note")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// What the note is called.
    #[sea_orm(unique_key = "account_title")]
    pub title: String,
    pub r#type: Option<Kind>,
    #[sea_orm(enum_name = "Labels", column_type = "JsonBinary")]
    #[tracked(optimistic = false)]
    pub tags: Tags,
    #[tracked(secret, read_only)]
    token: String,
    #[sea_orm(ignore)]
    pub cache: i32,
    #[sea_orm(unique_key = "account_title")]
    #[tracked(tenant)]
    pub account_id: i64,
    #[tracked(version)]
    pub version: i32,
    #[tracked(created_at)]
    pub created_at: DateTimeUtc,
    #[tracked(updated_at)]
    pub updated_at: DateTimeUtc,
}
