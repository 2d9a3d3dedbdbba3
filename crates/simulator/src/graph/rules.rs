//! What Graph refuses: the judgement over the body of a create or an update, before any endpoint is asked.
//!
//! Pure: clock, faults and configuration come in as values. Must not touch the store or the network.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use url::Url;
use uuid::Uuid;

use super::{
    ChangeType,
    call::{Caller, Problem},
    certificate::Certificate,
    resources::{Family, Kind, Resource, Rich},
    store::Subscription,
};
use crate::{config::Rules, outbound};

/// Shorter lives are raised to this without a word.
const SHORTEST_LIFE: TimeDelta = TimeDelta::minutes(45);
/// Teams resources with a longer life need a lifecycle URL.
const UNWATCHED_LIFE: TimeDelta = TimeDelta::hours(1);
const MAX_CLIENT_STATE: usize = 128;
const MAX_CERTIFICATE_ID: usize = 128;
const MAX_URL: usize = 4_096;
const MAX_RESOURCE: usize = 4_096;

const PAYLOAD: &str = "Could not process subscription creation payload. Are all property names spelled and camelCased \
                       properly? Also are the datatypes for each property valid?";
const WRITABLE: [&str; 13] = [
    "changeType",
    "resource",
    "notificationUrl",
    "lifecycleNotificationUrl",
    "expirationDateTime",
    "clientState",
    "includeResourceData",
    "encryptionCertificate",
    "encryptionCertificateId",
    "latestSupportedTlsVersion",
    "notificationQueryOptions",
    "notificationUrlAppId",
    "notificationContentType",
];
const WEB_PUSH: [&str; 3] = ["vapidPublicKey", "webPushEncryptionP256dhPublicKey", "webPushEncryptionSecret"];
const UPDATABLE: [&str; 4] =
    ["expirationDateTime", "notificationUrl", "encryptionCertificate", "encryptionCertificateId"];

/// What judging depends on beside the body.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) http_allowed: bool,
    pub(crate) now: DateTime<Utc>,
    /// The fault that grants so many seconds and no more.
    pub(crate) grant_seconds: Option<u32>,
}

/// What an update changes.
#[derive(Debug, Default)]
pub(crate) struct Update {
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) notification_url: Option<Url>,
    pub(crate) certificate: Option<(Arc<Certificate>, String)>,
}

impl Update {
    pub(crate) fn apply(self, subscription: &mut Subscription) {
        subscription.updates += 1;
        if let Some(expires_at) = self.expires_at {
            subscription.expires_at = expires_at;
        }
        if let Some(url) = self.notification_url {
            subscription.notification_url = url;
        }
        if let Some((certificate, id)) = self.certificate {
            subscription.certificate = Some(certificate);
            subscription.certificate_id = Some(id);
        }
    }
}

impl Judge<'_> {
    /// The subscription that a create asks for.
    pub(crate) fn create(
        &self,
        body: &[u8],
        owner: Caller,
        prefer: Option<String>,
    ) -> Result<Subscription, Problem> {
        let body = Body::parse(body)?;
        body.only(&WRITABLE)?;
        let change_type = body.required("changeType")?;
        let notification_url = body.required("notificationUrl")?;
        let resource_text = body.required("resource")?;
        let wished_expiry = body.required("expirationDateTime")?;
        let notification_url = self.url("NotificationUrl", notification_url)?;
        let lifecycle_url = body.text("lifecycleNotificationUrl")?;
        let lifecycle_url = lifecycle_url.map(|url| self.url("LifecycleNotificationUrl", url)).transpose()?;
        let resource = self.resource(resource_text, owner)?;
        let change_types = change_types(change_type, resource.kind)?;
        let client_state = body.at_most("clientState", MAX_CLIENT_STATE)?;
        let rich = rich(&body, &resource)?;
        let certificate = certificate(&body, rich)?;
        let expires_at = self.expiry(wished_expiry, resource.kind, rich)?;
        let unwatched = expires_at - self.now > UNWATCHED_LIFE && lifecycle_url.is_none();
        if resource.kind.family == Family::Teams && unwatched {
            return Err(Problem::invalid(
                "lifecycleNotificationUrl is a required property for subscription creation on this resource when \
                 the expirationDateTime value is set to greater than 1 hour",
            ));
        }
        let (certificate, certificate_id) = certificate.unzip();
        Ok(Subscription {
            id: Uuid::new_v4(),
            owner,
            kind: resource.kind,
            resource: resource_text.to_owned(),
            target: format!("{}?{}", resource.path, resource.query.as_deref().unwrap_or_default()),
            path: resource.path,
            change_type: change_type.to_owned(),
            change_types,
            notification_url,
            lifecycle_url,
            expires_at: self.granted(expires_at),
            client_state: client_state.map(str::to_owned),
            rich,
            certificate,
            certificate_id,
            tls_version: tls_version(&body)?,
            query_options: body.text("notificationQueryOptions")?.map(str::to_owned),
            url_app_id: body.text("notificationUrlAppId")?.map(str::to_owned),
            prefer,
            updates: 0,
            reauthorizations: 0,
            ghost: false,
        })
    }

    /// What an update asks for.
    pub(crate) fn update(&self, body: &[u8], current: &Subscription) -> Result<Update, Problem> {
        let body = Body::parse(body)?;
        body.only(&UPDATABLE)?;
        let expires_at = body.text("expirationDateTime")?;
        let expires_at = expires_at.map(|text| self.expiry(text, current.kind, current.rich)).transpose()?;
        let notification_url = body.text("notificationUrl")?;
        let notification_url = notification_url.map(|url| self.url("NotificationUrl", url)).transpose()?;
        let certificate = certificate(&body, false)?;
        if expires_at.is_none() && notification_url.is_none() && certificate.is_none() {
            return Err(Problem::invalid("The request body must contain at least one property to update."));
        }
        Ok(Update { expires_at: expires_at.map(|at| self.granted(at)), notification_url, certificate })
    }

    fn url(&self, property: &str, text: &str) -> Result<Url, Problem> {
        let invalid = || Problem::invalid(format!("{property} '{}' is not a valid absolute URL.", cut(text)));
        if text.len() > MAX_URL {
            return Err(invalid());
        }
        let url = Url::parse(text).map_err(|_| invalid())?;
        match url.scheme() {
            "https" if url.has_host() => Ok(url),
            "http" if self.http_allowed && outbound::is_loopback(&url) => Ok(url),
            scheme => Err(Problem::invalid(format!("{property} scheme='{scheme}' is not supported."))),
        }
    }

    fn resource(&self, text: &str, owner: Caller) -> Result<Resource, Problem> {
        let unsupported = || Problem::invalid(format!("Resource '{}' is not supported.", cut(text)));
        if text.len() > MAX_RESOURCE {
            return Err(unsupported());
        }
        let resource = Resource::parse(text).ok_or_else(unsupported)?;
        let denied = || {
            let message = "Insufficient privileges to complete the operation.";
            Problem::new(StatusCode::FORBIDDEN, "Authorization_RequestDenied", message)
        };
        if let Some(user) = owner.user {
            return if resource.is_for_applications() { Err(denied()) } else { Ok(resource.owned_by(user)) };
        }
        if self.rules.delegated_resources_allowed {
            return Ok(resource);
        }
        if resource.personal {
            let message = "/me request is only valid with delegated authentication flow.";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "BadRequest", message));
        }
        if resource.kind.family == Family::Delegated {
            return Err(denied());
        }
        Ok(resource)
    }

    fn expiry(&self, text: &str, kind: &Kind, rich: bool) -> Result<DateTime<Utc>, Problem> {
        let wished = DateTime::parse_from_rfc3339(text).map_err(|_| Problem::invalid(PAYLOAD))?.to_utc();
        if wished <= self.now {
            return Err(Problem::invalid("Subscription expirationDateTime must be in the future."));
        }
        let minutes = self.ceiling(kind, rich);
        if wished - self.now > TimeDelta::minutes(i64::from(minutes)) {
            let message = format!("Subscription expiration can only be {minutes} minutes in the future.");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "ExtensionError", message));
        }
        Ok(wished.max(self.now + SHORTEST_LIFE))
    }

    fn ceiling(&self, kind: &Kind, rich: bool) -> u32 {
        let of_table = match kind.rich {
            Rich::Selected { ceiling } if rich => ceiling,
            _ => kind.ceiling,
        };
        self.rules.ceilings.get(kind.name).copied().unwrap_or(of_table)
    }

    fn granted(&self, wished: DateTime<Utc>) -> DateTime<Utc> {
        self.grant_seconds.map_or(wished, |seconds| self.now + TimeDelta::seconds(i64::from(seconds)))
    }
}

/// A JSON object whose properties are asked for by name and type.
#[derive(Debug)]
struct Body(Map<String, Value>);

impl Body {
    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            _ => Err(Problem::invalid(PAYLOAD)),
        }
    }

    fn only(&self, known: &[&str]) -> Result<(), Problem> {
        for name in self.0.keys() {
            if WEB_PUSH.contains(&name.as_str()) {
                let message = format!("Property '{name}' is only valid for web push subscriptions.");
                return Err(Problem::invalid(message));
            }
            if !known.contains(&name.as_str()) && !name.starts_with("@odata.") {
                return Err(Problem::invalid(PAYLOAD));
            }
        }
        Ok(())
    }

    /// A text; null counts as absent.
    fn text(&self, name: &str) -> Result<Option<&str>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::invalid(PAYLOAD)),
        }
    }

    fn required(&self, name: &str) -> Result<&str, Problem> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| {
            Problem::invalid(format!("{name} is a required property for subscription creation"))
        })
    }

    fn at_most(&self, name: &str, length: usize) -> Result<Option<&str>, Problem> {
        let text = self.text(name)?;
        if text.is_some_and(|text| text.chars().count() > length) {
            let message = format!("{name} exceeds the maximum length of {length} characters.");
            return Err(Problem::invalid(message));
        }
        Ok(text)
    }
}

fn change_types(text: &str, kind: &Kind) -> Result<BTreeSet<ChangeType>, Problem> {
    text.split(',')
        .map(|part| {
            ChangeType::parse(part.trim())
                .filter(|change| kind.change_types.contains(change))
                .ok_or_else(|| Problem::invalid(format!("Invalid 'changeType' attribute: '{}'.", cut(text))))
        })
        .collect()
}

/// Whether contents are wished for, and may be.
fn rich(body: &Body, resource: &Resource) -> Result<bool, Problem> {
    let wished = match body.0.get("includeResourceData") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(Problem::invalid(PAYLOAD)),
    };
    let kind = resource.kind;
    match kind.rich {
        Rich::No if wished => {
            let message = format!("{} workload is not enabled for rich notifications.", kind.workload);
            Err(Problem::invalid(message))
        }
        Rich::Selected { .. } if wished && !resource.selects() => {
            let message = "Rich notifications on this resource need a $select clause in the resource.";
            Err(Problem::invalid(message))
        }
        Rich::Whole if wished && resource.selects() => {
            Err(Problem::invalid("A $select clause is not supported on this resource."))
        }
        Rich::Always if !wished => {
            Err(Problem::invalid("includeResourceData must be true for subscriptions to this resource."))
        }
        _ => Ok(wished),
    }
}

fn certificate(body: &Body, required: bool) -> Result<Option<(Arc<Certificate>, String)>, Problem> {
    let id = body.at_most("encryptionCertificateId", MAX_CERTIFICATE_ID)?.filter(|id| !id.is_empty());
    let text = body.text("encryptionCertificate")?.filter(|text| !text.is_empty());
    let missing = |name: &str| {
        Problem::invalid(format!("{name} is a required property when resource data is included"))
    };
    match (text, id) {
        (Some(text), Some(id)) => Ok(Some((Arc::new(Certificate::parse(text)?), id.to_owned()))),
        (None, None) if !required => Ok(None),
        (None, _) => Err(missing("encryptionCertificate")),
        (Some(_), None) => Err(missing("encryptionCertificateId")),
    }
}

fn tls_version(body: &Body) -> Result<String, Problem> {
    let version = body.text("latestSupportedTlsVersion")?.unwrap_or("v1_2");
    if ["v1_0", "v1_1", "v1_2", "v1_3"].contains(&version) {
        return Ok(version.to_owned());
    }
    Err(Problem::invalid(format!("latestSupportedTlsVersion '{}' is not supported.", cut(version))))
}

/// What a caller sent, cut to a length that fits into a message.
fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}
