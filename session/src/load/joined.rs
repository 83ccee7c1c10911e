//! Joined selects of SeaORM's, loaded through the map (U6): pairs of objects, and objects with those that are related to them.

use std::{future::Future, sync::Arc};

use rustc_hash::FxHashMap;
use sea_orm::{
    EntityTrait, FromQueryResult, QueryResult, QueryTrait, SelectTwo, SelectTwoMany, SelectTwoRequired,
    sea_query::{CaseStatement, Expr, SelectStatement},
};

use super::{admit::admit, query::locks};
use crate::{
    connection::Message,
    error::Error,
    objects::{
        Tracked,
        entity::{TrackedEntity, table_of},
    },
    unit::session::Session,
};

/// Loads a joined select through the identity map, in one statement.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// db.run(async |s: &mut Session| -> Result<(), Error> {
///     let pairs = note::Entity::find().find_also_related(author::Entity).load(s).await?;
///     let (note, author) = &pairs[0];
///     assert!(author.is_none() && note.title() == "first");
///     let authors = author::Entity::find().find_with_related(note::Entity).load(s).await?;
///     assert!(authors.is_empty());
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
pub trait LoadJoined: Sized {
    /// What one entry of the answer is.
    type Row;

    /// All rows that the filters of the unit let through (U5): a related row that they hide is as one that is not there. A column
    /// read under `FOR UPDATE` is fresh, as in [`crate::LoadExt::load`].
    ///
    /// # Errors
    /// As [`crate::LoadExt::load`].
    ///
    /// # Cancel safety
    /// As any statement (C1).
    fn load(self, s: &mut Session) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;
}

impl<E: TrackedEntity, R: TrackedEntity> LoadJoined for SelectTwo<E, R> {
    type Row = (Tracked<E>, Option<Tracked<R>>);

    fn load(self, s: &mut Session) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send {
        pairs::<E, R, _>(self, s)
    }
}

impl<E: TrackedEntity, R: TrackedEntity> LoadJoined for SelectTwoRequired<E, R> {
    type Row = (Tracked<E>, Tracked<R>);

    async fn load(self, s: &mut Session) -> Result<Vec<Self::Row>, Error> {
        let pairs = pairs::<E, R, _>(self, s).await?;
        Ok(pairs.into_iter().filter_map(|(one, other)| Some((one, other?))).collect())
    }
}

impl<E: TrackedEntity, R: TrackedEntity> LoadJoined for SelectTwoMany<E, R> {
    type Row = (Tracked<E>, Vec<Tracked<R>>);

    async fn load(self, s: &mut Session) -> Result<Vec<Self::Row>, Error> {
        let mut places: FxHashMap<usize, usize> = FxHashMap::default();
        let mut grouped: Vec<Self::Row> = Vec::new();
        for (one, other) in pairs::<E, R, _>(self, s).await? {
            let at = *places.entry(one.any().address()).or_insert_with(|| {
                grouped.push((one, Vec::new()));
                grouped.len() - 1
            });
            grouped[at].1.extend(other);
        }
        Ok(grouped)
    }
}

type Pair<E, R> = (Tracked<E>, Option<Tracked<R>>);

/// Whether the filters let a related row through; none says that they do not.
const SHOWN: &str = "sea_session_shown";

async fn pairs<E, R, Q>(mut query: Q, s: &mut Session) -> Result<Vec<Pair<E, R>>, Error>
where
    E: TrackedEntity,
    R: TrackedEntity,
    Q: QueryTrait<QueryStatement = SelectStatement> + Send,
{
    if let Some(conditions) = s.core().conditions::<E>()? {
        query.query().cond_where(conditions);
    }
    let hides = s.core().conditions::<R>()?;
    let hiding = hides.is_some();
    if let Some(conditions) = hides {
        query.query().expr_as(CaseStatement::new().case(conditions, Expr::val(1)), SHOWN);
    }
    let statement = query.build(s.backend());
    let lock = locks(&query, s.dialect(), &statement);
    drop(query);
    let (table, other) = (table_of::<E>(), table_of::<R>());
    let (mut models, mut failed) = (Vec::new(), None);
    let mut take = |row: QueryResult| match both::<E, R>(&row, hiding) {
        Ok(read) if failed.is_none() => models.push(read),
        Ok(_) => {}
        Err(e) => _ = failed.get_or_insert(e),
    };
    let secret = !(table.secret.is_empty() && other.secret.is_empty());
    s.core().statement_about(Message::Read(statement, &mut take), secret).await?;
    let core = s.core();
    let admitted = models.into_iter().map(|(one, other)| {
        let one = admit::<E>(core, Arc::new(one), false, lock)?;
        Ok((one, other.map(|other| admit::<R>(core, Arc::new(other), false, lock)).transpose()?))
    });
    let pairs = admitted.collect::<Result<_, Error>>()?;
    failed.map_or(Ok(pairs), Err)
}

/// The two models of a row, as SeaORM names their columns.
fn both<E: EntityTrait, R: EntityTrait>(
    row: &QueryResult,
    hiding: bool,
) -> Result<(E::Model, Option<R::Model>), Error> {
    if hiding && row.try_get::<Option<i32>>("", SHOWN)?.is_none() {
        return Ok((E::Model::from_query_result(row, "A_")?, None));
    }
    Ok((E::Model::from_query_result(row, "A_")?, R::Model::from_query_result_optional(row, "B_")?))
}
