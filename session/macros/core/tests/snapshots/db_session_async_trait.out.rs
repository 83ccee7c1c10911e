trait Transfers {
    fn transfer<'life0, 'life1, 'async_trait>(
        &'life0 self,
        s: &'life1 mut Session,
        to: String,
    ) -> ::core::pin::Pin<
        Box<
            dyn ::core::future::Future<
                Output = Result<(), Error>,
            > + ::core::marker::Send + 'async_trait,
        >,
    >
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait;
    /// `transfer` in a unit of work of its own, retried as a whole: commits on `Ok`, rolls back on `Err`.
    #[allow(
        clippy::multiple_bound_locations,
        clippy::needless_lifetimes,
        clippy::too_many_arguments
    )]
    fn transfer_on<'life0, 'life1, 'async_trait>(
        &'life0 self,
        db: &'life1 ::sea_session::Db,
        to: String,
    ) -> ::core::pin::Pin<
        Box<
            dyn ::core::future::Future<
                Output = Result<(), Error>,
            > + ::core::marker::Send + 'async_trait,
        >,
    >
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
        Self: ::core::marker::Sync,
    {
        ::std::boxed::Box::pin(async move {
            db.session()
                .retry(::sea_session::Retry::times(3))
                .run(async |s: &mut ::sea_session::Session| {
                    Self::transfer(self, s, ::core::clone::Clone::clone(&to)).await
                })
                .await
        })
    }
}
