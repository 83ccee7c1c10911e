#[allow(dead_code, clippy::all, clippy::pedantic)]
impl TrackedModel {
    /// The row of the relation `cake`, through the identity map.
    #[inline]
    pub async fn cake(
        &self,
        s: &mut ::sea_session::Session,
    ) -> ::core::result::Result<
        ::core::option::Option<::sea_session::Tracked<super::cake::Entity>>,
        ::sea_session::Error,
    > {
        self.0.related_one_by(s, Relation::Cake).await
    }
    /// Makes `parent` the row of the relation `cake`; it need not be inserted yet.
    #[inline]
    pub fn set_cake(
        &self,
        parent: &::sea_session::Tracked<super::cake::Entity>,
    ) -> ::core::result::Result<(), ::sea_session::Error> {
        self.0.set_parent(Relation::Cake, parent)
    }
    /// The rows of the relation `crumbs`, through the identity map.
    #[inline]
    pub async fn crumbs(
        &self,
        s: &mut ::sea_session::Session,
    ) -> ::core::result::Result<
        ::std::vec::Vec<::sea_session::Tracked<super::crumb::Entity>>,
        ::sea_session::Error,
    > {
        self.0.related_by(s, Relation::Crumb).await
    }
    /// The row of the relation `type`, through the identity map.
    #[inline]
    pub async fn r#type(
        &self,
        s: &mut ::sea_session::Session,
    ) -> ::core::result::Result<
        ::core::option::Option<::sea_session::Tracked<super::r#type::Entity>>,
        ::sea_session::Error,
    > {
        self.0.related_one_by(s, Relation::Type).await
    }
}
