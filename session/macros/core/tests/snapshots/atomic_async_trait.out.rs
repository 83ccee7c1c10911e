impl Transfers for Bank {
    fn transfer<'life0, 'life1, 'async_trait>(
        &'life0 self,
        s: &'life1 mut Session,
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
    {
        Box::pin(async move {
            s.atomic(async move |
                    #[allow(unused_variables)]
                    s: &mut ::sea_session::Session,
                | -> Result<(), Error> {
                    let __self = self;
                    __self.book(s).await
                })
                .await
        })
    }
}
