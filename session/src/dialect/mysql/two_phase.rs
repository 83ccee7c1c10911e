//! Two phases by XA (M2). A transaction has its name from its beginning, and as long as the connection that it was prepared on lives,
//! nobody else can end it. `XA RECOVER` shows all that is prepared on the server, and not since when: so a name says which database
//! it belongs to, and when it was begun.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sea_orm::{DbErr, QueryResult};

use super::UNIT;
use crate::dialect::TwoPhase;

pub(super) const TWO_PHASE: TwoPhase = TwoPhase {
    named_at_begin: true,
    place: Some("SELECT LEFT(MD5(DATABASE()), 16) AS place"),
    prepare: |name| {
        let name = quoted(name);
        format!("RELEASE SAVEPOINT {UNIT}; XA END {name}; XA PREPARE {name}")
    },
    end: |commit, name| format!("XA {} {}", if commit { "COMMIT" } else { "ROLLBACK" }, quoted(name)),
    not_there: "XAE04",
    busy: "XAE07",
    prepared: |_, _| "XA RECOVER".to_owned(),
    names,
};

/// A name in the two parts that it has here; the second says where it belongs, and when it was begun. It is of the library's making,
/// and holds nothing that would have to be escaped.
pub(super) fn quoted(name: &str) -> String {
    let (name, place) = name.split_once('/').unwrap_or((name, ""));
    format!("'{name}', '{place}'")
}

fn names(rows: &[QueryResult], place: &str, grace: Duration) -> Result<Vec<String>, DbErr> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let before = now.saturating_sub(grace.as_millis());
    let mut found = Vec::new();
    for row in rows {
        let length: i64 = row.try_get("", "gtrid_length")?;
        let data: Vec<u8> = row.try_get("", "data")?;
        // Of others, who may call theirs as they like.
        let Ok(data) = String::from_utf8(data) else { continue };
        let Some((name, rest)) = usize::try_from(length).ok().and_then(|length| data.split_at_checked(length)) else {
            continue;
        };
        let Some((of, begun)) = rest.split_once('.') else { continue };
        let Ok(begun) = begun.parse::<u128>() else { continue };
        if of == place && begun <= before {
            found.push((begun, format!("{name}/{rest}")));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}
