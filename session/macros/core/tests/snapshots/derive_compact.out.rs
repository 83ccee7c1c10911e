/// A tracked row: typed access to its columns. Reading gives values; a write is sent by the next flush.
#[derive(Clone)]
pub struct TrackedModel(::sea_session::Object<Entity>);
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
        TrackedModel::__relations(
            ::sea_session::EntitySpec::new()
                .unique_key("account_title", Column::Title)
                .not_optimistic(Column::Labels)
                .read_only(Column::Token)
                .secret(Column::Token)
                .tenant(Column::AccountId)
                .unique_key("account_title", Column::AccountId)
                .version(Column::Version)
                .created_at(Column::CreatedAt)
                .updated_at(Column::UpdatedAt)
                .hidden("token"),
        )
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
            ::core::option::Option::Some(Column::Title) => {
                (&Field(&model.title)).value_ref()
            }
            ::core::option::Option::Some(Column::Type) => {
                (&Field(&model.r#type)).value_ref()
            }
            ::core::option::Option::Some(Column::Labels) => {
                (&Field(&model.tags)).value_ref()
            }
            ::core::option::Option::Some(Column::Token) => {
                (&Field(&model.token)).value_ref()
            }
            ::core::option::Option::Some(Column::AccountId) => {
                (&Field(&model.account_id)).value_ref()
            }
            ::core::option::Option::Some(Column::Version) => {
                (&Field(&model.version)).value_ref()
            }
            ::core::option::Option::Some(Column::CreatedAt) => {
                (&Field(&model.created_at)).value_ref()
            }
            ::core::option::Option::Some(Column::UpdatedAt) => {
                (&Field(&model.updated_at)).value_ref()
            }
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
            ::core::option::Option::Some(Column::Title) => {
                in_draft(&draft.title).map(|value| (&Field(value)).value_ref())
            }
            ::core::option::Option::Some(Column::Type) => {
                in_draft(&draft.r#type).map(|value| (&Field(value)).value_ref())
            }
            ::core::option::Option::Some(Column::Labels) => {
                in_draft(&draft.tags).map(|value| (&Field(value)).value_ref())
            }
            ::core::option::Option::Some(Column::Token) => {
                in_draft(&draft.token).map(|value| (&Field(value)).value_ref())
            }
            ::core::option::Option::Some(Column::AccountId) => {
                in_draft(&draft.account_id).map(|value| (&Field(value)).value_ref())
            }
            ::core::option::Option::Some(Column::Version) => {
                in_draft(&draft.version).map(|value| (&Field(value)).value_ref())
            }
            ::core::option::Option::Some(Column::CreatedAt) => {
                in_draft(&draft.created_at).map(|value| (&Field(value)).value_ref())
            }
            ::core::option::Option::Some(Column::UpdatedAt) => {
                in_draft(&draft.updated_at).map(|value| (&Field(value)).value_ref())
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
            ::core::option::Option::Some(Column::Id) => (&&&TypeOf::<i64>::new()).null(),
            ::core::option::Option::Some(Column::Title) => {
                (&&&TypeOf::<String>::new()).null()
            }
            ::core::option::Option::Some(Column::Type) => {
                (&&&TypeOf::<Option<Kind>>::new()).null()
            }
            ::core::option::Option::Some(Column::Labels) => {
                (&&&TypeOf::<Tags>::new()).null()
            }
            ::core::option::Option::Some(Column::Token) => {
                (&&&TypeOf::<String>::new()).null()
            }
            ::core::option::Option::Some(Column::AccountId) => {
                (&&&TypeOf::<i64>::new()).null()
            }
            ::core::option::Option::Some(Column::Version) => {
                (&&&TypeOf::<i32>::new()).null()
            }
            ::core::option::Option::Some(Column::CreatedAt) => {
                (&&&TypeOf::<DateTimeUtc>::new()).null()
            }
            ::core::option::Option::Some(Column::UpdatedAt) => {
                (&&&TypeOf::<DateTimeUtc>::new()).null()
            }
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
                    row.try_get::<i64>("", name).map(::core::convert::Into::into),
                )
            }
            ::core::option::Option::Some(Column::Title) => {
                ::core::option::Option::Some(
                    row.try_get::<String>("", name).map(::core::convert::Into::into),
                )
            }
            ::core::option::Option::Some(Column::Type) => {
                ::core::option::Option::Some(
                    row
                        .try_get::<Option<Kind>>("", name)
                        .map(::core::convert::Into::into),
                )
            }
            ::core::option::Option::Some(Column::Labels) => {
                ::core::option::Option::Some(
                    row.try_get::<Tags>("", name).map(::core::convert::Into::into),
                )
            }
            ::core::option::Option::Some(Column::Token) => {
                ::core::option::Option::Some(
                    row.try_get::<String>("", name).map(::core::convert::Into::into),
                )
            }
            ::core::option::Option::Some(Column::AccountId) => {
                ::core::option::Option::Some(
                    row.try_get::<i64>("", name).map(::core::convert::Into::into),
                )
            }
            ::core::option::Option::Some(Column::Version) => {
                ::core::option::Option::Some(
                    row.try_get::<i32>("", name).map(::core::convert::Into::into),
                )
            }
            ::core::option::Option::Some(Column::CreatedAt) => {
                ::core::option::Option::Some(
                    row.try_get::<DateTimeUtc>("", name).map(::core::convert::Into::into),
                )
            }
            ::core::option::Option::Some(Column::UpdatedAt) => {
                ::core::option::Option::Some(
                    row.try_get::<DateTimeUtc>("", name).map(::core::convert::Into::into),
                )
            }
            _ => ::core::option::Option::None,
        }
    }
    fn numbers() -> ::std::vec::Vec<(usize, Column)> {
        ::std::vec![
            (Column::Id as usize, Column::Id), (Column::Title as usize, Column::Title),
            (Column::Type as usize, Column::Type), (Column::Labels as usize,
            Column::Labels), (Column::Token as usize, Column::Token), (Column::AccountId
            as usize, Column::AccountId), (Column::Version as usize, Column::Version),
            (Column::CreatedAt as usize, Column::CreatedAt), (Column::UpdatedAt as usize,
            Column::UpdatedAt)
        ]
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
    pub fn id(&self) -> i64 {
        self.0.get_field(Column::Id as usize, |m: &Model| &m.id, |a: &ActiveModel| &a.id)
    }
    /// As `id`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_id(&self) -> ::core::result::Result<i64, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::Id as usize,
                |m: &Model| &m.id,
                |a: &ActiveModel| &a.id,
            )
    }
    /// Sets `id`; the next flush sends it.
    pub fn set_id(&self, value: impl ::core::convert::Into<i64>) -> &Self {
        let value = value.into();
        self.0
            .set_field(
                Column::Id as usize,
                value,
                |m: &mut Model| &mut m.id,
                |a: &mut ActiveModel| &mut a.id,
            );
        self
    }
    /// What the note is called.
    #[inline]
    pub fn title(&self) -> String {
        self.0
            .get_field(
                Column::Title as usize,
                |m: &Model| &m.title,
                |a: &ActiveModel| &a.title,
            )
    }
    /// As `title`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_title(&self) -> ::core::result::Result<String, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::Title as usize,
                |m: &Model| &m.title,
                |a: &ActiveModel| &a.title,
            )
    }
    /// Sets `title`; the next flush sends it.
    pub fn set_title(&self, value: impl ::core::convert::Into<String>) -> &Self {
        let value = value.into();
        self.0
            .set_field(
                Column::Title as usize,
                value,
                |m: &mut Model| &mut m.title,
                |a: &mut ActiveModel| &mut a.title,
            );
        self
    }
    /// The value of `type`.
    #[inline]
    pub fn r#type(&self) -> Option<Kind> {
        self.0
            .get_field(
                Column::Type as usize,
                |m: &Model| &m.r#type,
                |a: &ActiveModel| &a.r#type,
            )
    }
    /// As `type`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_type(
        &self,
    ) -> ::core::result::Result<Option<Kind>, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::Type as usize,
                |m: &Model| &m.r#type,
                |a: &ActiveModel| &a.r#type,
            )
    }
    /// Sets `type`; the next flush sends it.
    pub fn set_type(&self, value: impl ::core::convert::Into<Option<Kind>>) -> &Self {
        let value = value.into();
        self.0
            .set_field(
                Column::Type as usize,
                value,
                |m: &mut Model| &mut m.r#type,
                |a: &mut ActiveModel| &mut a.r#type,
            );
        self
    }
    /// The value of `tags`.
    #[inline]
    pub fn tags(&self) -> Tags {
        self.0
            .get_field(
                Column::Labels as usize,
                |m: &Model| &m.tags,
                |a: &ActiveModel| &a.tags,
            )
    }
    /// As `tags`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_tags(&self) -> ::core::result::Result<Tags, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::Labels as usize,
                |m: &Model| &m.tags,
                |a: &ActiveModel| &a.tags,
            )
    }
    /// Sets `tags`; the next flush sends it.
    pub fn set_tags(&self, value: impl ::core::convert::Into<Tags>) -> &Self {
        let value = value.into();
        self.0
            .set_field(
                Column::Labels as usize,
                value,
                |m: &mut Model| &mut m.tags,
                |a: &mut ActiveModel| &mut a.tags,
            );
        self
    }
    /// The value of `token`.
    #[inline]
    fn token(&self) -> String {
        self.0
            .get_field(
                Column::Token as usize,
                |m: &Model| &m.token,
                |a: &ActiveModel| &a.token,
            )
    }
    /// As `token`; an error while the database has yet to make the value.
    #[inline]
    fn try_token(&self) -> ::core::result::Result<String, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::Token as usize,
                |m: &Model| &m.token,
                |a: &ActiveModel| &a.token,
            )
    }
    /// The value of `account_id`.
    #[inline]
    pub fn account_id(&self) -> i64 {
        self.0
            .get_field(
                Column::AccountId as usize,
                |m: &Model| &m.account_id,
                |a: &ActiveModel| &a.account_id,
            )
    }
    /// As `account_id`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_account_id(&self) -> ::core::result::Result<i64, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::AccountId as usize,
                |m: &Model| &m.account_id,
                |a: &ActiveModel| &a.account_id,
            )
    }
    /// Sets `account_id`; the next flush sends it.
    pub fn set_account_id(&self, value: impl ::core::convert::Into<i64>) -> &Self {
        let value = value.into();
        self.0
            .set_field(
                Column::AccountId as usize,
                value,
                |m: &mut Model| &mut m.account_id,
                |a: &mut ActiveModel| &mut a.account_id,
            );
        self
    }
    /// The value of `version`.
    #[inline]
    pub fn version(&self) -> i32 {
        self.0
            .get_field(
                Column::Version as usize,
                |m: &Model| &m.version,
                |a: &ActiveModel| &a.version,
            )
    }
    /// As `version`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_version(&self) -> ::core::result::Result<i32, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::Version as usize,
                |m: &Model| &m.version,
                |a: &ActiveModel| &a.version,
            )
    }
    /// The value of `created_at`.
    #[inline]
    pub fn created_at(&self) -> DateTimeUtc {
        self.0
            .get_field(
                Column::CreatedAt as usize,
                |m: &Model| &m.created_at,
                |a: &ActiveModel| &a.created_at,
            )
    }
    /// As `created_at`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_created_at(
        &self,
    ) -> ::core::result::Result<DateTimeUtc, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::CreatedAt as usize,
                |m: &Model| &m.created_at,
                |a: &ActiveModel| &a.created_at,
            )
    }
    /// Sets `created_at`; the next flush sends it.
    pub fn set_created_at(
        &self,
        value: impl ::core::convert::Into<DateTimeUtc>,
    ) -> &Self {
        let value = value.into();
        self.0
            .set_field(
                Column::CreatedAt as usize,
                value,
                |m: &mut Model| &mut m.created_at,
                |a: &mut ActiveModel| &mut a.created_at,
            );
        self
    }
    /// The value of `updated_at`.
    #[inline]
    pub fn updated_at(&self) -> DateTimeUtc {
        self.0
            .get_field(
                Column::UpdatedAt as usize,
                |m: &Model| &m.updated_at,
                |a: &ActiveModel| &a.updated_at,
            )
    }
    /// As `updated_at`; an error while the database has yet to make the value.
    #[inline]
    pub fn try_updated_at(
        &self,
    ) -> ::core::result::Result<DateTimeUtc, ::sea_session::Error> {
        self.0
            .try_get_field(
                Column::UpdatedAt as usize,
                |m: &Model| &m.updated_at,
                |a: &ActiveModel| &a.updated_at,
            )
    }
    /// Sets `updated_at`; the next flush sends it.
    pub fn set_updated_at(
        &self,
        value: impl ::core::convert::Into<DateTimeUtc>,
    ) -> &Self {
        let value = value.into();
        self.0
            .set_field(
                Column::UpdatedAt as usize,
                value,
                |m: &mut Model| &mut m.updated_at,
                |a: &mut ActiveModel| &mut a.updated_at,
            );
        self
    }
}
