impl Bank {
    pub async fn transfer(&self, s: &mut Session, to: String) -> Result<(), Error> {
        self.book(s, to).await
    }
    /// `transfer` in a unit of work of its own, retried as a whole: commits on `Ok`, rolls back on `Err`.
    #[allow(
        clippy::multiple_bound_locations,
        clippy::needless_lifetimes,
        clippy::too_many_arguments
    )]
    pub async fn transfer_on(
        &self,
        db: &::sea_session::Db,
        to: String,
    ) -> Result<(), Error> {
        db.session()
            .retry(::sea_session::Retry::times(2))
            .run(async |s: &mut ::sea_session::Session| {
                Self::transfer(self, s, ::core::clone::Clone::clone(&to)).await
            })
            .await
    }
    async fn audit(self, s: &mut Session) -> Result<u64, Error> {
        s.require_read_only()?;
        self.count(s).await
    }
    /// `audit` in a unit of work of its own: commits on `Ok`, rolls back on `Err`.
    #[allow(
        clippy::multiple_bound_locations,
        clippy::needless_lifetimes,
        clippy::too_many_arguments
    )]
    async fn audit_on(self, db: &::sea_session::Db) -> Result<u64, Error> {
        let unit = db.session().read_only();
        let arguments = ::std::sync::Mutex::new(::core::option::Option::Some((self,)));
        unit.run(async |s: &mut ::sea_session::Session| {
                let (this,) = arguments
                    .lock()
                    .unwrap_or_else(::std::sync::PoisonError::into_inner)
                    .take()
                    .expect("a unit that does not retry runs its body once");
                Self::audit(this, s).await
            })
            .await
    }
    async fn total(s: &mut Session) -> Result<u64, Error> {
        count(s).await
    }
    /// `total` in a unit of work of its own: commits on `Ok`, rolls back on `Err`.
    #[allow(
        clippy::multiple_bound_locations,
        clippy::needless_lifetimes,
        clippy::too_many_arguments
    )]
    async fn total_on(db: &::sea_session::Db) -> Result<u64, Error> {
        db.session()
            .run(async |s: &mut ::sea_session::Session| { Self::total(s).await })
            .await
    }
}
