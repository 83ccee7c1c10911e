//! Every way out of a block (A13).

use super::*;

#[test]
fn a13_panics_and_drops_roll_back() {
    on_all(async |db: Db| {
        let panicked = AssertUnwindSafe(db.run(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(1, "lost"));
            s.flush().await?;
            panic!("in the body")
        }))
        .catch_unwind()
        .await;
        assert!(panicked.is_err());
        assert_eq!(notes_in_database(&db).await, vec![]);

        db.run(async |s: &mut Session| -> Result<(), Error> {
            let far = Notify::new();
            let never = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                s.add(draft(2, "lost"));
                s.flush().await?;
                wait_for_the_drop(&far).await
            });
            assert!(until_far(&far, never).await.is_none());
            assert!(s.peek::<note::Entity>(2).is_none(), "memory went back with the drop");
            assert_eq!(count(s).await?, 0);
            s.add(draft(3, "kept"));
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(notes_in_database(&db).await, vec![(3, "kept".to_owned())]);
    });
}

/// A way out of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// `return` from the middle, with a value: a good end.
    Return,
    /// `?` in the middle.
    Question,
    Panic,
    Drop,
}

async fn leave(way: Way, far: &Notify) -> Result<(), Error> {
    match way {
        Way::Return => return Ok(()),
        Way::Question => Err(changed_my_mind())?,
        Way::Panic => panic!("in the body"),
        Way::Drop => wait_for_the_drop(far).await,
    }
    panic!("{way:?} did not leave");
}

/// Leaves the block from two blocks further in.
async fn leave_from_within(s: &mut Session, way: Way, far: &Notify) -> Result<(), Error> {
    s.atomic(async |s: &mut Session| -> Result<(), Error> {
        s.add(draft(3, "further in"));
        s.flush().await?;
        s.atomic(async |s: &mut Session| -> Result<(), Error> {
            s.add(draft(4, "still further in"));
            s.flush().await?;
            leave(way, far).await
        })
        .await
    })
    .await
}

#[test]
fn a13_every_way_out_of_a_block_three_ways() {
    for (way, from_within) in
        [Way::Return, Way::Question, Way::Panic, Way::Drop].map(|way| [(way, false), (way, true)]).concat()
    {
        three_ways(async |s: &mut Session| -> Result<(), Error> {
            let far = Notify::new();
            let kept = s.add(draft(1, "kept"));
            let block = s.atomic(async |s: &mut Session| -> Result<(), Error> {
                kept.set_title("changed");
                s.add(draft(2, "in the block"));
                s.flush().await?;
                if from_within { leave_from_within(s, way, &far).await } else { leave(way, &far).await }
            });
            let ended = until_far(&far, AssertUnwindSafe(block).catch_unwind()).await;
            let as_expected = match way {
                Way::Return => matches!(ended, Some(Ok(Ok(())))),
                Way::Question => matches!(ended, Some(Ok(Err(Error::Usage(_))))),
                Way::Panic => matches!(ended, Some(Err(_))),
                Way::Drop => ended.is_none(),
            };
            assert!(as_expected, "{way:?}");
            let well = way == Way::Return;
            assert_eq!(kept.title(), if well { "changed" } else { "kept" }, "{way:?}: memory, at once");
            assert_eq!(s.peek::<note::Entity>(2).is_some(), well, "{way:?}");
            assert_eq!(s.peek::<note::Entity>(4).is_some(), well && from_within, "{way:?}");
            assert!(!s.needs_rollback(), "{way:?}");
            let rows = if !well {
                1
            } else if from_within {
                4
            } else {
                2
            };
            assert_eq!(count(s).await?, rows, "{way:?}: and the database");
            Ok(())
        });
    }
}
