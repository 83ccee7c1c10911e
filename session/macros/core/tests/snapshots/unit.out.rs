fn in_place() {
    {
        (state.db())
            .session()
            .retry(::sea_session::Retry::times(3))
            .allow::<OrderError>(|e| e.is_gone())
            .run(async |
                #[allow(unused_variables)]
                tx: &mut ::sea_session::Session,
            | -> Result<(), OrderError> { place(tx, item.clone()).await })
            .await
    }
}
