//! Channels of the server: what one process tells reaches all who listen, at once and for as long as they listen.

use super::{alone::alone, db::Db};
use crate::{
    connection::Fetch,
    dialect::{self, Channels},
    error::Error,
};

/// A channel by its name.
#[derive(Clone)]
pub struct Channel {
    db: Db,
    name: String,
    how: Channels,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Channel").field(&self.name).finish()
    }
}

impl Db {
    /// The channel of this name; none where the database has no such thing, so that one has to look now and then.
    pub fn channel(&self, name: impl Into<String>) -> Option<Channel> {
        self.dialect().channels.map(|how| Channel { db: self.clone(), name: name.into(), how })
    }
}

impl Channel {
    /// Its name on the server.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells all who listen, now and outside of any unit of work.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Dropped, it may have been told or not.
    pub async fn tell(&self, payload: &str) -> Result<(), Error> {
        alone(&self.db, &(self.how.tell)(&self.name, payload), Fetch::One).await.map(|_| ())
    }

    /// Listens, on a connection that is not the pool's, which may be as small as it likes.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Safe: the connection ends.
    pub async fn listen(&self) -> Result<Listener, Error> {
        let listener = (self.how.listen)(self.db.connection(), &self.name).await?;
        Ok(Listener { listener, channel: self.clone() })
    }
}

/// Who hears what is told on a channel. It ends with its connection, which is closed when it is dropped.
pub struct Listener {
    listener: Box<dyn dialect::Listener>,
    channel: Channel,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listener").field(&self.channel.name).finish()
    }
}

impl Listener {
    /// Sends a statement on this very connection; whether it answers `true`.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Dropped, the statement may have been carried out or not.
    pub async fn ask(&mut self, sql: String) -> Result<bool, Error> {
        Ok(self.listener.ask(sql).await?)
    }

    /// Tells all who listen on its channel, this one too.
    ///
    /// # Errors
    /// What the database says.
    ///
    /// # Cancel safety
    /// Dropped, it may have been told or not.
    pub async fn tell(&mut self, payload: &str) -> Result<(), Error> {
        self.ask((self.channel.how.tell)(&self.channel.name, payload)).await.map(|_| ())
    }

    /// What is told next; `None` once the connection is lost.
    ///
    /// # Cancel safety
    /// Safe: what was told is heard by the next call.
    pub async fn heard(&mut self) -> Option<String> {
        self.listener.heard().await
    }

    /// Closes its connection, and waits for that.
    ///
    /// # Cancel safety
    /// Safe: the connection ends.
    pub async fn close(self) {
        self.listener.close().await;
    }
}
