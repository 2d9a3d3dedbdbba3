//! The assembly of the parts into a running process.
//!
//! Binds and connects in [`Application::build`], so that what is wrong is told before anything runs; runs until the
//! shutdown in [`Application::run`]. Must not hold logic of its own: it converts settings, connects, starts and stops.

mod foundation;
mod parts;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waypost_api::health::{Part, Readiness};
use waypost_api::ingress::Ingress;
use waypost_api::{Addresses, Api, Handle, Parts};
use waypost_core::clock::{self, SharedClock};
use waypost_core::hand_off::HandOff;
use waypost_postgres::{Store, StoreError};
use waypost_upstream::subscriptions::Subscriptions;
use waypost_upstream::tokens::Tokens;
use waypost_worker::bell::Bell;
use waypost_worker::deliverer::{self, Deliverer};
use waypost_worker::endings::Endings;
use waypost_worker::holder::Holder;
use waypost_worker::matcher::Matcher;
use waypost_worker::prover::Prover;
use waypost_worker::retention::{self, Retention};
use waypost_worker::subscriber::Subscriber;

use foundation::Foundation;
use upstream::{SignIn, Upstream};

use crate::config::Settings;
use crate::roles::{Role, Roles};
use crate::shutdown::{Shutdown, ShutdownError};

/// How often the process looks at what its readiness depends on.
const CHECK_EVERY: Duration = Duration::from_secs(15);
/// How soon it looks again when it could not.
const CHECK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long one look may take: a database that hangs would never answer.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// A process of Waypost, bound and connected.
pub struct Application {
    grace: Duration,
    clock: SharedClock,
    store: Store,
    bell: Bell,
    api: Api,
    addresses: Addresses,
    ingress: Option<Arc<Ingress>>,
    /// The tasks of intake: they end when the queue is closed and empty.
    intake: TaskTracker,
    intake_tasks: Vec<JoinHandle<()>>,
    deliverer: Option<deliverer::Running>,
    /// Tells the deliverer and the loops to take nothing new.
    stopping: CancellationToken,
    /// Sign-ins that are under way are finished, whoever asked for them.
    tokens: Tokens,
    scheduler: Option<Scheduler>,
    partitions: Part,
    /// Ready until the end begins, so that nobody sends new work to a process that drains.
    serving: Part,
}

/// The loops of the scheduler's role.
struct Scheduler {
    matcher: Matcher,
    holder: Holder,
    retention: Retention,
    prover: Prover,
    endings: Endings,
    subscriber: Subscriber,
}

impl Application {
    /// Connects to the database, binds the listeners and puts the parts of `roles` together. Nothing runs yet; the
    /// database must be migrated.
    ///
    /// # Errors
    /// When the database can't be reached or isn't migrated, or an address is taken.
    pub async fn build(settings: Settings, roles: Roles, clock: SharedClock) -> anyhow::Result<Self> {
        // First of all: what is counted or described before is lost.
        let metrics = waypost_api::metrics::recorder()?;
        waypost_worker::metrics_meaning::describe();
        waypost_upstream::tokens::metrics_meaning::describe();
        let base = Foundation::lay(&settings, clock).await?;
        let sign_in = SignIn::new(&settings, &base)?;
        let (hand_off, deliverer) = hand_off(&settings, &roles, &base, &sign_in)?;
        let upstream = Upstream::new(&settings, &base, &sign_in, &hand_off)?;

        let intake = TaskTracker::new();
        let ingress = roles.has(Role::Ingress).then(|| {
            let config = parts::ingress_config(&settings);
            Ingress::new(&config, &base.store, &hand_off, &base.clock, &intake)
        });
        let (ingress, intake_tasks) = ingress.map(|(ingress, tasks)| (Arc::new(ingress), tasks)).unzip();
        let scheduler = Scheduler::new(&settings, &base, &sign_in, &upstream.subscriptions);
        let readiness = Readiness::default();
        let partitions = readiness.part("partitions");
        let serving = readiness.part("serving");
        let parts = Parts {
            store: base.store.clone(),
            clock: Arc::clone(&base.clock),
            verifiers: parts::verifiers(&settings, &base.clock),
            readiness,
            metrics,
            ingress: ingress.clone(),
            proxy: upstream.proxy,
            guard: Arc::new(base.guard),
            webhooks: base.webhooks,
            connector: upstream.connector,
            onboarding: upstream.onboarding,
            tokens: sign_in.tokens.clone(),
            subscriptions: upstream.subscriptions,
            certificates: upstream.certificates,
            tenant_connected: base.bell.may_match(),
            endpoint_changed: scheduler.holder.hint(),
            hand_off,
            settings: parts::api_settings(&settings),
        };
        let api = Api::build(&parts::api_config(&settings, &roles), &parts)?;
        Ok(Self {
            grace: settings.server.shutdown_grace,
            clock: base.clock,
            store: base.store,
            bell: base.bell,
            addresses: api.addresses(),
            api,
            ingress,
            intake,
            intake_tasks: intake_tasks.unwrap_or_default(),
            deliverer,
            stopping: base.stopping,
            tokens: sign_in.tokens,
            scheduler: roles.has(Role::Scheduler).then_some(scheduler),
            partitions,
            serving,
        })
    }

    /// Where ingress and environment API are reached; `None` when neither of their roles runs here.
    #[must_use]
    pub const fn public_address(&self) -> Option<SocketAddr> {
        self.addresses.public
    }

    /// Where the admin API, health and metrics are reached.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Runs until somebody asks for the end, and everything in flight is finished.
    ///
    /// # Errors
    /// When a part failed, or work had to be cut off.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let grace = self.grace;
        self.start(&shutdown);
        match shutdown.finished(grace).await {
            // What was cut off went back for others to take: nothing is lost, and nothing went wrong.
            Ok(()) | Err(ShutdownError::GraceOver { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts everything on the shutdown's tracker, and sees to it that it ends in the right order.
    pub fn start(self, shutdown: &Shutdown) {
        let loops = TaskTracker::new();
        let whole = |tracker: &TaskTracker, part: JoinHandle<()>| keep_whole(tracker, shutdown, part);
        whole(&loops, loops.spawn(self.bell.clone().pass_on(self.store.clone(), self.stopping.clone())));
        let watching = watch_partitions(self.store.clone(), self.partitions, self.stopping.clone());
        whole(&loops, loops.spawn(watching));
        whole(&loops, loops.spawn(waypost_api::metrics::upkeep(self.stopping.clone())));
        if self.scheduler.is_some() || self.deliverer.is_some() {
            whole(&loops, loops.spawn(self.bell.clone().listen(self.store.clone(), self.stopping.clone())));
        }
        if let Some(scheduler) = self.scheduler {
            scheduler.start(&loops, &self.stopping).into_iter().for_each(|part| whole(&loops, part));
        }
        self.intake_tasks.into_iter().for_each(|part| whole(&loops, part));
        let deliverer = TaskTracker::new();
        let handed_over = CancellationToken::new();
        if let Some(running) = self.deliverer {
            let (cut, hard) = (running.cut(), shutdown.hard().clone());
            // Not on a tracker: nothing waits for a cut that may never come.
            TaskTracker::new().spawn(async move {
                hard.cancelled().await;
                cut.cancel();
            });
            whole(&deliverer, deliverer.spawn(running.run(handed_over.clone())));
        }
        self.serving.ready();
        let ending = Ending {
            serving: self.serving,
            api: self.api.handle(),
            ingress: self.ingress,
            intake: self.intake,
            stopping: self.stopping,
            handed_over,
            deliverer,
            loops,
            tokens: self.tokens,
            store: self.store,
            hard: shutdown.hard().clone(),
        };
        let (served, serving) = (shutdown.clone(), self.api.run());
        shutdown.tracker().spawn(async move {
            if let Err(error) = serving.await {
                served.fail(format!("a listener failed: {error}"));
            }
        });
        let soft = shutdown.soft().clone();
        shutdown.tracker().spawn(async move {
            soft.cancelled().await;
            ending.end().await;
        });
        let public = self.addresses.public.map(tracing::field::display);
        tracing::info!(public, admin = %self.addresses.admin, started_at = %self.clock.now(), "waypost runs");
    }
}

/// What must end, in the order of [`Ending::end`].
struct Ending {
    serving: Part,
    api: Handle,
    ingress: Option<Arc<Ingress>>,
    intake: TaskTracker,
    stopping: CancellationToken,
    handed_over: CancellationToken,
    deliverer: TaskTracker,
    loops: TaskTracker,
    tokens: Tokens,
    store: Store,
    /// Cancelled when it took too long.
    hard: CancellationToken,
}

impl Ending {
    /// No new work; requests in flight are answered, what they brought is stored, what was begun is sent and written
    /// down; health answers until the last.
    async fn end(self) {
        self.serving.ending();
        self.stopping.cancel();
        self.api.stop_public(true).await;
        if let Some(ingress) = &self.ingress {
            ingress.stop();
        }
        drop(self.ingress);
        self.intake.close();
        self.intake.wait().await;
        self.handed_over.cancel();
        self.deliverer.close();
        self.deliverer.wait().await;
        self.loops.close();
        self.loops.wait().await;
        self.tokens.finish().await;
        self.api.stop(true).await;
        self.store.close().await;
        if self.hard.is_cancelled() {
            tracing::info!("what was cut off was given back");
        } else {
            tracing::info!("everything in flight is finished");
        }
    }
}

impl Scheduler {
    fn new(settings: &Settings, base: &Foundation, sign_in: &SignIn, subscriptions: &Subscriptions) -> Self {
        let Foundation { store, clock, bell, .. } = base;
        let max_age = parts::delta(settings.delivery.max_age);
        let config = retention::Config { events: parts::delta(settings.retention.events), max_age };
        let (judge, tokens, hint) = (sign_in.prover.clone(), sign_in.tokens.clone(), bell.of_unproven());
        Self {
            matcher: Matcher::new(store.clone(), Arc::clone(clock), bell.clone(), max_age),
            holder: Holder::new(store.clone(), bell.clone()),
            retention: Retention::new(store.clone(), Arc::clone(clock), bell.clone(), config),
            prover: Prover::new(store.clone(), judge, Arc::clone(clock), hint),
            subscriber: Subscriber::new(store.clone(), subscriptions.clone()),
            endings: Endings::new(store.clone(), tokens, Arc::clone(clock), bell.clone(), max_age),
        }
    }

    fn start(self, tracker: &TaskTracker, stop: &CancellationToken) -> [JoinHandle<()>; 6] {
        [
            tracker.spawn(self.matcher.run(stop.clone())),
            tracker.spawn(self.holder.run(stop.clone())),
            tracker.spawn(self.retention.run(stop.clone())),
            tracker.spawn(self.prover.run(stop.clone())),
            tracker.spawn(self.endings.run(stop.clone())),
            tracker.spawn(self.subscriber.run(stop.clone())),
        ]
    }
}

/// Ends the process when `part` panicked: one that lacks a part looks ready and isn't, a new one is whole.
fn keep_whole(tracker: &TaskTracker, shutdown: &Shutdown, part: JoinHandle<()>) {
    let shutdown = shutdown.clone();
    tracker.spawn(async move {
        if part.await.is_err_and(|ended| ended.is_panic()) {
            shutdown.fail("a part panicked; the log tells where");
        }
    });
}

/// Who takes what intake has stored: the deliverer of this process, or the bell that wakes those of others.
fn hand_off(
    settings: &Settings,
    roles: &Roles,
    base: &Foundation,
    sign_in: &SignIn,
) -> anyhow::Result<(Arc<dyn HandOff>, Option<deliverer::Running>)> {
    if !roles.has(Role::Relay) {
        return Ok((Arc::new(base.bell.clone()), None));
    }
    let parts = deliverer::Parts {
        store: base.store.clone(),
        client: base.webhooks.clone(),
        clock: Arc::clone(&base.clock),
        bell: base.bell.clone(),
        prover: sign_in.prover.clone(),
        fetcher: sign_in.fetcher(base)?,
    };
    let config = parts::deliverer_config(settings)?;
    let (deliverer, running) = Deliverer::new(config, parts, base.stopping.clone());
    Ok((Arc::new(deliverer), Some(running)))
}

/// Tells readiness whether the partitions of the coming days are there.
async fn watch_partitions(store: Store, partitions: Part, stop: CancellationToken) {
    loop {
        let mut pause = CHECK_EVERY;
        let looking = tokio::time::timeout(LOOK_LIMIT, store.missing_partitions());
        match looking.await.unwrap_or(Err(StoreError::Silent)) {
            Ok(missing) if missing.is_empty() => partitions.ready(),
            Ok(missing) => {
                tracing::error!(
                    ?missing,
                    "partitions are missing: run `waypost migrate`, or the scheduler's role"
                );
                partitions.failing();
            }
            // What was seen before says nothing about now.
            Err(error) => {
                tracing::debug!(%error, "partitions can't be looked at");
                partitions.failing();
                pause = CHECK_AGAIN_AFTER;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Runs `roles` until the shutdown is finished.
///
/// # Errors
///
/// When a part cannot be started, or failed.
pub async fn serve(settings: Settings, roles: Roles, shutdown: Shutdown) -> anyhow::Result<()> {
    let application = Application::build(settings, roles, clock::system()).await?;
    application.run(shutdown).await
}

/// Brings the database to the current schema.
///
/// # Errors
///
/// When the database cannot be reached or a migration fails.
pub async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    Ok(Store::migrate(&parts::store_config(settings)?, &clock::system()).await?)
}

/// Makes the database when its server doesn't have it, and brings it to the current schema.
pub(crate) async fn create_and_migrate(settings: &Settings) -> anyhow::Result<()> {
    Store::create_database(&parts::store_config(settings)?).await?;
    migrate(settings).await
}

/// The OpenAPI document, byte for byte `openapi.yaml`.
///
/// # Errors
///
/// When the document cannot be written as YAML.
pub fn openapi() -> anyhow::Result<String> {
    waypost_api::openapi::document().map_err(anyhow::Error::from_boxed)
}
