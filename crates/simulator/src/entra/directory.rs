//! Applications, tenants, people and consent. Bounded by what the configuration and the control add.
//!
//! Must not issue or judge tokens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::registration::Registration;
use crate::config::{SimulatorConfig, Tenant, User};

/// More applications, tenants or people than this are not added.
const MAX_ENTRIES: usize = 100_000;

/// Whether an application may get tokens in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Allowed,
    /// Never registered, or without consent in this tenant, or with one that does not work yet.
    Absent,
    /// An administrator of the tenant turned it off.
    Disabled,
}

#[derive(Debug, Clone, Copy)]
enum Consent {
    From(DateTime<Utc>),
    Revoked,
}

#[derive(Debug)]
pub(crate) struct Directory {
    entries: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    apps: BTreeMap<Uuid, Registration>,
    /// Lower-case domain to tenant.
    domains: BTreeMap<String, Uuid>,
    tenants: BTreeSet<Uuid>,
    users: BTreeMap<Uuid, Person>,
    consent: BTreeMap<(Uuid, Uuid), Consent>,
    consent_given: bool,
    disabled: BTreeSet<(Uuid, Uuid)>,
    /// Application permissions in a tenant, where they are not simply all.
    permissions: BTreeMap<(Uuid, Uuid), Vec<String>>,
}

#[derive(Debug, Clone)]
struct Person {
    user: User,
    enabled: bool,
}

impl Directory {
    pub(crate) fn new(config: &SimulatorConfig) -> Self {
        let directory = Self {
            entries: Mutex::new(Entries {
                apps: BTreeMap::new(),
                domains: BTreeMap::new(),
                tenants: BTreeSet::new(),
                users: BTreeMap::new(),
                consent: BTreeMap::new(),
                consent_given: config.consent_given,
                disabled: BTreeSet::new(),
                permissions: BTreeMap::new(),
            }),
        };
        for app in &config.apps {
            directory.register(app.client_id, |registration| {
                registration.replace_secrets(app.client_secret.clone());
                config.redirect_uris.iter().cloned().for_each(|uri| registration.add_redirect_uri(uri));
            });
        }
        for tenant in &config.tenants {
            directory.add_tenant(tenant);
        }
        directory
    }

    /// Changes a registration, which comes into being if there is none yet.
    pub(crate) fn register(&self, app: Uuid, change: impl FnOnce(&mut Registration)) {
        self.with(|entries| {
            if entries.apps.len() < MAX_ENTRIES || entries.apps.contains_key(&app) {
                change(entries.apps.entry(app).or_default());
            }
        });
    }

    pub(crate) fn app(&self, app: Uuid) -> Option<Registration> {
        self.with(|entries| entries.apps.get(&app).cloned())
    }

    pub(crate) fn add_tenant(&self, tenant: &Tenant) {
        self.with(|entries| {
            if entries.tenants.len() < MAX_ENTRIES {
                entries.tenants.insert(tenant.id);
                entries.domains.insert(tenant.domain.to_ascii_lowercase(), tenant.id);
            }
        });
    }

    /// Every tenant with its domain, in the order of the domains.
    pub(crate) fn tenants(&self) -> Vec<Tenant> {
        self.with(|entries| {
            let all = entries.domains.iter();
            all.map(|(domain, &id)| Tenant { id, domain: domain.clone() }).collect()
        })
    }

    pub(crate) fn add_user(&self, user: User) {
        self.with(|entries| {
            if entries.users.len() < MAX_ENTRIES {
                entries.users.insert(user.id, Person { user, enabled: true });
            }
        });
    }

    pub(crate) fn set_user_enabled(&self, user: Uuid, enabled: bool) {
        self.with(|entries| {
            if let Some(person) = entries.users.get_mut(&user) {
                person.enabled = enabled;
            }
        });
    }

    /// A person, and whether they may sign in.
    pub(crate) fn user(&self, id: Uuid) -> Option<(User, bool)> {
        self.with(|entries| entries.users.get(&id).map(|person| (person.user.clone(), person.enabled)))
    }

    /// The people of one tenant, or of all.
    pub(crate) fn users(&self, tenant: Option<Uuid>) -> Vec<User> {
        self.with(|entries| {
            let all = entries.users.values().map(|person| &person.user);
            all.filter(|user| tenant.is_none_or(|tenant| user.tenant == tenant)).cloned().collect()
        })
    }

    /// Gives or revokes consent; what is given works from the moment named.
    pub(crate) fn set_consent(&self, app: Uuid, tenant: Uuid, from: Option<DateTime<Utc>>) {
        self.with(|entries| {
            if entries.consent.len() < MAX_ENTRIES || entries.consent.contains_key(&(app, tenant)) {
                entries.consent.insert((app, tenant), from.map_or(Consent::Revoked, Consent::From));
            }
        });
    }

    pub(crate) fn set_disabled(&self, app: Uuid, tenant: Uuid, disabled: bool) {
        self.with(|entries| {
            if !disabled {
                entries.disabled.remove(&(app, tenant));
            } else if entries.disabled.len() < MAX_ENTRIES {
                entries.disabled.insert((app, tenant));
            }
        });
    }

    pub(crate) fn set_permissions(&self, app: Uuid, tenant: Uuid, permissions: Option<Vec<String>>) {
        self.with(|entries| match permissions {
            None => drop(entries.permissions.remove(&(app, tenant))),
            Some(list) if entries.permissions.len() < MAX_ENTRIES => {
                entries.permissions.insert((app, tenant), list);
            }
            Some(_) => {}
        });
    }

    /// The application permissions in a tenant; all there are when nothing was said.
    pub(crate) fn permissions(&self, app: Uuid, tenant: Uuid) -> Option<Vec<String>> {
        self.with(|entries| entries.permissions.get(&(app, tenant)).cloned())
    }

    /// The tenant that a path segment names, by id or by domain.
    pub(crate) fn tenant(&self, name: &str) -> Option<Uuid> {
        self.with(|entries| match Uuid::parse_str(name) {
            Ok(id) => entries.tenants.contains(&id).then_some(id),
            Err(_) => entries.domains.get(&name.to_ascii_lowercase()).copied(),
        })
    }

    pub(crate) fn standing(&self, app: Uuid, tenant: Uuid, now: DateTime<Utc>) -> Standing {
        self.with(|entries| {
            let Some(registration) = entries.apps.get(&app) else { return Standing::Absent };
            if registration.home.is_some_and(|home| home != tenant) {
                return Standing::Absent;
            }
            match entries.consent.get(&(app, tenant)) {
                None if !entries.consent_given => Standing::Absent,
                Some(Consent::Revoked) => Standing::Absent,
                Some(Consent::From(from)) if *from > now => Standing::Absent,
                _ if entries.disabled.contains(&(app, tenant)) => Standing::Disabled,
                _ => Standing::Allowed,
            }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
