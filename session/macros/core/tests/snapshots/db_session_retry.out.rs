async fn transfer(s: &mut Session, from: i64, to: String) -> Result<(), TransferError> {
    s.require_isolation(::sea_session::prelude::IsolationLevel::RepeatableRead)?;
    let _ = &from;
    move_money(s, from, &to).await
}
/// `transfer` in a unit of work of its own, retried as a whole: commits on `Ok`, rolls back on `Err`.
#[allow(
    clippy::multiple_bound_locations,
    clippy::needless_lifetimes,
    clippy::too_many_arguments
)]
async fn transfer_on(
    db: &::sea_session::Db,
    from: i64,
    to: String,
) -> Result<(), TransferError> {
    db.session()
        .retry(::sea_session::Retry::times(5))
        .isolation(::sea_session::prelude::IsolationLevel::RepeatableRead)
        .statement_timeout(::core::time::Duration::from_millis(2000u64))
        .retry_on::<TransferError>(|e| matches!(e, TransferError::Busy))
        .set_local("app.account_id", &from)
        .run(async |s: &mut ::sea_session::Session| {
            transfer(s, from, ::core::clone::Clone::clone(&to)).await
        })
        .await
}
