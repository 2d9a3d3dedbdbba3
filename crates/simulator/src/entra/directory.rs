//! Applications, tenants and consent. Bounded by what the configuration and the control add.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::config::{App, Tenant};

/// More applications or tenants than this are not added.
const MAX_ENTRIES: usize = 100_000;

/// What the directory answers to a client id and a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignIn {
    /// Both are right.
    Allowed,
    /// No such application in this tenant: never registered, or its consent was revoked.
    UnknownApp,
    /// The application exists, the secret is another.
    WrongSecret,
}

#[derive(Debug)]
pub(crate) struct Directory {
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    apps: BTreeMap<Uuid, SecretString>,
    /// Lower-case domain to tenant.
    domains: BTreeMap<String, Uuid>,
    tenants: BTreeSet<Uuid>,
    revoked: BTreeSet<(Uuid, Uuid)>,
}

impl Directory {
    pub(crate) fn new(apps: &[App], tenants: &[Tenant]) -> Self {
        let directory = Self {
            entries: Mutex::new(Entries {
                apps: BTreeMap::new(),
                domains: BTreeMap::new(),
                tenants: BTreeSet::new(),
                revoked: BTreeSet::new(),
            }),
        };
        for app in apps {
            directory.add_app(app.clone());
        }
        for tenant in tenants {
            directory.add_tenant(tenant);
        }
        directory
    }

    /// Registers an application, or replaces its secret.
    pub(crate) fn add_app(&self, app: App) {
        self.with(|entries| {
            if entries.apps.len() < MAX_ENTRIES {
                entries.apps.insert(app.client_id, app.client_secret);
            }
        });
    }

    pub(crate) fn add_tenant(&self, tenant: &Tenant) {
        self.with(|entries| {
            if entries.tenants.len() < MAX_ENTRIES {
                entries.tenants.insert(tenant.id);
                entries.domains.insert(tenant.domain.to_ascii_lowercase(), tenant.id);
            }
        });
    }

    pub(crate) fn set_consent(&self, app: Uuid, tenant: Uuid, given: bool) {
        self.with(|entries| {
            if given {
                entries.revoked.remove(&(app, tenant));
            } else if entries.revoked.len() < MAX_ENTRIES {
                entries.revoked.insert((app, tenant));
            }
        });
    }

    /// The tenant that a path segment names, by id or by domain.
    pub(crate) fn tenant(&self, name: &str) -> Option<Uuid> {
        self.with(|entries| match Uuid::parse_str(name) {
            Ok(id) => entries.tenants.contains(&id).then_some(id),
            Err(_) => entries.domains.get(&name.to_ascii_lowercase()).copied(),
        })
    }

    pub(crate) fn sign_in(&self, app: Uuid, tenant: Uuid, secret: &str) -> SignIn {
        self.with(|entries| match entries.apps.get(&app) {
            Some(_) if entries.revoked.contains(&(app, tenant)) => SignIn::UnknownApp,
            Some(expected) if expected.expose_secret() == secret => SignIn::Allowed,
            Some(_) => SignIn::WrongSecret,
            None => SignIn::UnknownApp,
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
