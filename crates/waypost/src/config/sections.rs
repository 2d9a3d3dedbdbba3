//! One struct for each section of the configuration, its defaults right below it, and the rules that its
//! values have to keep together. Must not convert to the parts' own configurations.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chrono::TimeDelta;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;
use waypost_core::retry::Schedule;
use waypost_crypto::seal::KeyRing;

use crate::config::{
    ConfigError,
    text::{self, ByteSize, LogFormat},
};

/// An HS256 secret below this length can be guessed from one token.
const SHORTEST_JWT_SECRET: usize = 32;
const DEFAULT_PUBLIC_URL: &str = "http://localhost:8080";
const GLOBAL_GRAPH: &str = "https://graph.microsoft.com";
const GLOBAL_LOGIN: &str = "https://login.microsoftonline.com";
/// The application under which Microsoft publishes change notifications.
const CHANGE_TRACKING_APP_ID: Uuid = Uuid::from_u128(0x0bf30f3b_4a52_48df_9a82_234910c4a086);
const MIB: u64 = 1024 * 1024;

/// `server.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Ingress, proxy and environment API.
    #[serde(deserialize_with = "text::value")]
    pub public_listen: SocketAddr,
    /// Admin API, dashboard and `/metrics`.
    #[serde(deserialize_with = "text::value")]
    pub admin_listen: SocketAddr,
    /// What Graph and browsers use to reach the public listener.
    #[serde(deserialize_with = "text::value")]
    pub public_url: Url,
    /// PEM file of the certificate chain, to serve TLS directly.
    #[serde(deserialize_with = "text::optional")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(deserialize_with = "text::optional")]
    pub tls_key: Option<PathBuf>,
    /// How long work in flight may take after a signal.
    #[serde(deserialize_with = "text::value")]
    pub shutdown_grace: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            public_listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            public_url: url(DEFAULT_PUBLIC_URL),
            tls_cert: None,
            tls_key: None,
            shutdown_grace: Duration::from_secs(25),
        }
    }
}

impl Server {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            let missing = if self.tls_cert.is_none() { "server.tls_cert" } else { "server.tls_key" };
            return Err(ConfigError::invalid(
                missing,
                "is not set while its other half is; set both or neither",
            ));
        }
        for (key, file) in [("server.tls_cert", &self.tls_cert), ("server.tls_key", &self.tls_key)] {
            if let Some(path) = file.as_ref().filter(|path| !path.is_file()) {
                let reason = format!("there is no file {}; correct the path", path.display());
                return Err(ConfigError::invalid(key, reason));
            }
        }
        if self.public_listen.port() != 0 && self.public_listen == self.admin_listen {
            return Err(ConfigError::invalid(
                "server.admin_listen",
                "is the same as server.public_listen; give it another port",
            ));
        }
        Ok(())
    }
}

/// `database.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `postgres://…`; may hold a password.
    #[serde(deserialize_with = "text::secret")]
    pub url: Option<SecretString>,
    /// The most connections that this process opens.
    #[serde(deserialize_with = "text::value")]
    pub max_connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, max_connections: 16 }
    }
}

impl Database {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let usable = |url: &SecretString| {
            Url::parse(url.expose_secret()).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        };
        if !self.url.as_ref().is_none_or(usable) {
            return Err(ConfigError::invalid(
                "database.url",
                "is not a PostgreSQL URL; write postgres://user:password@host:5432/database, special characters \
                 of the password percent-encoded",
            ));
        }
        at_least_one("database.max_connections", self.max_connections)
    }
}

/// `security.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// The keys that seal what is stored: the first one seals, all open.
    #[serde(deserialize_with = "text::key_ring")]
    pub encryption_keys: Option<KeyRing>,
    /// How long a replaced secret stays valid.
    #[serde(deserialize_with = "text::value")]
    pub secret_grace: Duration,
}

impl Default for Security {
    fn default() -> Self {
        Self { encryption_keys: None, secret_grace: Duration::from_hours(24) }
    }
}

/// `admin.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Signs and checks admin tokens (HS256).
    #[serde(deserialize_with = "text::secret")]
    pub jwt_secret: Option<SecretString>,
    /// Whom admin tokens are for.
    #[serde(deserialize_with = "text::value")]
    pub audience: String,
    /// The identity provider that signs people in.
    #[serde(deserialize_with = "text::optional")]
    pub oidc_issuer: Option<Url>,
    /// Waypost's client id there.
    #[serde(deserialize_with = "text::optional")]
    pub oidc_client_id: Option<String>,
    /// Waypost's client secret there.
    #[serde(deserialize_with = "text::secret")]
    pub oidc_client_secret: Option<SecretString>,
    /// The claim of its tokens that holds the role.
    #[serde(deserialize_with = "text::value")]
    pub role_claim: String,
    /// What `/metrics` wants as bearer token, if anything.
    #[serde(deserialize_with = "text::secret")]
    pub metrics_token: Option<SecretString>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            jwt_secret: None,
            audience: "waypost-admin".to_owned(),
            oidc_issuer: None,
            oidc_client_id: None,
            oidc_client_secret: None,
            role_claim: "role".to_owned(),
            metrics_token: None,
        }
    }
}

impl Admin {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(length) = self.jwt_secret.as_ref().map(|secret| secret.expose_secret().len())
            && length < SHORTEST_JWT_SECRET
        {
            let reason = format!(
                "has {length} bytes and needs at least {SHORTEST_JWT_SECRET}; `openssl rand -base64 32` makes a good one"
            );
            return Err(ConfigError::invalid("admin.jwt_secret", reason));
        }
        if self.oidc_issuer.is_some() && self.oidc_client_id.is_none() {
            return Err(ConfigError::invalid(
                "admin.oidc_client_id",
                "is not set while admin.oidc_issuer is; set it to the client id registered there",
            ));
        }
        Ok(())
    }
}

/// `ingress.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingress {
    /// Above it a request is answered 413.
    #[serde(deserialize_with = "text::value")]
    pub max_body_bytes: ByteSize,
    /// What is not durable by then is answered 503.
    #[serde(deserialize_with = "text::value")]
    pub ack_deadline: Duration,
    /// For each environment and integration; 0 is no limit.
    #[serde(deserialize_with = "text::value")]
    pub rate_limit_per_minute: u32,
}

impl Default for Ingress {
    fn default() -> Self {
        Self {
            max_body_bytes: ByteSize(4 * MIB),
            ack_deadline: Duration::from_millis(2500),
            rate_limit_per_minute: 0,
        }
    }
}

impl Ingress {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let too_large = usize::try_from(self.max_body_bytes.0).is_err();
        if self.max_body_bytes.0 == 0 || too_large {
            return Err(ConfigError::invalid(
                "ingress.max_body_bytes",
                "is out of range; write one such as \"4 MiB\"",
            ));
        }
        longer_than_nothing("ingress.ack_deadline", self.ack_deadline)
    }
}

/// `delivery.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// The wait before each attempt; jitter is added.
    #[serde(deserialize_with = "text::list")]
    pub schedule: Vec<Duration>,
    /// From connecting to the end of the answer.
    #[serde(deserialize_with = "text::value")]
    pub timeout: Duration,
    /// For connecting alone.
    #[serde(deserialize_with = "text::value")]
    pub connect_timeout: Duration,
    /// The most requests of this process under way.
    #[serde(deserialize_with = "text::value")]
    pub max_in_flight: u32,
    /// The most to one endpoint.
    #[serde(deserialize_with = "text::value")]
    pub max_in_flight_per_endpoint: u32,
    /// Past its first try a delivery of this age is dead.
    #[serde(deserialize_with = "text::value")]
    pub max_age: Duration,
    /// How long a failing head blocks those behind it in order.
    #[serde(deserialize_with = "text::value")]
    pub ordering_max_block: Duration,
}

impl Default for Delivery {
    fn default() -> Self {
        let hours = [2, 5, 10, 14, 20, 24].map(Duration::from_hours);
        let mut schedule =
            vec![Duration::ZERO, Duration::from_secs(5), Duration::from_mins(5), Duration::from_mins(30)];
        schedule.extend(hours);
        Self {
            schedule,
            timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(5),
            max_in_flight: 512,
            max_in_flight_per_endpoint: 32,
            max_age: Duration::from_hours(7 * 24),
            ordering_max_block: Duration::from_hours(1),
        }
    }
}

impl Delivery {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let waits = self.schedule.iter().map(|wait| TimeDelta::from_std(*wait).unwrap_or(TimeDelta::MAX));
        if let Err(error) = Schedule::new(waits.collect()) {
            return Err(ConfigError::invalid(
                "delivery.schedule",
                format!("{error}; write such as 0s,5s,5m"),
            ));
        }
        longer_than_nothing("delivery.timeout", self.timeout)?;
        longer_than_nothing("delivery.connect_timeout", self.connect_timeout)?;
        longer_than_nothing("delivery.max_age", self.max_age)?;
        if self.connect_timeout > self.timeout {
            return Err(ConfigError::invalid(
                "delivery.connect_timeout",
                "is longer than delivery.timeout, of which it is a part; shorten it",
            ));
        }
        at_least_one("delivery.max_in_flight", self.max_in_flight)?;
        at_least_one("delivery.max_in_flight_per_endpoint", self.max_in_flight_per_endpoint)
    }
}

/// `egress.*`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Private networks that customers' URLs may reach, also by `http`.
    #[serde(deserialize_with = "text::list")]
    pub allow: Vec<IpNet>,
}

/// `graph.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Graph {
    /// Microsoft Graph, without a version.
    #[serde(deserialize_with = "text::value")]
    pub base_url: Url,
    /// Its sign-in, without a tenant.
    #[serde(deserialize_with = "text::value")]
    pub login_url: Url,
    /// Who issues validation tokens.
    #[serde(deserialize_with = "text::value")]
    pub publisher_app_id: Uuid,
}

impl Default for Graph {
    fn default() -> Self {
        Self {
            base_url: url(GLOBAL_GRAPH),
            login_url: url(GLOBAL_LOGIN),
            publisher_app_id: CHANGE_TRACKING_APP_ID,
        }
    }
}

impl Graph {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let last =
            self.base_url.path_segments().and_then(|mut segments| segments.rfind(|part| !part.is_empty()));
        if matches!(last, Some("v1.0" | "beta")) {
            return Err(ConfigError::invalid(
                "graph.base_url",
                "ends in a version, which requests name; leave it out",
            ));
        }
        Ok(())
    }
}

/// `scheduler.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scheduler {
    /// The longest sleep while work may be due.
    #[serde(deserialize_with = "text::value")]
    pub tick: Duration,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self { tick: Duration::from_secs(1) }
    }
}

impl Scheduler {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        longer_than_nothing("scheduler.tick", self.tick)
    }
}

/// `retention.*`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Older history is dropped, a day at a time.
    #[serde(deserialize_with = "text::value")]
    pub events: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events: Duration::from_hours(14 * 24) }
    }
}

impl Retention {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.events < Duration::from_hours(24) {
            return Err(ConfigError::invalid("retention.events", "is shorter than a day; write at least 1d"));
        }
        Ok(())
    }
}

/// `telemetry.*`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// `None` is pretty on a terminal and JSON elsewhere.
    #[serde(deserialize_with = "text::optional")]
    pub log_format: Option<LogFormat>,
    /// Where traces go.
    #[serde(deserialize_with = "text::optional")]
    pub otlp_endpoint: Option<Url>,
}

fn at_least_one(key: &str, value: u32) -> Result<(), ConfigError> {
    if value == 0 { Err(ConfigError::invalid(key, "is 0; write at least 1")) } else { Ok(()) }
}

fn longer_than_nothing(key: &str, value: Duration) -> Result<(), ConfigError> {
    if value.is_zero() { Err(ConfigError::invalid(key, "is 0; write a longer one")) } else { Ok(()) }
}

#[expect(clippy::expect_used, reason = "only called with the literals above, which a test parses")]
fn url(text: &str) -> Url {
    Url::parse(text).expect("a literal URL")
}
