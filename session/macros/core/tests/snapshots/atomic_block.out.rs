fn in_place() {
    s.block()
        .merged()
        .run(async |
            #[allow(unused_variables)]
            s: &mut ::sea_session::Session,
        | -> Result<(), OrderError> { place(s, item).await })
        .await
}
