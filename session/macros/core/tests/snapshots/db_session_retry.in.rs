#[db_session(
    retry = 5,
    isolation = "repeatable read",
    timeout = "2s",
    retry_on = |e| matches!(e, TransferError::Busy),
    set_local("app.account_id" = from)
)]
async fn transfer(s: &mut Session, from: i64, to: String) -> Result<(), TransferError> {
    move_money(s, from, &to).await
}
