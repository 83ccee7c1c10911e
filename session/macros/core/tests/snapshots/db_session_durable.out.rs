/// Pays out, for good.
pub async fn pay_out(s: &mut Session, amount: i64) -> Result<(), Error> {
    s.block()
        .durable()
        .run(async move |
            #[allow(unused_variables)]
            s: &mut ::sea_session::Session,
        | -> Result<(), Error> { book(s, amount).await })
        .await
}
#[doc(hidden)]
async fn pay_out_in_its_own_unit(s: &mut Session, amount: i64) -> Result<(), Error> {
    book(s, amount).await
}
/// `pay_out` in a unit of work of its own: commits on `Ok`, rolls back on `Err`.
///
/// Pays out, for good.
#[allow(
    clippy::multiple_bound_locations,
    clippy::needless_lifetimes,
    clippy::too_many_arguments
)]
pub async fn pay_out_on(db: &::sea_session::Db, amount: i64) -> Result<(), Error> {
    db.session()
        .run(async |s: &mut ::sea_session::Session| {
            pay_out_in_its_own_unit(s, amount).await
        })
        .await
}
