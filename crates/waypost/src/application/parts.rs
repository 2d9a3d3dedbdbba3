//! From settings to what each part takes. Conversions only.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use chrono::TimeDelta;
use waypost_api::auth::admin::{SharedSecret, Verifier, Verifiers};
use waypost_api::server::tls::TlsFiles;
use waypost_api::{Config as ApiConfig, Settings as ApiSettings, ingress};
use waypost_core::clock::SharedClock;
use waypost_core::retry::Schedule;
use waypost_egress::webhook;
use waypost_postgres::Config as StoreConfig;
use waypost_worker::deliverer;

use crate::config::Settings;
use crate::roles::{Role, Roles};

/// The most threads of the public listener; more would only wait for the database.
const MOST_WORKERS: usize = 4;

pub(super) fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

pub(super) fn store_config(settings: &Settings) -> anyhow::Result<StoreConfig> {
    let url = settings.database.url.clone().context("database.url is not set")?;
    Ok(StoreConfig { url, max_connections: settings.database.max_connections })
}

pub(super) fn ingress_config(settings: &Settings) -> ingress::Config {
    ingress::Config {
        max_body_bytes: usize::try_from(settings.ingress.max_body_bytes.0).unwrap_or(usize::MAX),
        ack_deadline: settings.ingress.ack_deadline,
        rate_limit_per_minute: settings.ingress.rate_limit_per_minute,
        delivery_max_age: delta(settings.delivery.max_age),
        ..ingress::Config::default()
    }
}

pub(super) fn webhook_config(settings: &Settings) -> webhook::Config {
    webhook::Config {
        timeout: settings.delivery.timeout,
        connect_timeout: settings.delivery.connect_timeout,
        ..webhook::Config::default()
    }
}

pub(super) fn deliverer_config(settings: &Settings) -> anyhow::Result<deliverer::Config> {
    let waits = settings.delivery.schedule.iter().map(|wait| delta(*wait)).collect();
    Ok(deliverer::Config {
        schedule: Schedule::new(waits).context("delivery.schedule can't be kept")?,
        timeout: settings.delivery.timeout,
        max_in_flight: settings.delivery.max_in_flight,
        max_in_flight_per_endpoint: settings.delivery.max_in_flight_per_endpoint,
        max_age: delta(settings.delivery.max_age),
    })
}

pub(super) fn verifiers(settings: &Settings, clock: &SharedClock) -> Verifiers {
    let secret = settings.admin.jwt_secret.as_ref();
    Verifiers::new(secret.map(|secret| {
        let verifier = SharedSecret::new(secret, &settings.admin.audience, Arc::clone(clock));
        Arc::new(verifier) as Arc<dyn Verifier>
    }))
}

pub(super) fn api_settings(settings: &Settings) -> ApiSettings {
    ApiSettings {
        public_url: settings.server.public_url.clone(),
        secret_grace: delta(settings.security.secret_grace),
        max_age: delta(settings.delivery.max_age),
        keep: delta(settings.retention.events),
    }
}

pub(super) fn api_config(settings: &Settings, roles: &Roles) -> ApiConfig {
    let files = settings.server.tls_cert.clone().zip(settings.server.tls_key.clone());
    ApiConfig {
        public_listen: settings.server.public_listen,
        admin_listen: settings.server.admin_listen,
        serves_api: roles.has(Role::Api),
        tls: files.map(|(certificate, key)| TlsFiles { certificate, key }),
        workers: thread::available_parallelism().map_or(2, usize::from).min(MOST_WORKERS),
        shutdown_grace: settings.server.shutdown_grace,
        metrics_token: settings.admin.metrics_token.clone(),
    }
}
