//! A port on loopback, whose clients are handed to a function.

use std::net::SocketAddr;

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Dropping it stops listening; clients that are there already stay.
pub struct Loopback {
    address: SocketAddr,
    accepts: JoinHandle<()>,
}

impl Loopback {
    pub async fn new<F: Future<Output: Send> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let serving = serve(client);
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { address, accepts }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}
