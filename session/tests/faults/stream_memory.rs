//! I6: a stream of many rows holds few of them. Alone in its program, because it counts every byte that the program holds.

use sea_orm::{ConnectionTrait, entity::prelude::*};
use sea_session::{
    Error, Session,
    prelude::*,
    testing::{Backend, create_table, run_test_on},
};

use crate::{again::alone, memory::held};

mod item {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel, Tracked)]
    #[sea_orm(table_name = "item")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub text: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

const ROWS: i64 = 100_000;
const WIDTH: usize = 400;

#[test]
fn i6_a_stream_of_a_hundred_thousand_rows_keeps_memory_flat() {
    if !alone(module_path!(), "i6_a_stream_of_a_hundred_thousand_rows_keeps_memory_flat") {
        return;
    }
    for backend in [Backend::Sqlite, Backend::Postgres] {
        run_test_on(
            backend,
            async |db: &Db| create_table(db, item::Entity).await,
            async |db: Db| {
                let fill = format!(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
                     INSERT INTO item (id, text) SELECT i, '{}' FROM n",
                    "x".repeat(WIDTH)
                );
                db.connection().execute_unprepared(&fill).await.unwrap();
                let (rows, most) = db.run(async |s: &mut Session| read_all(s).await).await.unwrap();
                assert_eq!(rows, ROWS);
                // SQLite's own page cache is not counted here; the rows together are ten times this bound.
                let all = ROWS as isize * WIDTH as isize;
                assert!(most < all / 10, "{backend:?}: {most} bytes more were held at once, of {all} read");
            },
        );
    }
}

/// How many rows there were, and how many bytes more than before were held at any moment.
async fn read_all(s: &mut Session) -> Result<(i64, isize), Error> {
    let before = held();
    let (mut count, mut most) = (0, 0);
    let mut rows = item::Entity::find().rows(s).await?;
    while let Some(row) = rows.next().await? {
        assert_eq!(row.text.len(), WIDTH);
        count += 1;
        most = most.max(held() - before);
    }
    Ok((count, most))
}
