/// Renames a note.
pub async fn rename(s: &mut Session, id: i64, title: &str) -> Result<(), AppError> {
    let note = find(s, id).await?;
    note.set_title(title);
    Ok(())
}
/// `rename` in a unit of work of its own: commits on `Ok`, rolls back on `Err`.
///
/// Renames a note.
#[allow(
    clippy::multiple_bound_locations,
    clippy::needless_lifetimes,
    clippy::too_many_arguments
)]
pub async fn rename_on(
    db: &::sea_session::Db,
    id: i64,
    title: &str,
) -> Result<(), AppError> {
    db.session()
        .run(async |s: &mut ::sea_session::Session| { rename(s, id, title).await })
        .await
}
