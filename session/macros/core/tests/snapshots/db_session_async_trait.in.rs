trait Transfers {
    #[db_session(retry = 3)]
    fn transfer<'life0, 'life1, 'async_trait>(
        &'life0 self,
        s: &'life1 mut Session,
        to: String,
    ) -> ::core::pin::Pin<Box<dyn ::core::future::Future<Output = Result<(), Error>> + ::core::marker::Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait;
}
