pub(crate) async fn store<'a, T: Into<Value>, const N: usize>(
    s: &mut Session,
    value: T,
    names: [&'a str; N],
    shown: &impl Display,
) -> Result<usize, Error>
where
    T: 'static,
{
    save(s, value.into(), names, shown.to_string()).await
}
/// `store` in a unit of work of its own, retried as a whole: commits on `Ok`, rolls back on `Err`.
#[allow(
    clippy::multiple_bound_locations,
    clippy::needless_lifetimes,
    clippy::too_many_arguments
)]
pub(crate) async fn store_on<'a, T: Into<Value>, const N: usize>(
    db: &::sea_session::Db,
    value: T,
    names: [&'a str; N],
    shown: &(impl Display + ::core::marker::Send + ::core::marker::Sync),
) -> Result<usize, Error>
where
    T: 'static,
    T: ::core::marker::Send + ::core::marker::Sync,
    T: ::core::clone::Clone,
{
    db.session()
        .retry(Retry::times(3))
        .run(async |s: &mut ::sea_session::Session| {
            store::<
                T,
                N,
            >(
                    s,
                    ::core::clone::Clone::clone(&value),
                    ::core::clone::Clone::clone(&names),
                    shown,
                )
                .await
        })
        .await
}
