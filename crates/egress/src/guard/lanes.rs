//! Who may look a name up, and when: so that names which take long can't keep others from being looked up.
//!
//! A name is looked up once at a time: whoever wants it meanwhile waits for the same answer. Look-ups begin in the fast
//! lane. One that isn't done soon moves to the slow lane, which is small, and its name begins there from then on, until
//! it is fast again; so slow names only wait for one another. When no place is free in time, that is this process's
//! trouble and not the name's: [`Refused::Busy`].
//!
//! Must not keep an answer past the look-up that brought it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::lookup::Lookup;
use super::{LOOKUP_LIMIT, Refused};

/// The most look-ups of the fast lane: each costs a few sockets.
pub(super) const FAST_PLACES: usize = 448;
/// The most look-ups of the slow lane.
pub(super) const SLOW_PLACES: usize = 64;
/// How long a look-up may stay in the fast lane.
pub(super) const FAST_FOR: Duration = Duration::from_secs(1);
/// How long a look-up waits for its place: less than what is left for connecting afterwards.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How many slow names are remembered, and how long.
const MOST_SLOW_NAMES: usize = 4096;
const SLOW_FOR: Duration = Duration::from_mins(10);

type Addresses = Result<Arc<[IpAddr]>, Refused>;
type UnderWay = Pin<Box<dyn Future<Output = Addresses> + Send>>;

/// Looks names up, each once at a time and in its lane.
#[derive(Debug)]
pub(super) struct Lanes {
    lookup: Arc<dyn Lookup>,
    fast: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    under_way: HashMap<String, (u64, WeakShared<UnderWay>)>,
    slow_names: HashMap<String, Instant>,
    started: u64,
}

/// Takes a look-up off the list once it is done, or nobody wants it any more.
struct Listed {
    lanes: Arc<Lanes>,
    name: String,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut state = self.lanes.state();
        if state.under_way.get(&self.name).is_some_and(|(number, _)| *number == self.number) {
            state.under_way.remove(&self.name);
        }
    }
}

impl Lanes {
    pub(super) fn new(lookup: Arc<dyn Lookup>) -> Arc<Self> {
        Arc::new(Self {
            lookup,
            fast: Arc::new(Semaphore::new(FAST_PLACES)),
            slow: Arc::new(Semaphore::new(SLOW_PLACES)),
            state: Mutex::default(),
        })
    }

    /// All addresses of `name`, asked for now or under way already.
    pub(super) async fn addresses(self: &Arc<Self>, name: &str) -> Addresses {
        self.join(name).await
    }

    fn join(self: &Arc<Self>, name: &str) -> Shared<UnderWay> {
        let mut state = self.state();
        if let Some(shared) = state.under_way.get(name).and_then(|(_, weak)| weak.upgrade()) {
            return shared;
        }
        state.started += 1;
        let listed = Listed { lanes: Arc::clone(self), name: name.to_owned(), number: state.started };
        let number = listed.number;
        let under_way: UnderWay = Box::pin(async move { listed.lanes.look_up(&listed.name).await });
        let shared = under_way.shared();
        if let Some(weak) = shared.downgrade() {
            state.under_way.insert(name.to_owned(), (number, weak));
        }
        shared
    }

    async fn look_up(&self, name: &str) -> Addresses {
        if self.state().is_slow(name) {
            let _place = place(&self.slow).await?;
            let asked_at = Instant::now();
            let answer = timeout(LOOKUP_LIMIT, self.ask(name)).await.unwrap_or(Err(Refused::Slow));
            self.state().learn(name, asked_at);
            return answer;
        }
        let fast = place(&self.fast).await?;
        let asked_at = Instant::now();
        let mut asking = Box::pin(self.ask(name));
        if let Ok(answer) = timeout(FAST_FOR, &mut asking).await {
            return answer;
        }
        self.state().learn(name, asked_at);
        // Without a place it is dropped, and waits in its own lane the next time.
        let _slow = Arc::clone(&self.slow).try_acquire_owned().map_err(|_full| Refused::Busy)?;
        drop(fast);
        timeout(LOOKUP_LIMIT.saturating_sub(FAST_FOR), asking).await.unwrap_or(Err(Refused::Slow))
    }

    async fn ask(&self, name: &str) -> Addresses {
        let addresses = self.lookup.addresses(name).await.map_err(|_| Refused::Unresolved)?;
        Ok(addresses.into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_slow(&self, name: &str) -> bool {
        self.slow_names.get(name).is_some_and(|since| since.elapsed() < SLOW_FOR)
    }

    /// Remembers whether a look-up of `name`, begun at `asked_at`, was slow.
    fn learn(&mut self, name: &str, asked_at: Instant) {
        if asked_at.elapsed() < FAST_FOR {
            self.slow_names.remove(name);
            return;
        }
        if self.slow_names.len() >= MOST_SLOW_NAMES {
            self.slow_names.retain(|_, since| since.elapsed() < SLOW_FOR);
        }
        if self.slow_names.len() >= MOST_SLOW_NAMES {
            // Any one may go: it is learned again when it comes.
            let any = self.slow_names.keys().next().cloned();
            if let Some(any) = any {
                self.slow_names.remove(&any);
            }
        }
        self.slow_names.insert(name.to_owned(), Instant::now());
    }
}

/// A place of a lane, when one comes free in time.
async fn place(lane: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refused> {
    let place = timeout(PATIENCE, Arc::clone(lane).acquire_owned()).await;
    place.ok().and_then(Result::ok).ok_or(Refused::Busy)
}
