//! Loading along one named relation, for entities that have several to the same other entity and therefore no
//! `Related` between them; the accessors of `#[derive(Tracked)]` go this way.
//!
//! It must never join where the keys alone say which rows are meant: a parent that the map holds costs no SQL.

use sea_orm::{
    ColumnTrait, Condition, IdenStatic, Iterable, JoinType, QueryFilter, QuerySelect, RelationDef, RelationTrait,
    Select, Value,
};

use super::{hop::Hop, points_to_key, positions};
use crate::{
    error::Error,
    load::query::LoadExt,
    objects::{
        Object, Tracked,
        entity::{TrackedEntity, table_of},
    },
    table::sql::quoted_table,
    unit::session::Session,
};

impl<E: TrackedEntity> Object<E> {
    /// The objects of one relation, through the map. One statement a call; none if this object's key to them is null.
    ///
    /// # Errors
    /// What the database says; the relation does not lead to `R`.
    ///
    /// # Cancel safety
    /// Safe: nothing was changed but what autoflush sent, which the unit's end decides.
    pub async fn related_by<R: TrackedEntity>(
        &self,
        s: &mut Session,
        relation: E::Relation,
    ) -> Result<Vec<Tracked<R>>, Error> {
        let def = leads_to::<E, R>(&relation)?;
        if let Some(known) = s.known_relation(self, &relation.name(), || Hop::new(vec![def.clone()]))? {
            return Ok(known.to_vec());
        }
        s.read_expired(self).await?;
        if let Some(folding) = s.folding(table_of::<E>(), table_of::<R>(), &def).await? {
            s.note_lazy_load::<E, R>();
            return s.follow_folding::<E, R>(self, &folding).await;
        }
        let Some(select) = self.along::<R>(&def)? else { return Ok(vec![]) };
        s.note_lazy_load::<E, R>();
        select.load(s).await
    }

    /// The object of one relation, if there is one. A parent that the map holds costs no SQL.
    ///
    /// # Errors
    /// As [`Object::related_by`].
    ///
    /// # Cancel safety
    /// As [`Object::related_by`].
    pub async fn related_one_by<R: TrackedEntity>(
        &self,
        s: &mut Session,
        relation: E::Relation,
    ) -> Result<Option<Tracked<R>>, Error> {
        let def = leads_to::<E, R>(&relation)?;
        if let Some(known) = s.known_relation(self, &relation.name(), || Hop::new(vec![def.clone()]))? {
            return Ok(known.first().cloned());
        }
        s.read_expired(self).await?;
        if !def.is_owner
            && def.on_condition.is_none()
            && points_to_key::<R>(&def)
            && let Some(key) = self.columns(&def)?
            && let Some(parent) = s.peek_values::<R>(key)
        {
            return Ok(Some(parent));
        }
        if let Some(folding) = s.folding(table_of::<E>(), table_of::<R>(), &def).await? {
            s.note_lazy_load::<E, R>();
            return Ok(s.follow_folding::<E, R>(self, &folding).await?.into_iter().next());
        }
        let Some(select) = self.along::<R>(&def)? else { return Ok(None) };
        s.note_lazy_load::<E, R>();
        select.load_one(s).await
    }

    /// This object's side of the relation's keys; none if one is null or not known yet.
    fn columns(&self, def: &RelationDef) -> Result<Option<Vec<Value>>, Error> {
        let values =
            positions(table_of::<E>(), &def.from_col)?.into_iter().map(|column| self.any().column_value(column));
        Ok(values.map(|value| value.filter(|v| *v != v.as_null())).collect())
    }

    /// The rows that the relation means; none if a null key means no row.
    pub(super) fn along<R: TrackedEntity>(&self, def: &RelationDef) -> Result<Option<Select<R>>, Error> {
        if def.on_condition.is_some() {
            // A condition may speak of this table too, which only a join brings in.
            let joined = R::find().join_rev(JoinType::InnerJoin, def.clone());
            return Ok(Some(self.with(|model| joined.belongs_to(model))));
        }
        let Some(values) = self.columns(def)? else { return Ok(None) };
        let theirs = positions(table_of::<R>(), &def.to_col)?;
        let mut condition = Condition::all();
        for (position, value) in theirs.into_iter().zip(values) {
            let name = &table_of::<R>().columns[position].name;
            if let Some(column) = R::Column::iter().find(|c| c.as_str() == *name) {
                condition = condition.add(column.eq(value));
            }
        }
        Ok(Some(R::find().filter(condition)))
    }
}

/// The definition of a relation that must lead to `R`.
fn leads_to<E: TrackedEntity, R: TrackedEntity>(relation: &E::Relation) -> Result<RelationDef, Error> {
    let def = relation.def();
    let (entity, other) = (table_of::<E>().entity, table_of::<R>());
    if quoted_table(&def.to_tbl) != other.table {
        let other = other.entity;
        return Err(Error::usage(format!("relation {relation:?} of {entity} does not lead to {other}")));
    }
    Ok(def)
}
