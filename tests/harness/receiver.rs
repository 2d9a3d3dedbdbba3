//! A customer's backend: records every request, answers as it was told to, and checks the signatures of all it gets.
//!
//! Its server runs on threads of its own, so that it also answers while a test waits for an application to end.

mod record;
mod reply;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use record::{Received, Trust};
pub use reply::{Gate, Reply};

/// How long a request may be waited for. Generous, since it is only spent when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

static SERVERS: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
});

/// A recording server. It answers 200 until told otherwise.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _running: DropGuard,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    received: Vec<Received>,
    script: std::collections::VecDeque<Reply>,
    usual: Reply,
    trusted: Vec<Trust>,
    verified: usize,
    bystander: bool,
}

impl Receiver {
    /// Starts one that checks signatures: [`crate::Tenant::primary`] and [`crate::Tenant::endpoint`] tell it whose.
    pub async fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { state: Mutex::default(), count: watch::Sender::new(0) });
        let running = CancellationToken::new();
        let (serving, until) = (Arc::clone(&shared), running.clone());
        SERVERS
            .spawn(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                SERVERS.spawn(until.run_until_cancelled_owned(server::serve(listener, serving)));
            })
            .await
            .unwrap();
        Self { address, shared, _running: running.drop_guard() }
    }

    /// Starts one that only records: nothing that is meant for a customer should ever arrive there.
    pub async fn bystander() -> Self {
        let receiver = Self::start().await;
        receiver.state().bystander = true;
        receiver
    }

    /// The URL of its hook.
    #[must_use]
    pub fn url(&self) -> String {
        self.at("/hook")
    }

    /// The URL of `path` on it.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it answers from now on, once its script is used up.
    pub fn answer(&self, reply: Reply) {
        self.state().usual = reply;
    }

    /// What it answers to the next requests, one after the other.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state().script.extend(replies);
    }

    /// Whose signatures it accepts, besides those that it accepts already.
    pub fn trust(&self, trust: Trust) {
        self.state().trusted.push(trust);
    }

    /// Everything that it got so far, signatures checked.
    #[must_use]
    #[track_caller]
    pub fn received(&self) -> Vec<Received> {
        let mut state = self.state();
        if !state.bystander {
            for request in &state.received[state.verified..] {
                request.verify(&state.trusted);
            }
        }
        state.verified = state.received.len();
        state.received.clone()
    }

    /// How many requests it got so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state().received.len()
    }

    /// Waits until it has got `count` requests, and gives all that it got, signatures checked. Panics when they don't
    /// come, or when it got more.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let received = self.wait_for_at_least(count).await;
        let lines: Vec<String> = received.iter().map(Received::summary).collect();
        assert_eq!(received.len(), count, "the receiver got more than was expected: {lines:#?}");
        received
    }

    /// Waits until it has got `count` requests or more, and gives all that it got, signatures checked.
    pub async fn wait_for_at_least(&self, count: usize) -> Vec<Received> {
        let mut counted = self.shared.count.subscribe();
        let enough = timeout(PATIENCE, counted.wait_for(|&got| got >= count)).await.map(|_| ());
        let received = self.received();
        let lines: Vec<String> = received.iter().map(Received::summary).collect();
        assert!(enough.is_ok(), "the receiver waited {PATIENCE:?} for {count} requests and got {lines:#?}");
        received
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and says how it is to be answered.
    fn take(&self, received: Received) -> Reply {
        let mut state = self.state();
        state.received.push(received);
        let reply = state.script.pop_front().unwrap_or_else(|| state.usual.clone());
        let count = state.received.len();
        drop(state);
        self.count.send_replace(count);
        reply
    }
}
