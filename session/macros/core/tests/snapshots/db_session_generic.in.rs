#[db_session(retry = Retry::times(3))]
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
