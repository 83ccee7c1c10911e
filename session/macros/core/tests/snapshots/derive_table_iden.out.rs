/// A tracked row: typed access to its columns. Reading gives values; a write is sent by the next flush.
#[derive(Clone)]
pub(crate) struct TrackedModel(::sea_session::Object<Entity>);
#[automatically_derived]
impl ::core::convert::From<::sea_session::Object<Entity>> for TrackedModel {
    #[inline]
    fn from(object: ::sea_session::Object<Entity>) -> Self {
        Self(object)
    }
}
#[automatically_derived]
impl ::core::ops::Deref for TrackedModel {
    type Target = ::sea_session::Object<Entity>;
    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
#[automatically_derived]
impl ::sea_session::TrackedEntity for Entity {
    type Handle = TrackedModel;
    #[inline]
    fn spec() -> ::sea_session::EntitySpec<Self> {
        #[allow(unused_imports)]
        use ::sea_session::__private::NoRelations as _;
        TrackedModel::__relations(::sea_session::EntitySpec::new())
    }
    #[inline]
    fn shape() -> &'static ::sea_session::Shape {
        static SHAPE: ::sea_session::Shape = ::sea_session::Shape::new();
        &SHAPE
    }
    #[allow(clippy::needless_borrow, unreachable_patterns)]
    fn value_of(
        model: &Model,
        position: usize,
    ) -> ::sea_session::__private::ValueRef<'_> {
        #[allow(unused_imports)]
        use ::sea_session::__private::{
            CopiedField as _, Field, LentField as _, ValueRef,
        };
        match <Column as sea_orm::Iterable>::iter().nth(position) {
            ::core::option::Option::Some(Column::Id) => (&Field(&model.id)).value_ref(),
            ::core::option::Option::Some(column) => {
                ValueRef::Owned(
                    ::std::boxed::Box::new(sea_orm::ModelTrait::get(model, column)),
                )
            }
            ::core::option::Option::None => ValueRef::Null,
        }
    }
    #[allow(clippy::needless_borrow)]
    fn value_of_draft(
        draft: &ActiveModel,
        position: usize,
    ) -> ::core::option::Option<::sea_session::__private::ValueRef<'_>> {
        #[allow(unused_imports)]
        use ::sea_session::__private::{
            CopiedField as _, Field, LentField as _, in_draft,
        };
        match <Column as sea_orm::Iterable>::iter().nth(position) {
            ::core::option::Option::Some(Column::Id) => {
                in_draft(&draft.id).map(|value| (&Field(value)).value_ref())
            }
            _ => ::core::option::Option::None,
        }
    }
    fn null_of(position: usize) -> ::core::option::Option<sea_orm::Value> {
        #[allow(unused_imports)]
        use ::sea_session::__private::{
            AnyField as _, NullableField as _, OptionalField as _, TypeOf,
        };
        match <Column as sea_orm::Iterable>::iter().nth(position) {
            ::core::option::Option::Some(Column::Id) => (&&&TypeOf::<i32>::new()).null(),
            _ => ::core::option::Option::None,
        }
    }
    fn value_in_row(
        row: &sea_orm::QueryResult,
        position: usize,
        name: &str,
    ) -> ::core::option::Option<::core::result::Result<sea_orm::Value, sea_orm::DbErr>> {
        match <Column as sea_orm::Iterable>::iter().nth(position) {
            ::core::option::Option::Some(Column::Id) => {
                ::core::option::Option::Some(
                    row.try_get::<i32>("", name).map(::core::convert::Into::into),
                )
            }
            _ => ::core::option::Option::None,
        }
    }
    fn numbers() -> ::std::vec::Vec<(usize, Column)> {
        ::std::vec![(Column::Id as usize - 1, Column::Id)]
    }
    fn from_row(
        row: &sea_orm::QueryResult,
        places: &[usize],
    ) -> ::core::option::Option<Model> {
        ::core::option::Option::Some(Model {
            id: sea_orm::TryGetable::try_get_by(
                    row,
                    *places.get(Column::Id as usize - 1)?,
                )
                .ok()?,
        })
    }
}
#[automatically_derived]
impl ::sea_session::Graph for ActiveModel {
    type Of = Entity;
    #[inline]
    fn add_to(
        self,
        adding: &mut ::sea_session::__private::Adding<'_>,
    ) -> ::core::result::Result<
        ::sea_session::__private::Node<Entity>,
        ::sea_session::Error,
    > {
        adding.add(self)
    }
}
#[allow(dead_code, clippy::all, clippy::pedantic)]
impl TrackedModel {
    /// The value of `id`.
    #[inline]
    pub fn id(&self) -> i32 {
        self.0
            .get_field(
                Column::Id as usize - 1,
                |m: &Model| &m.id,
                |a: &ActiveModel| &a.id,
            )
    }
    /// As `id`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_id(&self) -> ::core::result::Result<i32, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::Id as usize - 1,
                |m: &Model| &m.id,
                |a: &ActiveModel| &a.id,
            )
    }
    /// Sets `id`; the next flush sends it.
    pub fn set_id(&self, value: impl ::core::convert::Into<i32>) -> &Self {
        let value = value.into();
        self.0
            .set_field(
                Column::Id as usize - 1,
                value,
                |m: &mut Model| &mut m.id,
                |a: &mut ActiveModel| &mut a.id,
            );
        self
    }
}
