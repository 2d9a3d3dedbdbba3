//! The load: many kept-alive connections, each with one request under way, either as fast as the answers come (closed)
//! or at a fixed rate (open). In an open loop a request is timed from the moment it was due, however late a connection
//! was free for it: a server that stalls can't hide the requests it kept from being sent (coordinated omission).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    figures::{self, Latency},
    http::Connection,
};

/// Threads of the load. Two can ask for more than one machine's servers answer, and leave the rest to them.
const THREADS: usize = 2;
/// After a broken connection, so that a dead server is not hammered.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
/// How long a request may take before the run is called off.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the pacer sleeps at most, so that a rate changes nothing about how soon it ends.
const LONGEST_NAP: Duration = Duration::from_millis(20);
/// The answer that counts.
const ACCEPTED: u16 = 202;

/// How fast requests follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// The next one as soon as the last one is answered.
    Closed,
    /// So many a second, whatever the answers do.
    Rate(u32),
}

/// One load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) address: SocketAddr,
    /// Connections, each with one request under way.
    pub(crate) connections: usize,
    /// How fast.
    pub(crate) pace: Pace,
    /// Not counted.
    pub(crate) warm_up: Duration,
    /// Counted.
    pub(crate) measured: Duration,
}

/// What makes the requests of one connection.
pub(crate) trait Source: Send + 'static {
    /// The bytes of the next request, which is due at `due`; `None` ends the connection's part.
    fn next(&mut self, due: Instant) -> Option<&[u8]>;
    /// How it was answered.
    fn answered(&mut self, status: u16);
}

/// What a load met with.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Answers 202 within the measured time.
    pub(crate) accepted_in_window: u64,
    /// Answers 202 in all, warm-up included.
    pub(crate) accepted: u64,
    /// Other answers by status, warm-up included.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Broken connections.
    pub(crate) errors: u64,
    /// From due to answer, of the accepted within the measured time.
    pub(crate) latency: Latency,
}

struct Tally {
    accepted_in_window: u64,
    accepted: u64,
    refused: BTreeMap<u16, u64>,
    errors: u64,
    latency: Histogram<u64>,
}

/// When what is due, for all connections together.
#[derive(Debug)]
struct Clockwork {
    plan: Plan,
    origin: Instant,
    taken: AtomicU64,
    released: Semaphore,
}

/// Runs a load to its end and sums it up. Blocks.
pub(crate) fn run<S: Source>(
    plan: Plan,
    origin: Instant,
    source: impl Fn(usize) -> anyhow::Result<S>,
) -> anyhow::Result<Outcome> {
    let clockwork =
        Arc::new(Clockwork { plan, origin, taken: AtomicU64::new(0), released: Semaphore::new(0) });
    let mut shares: Vec<Vec<S>> = (0..THREADS).map(|_| Vec::new()).collect();
    for number in 0..plan.connections {
        shares[number % THREADS].push(source(number)?);
    }
    let tallies = thread::scope(|scope| {
        let pacer = scope.spawn(|| clockwork.pace());
        let threads: Vec<_> = shares
            .into_iter()
            .map(|sources| {
                let clockwork = Arc::clone(&clockwork);
                scope.spawn(move || drive_all(&clockwork, sources))
            })
            .collect();
        let tallies: Vec<anyhow::Result<Tally>> =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| broken())).collect();
        if pacer.join().is_err() { vec![broken()] } else { tallies }
    });
    let mut sum = Tally::new()?;
    for tally in tallies {
        sum.add(tally?)?;
    }
    Ok(sum.outcome())
}

fn broken<T>() -> anyhow::Result<T> {
    anyhow::bail!("a thread of the load panicked")
}

fn drive_all<S: Source>(clockwork: &Arc<Clockwork>, sources: Vec<S>) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        for source in sources {
            let clockwork = Arc::clone(clockwork);
            connections.spawn(async move { drive(&clockwork, source).await });
        }
        let mut sum = Tally::new()?;
        while let Some(done) = connections.join_next().await {
            sum.add(done.context("a connection of the load panicked")??)?;
        }
        Ok(sum)
    })
}

async fn drive<S: Source>(clockwork: &Clockwork, mut source: S) -> anyhow::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut connection = None;
    while let Some(due) = clockwork.next().await {
        let Some(request) = source.next(due) else { break };
        let answer =
            tokio::time::timeout(PATIENCE, exchange(&mut connection, clockwork.plan.address, request)).await;
        match answer.context("a request took too long")? {
            Ok(status) => {
                source.answered(status);
                tally.note(clockwork, due, status);
            }
            Err(_broken) => {
                tally.errors += 1;
                connection = None;
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    Ok(tally)
}

async fn exchange(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    request: &[u8],
) -> std::io::Result<u16> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(address).await?),
    };
    Ok(open.exchange(request).await?.status)
}

impl Clockwork {
    fn end(&self) -> Duration {
        self.plan.warm_up + self.plan.measured
    }

    /// When the next request is due; `None` when the load is over.
    async fn next(&self) -> Option<Instant> {
        match self.plan.pace {
            Pace::Closed => {
                let now = Instant::now();
                (now < self.origin + self.end()).then_some(now)
            }
            Pace::Rate(rate) => {
                self.released.acquire().await.ok()?.forget();
                let number = self.taken.fetch_add(1, Ordering::Relaxed);
                let offset = due(number, rate);
                (offset < self.end()).then(|| self.origin + offset)
            }
        }
    }

    /// Releases requests as they become due. A thread of its own: the timers of the runtime count whole milliseconds.
    fn pace(&self) {
        let Pace::Rate(rate) = self.plan.pace else { return };
        let mut released = 0_u64;
        while due(released, rate) < self.end() {
            let now = self.origin.elapsed();
            let mut permits = 0;
            while due(released, rate) <= now {
                released += 1;
                permits += 1;
            }
            self.released.add_permits(permits);
            thread::sleep(due(released, rate).saturating_sub(self.origin.elapsed()).min(LONGEST_NAP));
        }
        // One more for each connection: it finds that there is nothing left, and ends.
        self.released.add_permits(self.plan.connections);
    }
}

fn due(number: u64, rate: u32) -> Duration {
    Duration::from_secs_f64(figures::float(number) / f64::from(rate))
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            accepted_in_window: 0,
            accepted: 0,
            refused: BTreeMap::new(),
            errors: 0,
            latency: figures::histogram()?,
        })
    }

    fn note(&mut self, clockwork: &Clockwork, due: Instant, status: u16) {
        if status != ACCEPTED {
            *self.refused.entry(status).or_default() += 1;
            return;
        }
        self.accepted += 1;
        let (plan, answered) = (clockwork.plan, Instant::now());
        let start = clockwork.origin + plan.warm_up;
        if (start..start + plan.measured).contains(&answered) {
            self.accepted_in_window += 1;
        }
        if due >= start {
            self.latency.saturating_record(figures::micros(answered - due));
        }
    }

    fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.accepted_in_window += other.accepted_in_window;
        self.accepted += other.accepted;
        self.errors += other.errors;
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.latency.add(&other.latency).context("histograms cannot be added")
    }

    fn outcome(self) -> Outcome {
        Outcome {
            accepted_in_window: self.accepted_in_window,
            accepted: self.accepted,
            refused: self.refused,
            errors: self.errors,
            latency: Latency::of(&self.latency),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::due;

    #[test]
    fn requests_are_due_at_even_distances() {
        assert_eq!(due(0, 5_000), Duration::ZERO);
        assert_eq!(due(1, 5_000), Duration::from_micros(200));
        assert_eq!(due(10_000, 5_000), Duration::from_secs(2));
    }
}
