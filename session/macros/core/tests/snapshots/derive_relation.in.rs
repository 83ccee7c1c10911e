#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation, Tracked)]
pub enum Relation {
    #[sea_orm(belongs_to = "super::cake::Entity", from = "Column::CakeId", to = "super::cake::Column::Id")]
    Cake,
    #[sea_orm(has_many = "super::crumb::Entity")]
    #[tracked(name = "crumbs")]
    Crumb,
    #[sea_orm(has_one = "super::r#type::Entity")]
    Type,
}
