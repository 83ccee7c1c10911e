//! Who observes flushes (U7): called inside the transaction, after each round that wrote something, with what it did.
//!
//! A unit of a pool that nobody observes keeps and makes nothing for it (INV7).

use std::{fmt, sync::Arc};

use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait};

use super::{audit, core::Core, session::Session};
use crate::{
    connection::{db::Db, lent::FlushConnection},
    error::Error,
    flush::Watch,
    objects::{
        Object, Tracked,
        changes::{Change, ChangeSet},
        entity::{TrackedEntity, table_of},
    },
    unit::hooks::{HookBody, HookOutcome, Registered},
};

/// Observes the flushes of a pool's units; registered by [`Db::on_flush`].
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use sea_session::{Change, FlushObserver, Flushing};
///
/// /// Whoever stars a note is welcomed with another one.
/// struct Welcome;
///
/// #[async_trait::async_trait]
/// impl FlushObserver for Welcome {
///     async fn flushed(&self, unit: &mut Flushing<'_>, changes: &[Change]) -> Result<(), Error> {
///         if changes.iter().any(|change| change.is::<note::Entity>() && change.column("stars").is_some_and(|c| c.old.is_some())) {
///             unit.add(draft("welcome"));
///         }
///         Ok(())
///     }
/// }
///
/// db.on_flush(Welcome);
/// db.run(async |s: &mut Session| -> Result<(), Error> {
///     s.get::<note::Entity>(1).await?.expect("the example's note").set_stars(5);
///     Ok(())
/// }).await?;
/// assert_eq!(note::Entity::find().count(db.connection()).await?, 2);
/// # Ok(())
/// # }
/// ```
#[async_trait::async_trait]
pub trait FlushObserver: Send + Sync {
    /// A round of a flush has written these changes, in this unit's transaction, which is still open. What is added to `unit` is
    /// written by the flush's next round, which is observed as well: an observer that adds objects each time it sees some of the
    /// same entity never ends, and is stopped (S11).
    ///
    /// # Errors
    /// Whatever the observer says: the flush has failed then, and is rolled back (S8).
    ///
    /// # Cancel safety
    /// A flush that is dropped while an observer runs must be rolled back with its block: the unit refuses to go on (C1).
    async fn flushed(&self, unit: &mut Flushing<'_>, changes: &[Change]) -> Result<(), Error>;

    /// Whether this observer turns changes of entities with `#[tracked(outbox = "…")]` of this topic into events. A flush of such
    /// an entity fails where no observer does, since its events would be lost.
    fn takes_topic(&self, topic: &str) -> bool {
        let _ = topic;
        false
    }
}

/// The observers of a pool.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<dyn FlushObserver>>);

impl Db {
    /// Has `observer` see what each flush writes, inside the transaction (U7): in every unit of this pool that is opened from now
    /// on, by whichever handle. Observers run in the order in which they were registered.
    pub fn on_flush(&self, observer: impl FlushObserver + 'static) {
        let observer: Arc<dyn FlushObserver> = Arc::new(observer);
        self.change_kept(|kept: &Observers| {
            let mut observers = kept.clone();
            observers.0.push(observer);
            observers
        });
    }
}

/// A unit while a flush of it is observed.
pub struct Flushing<'u> {
    core: &'u mut Core,
}

impl fmt::Debug for Flushing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flushing")
    }
}

impl Flushing<'_> {
    /// Adds a new object, as [`Session::add`]; it is written by the next round of this flush.
    pub fn add<A>(&mut self, active_model: A) -> Tracked<A::Entity>
    where
        A: ActiveModelTrait<Entity: TrackedEntity + EntityTrait<ActiveModel = A>>,
    {
        let object = Object::pending(active_model, &self.core.shared);
        if let Err(e) = self.core.take_in(object.any()) {
            self.core.refused_add.get_or_insert(e);
        }
        object.into()
    }

    /// The unit's transaction for statements of the observer's own. What was added in this flush is not there yet.
    pub fn connection(&mut self) -> impl ConnectionTrait + '_ {
        FlushConnection::new(&mut self.core.connection)
    }

    /// The tenant of the unit, if it has one (T2).
    pub fn tenant(&self) -> Option<&str> {
        self.core.settings.tenant.as_ref().map(|(_, tenant)| tenant.as_str())
    }

    /// As [`Session::on_commit`].
    pub fn on_commit<F, R>(&mut self, hook: F) -> Registered
    where
        F: HookBody<R, Fut: Send + 'static> + Send + 'static,
        R: HookOutcome + 'static,
    {
        self.core.hooks.on_commit(hook)
    }
}

impl Core {
    /// Whether every change of this unit is wanted, whatever its entity.
    pub(super) fn observes_all(&self) -> bool {
        self.keeps_changes || self.observers.is_some()
    }

    /// Hands on what a round of a flush did: to the audit table, to the unit's own list, and to the observers.
    pub(super) async fn observed(&mut self, changes: Vec<Change>) -> Result<(), Error> {
        let observers = self.observers.clone();
        let observers = observers.iter().flat_map(|observers| &observers.0);
        for change in &changes {
            if let Some(topic) = change.topic()
                && !observers.clone().any(|observer| observer.takes_topic(topic))
            {
                return Err(Error::usage(format!(
                    "changes of {} are events of the topic `{topic}`, and nobody takes them: register its outbox once with \
                     `outbox.derive_into::<event::Entity>()`",
                    change.entity()
                )));
            }
        }
        let audited: Vec<&Change> = changes.iter().filter(|change| change.is_audited()).collect();
        if !audited.is_empty() {
            let tenant = self.settings.tenant.as_ref().map(|(_, tenant)| tenant.as_str());
            let rows = audit::rows(&audited, tenant);
            self.flushing(Watch::Nothing).append(table_of::<audit::Entity>(), &audit::WRITTEN, rows).await?;
        }
        for observer in observers {
            observer.flushed(&mut Flushing { core: self }, &changes).await?;
        }
        if let Some(refused) = self.refused_add.take() {
            return Err(refused);
        }
        if self.keeps_changes {
            let holder = self.holder();
            self.frames[holder].changes.extend(changes);
        }
        Ok(())
    }
}

impl Session {
    /// What this unit changes (U7): what its next flush would do, and what its flushes have done since this was first asked. What a
    /// block did that was rolled back is not in it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Error> {
    /// # let db = example().await?;
    /// db.run(async |s: &mut Session| -> Result<(), Error> {
    ///     s.get::<note::Entity>(1).await?.expect("the example's note").set_title("renamed");
    ///     let changes = s.changes();
    ///     assert_eq!(format!("{:?}", changes.pending), "[update note 1: [title]]");
    ///     s.flush().await?;
    ///     let changes = s.changes();
    ///     assert_eq!(format!("{:?}", changes.flushed), "[update note 1: [title, version, updated_at]]");
    ///     let title = changes.flushed[0].column("title").expect("it changed");
    ///     assert_eq!((&title.old, &title.new), (&Some("first".into()), &Some("renamed".into())));
    ///     Ok(())
    /// }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A flush makes its changes into values only from the first call on, so ask once before the first flush whose changes are
    /// wanted. What the database does by itself to other rows (referential actions, triggers), and what SQL of the caller's own
    /// does, is not in it.
    pub fn changes(&mut self) -> ChangeSet {
        let core = self.core();
        core.keeps_changes = true;
        ChangeSet {
            pending: core.shared.dirty_objects().iter().filter_map(|object| object.pending_change()).collect(),
            flushed: core.frames.iter().flat_map(|frame| frame.changes.iter().cloned()).collect(),
        }
    }
}
