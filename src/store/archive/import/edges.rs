//! Edges of an archive.

use std::collections::HashSet;

use context_entities::edge;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, Set, prelude::Uuid};
use sea_session::prelude::*;

use super::{At, Import, Outcome, plain};
use crate::store::archive::{
    check,
    format::{EdgeLine, at},
    identity::Of,
};
use crate::{error::StoreError, uri::Uri};

impl Import<'_> {
    pub(super) async fn edges(
        &self,
        s: &mut Session,
        lines: &[At<EdgeLine>],
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        let mut places: Vec<(u64, &EdgeLine, [Uri; 2], f64)> = Vec::with_capacity(lines.len());
        let mut ids = HashSet::new();
        for (number, line) in lines {
            let placed = self.place(at(self.to, &line.from)).and_then(|from| {
                let to = at(self.to, &line.to).map_err(|e| e.to_string())?;
                Ok((from, to, check::edge(line)?))
            });
            match placed {
                Ok(_) if !ids.insert(line.id) => {
                    outcome.refuse(*number, &line.from, "an earlier line has the same identity");
                }
                Ok((from, to, weight)) => places.push((*number, line, [from, to], weight)),
                Err(reason) => outcome.refuse(*number, &line.from, reason),
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let nodes =
            self.present(s, places.iter().flat_map(|(_, _, [from, to], _)| [from.as_str(), to.as_str()])).await?;
        let held: Vec<(Uuid, Uuid, String)> = edge::Entity::find()
            .select_only()
            .columns([edge::Column::FromId, edge::Column::ToId, edge::Column::EdgeType])
            .filter(edge::Column::FromId.is_in(nodes.values().map(|(id, _)| *id)))
            .into_tuple()
            .all(s)
            .await?;
        let mut held: HashSet<(Uuid, Uuid, String)> = held.into_iter().collect();
        let ids = plain(self.identities.resolve(s, Of::Edge, places.iter().map(|(_, line, ..)| line.id)).await?);
        for (number, line, [from, to], weight) in places {
            let ends = nodes.get(from.as_str()).zip(nodes.get(to.as_str()));
            let Some(((from_id, _), (to_id, _))) = ends else {
                outcome.refuse(
                    number,
                    &line.from,
                    format!("an end of its edge to {to} is not there, or not the caller's"),
                );
                continue;
            };
            if !held.insert((*from_id, *to_id, line.edge_type.clone())) {
                outcome.report.edges += 1;
                outcome.report.unchanged += 1;
                continue;
            }
            let Some(id) = ids.get(&line.id) else {
                outcome.refuse(number, &line.from, "no identity could be made for its edge; try again");
                continue;
            };
            outcome.report.edges += 1;
            s.add(edge::ActiveModel {
                id: Set(*id),
                account_id: Set(self.caller.account().to_owned()),
                from_id: Set(*from_id),
                to_id: Set(*to_id),
                edge_type: Set(line.edge_type.clone()),
                weight: Set(weight),
                reason: Set(line.reason.clone()),
                metadata: Set(line.metadata.clone()),
                created_at: Set(check::stored(line.created_at)),
                updated_at: Set(check::stored(line.updated_at)),
            });
        }
        Ok(())
    }
}
