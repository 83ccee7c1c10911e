//! What an error says of the transaction: a database may have ended it with the statement, or before and unsaid (D11, Y3).

use std::sync::Arc;

use sea_orm::Statement;

use super::{Connection, Message};
use crate::error::{Class, Error};

impl Connection {
    /// What an error of the database may mean for the connection itself; and what it is told as, if that is something else.
    pub(super) async fn look_after(&mut self, error: &Error) -> Option<Error> {
        self.outdated |= error.class() == Some(Class::PlanChanged);
        if !self.begun || !self.has_ended(error).await {
            return None;
        }
        self.closed();
        // A node may keep it to itself that another unit has won, until a savepoint turns out to be gone (Y3).
        let conflict = error.class() == Some(Class::Other) && self.asked_whether_clustered().await;
        let conflict =
            conflict.then(|| Error::conflict("the cluster has ended the transaction for that of another node"));
        let ended = || Error::TransactionEnded { cause: Arc::new(error.clone()) };
        self.lost.get_or_insert_with(|| conflict.clone().unwrap_or_else(ended));
        conflict
    }

    /// Whether the transaction is gone (D11).
    async fn has_ended(&mut self, error: &Error) -> bool {
        let Some(driver) = self.driver.as_mut() else { return false };
        self.in_flight = true;
        let ended = driver.has_ended(error.sqlstate()).await;
        self.in_flight = false;
        ended
    }

    /// As [`Connection::is_clustered`], in the middle of a message: past what is made of its errors.
    async fn asked_whether_clustered(&mut self) -> bool {
        if let Some(known) = self.db.clustered() {
            return known;
        }
        let (Ok(cluster), Some(driver)) = (self.db.dialect().cluster, self.driver.as_mut()) else { return false };
        let question = Statement::from_string(self.db.dialect().backend, cluster.question);
        self.in_flight = true;
        let answer = driver.dispatch(Message::Facts(question)).await;
        self.in_flight = false;
        answer.is_ok_and(|reply| self.db.note_clustered(!reply.rows().is_empty()))
    }
}
