/// Pays out, for good.
#[db_session(durable)]
pub async fn pay_out(s: &mut Session, amount: i64) -> Result<(), Error> {
    book(s, amount).await
}
