//! Start and stop of a simulator: one listener, its routes, and the tasks behind it.
//!
//! Must not hold behaviour of Graph or Entra; the routes point to it.

use std::{
    any::Any,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::AsFd as _,
    sync::{Arc, RwLock, atomic::AtomicU64},
};

use actix_web::{
    App, HttpServer,
    dev::{Extensions, ServerHandle},
    rt::net::TcpStream as ServedStream,
    web::{self, Data, PayloadConfig, ServiceConfig},
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use url::Url;
use waypost_core::clock::SharedClock;

use crate::{
    calls::Calls,
    config::SimulatorConfig,
    control::{self, Control},
    entra::{
        admin_consent, authorize,
        directory::Directory,
        keys::{CryptoFailure, KeyRing},
        metadata,
        revoked::Revoked,
        sessions::Sessions,
        token,
    },
    faults::Faults,
    graph::{store::Subscriptions, subscriptions, throttle::Throttle},
    items::{batch, routes as items_routes, store::Items},
    notify::sender::{Parts, Sender},
    outbound,
    world::{Connection, Urls, World},
};

/// The largest body that is read or sent.
pub(crate) const MAX_BODY: usize = 4 * 1024 * 1024;
/// Seconds that requests in flight are given at the end.
const STOP_GRACE: u64 = 5;

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The address is taken, or not one of this machine.
    #[error("the simulator cannot listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The public URL cannot be built upon.
    #[error("the simulator's public URL must be http or https with a host, without query or fragment")]
    PublicUrl,
    /// A trusted root is no certificate, or TLS is not to be had.
    #[error("the simulator's HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
    /// No signing key could be made.
    #[error("the simulator's signing keys cannot be made")]
    Keys(#[source] CryptoFailure),
}

/// A running simulator. Dropping it stops it without waiting; [`Simulator::stop`] waits.
#[derive(Debug)]
pub struct Simulator {
    world: Arc<World>,
    base: Url,
    address: SocketAddr,
    server: ServerHandle,
    tasks: TaskTracker,
}

impl Simulator {
    /// Makes keys, binds and serves. Must be called within a Tokio runtime, on which deliveries will run.
    ///
    /// # Errors
    ///
    /// When the address cannot be had, or the configuration holds something unusable.
    pub async fn start(config: SimulatorConfig, clock: SharedClock) -> Result<Self, SimulatorError> {
        let refused = |source| SimulatorError::Listen { address: config.listen, source };
        let listener = std::net::TcpListener::bind(config.listen).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let base = base_url(config.public_url.as_ref(), address)?;
        let keys = tokio::task::spawn_blocking(KeyRing::generate).await;
        let keys = keys.unwrap_or(Err(CryptoFailure)).map_err(SimulatorError::Keys)?;
        let world = Arc::new(build_world(config, clock, keys, (&base, address))?);
        for user in &world.config.users {
            world.add_user(user.clone());
        }
        let tasks = TaskTracker::new();
        let server = serve(&world, listener)
            .map_err(|source| SimulatorError::Listen { address: world.config.listen, source })?;
        let handle = server.handle();
        tasks.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the simulator's server ended");
            }
        });
        tasks.close();
        tracing::info!(url = %base, "simulator listens");
        Ok(Self { world, base, address, server: handle, tasks })
    }

    /// The address that clients use; ends in a slash.
    #[must_use]
    pub fn base_url(&self) -> Url {
        self.base.clone()
    }

    /// What stands for `https://login.microsoftonline.com`.
    #[must_use]
    pub fn login_url(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/login", self.base.path().trim_end_matches('/')));
        url
    }

    /// What stands for `https://graph.microsoft.com`; the version comes behind it.
    #[must_use]
    pub fn graph_url(&self) -> Url {
        self.base_url()
    }

    /// The address that is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that `/_control` offers, in process.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.world))
    }

    /// Finishes requests in flight, gives deliveries up, and waits until all is gone.
    pub async fn stop(self) {
        self.server.stop(true).await;
        self.world.sender.stop().await;
        self.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.world.sender.cancel();
        // The command is sent when the future is made; nobody waits for its end here.
        drop(self.server.stop(false));
    }
}

fn base_url(public: Option<&Url>, address: SocketAddr) -> Result<Url, SimulatorError> {
    let Some(url) = public else {
        let address = own_address(address);
        return Url::parse(&format!("http://{address}/")).map_err(|_| SimulatorError::PublicUrl);
    };
    let usable = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none();
    usable.then(|| url.clone()).ok_or(SimulatorError::PublicUrl)
}

/// The address at which this machine reaches what is bound.
fn own_address(bound: SocketAddr) -> SocketAddr {
    // Nobody can call "every address"; the simulator's clients are on this machine.
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, bound.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, bound.port()).into(),
        _ => bound,
    }
}

fn build_world(
    config: SimulatorConfig,
    clock: SharedClock,
    keys: KeyRing,
    (base, address): (&Url, SocketAddr),
) -> Result<World, SimulatorError> {
    let client =
        |keep_alive| outbound::client(&config.trusted_roots, keep_alive).map_err(SimulatorError::Client);
    let subscriptions = Arc::new(Subscriptions::default());
    let sender = Sender::new(Parts {
        client: client(true)?,
        policy: config.delivery.clone(),
        clock: Arc::clone(&clock),
        subscriptions: Arc::clone(&subscriptions),
        runtime: Handle::current(),
    });
    Ok(World {
        urls: Urls::new(base),
        clock,
        keys,
        directory: Directory::new(&config),
        subscriptions,
        throttle: Throttle::new(config.rules.throttling),
        faults: Faults::new(config.fault_seed),
        calls: Calls::default(),
        revoked: Revoked::default(),
        sessions: Sessions::default(),
        behaviour: RwLock::default(),
        items: Items::default(),
        address: own_address(address),
        handshakes: client(false)?,
        sender,
        token_lifetime: AtomicU64::new(config.access_token_lifetime.as_secs()),
        config,
    })
}

fn serve(world: &Arc<World>, listener: std::net::TcpListener) -> io::Result<actix_web::dev::Server> {
    let data = Data::from(Arc::clone(world));
    let factory =
        move || App::new().app_data(data.clone()).app_data(PayloadConfig::new(MAX_BODY)).configure(routes);
    let server = HttpServer::new(factory)
        .workers(world.config.workers.max(1))
        .on_connect(keep_handle)
        .disable_signals()
        .shutdown_timeout(STOP_GRACE)
        .listen(listener)?;
    Ok(server.run())
}

/// Keeps a second handle of each connection, which a fault may cut.
fn keep_handle(stream: &dyn Any, data: &mut Extensions) {
    let Some(stream) = stream.downcast_ref::<ServedStream>() else { return };
    match stream.as_fd().try_clone_to_owned() {
        Ok(handle) => {
            data.insert(Connection(TcpStream::from(handle)));
        }
        Err(error) => tracing::warn!(%error, "a connection cannot be cut by faults"),
    }
}

fn routes(routes: &mut ServiceConfig) {
    routes
        .service(
            web::scope("/login/{tenant}")
                .route("/oauth2/v2.0/token", web::post().to(token::issue))
                .route("/oauth2/v2.0/authorize", web::get().to(authorize::show))
                .route("/oauth2/v2.0/authorize", web::post().to(authorize::decide))
                .route("/adminconsent", web::get().to(admin_consent::show_v1))
                .route("/adminconsent", web::post().to(admin_consent::decide_v1))
                .route("/v2.0/adminconsent", web::get().to(admin_consent::show_v2))
                .route("/v2.0/adminconsent", web::post().to(admin_consent::decide_v2))
                .route("/v2.0/.well-known/openid-configuration", web::get().to(metadata::configuration_v2))
                .route("/.well-known/openid-configuration", web::get().to(metadata::configuration_v1))
                .route("/discovery/v2.0/keys", web::get().to(metadata::keys_v2))
                .route("/discovery/keys", web::get().to(metadata::keys_v1)),
        )
        .service(
            web::scope("/v1.0")
                .service(
                    web::resource("/subscriptions")
                        .route(web::post().to(subscriptions::create))
                        .route(web::get().to(subscriptions::list))
                        .default_service(web::route().to(subscriptions::wrong_method)),
                )
                .service(
                    web::resource("/subscriptions/{id}")
                        .route(web::get().to(subscriptions::get))
                        .route(web::patch().to(subscriptions::update))
                        .route(web::delete().to(subscriptions::delete))
                        .default_service(web::route().to(subscriptions::wrong_method)),
                )
                .service(
                    web::resource("/subscriptions/{id}/reauthorize")
                        .route(web::post().to(subscriptions::reauthorize))
                        .default_service(web::route().to(subscriptions::wrong_method)),
                )
                .service(
                    web::resource("/$batch")
                        .route(web::post().to(batch::route))
                        .default_service(web::route().to(subscriptions::wrong_method)),
                )
                .default_service(web::route().to(items_routes::route)),
        )
        .service(web::scope("/_control").configure(control::http::routes));
}
