async fn place(s: &mut Session, item: Item) -> Result<(), OrderError> {
    s.atomic(async move |
            #[allow(unused_variables)]
            s: &mut ::sea_session::Session,
        | -> Result<(), OrderError> {
            s.add(item);
            Ok(())
        })
        .await
}
async fn merged(s: &mut Session) -> Result<(), OrderError> {
    s.block()
        .merged()
        .run(async move |
            #[allow(unused_variables)]
            mut s: &mut ::sea_session::Session,
        | -> Result<(), OrderError> { tidy(&mut s).await })
        .await
}
async fn durable(session: &mut Session) -> Result<(), OrderError> {
    session
        .block()
        .durable()
        .run(async move |
            #[allow(unused_variables)]
            session: &mut ::sea_session::Session,
        | -> Result<(), OrderError> { Ok(()) })
        .await
}
