//! How large a statement may be (D10).

use super::*;

mod blob {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "blob")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub data: Vec<u8>,
        #[sea_orm(default_value = "d")]
        pub tag: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

#[test]
fn d10_a_set_is_cut_by_the_bytes_of_its_values() {
    let postgres = "CREATE TABLE blob (id bigint PRIMARY KEY, data bytea NOT NULL, tag text NOT NULL DEFAULT 'd')";
    let sqlite = "CREATE TABLE blob (id INTEGER PRIMARY KEY, data blob NOT NULL, tag text NOT NULL DEFAULT 'd')";
    // `blob` is a word of the language there.
    let mariadb =
        "CREATE TABLE `blob` (id bigint PRIMARY KEY, data longblob NOT NULL, tag varchar(9) NOT NULL DEFAULT 'd')";
    for (backend, table) in [(Backend::Postgres, postgres), (Backend::Sqlite, sqlite), (Backend::MariaDb, mariadb)] {
        on(backend, &[table], async |db: Db| {
            let recorder = Recorder::new();
            db.session()
                .record(&recorder)
                .run(async |s: &mut Session| -> Done {
                    let draft =
                        |id: i64| blob::ActiveModel { id: Set(id), data: Set(vec![7; 3 << 20]), ..Default::default() };
                    let blobs: Vec<_> = (0..16).map(|id| s.add(draft(id))).collect();
                    s.flush().await?;
                    assert!(blobs.iter().all(|blob| blob.tag() == "d"));
                    blobs.iter().for_each(|blob| _ = blob.set_data(vec![8; 3 << 20]));
                    s.flush().await
                })
                .await?;
            let sent = recorder.statements();
            let count = |word: &str| sent.iter().filter(|sql| sql.contains(word)).count();
            assert!(
                count("INSERT") >= 3 && count("UPDATE") >= 3,
                "48 MB went in {} and {}",
                count("INSERT"),
                count("UPDATE")
            );
            let stored = blob::Entity::find().all(db.connection()).await?;
            assert_eq!(stored.len(), 16);
            assert!(stored.iter().all(|row| row.data == [8; 3 << 20] && row.tag == "d"));
            Ok(())
        });
    }
}

const MARIADB_ITEM: &str = "CREATE TABLE item (id bigint AUTO_INCREMENT PRIMARY KEY, name longtext NOT NULL)";
const SQLITE_ITEM: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)";

/// How many statements of this word a unit sends that adds rows with names of these lengths; their keys must follow them.
async fn statements_for_names(db: &Db, lengths: &[usize]) -> Result<usize, Error> {
    let recorder = Recorder::new();
    let unit = db.session().record(&recorder).run(async |s: &mut Session| -> Done {
        let items: Vec<_> = lengths.iter().map(|length| s.add(named(&"n".repeat(*length)))).collect();
        s.flush().await?;
        for (item, length) in items.iter().zip(lengths) {
            let sql = format!("SELECT count(*) FROM item WHERE id = {} AND length(name) = {length}", item.id());
            let row = s.query_one_raw(Statement::from_string(s.backend(), sql)).await?.expect("a count");
            assert_eq!(row.try_get_by_index::<i64>(0)?, 1);
        }
        Ok(())
    });
    unit.await?;
    Ok(recorder.statements().iter().filter(|sql| sql.contains("INSERT")).count())
}

#[test]
fn d10_rows_that_the_database_numbers_are_cut_by_bytes() {
    for (backend, table) in
        [(Backend::Postgres, ITEM), (Backend::Sqlite, SQLITE_ITEM), (Backend::MariaDb, MARIADB_ITEM)]
    {
        on(backend, &[table], async |db: Db| {
            let sent = statements_for_names(&db, &[3 << 20; 16]).await?;
            assert!((3..=16).contains(&sent), "48 MB went in {sent}");
            Ok(())
        });
    }
}

#[test]
fn d10_a_row_larger_than_a_statement_goes_alone() {
    for (backend, table) in
        [(Backend::Postgres, ITEM), (Backend::Sqlite, SQLITE_ITEM), (Backend::MariaDb, MARIADB_ITEM)]
    {
        on(backend, &[table], async |db: Db| {
            // MariaDB takes 16 MB at most, unless it is told otherwise.
            let lengths = if backend == Backend::MariaDb {
                [13 << 20, 11 << 20, 12 << 20]
            } else {
                [20 << 20, 17 << 20, 18 << 20]
            };
            let sent = statements_for_names(&db, &lengths).await?;
            assert_eq!(sent, 3);
            Ok(())
        });
    }
}

#[test]
fn d10_small_rows_go_together_again_after_large_ones() {
    on(Backend::Sqlite, &[SQLITE_ITEM], async |db: Db| {
        let mut lengths = vec![20 << 20; 2];
        lengths.resize(1_500, 10);
        let sent = statements_for_names(&db, &lengths).await?;
        assert!((3..=24).contains(&sent), "1,498 small rows after two large ones went in {sent}");
        Ok(())
    });
}

#[test]
fn d10_documents_count_with_their_length() {
    let postgres = "CREATE TABLE doc (id bigint PRIMARY KEY, body jsonb NOT NULL)";
    let sqlite = "CREATE TABLE doc (id INTEGER PRIMARY KEY, body json_text NOT NULL)";
    let mariadb = "CREATE TABLE doc (id bigint PRIMARY KEY, body json NOT NULL)";
    for (backend, table) in [(Backend::Postgres, postgres), (Backend::Sqlite, sqlite), (Backend::MariaDb, mariadb)] {
        on(backend, &[table], async |db: Db| {
            let recorder = Recorder::new();
            let body = |letter: &str| serde_json::json!({ "text": letter.repeat(3 << 20) });
            let unit = db.session().record(&recorder).run(async |s: &mut Session| -> Done {
                let docs: Vec<_> =
                    (0..8).map(|id| s.add(doc::ActiveModel { id: Set(id), body: Set(body("a")) })).collect();
                s.flush().await?;
                docs.iter().for_each(|doc| _ = doc.set_body(body("b")));
                s.flush().await
            });
            unit.await?;
            let sent = recorder.statements();
            let count = |word: &str| sent.iter().filter(|sql| sql.contains(word)).count();
            assert!(
                count("INSERT") >= 2 && count("UPDATE") >= 2,
                "24 MB of documents went in {} and {}",
                count("INSERT"),
                count("UPDATE")
            );
            let stored = doc::Entity::find().all(db.connection()).await?;
            assert_eq!(stored.iter().filter(|row| row.body == body("b")).count(), 8);
            Ok(())
        });
    }
}
