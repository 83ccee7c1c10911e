//! Channels of PostgreSQL: LISTEN and NOTIFY.

#![expect(clippy::disallowed_methods, reason = "LISTEN needs a connection of its own, outside of every unit of work")]

use futures_util::future::BoxFuture;
use sea_orm::{
    DatabaseConnection,
    sqlx::{
        self, AssertSqlSafe, PgPool,
        postgres::{PgListener, PgPoolOptions},
    },
};

use crate::{
    dialect::{Listener, Listening},
    table::sql::literal,
};

/// A listener, and the pool that it makes its connection from.
struct ChannelListener {
    listener: PgListener,
    own: PgPool,
}

pub(super) fn tell(channel: &str, payload: &str) -> String {
    format!("SELECT true FROM pg_notify({}, {})", literal(channel), literal(payload))
}

pub(super) fn listen<'a>(pool: &'a DatabaseConnection, channel: &'a str) -> Listening<'a> {
    Box::pin(async move {
        let given = pool.get_postgres_connection_pool();
        let own = PgPoolOptions::new().max_connections(1).connect_lazy_with((*given.connect_options()).clone());
        let listening = async {
            let mut listener = PgListener::connect_with(&own).await?;
            listener.listen(channel).await.map(|()| listener)
        };
        match listening.await {
            Ok(listener) => Ok(Box::new(ChannelListener { listener, own }) as Box<dyn Listener>),
            Err(e) => {
                own.close().await;
                Err(e)
            }
        }
    })
}

impl Listener for ChannelListener {
    fn ask(&mut self, sql: String) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.listener))
    }

    fn heard(&mut self) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move {
            let heard = self.listener.try_recv().await.ok().flatten();
            heard.map(|heard| heard.payload().to_owned())
        })
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            drop(self.listener);
            self.own.close().await;
        })
    }
}
