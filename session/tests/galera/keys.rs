//! Keys that the nodes generate: each steps by the number of nodes, so nothing is counted on from the first (D3).

use std::collections::HashMap;

use sea_orm::{EntityTrait, Set};
use sea_session::{Error, prelude::*};

use crate::tables::*;

const ROWS: usize = 300;
const UNITS: usize = 4;

fn title(node: usize, unit: usize, row: usize) -> String {
    format!("{node}.{unit}.{row}")
}

/// Adds objects on a node, in sets and one by one; the key that each object was given, by its title.
async fn write(db: &Db, node: usize) -> Vec<(i64, String)> {
    let mut given = Vec::new();
    for unit in 0..UNITS {
        let outcome = db.session().retry(20).run(async |s: &mut Session| -> Result<Vec<(i64, String)>, Error> {
            let mut added = Vec::new();
            for row in 0..ROWS {
                added.push(s.add(note::ActiveModel { title: Set(title(node, unit, row)), ..Default::default() }));
                // A flush of one now and then.
                if row % 100 < 2 {
                    s.flush().await?;
                }
            }
            s.flush().await?;
            Ok(added.iter().map(|note| (note.id(), note.title())).collect())
        });
        given.extend(outcome.await.unwrap());
    }
    given
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn y3_keys_that_three_nodes_generate_are_never_given_to_other_objects() {
    let scene = Scene::new("generated").await;
    let mut dbs = Vec::new();
    for node in 0..NODES {
        dbs.push(scene.db(node).await);
    }
    let given = futures_util::future::join_all(dbs.iter().enumerate().map(|(node, db)| write(db, node))).await;
    let given: Vec<(i64, String)> = given.into_iter().flatten().collect();
    assert_eq!(number(&dbs[0], "SELECT COUNT(*) FROM note").await as usize, given.len());
    let stored = note::Entity::find().all(dbs[0].connection()).await.unwrap();
    let stored: HashMap<i64, String> = stored.into_iter().map(|note| (note.id, note.title)).collect();
    for (id, title) in &given {
        assert_eq!(stored.get(id), Some(title), "the object with key {id}");
    }
    // The test is about keys that do not follow each other.
    let steps = number(&dbs[0], "SELECT @@auto_increment_increment").await;
    assert_eq!(steps as usize, NODES);
    scene.end().await;
}
