//! The two listeners and what stands on them.
//!
//! Public: ingress and environment API, where those roles run. Admin: health and metrics always, the admin API with the
//! role `api`. Binding happens in [`Api::build`], so a taken port is told before anything runs; serving in [`Api::run`].

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpServer};
use metrics_exporter_prometheus::PrometheusHandle;
use secrecy::SecretString;
use tokio::sync::Notify;
use waypost_core::clock::SharedClock;
use waypost_core::hand_off::HandOff;
use waypost_egress::guard::Guard;
use waypost_egress::webhook::WebhookClient;
use waypost_postgres::Store;
use waypost_upstream::certificates::Certificates;
use waypost_upstream::connect::Connector;
use waypost_upstream::connect::onboarding::Onboarding;
use waypost_upstream::proxy::Proxy;
use waypost_upstream::subscriptions::Subscriptions;
use waypost_upstream::tokens::Tokens;

use crate::auth::admin::Verifiers;
use crate::head::head;
use crate::health::Readiness;
use crate::ingress::{self, Ingress};
use crate::metrics::Exposition;
use crate::routes::{self, Table};
use crate::server::tls::{TlsError, TlsFiles};
use crate::surroundings::{Settings, Surroundings};
use crate::trace::{Listener, trace};
use crate::{auth, connect, health, metrics, openapi};

pub mod tls;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 2048;
/// How many connections each thread of the public listener serves at once: each may hold the beginning of a body.
const MOST_CONNECTIONS: usize = 4096;
/// Threads of the admin listener: it serves few.
const ADMIN_WORKERS: usize = 2;
/// How long a client may take to send its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The mirror of the environment API for operators.
const MIRROR: &str = "/admin/environments/{environment}";

/// How the listeners are set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the public listener binds; port 0 for any.
    pub public_listen: SocketAddr,
    /// Where the admin listener binds; port 0 for any.
    pub admin_listen: SocketAddr,
    /// Whether the environment API and the admin API are served.
    pub serves_api: bool,
    /// Certificate and key of the public listener; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// Threads of the public listener.
    pub workers: usize,
    /// How long requests in flight may take to finish at the end.
    pub shutdown_grace: Duration,
    /// What `/metrics` wants as bearer, if anything.
    pub metrics_token: Option<SecretString>,
}

/// What the handlers work with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The time.
    pub clock: SharedClock,
    /// How to sign in to the admin API.
    pub verifiers: Verifiers,
    /// How the parts of this process are.
    pub readiness: Readiness,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// The way in for notifications, where this process has the role.
    pub ingress: Option<Arc<Ingress>>,
    /// What handlers need of the settings.
    pub settings: Settings,
    /// Makes connections, with their first token.
    pub connector: Connector,
    /// Connects customers in their browsers.
    pub onboarding: Onboarding,
    /// Gets connections' tokens.
    pub tokens: Tokens,
    /// Makes certificates for encrypted notifications.
    pub certificates: Certificates,
    /// Makes, keeps and ends subscriptions at Graph.
    pub subscriptions: Subscriptions,
    /// Calls providers as connections.
    pub proxy: Proxy,
    /// Judges the URLs that customers write.
    pub guard: Arc<Guard>,
    /// Sends test deliveries.
    pub webhooks: WebhookClient,
    /// Wakes whoever waits for a tenant: unmatched events may have found their connection.
    pub tenant_connected: Arc<Notify>,
    /// Wakes whoever brings deliveries in line with their endpoints.
    pub endpoint_changed: Arc<Notify>,
    /// Told of work that was stored.
    pub hand_off: Arc<dyn HandOff>,
}

/// Where the listeners are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The public listener, where there is one.
    pub public: Option<SocketAddr>,
    /// The admin listener.
    pub admin: SocketAddr,
}

/// Bound listeners, ready to serve.
#[must_use = "nothing is served until it runs"]
pub struct Api {
    public: Option<Server>,
    admin: Server,
    addresses: Addresses,
}

/// Stops a running [`Api`].
#[derive(Debug, Clone)]
pub struct Handle {
    public: Option<ServerHandle>,
    admin: ServerHandle,
}

/// Why the listeners can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address can't be bound.
    #[error("{setting} can't listen on {address}")]
    Bind {
        /// The setting that names the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or key can't be used.
    #[error("TLS can't be set up")]
    Tls(#[from] TlsError),
}

impl Api {
    /// Binds the listeners. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When an address is taken or the certificate can't be used.
    pub fn build(config: &Config, parts: &Parts) -> Result<Self, ServerError> {
        let has_public = config.serves_api || parts.ingress.is_some();
        let public = if has_public { Some(public(config, parts)?) } else { None };
        let (admin, admin_address) = admin(config, parts)?;
        let (public, public_address) = public.unzip();
        Ok(Self { public, admin, addresses: Addresses { public: public_address, admin: admin_address } })
    }

    /// Where the listeners really are, whatever port was asked for.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Stops it, from anywhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { public: self.public.as_ref().map(Server::handle), admin: self.admin.handle() }
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn run(self) -> io::Result<()> {
        match self.public {
            Some(public) => futures_util::future::try_join(public, self.admin).await.map(|_| ()),
            None => self.admin.await,
        }
    }
}

impl Handle {
    /// Stops the public listener: no new requests, those in flight are finished when `gracefully`.
    pub async fn stop_public(&self, gracefully: bool) {
        if let Some(public) = &self.public {
            public.stop(gracefully).await;
        }
    }

    /// Stops both listeners; the admin one last, so that health can be asked while requests finish.
    pub async fn stop(&self, gracefully: bool) {
        self.stop_public(gracefully).await;
        self.admin.stop(gracefully).await;
    }
}

fn public(config: &Config, parts: &Parts) -> Result<(Server, SocketAddr), ServerError> {
    let (listener, address) = bind("server.public_listen", config.public_listen)?;
    let tls = config.tls.as_ref().map(TlsFiles::load).transpose()?;
    let (parts, serves_api) = (parts.clone(), config.serves_api);
    let server = HttpServer::new(move || {
        let parts = parts.clone();
        App::new()
            .configure(move |app| public_routes(app, &parts, serves_api))
            .wrap(from_fn(head))
            .wrap(from_fn(trace))
    });
    let server = server
        .workers(config.workers)
        .backlog(BACKLOG)
        .max_connections(MOST_CONNECTIONS)
        .client_request_timeout(HEADERS_WITHIN)
        // Who hangs up waits for nothing: what a proxied call still does at the provider ends with it.
        .h1_allow_half_closed(false)
        .shutdown_timeout(config.shutdown_grace.as_secs())
        .disable_signals();
    let server = match tls {
        Some(tls) => server.listen_rustls_0_23(listener, tls),
        None => server.listen(listener),
    };
    let failed = |source| ServerError::Bind { setting: "server.public_listen", address, source };
    Ok((server.map_err(failed)?.run(), address))
}

fn admin(config: &Config, parts: &Parts) -> Result<(Server, SocketAddr), ServerError> {
    let (listener, address) = bind("server.admin_listen", config.admin_listen)?;
    let (parts, serves_api) = (parts.clone(), config.serves_api);
    let exposition = Exposition { handle: parts.metrics.clone(), token: config.metrics_token.clone() };
    let server = HttpServer::new(move || {
        let (parts, exposition) = (parts.clone(), exposition.clone());
        App::new()
            .app_data(web::Data::new(exposition))
            .configure(move |app| admin_routes(app, &parts, serves_api))
            .wrap(from_fn(head))
            .wrap(from_fn(trace))
    });
    let server = server
        .workers(ADMIN_WORKERS)
        .client_request_timeout(HEADERS_WITHIN)
        .shutdown_timeout(config.shutdown_grace.as_secs())
        .disable_signals()
        .listen(listener);
    let failed = |source| ServerError::Bind { setting: "server.admin_listen", address, source };
    Ok((server.map_err(failed)?.run(), address))
}

fn bind(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Bind { setting, address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn public_routes(app: &mut ServiceConfig, parts: &Parts, serves_api: bool) {
    shared(app, parts, Listener::Public);
    let mut table = Table::of([health::document()], "");
    if serves_api {
        table.add(
            routes::document_environment().chain([
                routes::proxy::document(),
                routes::connect_session::document(),
                connect::document(),
            ]),
            "",
        );
    }
    app.app_data(Rc::new(table)).configure(health::configure).default_service(web::to(routes::refuse));
    if let Some(ingress) = &parts.ingress {
        app.app_data(web::Data::from(Arc::clone(ingress))).configure(ingress::configure);
    }
    if serves_api {
        app.app_data(web::Data::new(parts.onboarding.clone()))
            .configure(routes::connect_session::configure)
            .configure(connect::configure);
        // Takes every path that is left, so it must stand last.
        let api =
            web::scope("").wrap(from_fn(auth::key::authenticate)).configure(routes::configure_environment);
        app.app_data(web::Data::new(parts.proxy.clone())).service(api.configure(routes::proxy::configure));
    }
}

fn admin_routes(app: &mut ServiceConfig, parts: &Parts, serves_api: bool) {
    shared(app, parts, Listener::Admin);
    app.configure(health::configure).configure(metrics::configure).default_service(web::to(routes::refuse));
    let mut table = Table::of([health::document(), metrics::document()], "");
    if !serves_api {
        app.app_data(Rc::new(table));
        return;
    }
    table.add(routes::document_admin().chain([openapi::own_document()]), "");
    table.add(routes::document_environment(), MIRROR);
    app.app_data(Rc::new(table))
        .app_data(web::Data::new(parts.verifiers.clone()))
        .configure(openapi::configure);
    let mirror = web::scope("/environments/{environment}")
        .wrap(from_fn(auth::admin::enter_environment))
        .configure(routes::configure_environment);
    // The admin API stands before its mirror of the environment API, which takes every path of an environment.
    let admin = web::scope("/admin")
        .wrap(from_fn(auth::admin::authenticate))
        .configure(routes::configure_admin)
        .service(mirror);
    app.service(admin);
}

fn shared(app: &mut ServiceConfig, parts: &Parts, listener: Listener) {
    app.app_data(listener)
        .app_data(web::Data::new(parts.clock.clone()))
        .app_data(web::Data::new(parts.store.clone()))
        .app_data(web::Data::new(parts.readiness.clone()))
        .app_data(web::Data::new(parts.certificates.clone()))
        .app_data(web::Data::new(Surroundings::of(parts)));
}
