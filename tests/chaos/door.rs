//! A door in front of a receiver: closed, nobody listens at its address, and what was connected is cut.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waypost_harness::program::free_address;

/// An address that leads to another one while it is open.
#[derive(Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    target: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    /// An open door to `target`.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let address = free_address();
        let mut door = Self { address, target, closing: CancellationToken::new(), tasks: TaskTracker::new() };
        door.open().await;
        door
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        (self.closing, self.tasks) = (CancellationToken::new(), TaskTracker::new());
        let (closing, tasks, target) = (self.closing.clone(), self.tasks.clone(), self.target);
        self.tasks.spawn(async move {
            while let Some(Ok((caller, _))) = closing.run_until_cancelled(listener.accept()).await {
                tasks.spawn(closing.clone().run_until_cancelled_owned(pass(caller, target)));
            }
        });
    }

    /// Closes it; when this returns, callers are refused.
    pub(crate) async fn close(&mut self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn pass(mut caller: TcpStream, target: SocketAddr) {
    if let Ok(mut receiver) = TcpStream::connect(target).await {
        // Either side may hang up; that ends the connection and nothing else.
        let _hung_up = tokio::io::copy_bidirectional(&mut caller, &mut receiver).await;
    }
}
