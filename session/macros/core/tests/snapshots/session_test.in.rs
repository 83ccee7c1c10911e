#[session_test]
async fn a_note_is_found(s: &mut Session) {
    assert!(find(s, 1).await.is_none());
}

#[session_test(sqlite, postgres, migrations = Migrator)]
#[ignore = "slow"]
async fn a_note_is_kept(db: Db) -> Result<(), Error> {
    keep(&db).await
}

#[session_test(tables = [note::Entity, tag::Entity])]
async fn notes_have_tags(db: &Db) -> Result<(), Error> {
    tag(db).await
}
