//! The unit of one request, and where it is: nobody has asked for it, it is open, the route has none, or it is over.
//!
//! One value stands for it in the request's extensions. Whoever is lent the unit holds its lock, and only the layer
//! ends it: what is still lent by then is never committed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{http::request::Parts, response::Response};
use sea_session::{Db, Error, Session, UnitOptions, extend::HeldUnit};
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use crate::extract::UnitRejection;

pub(crate) type Options = Box<dyn Fn(&Parts, UnitOptions) -> Result<UnitOptions, Box<Response>> + Send + Sync>;
pub(crate) type ErrorResponse = Box<dyn Fn(&Error) -> Response + Send + Sync>;

/// What a layer was made with.
pub(crate) struct Setup {
    pub(crate) db: Db,
    pub(crate) options: Options,
    pub(crate) error_response: ErrorResponse,
}

/// A loan of the request's session.
pub(crate) type Loan = OwnedMappedMutexGuard<Place, Session>;

/// The unit of one request; clones are the same.
#[derive(Clone)]
pub(crate) struct RequestUnit {
    setup: Arc<Setup>,
    /// Locked while somebody has the unit. Nobody waits for it.
    place: Arc<Mutex<Place>>,
    over: Arc<AtomicBool>,
}

/// Where the unit is.
#[derive(Debug)]
pub(crate) enum Place {
    /// Nobody has asked for it.
    Unopened,
    /// It may have sent something.
    Open(Box<HeldUnit>),
    /// The route opens units of its own.
    OptedOut,
}

/// What the layer finds when the answer is there.
pub(crate) enum Found {
    /// There is no unit to end.
    Nothing,
    /// The unit, to be ended.
    Unit(Box<HeldUnit>),
    /// Somebody has kept it.
    Kept,
}

impl RequestUnit {
    pub(crate) fn new(setup: Arc<Setup>) -> Self {
        Self { setup, place: Arc::new(Mutex::new(Place::Unopened)), over: Arc::default() }
    }

    /// That of the layer around.
    pub(crate) fn of(parts: &Parts) -> Result<Self, UnitRejection> {
        parts.extensions.get::<Self>().cloned().ok_or(UnitRejection::NoLayer)
    }

    pub(crate) fn error_response(&self, error: &Error) -> Response {
        (self.setup.error_response)(error)
    }

    /// The options of a unit for this request.
    pub(crate) fn options(&self, parts: &Parts) -> Result<UnitOptions, UnitRejection> {
        (self.setup.options)(parts, self.setup.db.session()).map_err(UnitRejection::Refused)
    }

    /// Lends the unit, and opens it for the first who asks. Sends nothing: BEGIN waits for the first statement.
    pub(crate) fn lend(&self, parts: &Parts) -> Result<Loan, UnitRejection> {
        let mut place = self.lock()?;
        if matches!(*place, Place::Unopened) {
            let unit = HeldUnit::open(self.options(parts)?);
            *place = Place::Open(Box::new(unit.map_err(|error| UnitRejection::Options(Box::new(error)))?));
        }
        Self::loan(place)
    }

    /// Lends the unit to whom has opened it.
    pub(crate) fn lend_again(&self) -> Result<Loan, UnitRejection> {
        Self::loan(self.lock()?)
    }

    fn loan(place: OwnedMutexGuard<Place>) -> Result<Loan, UnitRejection> {
        let session = OwnedMutexGuard::try_map(place, |place| match place {
            Place::Open(unit) => Some(unit.session_mut()),
            Place::Unopened | Place::OptedOut => None,
        });
        session.map_err(|_| UnitRejection::OptedOut)
    }

    /// This route opens units of its own.
    pub(crate) fn opt_out(&self) -> Result<(), UnitRejection> {
        let mut place = self.lock()?;
        match *place {
            Place::Open(_) => Err(UnitRejection::InUse),
            Place::Unopened | Place::OptedOut => {
                *place = Place::OptedOut;
                Ok(())
            }
        }
    }

    fn lock(&self) -> Result<OwnedMutexGuard<Place>, UnitRejection> {
        let place = self.place.clone().try_lock_owned().map_err(|_| UnitRejection::InUse)?;
        if self.over.load(Ordering::SeqCst) { Err(UnitRejection::Over) } else { Ok(place) }
    }

    /// The answer is there, or nobody waits for it any more.
    pub(crate) fn over(&self) -> Found {
        // First: who brings the unit back after this finds nobody that commits it.
        self.over.store(true, Ordering::SeqCst);
        let Ok(mut place) = self.place.try_lock() else { return Found::Kept };
        match std::mem::replace(&mut *place, Place::Unopened) {
            Place::Open(unit) => Found::Unit(unit),
            Place::Unopened | Place::OptedOut => Found::Nothing,
        }
    }
}
