/// Renames a note.
#[db_session]
pub async fn rename(s: &mut Session, id: i64, title: &str) -> Result<(), AppError> {
    let note = find(s, id).await?;
    note.set_title(title);
    Ok(())
}
