//! What an operator may set, read from three places and judged before anything is bound.
//!
//! Later wins: the defaults, the TOML file of `--config` or `WAYPOST_CONFIG`, the environment's
//! `WAYPOST__SECTION__KEY`. A key that nobody knows is refused, wherever it stands. Must not hold a secret
//! outside a type that hides it, and must not know what the parts make of their settings: each part has its
//! own configuration, which the assembly makes from a section.

mod error;
mod mask;
mod sections;
mod source;
mod text;

pub use error::ConfigError;
pub use sections::{
    Admin, Database, Delivery, Egress, Graph, Ingress, Retention, Scheduler, Security, Server, Telemetry,
};
pub use source::ENVIRONMENT_PREFIX;
pub use text::{ByteSize, LogFormat};

use std::path::Path;

use serde::Deserialize;

use crate::roles::{Role, Roles};

/// All settings, one section for each part.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Listeners and the life of the process.
    pub server: Server,
    /// The PostgreSQL that keeps everything.
    pub database: Database,
    /// Keys and the life of replaced secrets.
    pub security: Security,
    /// Who may administer.
    pub admin: Admin,
    /// Taking notifications in.
    pub ingress: Ingress,
    /// Sending them on.
    pub delivery: Delivery,
    /// Which private networks customers' URLs may reach.
    pub egress: Egress,
    /// Where Microsoft Graph and its sign-in are.
    pub graph: Graph,
    /// Keeping subscriptions alive.
    pub scheduler: Scheduler,
    /// How long history is kept.
    pub retention: Retention,
    /// Logs and traces.
    pub telemetry: Telemetry,
}

impl Settings {
    /// Reads the settings of this process: the defaults, `file`, the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] naming the setting that is wrong and how to mend it.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_sources(file, &source::environment()?)
    }

    /// Reads the settings from `file` and from `environment`, pairs of a variable and its value. Variables
    /// that do not start with [`ENVIRONMENT_PREFIX`] are none of ours and ignored.
    ///
    /// # Errors
    ///
    /// As for [`Settings::load`].
    pub fn from_sources(file: Option<&Path>, environment: &[(String, String)]) -> Result<Self, ConfigError> {
        let settings: Self = source::read(file, environment)?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether `waypost serve` has what it needs for `roles`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] for what is required and not set, [`ConfigError::Invalid`] for what is set
    /// and cannot be honoured.
    pub fn check_for_serve(&self, roles: &Roles) -> Result<(), ConfigError> {
        if self.database.url.is_none() {
            return Err(Self::database_missing());
        }
        if self.security.encryption_keys.is_none() {
            return Err(ConfigError::missing(
                "security.encryption_keys",
                "to id:key, where the key is 32 random bytes in base64, such as \"k1:$(openssl rand -base64 32)\"",
            ));
        }
        self.check_built(roles)
    }

    /// Whether everything that is set can be honoured by this version, in a process of `roles`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] for what is set and not built yet.
    pub fn check_built(&self, roles: &Roles) -> Result<(), ConfigError> {
        if roles.has(Role::Api) && self.admin.oidc_issuer.is_some() {
            return Err(ConfigError::invalid(
                "admin.oidc_issuer",
                "signing people in is not built yet; unset it and use `waypost admin token`",
            ));
        }
        if self.telemetry.otlp_endpoint.is_some() {
            return Err(ConfigError::invalid(
                "telemetry.otlp_endpoint",
                "sending traces is not built yet; unset it and scrape /metrics",
            ));
        }
        Ok(())
    }

    /// What is wrong where a database is needed and none is set.
    #[must_use]
    pub fn database_missing() -> ConfigError {
        ConfigError::missing(
            "database.url",
            "to the PostgreSQL to use, such as postgres://waypost:password@localhost:5432/waypost",
        )
    }

    /// The settings as TOML for people to read: every key, secrets masked.
    #[must_use]
    pub fn masked(&self) -> String {
        mask::render(self)
    }

    /// Rules that no single value can show.
    fn check(&self) -> Result<(), ConfigError> {
        self.server.check()?;
        self.database.check()?;
        self.admin.check()?;
        self.ingress.check()?;
        self.delivery.check()?;
        self.graph.check()?;
        self.scheduler.check()?;
        self.retention.check()
    }
}

#[cfg(test)]
mod tests;
