//! What Graph says of a subscription. Read leniently: properties are added every year.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Deserialize;
use uuid::Uuid;

/// A subscription as Graph shows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphSubscription {
    /// Its id.
    pub id: Uuid,
    /// What it watches.
    #[serde(default)]
    pub resource: Option<String>,
    /// Which changes.
    #[serde(default)]
    pub change_type: Option<String>,
    /// Where notifications go.
    #[serde(default)]
    pub notification_url: Option<String>,
    /// Where lifecycle notifications go.
    #[serde(default)]
    pub lifecycle_notification_url: Option<String>,
    /// When it ends: what was granted, whatever was asked for.
    #[serde(rename = "expirationDateTime")]
    pub expires_at: DateTime<Utc>,
    /// What vouches for its notifications; null in a list.
    #[serde(default)]
    pub client_state: Option<SecretString>,
    /// Whether notifications hold the resource.
    #[serde(default)]
    pub include_resource_data: Option<bool>,
    /// The label of the certificate that it encrypts for.
    #[serde(default)]
    pub encryption_certificate_id: Option<String>,
    /// Who created it.
    #[serde(default)]
    pub creator_id: Option<String>,
    /// The app that created it.
    #[serde(default)]
    pub application_id: Option<String>,
}

/// A page of the list.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) value: Vec<GraphSubscription>,
    #[serde(default, rename = "@odata.nextLink")]
    pub(super) next: Option<String>,
}

impl GraphSubscription {
    /// Reads an answer; `None` when it doesn't say what a subscription needs.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Page {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}
