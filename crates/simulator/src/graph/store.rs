//! The subscriptions that exist, and when they cease to.
//!
//! Expired ones are gone for every reader at the moment the clock says so. Must not judge requests: `rules` does.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use actix_web::http::StatusCode;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::{
    ChangeType,
    call::{Caller, Problem},
    certificate::Certificate,
    resources::{Kind, Pool},
};
use crate::config::Rules;

/// A subscription as Graph holds it.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) id: Uuid,
    pub(crate) owner: Caller,
    pub(crate) kind: &'static Kind,
    /// As sent.
    pub(crate) resource: String,
    /// Equal for equal targets, without and with the query.
    pub(crate) path: String,
    pub(crate) target: String,
    pub(crate) change_type: String,
    pub(crate) change_types: BTreeSet<ChangeType>,
    pub(crate) notification_url: Url,
    pub(crate) lifecycle_url: Option<Url>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) client_state: Option<String>,
    pub(crate) rich: bool,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) certificate_id: Option<String>,
    pub(crate) tls_version: String,
    pub(crate) query_options: Option<String>,
    pub(crate) url_app_id: Option<String>,
    /// The `Prefer` header of the create.
    pub(crate) prefer: Option<String>,
    pub(crate) updates: u32,
    pub(crate) reauthorizations: u32,
    /// Nobody can see or end it, and still it counts.
    pub(crate) ghost: bool,
}

/// A subscription as the control shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// Its id.
    pub id: Uuid,
    /// The application that created it.
    pub app: Uuid,
    /// The tenant it was created in.
    pub tenant: Uuid,
    /// The person in whose name, if any.
    pub user: Option<Uuid>,
    /// As sent.
    pub resource: String,
    /// As sent.
    pub change_type: String,
    /// Where data goes.
    pub notification_url: Url,
    /// Where lifecycle events go.
    pub lifecycle_notification_url: Option<Url>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// The shared secret.
    pub client_state: Option<String>,
    /// Whether contents are sent along, encrypted.
    pub include_resource_data: bool,
    /// The label of the certificate.
    pub encryption_certificate_id: Option<String>,
    /// The SHA-1 of the certificate, upper-case hex.
    pub encryption_certificate_thumbprint: Option<String>,
    /// The `Prefer` header it was created with.
    pub prefer: Option<String>,
    /// PATCH calls that succeeded.
    pub updates: u32,
    /// Reauthorize calls that succeeded.
    pub reauthorizations: u32,
}

impl Subscription {
    /// The JSON of create, update and GET by id.
    pub(crate) fn entity(&self, graph: &str) -> Value {
        let mut entity = self.listed();
        entity["clientState"] = json!(self.client_state);
        entity["@odata.context"] = json!(format!("{graph}/v1.0/$metadata#subscriptions/$entity"));
        entity
    }

    /// The JSON inside a list: without the client state.
    pub(crate) fn listed(&self) -> Value {
        json!({
            "id": self.id,
            "resource": self.resource,
            "applicationId": self.owner.app,
            "changeType": self.change_type,
            "clientState": null,
            "notificationUrl": self.notification_url,
            "notificationQueryOptions": self.query_options,
            "lifecycleNotificationUrl": self.lifecycle_url,
            "expirationDateTime": self.expires_at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            "creatorId": self.creator(),
            "includeResourceData": self.rich,
            "latestSupportedTlsVersion": self.tls_version,
            "encryptionCertificate": null,
            "encryptionCertificateId": self.certificate_id,
            "notificationUrlAppId": self.url_app_id,
            "notificationContentType": "application/json",
        })
    }

    /// The person, or the service principal of the application in the tenant: some id that is the same every time.
    fn creator(&self) -> Uuid {
        if let Some(user) = self.owner.user {
            return user;
        }
        Uuid::from_u128(self.owner.app.as_u128() ^ self.owner.tenant.as_u128())
    }

    fn view(&self) -> SubscriptionView {
        SubscriptionView {
            id: self.id,
            app: self.owner.app,
            tenant: self.owner.tenant,
            user: self.owner.user,
            resource: self.resource.clone(),
            change_type: self.change_type.clone(),
            notification_url: self.notification_url.clone(),
            lifecycle_notification_url: self.lifecycle_url.clone(),
            expires_at: self.expires_at,
            client_state: self.client_state.clone(),
            include_resource_data: self.rich,
            encryption_certificate_id: self.certificate_id.clone(),
            encryption_certificate_thumbprint: self
                .certificate
                .as_ref()
                .map(|known| known.thumbprint.clone()),
            prefer: self.prefer.clone(),
            updates: self.updates,
            reauthorizations: self.reauthorizations,
        }
    }
}

/// Dead subscriptions that are remembered, for lists that lag behind.
const MAX_DEAD: usize = 1_000;

/// The part of a list that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) after: Option<Uuid>,
    pub(crate) size: usize,
    /// Show those too that are gone.
    pub(crate) stale: bool,
}

/// All of them, by id.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    live: Mutex<BTreeMap<Uuid, Subscription>>,
    /// Never locked before `live` is.
    dead: Mutex<VecDeque<Subscription>>,
}

impl Subscriptions {
    /// Whether this one could be added now: no equal one, and within every quota.
    pub(crate) fn admits(
        &self,
        wish: &Subscription,
        rules: &Rules,
        now: DateTime<Utc>,
    ) -> Result<(), Problem> {
        self.with(now, |live| admit(live, wish, rules))
    }

    /// Adds it, if that is still possible: much may have happened during the handshake.
    pub(crate) fn add(&self, wish: Subscription, rules: &Rules, now: DateTime<Utc>) -> Result<(), Problem> {
        self.with(now, |live| {
            admit(live, &wish, rules)?;
            live.insert(wish.id, wish);
            Ok(())
        })
    }

    /// Any living subscription.
    pub(crate) fn get(&self, id: Uuid, now: DateTime<Utc>) -> Option<Subscription> {
        self.lock().get(&id).filter(|found| found.expires_at > now).cloned()
    }

    /// A living subscription of this owner; those of others do not exist for it.
    pub(crate) fn owned(&self, id: Uuid, owner: Caller, now: DateTime<Utc>) -> Result<Subscription, Problem> {
        self.get(id, now).filter(|found| found.owner == owner && !found.ghost).ok_or_else(Problem::not_found)
    }

    /// Changes a subscription of this owner and gives back what it became.
    pub(crate) fn change(
        &self,
        id: Uuid,
        owner: Caller,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Subscription),
    ) -> Result<Subscription, Problem> {
        let mut live = self.lock();
        let ours = |found: &&mut Subscription| found.owner == owner && !found.ghost && found.expires_at > now;
        let found = live.get_mut(&id).filter(ours);
        let found = found.ok_or_else(Problem::not_found)?;
        change(found);
        Ok(found.clone())
    }

    /// Makes a living subscription one that only the duplicate guard and the quotas see.
    pub(crate) fn haunt(&self, id: Uuid) -> bool {
        self.lock().get_mut(&id).map(|found| found.ghost = true).is_some()
    }

    /// Removes a subscription, whoever owns it.
    pub(crate) fn remove(&self, id: Uuid) -> Option<Subscription> {
        let removed = self.lock().remove(&id);
        self.bury(removed.iter().cloned());
        removed
    }

    /// A page of an owner's subscriptions, in the order of their ids, and whether more follow.
    pub(crate) fn page(
        &self,
        owner: Caller,
        window: &Window,
        now: DateTime<Utc>,
    ) -> (Vec<Subscription>, bool) {
        let wanted = |found: &Subscription| {
            found.owner == owner && !found.ghost && window.after.is_none_or(|after| found.id > after)
        };
        let beyond = window.size.max(1).saturating_add(1);
        let mut page: Vec<_> = self
            .with(now, |live| live.values().filter(|found| wanted(found)).take(beyond).cloned().collect());
        if window.stale {
            let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
            page.extend(dead.iter().filter(|found| wanted(found)).cloned());
            page.sort_by_key(|found| found.id);
        }
        let more = page.len() >= beyond;
        page.truncate(beyond - 1);
        (page, more)
    }

    /// Every living subscription of a tenant, as it is held.
    pub(crate) fn living(&self, tenant: Uuid, now: DateTime<Utc>) -> Vec<Subscription> {
        self.with(now, |live| live.values().filter(|found| found.owner.tenant == tenant).cloned().collect())
    }

    /// Every living subscription.
    pub(crate) fn views(&self, now: DateTime<Utc>) -> Vec<SubscriptionView> {
        self.with(now, |live| live.values().map(Subscription::view).collect())
    }

    fn with<T>(&self, now: DateTime<Utc>, work: impl FnOnce(&mut BTreeMap<Uuid, Subscription>) -> T) -> T {
        let mut live = self.lock();
        let expired = live.extract_if(.., |_, found| found.expires_at <= now).map(|(_, found)| found);
        self.bury(expired);
        work(&mut live)
    }

    fn bury(&self, gone: impl Iterator<Item = Subscription>) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.extend(gone);
        let excess = dead.len().saturating_sub(MAX_DEAD);
        dead.drain(..excess);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, Subscription>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn admit(live: &BTreeMap<Uuid, Subscription>, wish: &Subscription, rules: &Rules) -> Result<(), Problem> {
    let of_owner = || live.values().filter(|found| found.owner == wish.owner);
    let twin =
        of_owner().find(|found| found.target == wish.target && found.change_types == wish.change_types);
    if let (true, Some(twin)) = (rules.duplicates_refused, twin) {
        let message = format!("Subscription Id <{}> already exists for the requested combination", twin.id);
        return Err(Problem::new(StatusCode::CONFLICT, "Conflict", message));
    }
    if wish.kind.family.one_per_app() && of_owner().any(|found| found.path == wish.path) {
        return Err(past_quota(wish, 1, &wish.path));
    }
    if of_owner().count() >= rules.quota_per_app_and_tenant {
        return Err(past_quota(wish, rules.quota_per_app_and_tenant, wish.kind.name));
    }
    admit_pooled(live, wish, rules)?;
    if live.len() >= rules.max_subscriptions {
        let message = "The simulator holds no more subscriptions.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message));
    }
    Ok(())
}

/// The quotas that subscriptions of several applications share.
fn admit_pooled(
    live: &BTreeMap<Uuid, Subscription>,
    wish: &Subscription,
    rules: &Rules,
) -> Result<(), Problem> {
    let in_tenant = || live.values().filter(|found| found.owner.tenant == wish.owner.tenant);
    let (limit, held) = match wish.kind.pool() {
        Pool::Mailbox => {
            let of_mailbox = |found: &&Subscription| {
                found.kind.pool() == Pool::Mailbox && mailbox(&found.path) == mailbox(&wish.path)
            };
            (rules.quota_per_mailbox, in_tenant().filter(of_mailbox).count())
        }
        Pool::Directory => {
            let own = |found: &&Subscription| {
                found.kind.pool() == Pool::Directory && found.owner.app == wish.owner.app
            };
            (rules.quota_of_directory, in_tenant().filter(own).count())
        }
        Pool::Teams => {
            let teams = in_tenant().filter(|found| found.kind.pool() == Pool::Teams);
            (rules.quota_of_teams, teams.count())
        }
        Pool::None => return Ok(()),
    };
    if held >= limit { Err(past_quota(wish, limit, wish.kind.name)) } else { Ok(()) }
}

/// The person that a path of Outlook begins with.
fn mailbox(path: &str) -> Option<&str> {
    path.split('/').nth(1)
}

fn past_quota(wish: &Subscription, limit: usize, what: &str) -> Problem {
    let message = format!(
        "Operation: Create; Exception: [Status Code: Forbidden; Reason: App '{}' has reached its limit of '{limit}' \
         '{}' subscription on tenant '{}']",
        wish.owner.app,
        what.to_ascii_uppercase(),
        wish.owner.tenant
    );
    Problem::new(StatusCode::FORBIDDEN, "ExtensionError", message)
}
