#[allow(dead_code, clippy::all, clippy::pedantic)]
impl TrackedModel {
    /// The row of the relation `author`, through the identity map.
    #[inline]
    pub async fn author(
        &self,
        s: &mut ::sea_session::Session,
    ) -> ::core::result::Result<
        ::core::option::Option<::sea_session::Tracked<super::user::Entity>>,
        ::sea_session::Error,
    > {
        self.0.related_one_by(s, Relation::User).await
    }
    /// Makes `parent` the row of the relation `author`; it need not be inserted yet.
    #[inline]
    pub fn set_author(
        &self,
        parent: &::sea_session::Tracked<super::user::Entity>,
    ) -> ::core::result::Result<(), ::sea_session::Error> {
        self.0.set_parent(Relation::User, parent)
    }
    /// The row of the relation `cover`, through the identity map.
    #[inline]
    pub async fn cover(
        &self,
        s: &mut ::sea_session::Session,
    ) -> ::core::result::Result<
        ::core::option::Option<::sea_session::Tracked<super::cover::Entity>>,
        ::sea_session::Error,
    > {
        self.0.related_one_by(s, Relation::Cover).await
    }
    /// The rows of the relation `comments`, through the identity map.
    #[inline]
    pub async fn comments(
        &self,
        s: &mut ::sea_session::Session,
    ) -> ::core::result::Result<
        ::std::vec::Vec<::sea_session::Tracked<super::comment::Entity>>,
        ::sea_session::Error,
    > {
        self.0.related_by(s, Relation::Comment).await
    }
    /// The rows of the many-to-many relation `tags`: load, attach and detach them.
    #[inline]
    pub fn tags(&self) -> ::sea_session::Junction<'_, Entity, super::tag::Entity> {
        self.0.junction()
    }
    /// The row of the relation `parent`, through the identity map.
    #[inline]
    pub async fn parent(
        &self,
        s: &mut ::sea_session::Session,
    ) -> ::core::result::Result<
        ::core::option::Option<::sea_session::Tracked<Entity>>,
        ::sea_session::Error,
    > {
        self.0.related_one_by(s, Relation::Parent).await
    }
    /// Makes `parent` the row of the relation `parent`; it need not be inserted yet.
    #[inline]
    pub fn set_parent(
        &self,
        parent: &::sea_session::Tracked<Entity>,
    ) -> ::core::result::Result<(), ::sea_session::Error> {
        self.0.set_parent(Relation::Parent, parent)
    }
    /// The rows of the relation `children`, through the identity map.
    #[inline]
    pub async fn children(
        &self,
        s: &mut ::sea_session::Session,
    ) -> ::core::result::Result<
        ::std::vec::Vec<::sea_session::Tracked<Entity>>,
        ::sea_session::Error,
    > {
        self.0.related_by(s, Relation::Children).await
    }
}
#[allow(clippy::all, clippy::pedantic, unused_imports, unused_mut)]
impl ::sea_session::Graph for ActiveModelEx {
    type Of = Entity;
    fn add_to(
        mut self,
        __adding: &mut ::sea_session::__private::Adding<'_>,
    ) -> ::core::result::Result<
        ::sea_session::__private::Node<Entity>,
        ::sea_session::Error,
    > {
        use ::sea_session::__private::{Through as _, ThroughSelf as _};
        let author = ::core::mem::take(&mut self.author);
        let cover = ::core::mem::take(&mut self.cover);
        let comments = ::core::mem::take(&mut self.comments);
        let tags = ::core::mem::take(&mut self.tags);
        let parent = ::core::mem::take(&mut self.parent);
        let children = ::core::mem::take(&mut self.children);
        let __node = __adding.add::<Entity>(self.into())?;
        for __nested in author.into_option().into_iter() {
            let __other = ::sea_session::Graph::add_to(__nested, __adding)?;
            __adding
                .relate(
                    &__node,
                    &sea_orm::RelationTrait::def(&Relation::User),
                    &__other,
                )?;
        }
        for __nested in cover.into_option().into_iter() {
            let __other = ::sea_session::Graph::add_to(__nested, __adding)?;
            __adding
                .relate(
                    &__node,
                    &sea_orm::RelationTrait::def(&Relation::Cover),
                    &__other,
                )?;
        }
        for __nested in comments.into_vec() {
            let __other = ::sea_session::Graph::add_to(__nested, __adding)?;
            __adding
                .relate(
                    &__node,
                    &sea_orm::RelationTrait::def(&Relation::Comment),
                    &__other,
                )?;
        }
        for __nested in tags.into_vec() {
            let __other = ::sea_session::Graph::add_to(__nested, __adding)?;
            (&&::sea_session::__private::JunctionRows::<super::post_tag::Entity>::new())
                .relate(__adding, &__node, &__other)?;
        }
        for __nested in parent.into_option().into_iter() {
            let __other = ::sea_session::Graph::add_to(__nested, __adding)?;
            __adding
                .relate(
                    &__node,
                    &sea_orm::RelationTrait::def(&Relation::Parent),
                    &__other,
                )?;
        }
        for __nested in children.into_vec() {
            let __other = ::sea_session::Graph::add_to(__nested, __adding)?;
            __adding
                .relate(
                    &__node,
                    &sea_orm::RelationTrait::def(&Relation::Children),
                    &__other,
                )?;
        }
        ::core::result::Result::Ok(__node)
    }
}
