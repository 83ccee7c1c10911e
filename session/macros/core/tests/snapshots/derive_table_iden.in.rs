#[derive(Clone, Debug, PartialEq, DeriveEntityModel, Tracked)]
#[sea_orm(table_name = "tag", table_iden)]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub id: i32,
}
