//! Columns that are to become what an expression gives: the flush sends it, and the object takes over what the row then holds
//! (U2).

use sea_orm::{Value, sea_query::Expr};

use super::{AnyObject, Object, Phase, entity::TrackedEntity, position, row::Expressed};
use crate::error::Error;

impl<E: TrackedEntity> Object<E> {
    /// Has the next flush set a column to what an SQL expression gives, and take over what the row then holds. Until then the
    /// object holds what it did. The expression sees the row as the database has it, other changes of this object included; so
    /// of many units that each add one none is lost, versions aside: an entity with a version is matched on the one that was
    /// loaded, as always (O1), and it is raised.
    ///
    /// Objects that are given the same expression are written together. A value that is set afterwards replaces the
    /// expression; a second expression replaces the first.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// use sea_orm::sea_query::{Expr, ExprTrait};
    ///
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
    ///     note.set_expr(note::Column::Stars, Expr::col(note::Column::Stars).add(1))?;
    ///     assert_eq!(note.stars(), 0);
    ///     s.flush().await?;
    ///     assert_eq!(note.stars(), 1);
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] if the object is not a row yet, or not any more, or the column is part of the primary key, the version or
    /// the tenant. Nothing is changed then.
    pub fn set_expr(&self, column: E::Column, expression: impl Into<Expr>) -> Result<(), Error> {
        let table = self.0.table;
        let place = position::<E>(column);
        if table.keys.contains(&place) || [table.version, table.tenant].contains(&Some(place)) {
            let entity = table.entity;
            return Err(Error::usage(format!("{entity}: keys, versions and tenants are not set by an expression")));
        }
        let inner = self.0.inner.lock();
        if inner.phase != Phase::Persistent || inner.data.model().is_none() {
            drop(inner);
            return Err(Error::usage(format!(
                "{} {} is {:?}: an expression needs a row to see; flush it first, or set a value",
                table.entity,
                self.0.key_text(),
                self.state()
            )));
        }
        let mut inner = self.0.changing(inner);
        inner.expressions.retain(|(known, _)| *known != place);
        inner.expressions.push((place, expression.into()));
        inner.unit.iter().for_each(|unit| unit.note_expression());
        Ok(())
    }
}

impl AnyObject {
    /// Takes out the expressions that the row is to be changed by, and what it is found by.
    pub(crate) fn expressed(&self) -> Option<Expressed> {
        let key = self.held_key()?;
        let version = self.table.version.and_then(|version| self.held_value(version));
        let mut inner = self.inner.lock();
        if inner.expressions.is_empty() || inner.phase != Phase::Persistent {
            return None;
        }
        let columns: Vec<(usize, Expr)> = std::mem::take(&mut inner.expressions).into_iter().collect();
        let base = inner.base.clone();
        let checks: Vec<(usize, Value)> = base.map_or_else(Vec::new, |base| self.optimistic_checks(&inner, &*base));
        Some(Expressed { key, version, columns, checks })
    }
}
