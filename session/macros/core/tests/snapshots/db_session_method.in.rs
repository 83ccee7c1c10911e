impl Bank {
    #[db_session(retry = 2)]
    pub async fn transfer(&self, s: &mut Session, to: String) -> Result<(), Error> {
        self.book(s, to).await
    }

    #[db_session(read_only)]
    async fn audit(self, s: &mut Session) -> Result<u64, Error> {
        self.count(s).await
    }

    #[db_session(associated)]
    async fn total(s: &mut Session) -> Result<u64, Error> {
        count(s).await
    }
}
