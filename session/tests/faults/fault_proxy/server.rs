//! A proxy before a test's own database.

use std::path::PathBuf;

use sea_orm::sqlx::postgres::PgConnectOptions;

use super::{Proxy, Upstream};
use crate::support_proof::Server;

impl Server {
    /// A proxy before the server.
    pub async fn proxy(&self) -> Proxy {
        Proxy::start(self.upstream()).await.expect("a free port on loopback")
    }

    fn upstream(&self) -> Upstream {
        let options: PgConnectOptions = self.url().parse().expect("the cluster's own URL");
        match options.get_socket() {
            Some(folder) => Upstream::Unix(folder.join(format!(".s.PGSQL.{}", options.get_port()))),
            None if options.get_host().starts_with('/') => {
                Upstream::Unix(PathBuf::from(options.get_host()).join(format!(".s.PGSQL.{}", options.get_port())))
            }
            None => Upstream::Tcp(format!("{}:{}", options.get_host(), options.get_port())),
        }
    }
}
