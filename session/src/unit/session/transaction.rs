//! The session as SeaORM's `TransactionTrait` and `StreamTrait` (U8): its transactions are nested blocks of the session, and memory
//! follows them.

#![expect(clippy::disallowed_methods, reason = "these are SeaORM's transactions that are blocks of a session (INV1)")]

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use futures_util::{future::BoxFuture, stream::BoxStream};
#[cfg(feature = "rbac")]
use sea_orm::StatementBuilder;
use sea_orm::{
    AccessMode, ConnectionTrait, DbErr, ExecResult, IsolationLevel, QueryResult, Statement, StreamTrait,
    TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};

use super::{
    Session,
    lending::{Lending, Place, place_of},
};
use crate::{
    connection::{Fetch, Message, Reply, boxed::boxed, control::refuse_control, lent::executed},
    dialect::SeaBackend,
    error::Error,
    unit::body::BlockOnce,
};

/// A transaction of SeaORM's inside a unit of work, begun on a [`Session`] or on another such: a nested block, with a savepoint,
/// and objects that go back with it (U8).
///
/// It is SeaORM's [`ConnectionTrait`], [`TransactionTrait`] and [`StreamTrait`], and ends with `commit` or `rollback` of
/// [`TransactionSession`]; dropped before, it is rolled back. While it is open it is used in place of the session: a statement
/// through the session is refused, and any other use of the session gives the transaction up, whose block must then roll back.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/example.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// use sea_orm::{TransactionSession, TransactionTrait};
/// # let db = example().await?;
/// db.run(async |s: &mut Session| -> Result<(), Error> {
///     let note = s.get::<note::Entity>(1).await?.expect("the example's note");
///     let transaction = TransactionTrait::begin(s).await?;
///     note.set_title("tentative");
///     author::ActiveModel { name: Set("ann".into()), ..Default::default() }.insert(&transaction).await?;
///     transaction.rollback().await?;
///     assert_eq!(note.title(), "first");
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
pub struct NestedTransaction {
    lending: Arc<Lending>,
    place: Place,
    /// Whose rights each statement is checked against.
    #[cfg(feature = "rbac")]
    user: Option<sea_orm::RestrictedConnection>,
}

impl fmt::Debug for NestedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NestedTransaction").field("depth", &self.place.at).finish_non_exhaustive()
    }
}

// ---- the session -------------------------------------------------------------------------------------------------------

impl Session {
    pub(super) fn send<'a>(&'a self, message: Message<'a>) -> BoxFuture<'a, Result<Reply, DbErr>> {
        boxed(|| async move {
            refuse_control(message.text(), self.dialect)?;
            // While it is under way, looks are answered with what is seen now.
            self.standing();
            let mut core = self.core.lock().await;
            let lent = self.lent.lock().clone();
            match lent {
                None => Ok(core.statement(message).await?),
                Some((lending, place)) => {
                    drop(core);
                    Ok(lending.core(place).await?.statement(message).await?)
                }
            }
        })
    }

    /// As [`TransactionTrait::transaction`], with an async closure: SeaORM's own connections have it too.
    ///
    /// # Errors
    /// What the callback returns, after the rollback; or why its transaction could not begin or commit.
    ///
    /// # Cancel safety
    /// Dropped, the transaction is rolled back: memory at once, the database before anything else is sent (C2).
    pub async fn transaction_async<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> BlockOnce<&'c NestedTransaction, Result<T, E>, Fut: Send>,
        E: fmt::Display + fmt::Debug,
    {
        let transaction = TransactionTrait::begin(self).await.map_err(TransactionError::Connection)?;
        let outcome = callback(&transaction).await;
        transaction.conclude(outcome).await
    }
}

#[async_trait::async_trait]
impl TransactionTrait for Session {
    type Transaction = NestedTransaction;

    async fn begin(&self) -> Result<NestedTransaction, DbErr> {
        self.begin_with_options(TransactionOptions::default()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<NestedTransaction, DbErr> {
        let options = TransactionOptions { isolation_level, access_mode, ..Default::default() };
        self.begin_with_options(options).await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<NestedTransaction, DbErr> {
        let (lending, place) = self.lend().await;
        let place = lending.begin(place, options).await?;
        Ok(NestedTransaction {
            lending,
            place,
            #[cfg(feature = "rbac")]
            user: None,
        })
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c NestedTransaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.transaction_with_config(callback, None, None).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c NestedTransaction) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        begun.map_err(TransactionError::Connection)?.run(callback).await
    }
}

impl StreamTrait for Session {
    type Stream<'a>
        = BoxStream<'a, Result<QueryResult, DbErr>>
    where
        Self: 'a;

    fn get_database_backend(&self) -> SeaBackend {
        self.dialect.backend
    }

    /// Rows as they are asked for (I6). A statement that writes has done all its work by its first row, and gives what it gives
    /// from memory.
    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            let (lending, place) = self.lend().await;
            lending.rows(place, statement).await
        })
    }
}

// ---- its transactions --------------------------------------------------------------------------------------------------

impl NestedTransaction {
    fn send<'a>(&'a self, message: Message<'a>) -> BoxFuture<'a, Result<Reply, DbErr>> {
        boxed(|| async move {
            refuse_control(message.text(), self.lending.dialect)?;
            Ok(self.lending.core(self.place).await?.statement(message).await?)
        })
    }

    fn end(self, commit: bool) -> BoxFuture<'static, Result<(), Error>> {
        boxed(|| async move {
            let Place { at, block } = self.place;
            if commit {
                return self.lending.core(self.place).await?.exit_ok(at).await;
            }
            // One that is open inside goes with it; one around it that was rolled back took it along.
            let mut lent = self.lending.core.lock().await;
            if let Some(core) = &mut *lent {
                self.lending.leave_dropped(core);
                if let Some(at) = place_of(block, core) {
                    core.exit_err(at).await;
                }
            }
            Ok(())
        })
    }

    async fn run<F, T, E>(self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        E: fmt::Display + fmt::Debug,
    {
        let outcome = callback(&self).await;
        self.conclude(outcome).await
    }

    async fn conclude<T, E>(self, outcome: Result<T, E>) -> Result<T, TransactionError<E>>
    where
        E: fmt::Display + fmt::Debug,
    {
        let ended = self.end(outcome.is_ok()).await;
        let value = outcome.map_err(TransactionError::Transaction)?;
        ended.map_err(|e| TransactionError::Connection(e.into()))?;
        Ok(value)
    }

    /// As [`Session::transaction_async`].
    ///
    /// # Errors
    /// As [`Session::transaction_async`].
    ///
    /// # Cancel safety
    /// As [`Session::transaction_async`].
    pub async fn transaction_async<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> BlockOnce<&'c Self, Result<T, E>, Fut: Send>,
        E: fmt::Display + fmt::Debug,
    {
        let transaction = self.begin().await.map_err(TransactionError::Connection)?;
        let outcome = callback(&transaction).await;
        transaction.conclude(outcome).await
    }

    /// A text of the caller's own, whose rights nobody can tell, is none that a user may send.
    fn refuse_of_user(&self, _sql: &str) -> Result<(), DbErr> {
        #[cfg(feature = "rbac")]
        if self.user.is_some() {
            return Err(DbErr::RbacError(format!("Raw query is not supported: {_sql}")));
        }
        Ok(())
    }
}

#[cfg(feature = "rbac")]
impl NestedTransaction {
    /// The transaction with the rights of one user: SeaORM's role-based access control, of which a `RestrictedConnection` says
    /// whose. It holds in transactions that are begun inside, and refuses raw SQL. What the session itself flushes is not a
    /// statement of the user's.
    pub fn restricted_to(mut self, user: &sea_orm::RestrictedConnection) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// The statement, if the user may send it.
    fn permitted<S: StatementBuilder>(&self, statement: &S) -> Result<Statement, DbErr> {
        if let Some(user) = &self.user {
            user.user_can_run(statement)?;
        }
        Ok(self.lending.dialect.backend.build(statement))
    }
}

impl Drop for NestedTransaction {
    fn drop(&mut self) {
        self.lending.give_up(self.place.block);
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for NestedTransaction {
    fn get_database_backend(&self) -> SeaBackend {
        self.lending.dialect.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.refuse_of_user(&statement.sql)?;
        executed(self.send(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.refuse_of_user(sql)?;
        executed(self.send(Message::Unprepared(sql)).await?)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.refuse_of_user(&statement.sql)?;
        Ok(self.send(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.refuse_of_user(&statement.sql)?;
        Ok(self.send(Message::Statement(statement, Fetch::All)).await?.rows())
    }

    #[cfg(feature = "rbac")]
    async fn execute<S: StatementBuilder>(&self, statement: &S) -> Result<ExecResult, DbErr> {
        let statement = self.permitted(statement)?;
        executed(self.send(Message::Statement(statement, Fetch::Nothing)).await?)
    }

    #[cfg(feature = "rbac")]
    async fn query_one<S: StatementBuilder>(&self, statement: &S) -> Result<Option<QueryResult>, DbErr> {
        let statement = self.permitted(statement)?;
        Ok(self.send(Message::Statement(statement, Fetch::One)).await?.rows().into_iter().next())
    }

    #[cfg(feature = "rbac")]
    async fn query_all<S: StatementBuilder>(&self, statement: &S) -> Result<Vec<QueryResult>, DbErr> {
        let statement = self.permitted(statement)?;
        Ok(self.send(Message::Statement(statement, Fetch::All)).await?.rows())
    }
}

#[async_trait::async_trait]
impl TransactionTrait for NestedTransaction {
    type Transaction = Self;

    async fn begin(&self) -> Result<Self, DbErr> {
        self.begin_with_options(TransactionOptions::default()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<Self, DbErr> {
        let options = TransactionOptions { isolation_level, access_mode, ..Default::default() };
        self.begin_with_options(options).await
    }

    async fn begin_with_options(&self, options: TransactionOptions) -> Result<Self, DbErr> {
        let place = self.lending.begin(self.place, options).await?;
        Ok(Self {
            lending: self.lending.clone(),
            place,
            #[cfg(feature = "rbac")]
            user: self.user.clone(),
        })
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.transaction_with_config(callback, None, None).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>> + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        begun.map_err(TransactionError::Connection)?.run(callback).await
    }
}

#[async_trait::async_trait]
impl TransactionSession for NestedTransaction {
    async fn commit(self) -> Result<(), DbErr> {
        Ok(self.end(true).await?)
    }

    async fn rollback(self) -> Result<(), DbErr> {
        Ok(self.end(false).await?)
    }
}

impl StreamTrait for NestedTransaction {
    type Stream<'a>
        = BoxStream<'a, Result<QueryResult, DbErr>>
    where
        Self: 'a;

    fn get_database_backend(&self) -> SeaBackend {
        self.lending.dialect.backend
    }

    /// As on a [`Session`].
    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            self.refuse_of_user(&statement.sql)?;
            self.lending.clone().rows(self.place, statement).await
        })
    }

    #[cfg(feature = "rbac")]
    fn stream<'a, S: StatementBuilder + Sync>(
        &'a self,
        statement: &S,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        let statement = self.permitted(statement);
        Box::pin(async move { self.lending.clone().rows(self.place, statement?).await })
    }
}
