#[atomic]
async fn place(s: &mut Session, item: Item) -> Result<(), OrderError> {
    s.add(item);
    Ok(())
}

#[atomic(merged)]
async fn merged(mut s: &mut Session) -> Result<(), OrderError> {
    tidy(&mut s).await
}

#[atomic(durable)]
async fn durable(_: &mut Session) -> Result<(), OrderError> {
    Ok(())
}
