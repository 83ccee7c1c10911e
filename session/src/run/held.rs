//! A unit that a framework holds for somebody else: it lends the session and ends the unit, and who is lent it cannot.
//!
//! For places where no closure can stand around the work, because a handler takes the session as an argument that was
//! made before.

use super::options::UnitOptions;
use crate::{error::Error, unit::session::Session};

/// A unit of work whose session is lent, and which only its holder ends.
///
/// As in the body of [`Db::run`](crate::Db::run), `commit` and `rollback` of the lent session are refused (A10), and
/// [`Session::set_rollback`] says how it is to end (A7). Dropped without an end, the unit is rolled back.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// # let db = example().await?;
/// use sea_session::extend::HeldUnit;
///
/// let mut unit = HeldUnit::open(db.session())?;
/// unit.session_mut().add(draft("second"));
/// assert!(unit.session_mut().commit().await.is_err());         // its holder's business
/// unit.commit().await?;
/// assert_eq!(note::Entity::find().count(db.connection()).await?, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HeldUnit {
    session: Session,
}

impl HeldUnit {
    /// Opens a unit with these options. Nothing is sent before its first statement.
    ///
    /// # Errors
    /// An option that this backend cannot carry out, or one that only a unit with a body has: `retry`, `retry_on`,
    /// `allow`.
    pub fn open<Q>(options: UnitOptions<Q>) -> Result<Self, Error> {
        Ok(Self { session: options.opened()?.ended_by_its_holder() })
    }

    /// The session, to be looked at, and for SeaORM's queries.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session, to be lent.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Ends the unit as a body that returned `Ok` does: flush, COMMIT, then the hooks; or ROLLBACK, where
    /// [`Session::set_rollback`] asked for it.
    ///
    /// # Errors
    /// As [`Session::commit`]; [`Error::RolledBack`] if an error inside was swallowed (A7). Nothing is committed then,
    /// but for [`Error::AfterCommit`], and [`Error::CommitUnknown`], of which nobody knows.
    ///
    /// # Cancel safety
    /// As [`Session::commit`].
    pub async fn commit(mut self) -> Result<(), Error> {
        self.session.core().commit().await
    }

    /// Ends the unit as a body that returned an error does.
    ///
    /// # Cancel safety
    /// As [`Session::rollback`].
    pub async fn rollback(mut self) {
        self.session.core().rollback().await;
    }
}
