//! Notifications: what is said, how it is put into JSON, and how it is brought to the endpoints.
//!
//! `shapes` knows what the workloads' items look like, `build` makes collections of them, `rich` encrypts, `sender`
//! delivers with Graph's limits and retries, `health` judges endpoints. Must not change subscriptions.

pub(crate) mod build;
mod health;
pub(crate) mod rich;
pub(crate) mod sender;
pub(crate) mod shapes;

pub use self::{
    build::Prepared,
    sender::{DeliveryRecord, DeliveryState, Outcome, Try},
    shapes::{ExpirationStyle, Shape},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{ChangeType, entra::keys::CryptoFailure};

/// Items of one notification; more are refused.
pub(crate) const MAX_ITEMS: usize = 10_000;

/// What Graph tells about the subscription itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LifecycleEvent {
    /// Renew or reauthorize, or deliveries pause.
    ReauthorizationRequired,
    /// It is gone.
    SubscriptionRemoved,
    /// Something was not delivered.
    Missed,
}

/// The validation tokens that come with rich items. Where no version is named, it is the one of the application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokens {
    /// In the version that each application is registered for: 1 if it did not choose.
    #[default]
    Right,
    /// Version 1.
    V1,
    /// Version 2.
    V2,
    /// `null`, as when Graph cannot obtain them.
    Missing,
    /// Right ones, but none for the first application and tenant of the batch.
    FirstMissing,
    /// Over since an hour.
    Expired,
    /// Good only in an hour.
    Early,
    /// For another application.
    WrongAudience,
    /// Obtained by another application than Graph's.
    WrongPublisher,
    /// In the name of another tenant.
    WrongTenant,
    /// By an issuer that is none.
    WrongIssuer,
    /// Signed by a key that is not published, under a published name.
    Forged,
    /// Signed by a key that is not published, under its own name.
    UnknownKey,
}

/// What is altered in an encrypted item after it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tamper {
    /// A bit of the encrypted resource.
    Data,
    /// A bit of its signature.
    Signature,
    /// A bit of the sealed key.
    Key,
    /// The label names a certificate that nobody has.
    CertificateId,
}

/// One item for one subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Item {
    /// Whom it is for.
    pub subscription_id: Uuid,
    /// A change of data; exactly one of this and `lifecycle_event` is set.
    #[serde(default)]
    pub change_type: Option<ChangeType>,
    /// An event of the subscription.
    #[serde(default)]
    pub lifecycle_event: Option<LifecycleEvent>,
    /// What the item looks like; by the subscription's resource when absent.
    #[serde(default)]
    pub shape: Option<Shape>,
    /// The resource to encrypt into a rich item; made up when absent.
    #[serde(default)]
    pub content: Option<Value>,
    /// What is wrong with the encrypted item.
    #[serde(default)]
    pub tamper: Option<Tamper>,
    /// How the expiry is written.
    #[serde(default)]
    pub expiration_style: ExpirationStyle,
    /// A JSON merge patch over the finished item: replaces and removes members, to make it odd or wrong.
    #[serde(default)]
    pub patch: Option<Value>,
}

impl Item {
    fn new(subscription_id: Uuid) -> Self {
        Self {
            subscription_id,
            change_type: None,
            lifecycle_event: None,
            shape: None,
            content: None,
            tamper: None,
            expiration_style: ExpirationStyle::default(),
            patch: None,
        }
    }

    /// Something of the subscribed resource changed. Rich if the subscription is.
    #[must_use]
    pub fn change(subscription_id: Uuid, change_type: ChangeType) -> Self {
        Self { change_type: Some(change_type), ..Self::new(subscription_id) }
    }

    /// Something befell the subscription.
    #[must_use]
    pub fn lifecycle(subscription_id: Uuid, event: LifecycleEvent) -> Self {
        Self { lifecycle_event: Some(event), ..Self::new(subscription_id) }
    }

    /// The same item in another shape.
    #[must_use]
    pub fn shaped(self, shape: Shape) -> Self {
        Self { shape: Some(shape), ..self }
    }

    /// The same item with this content.
    #[must_use]
    pub fn holding(self, content: Value) -> Self {
        Self { content: Some(content), ..self }
    }

    /// The same item, altered after it was sealed.
    #[must_use]
    pub fn tampered(self, tamper: Tamper) -> Self {
        Self { tamper: Some(tamper), ..self }
    }

    /// The same item, patched at the end (RFC 7396).
    #[must_use]
    pub fn patched(self, patch: Value) -> Self {
        Self { patch: Some(patch), ..self }
    }
}

/// Items that are told at one time. Those that share a URL travel in one request, whatever their subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notification {
    /// In this order.
    pub items: Vec<Item>,
    /// The tokens of the rich ones.
    #[serde(default)]
    pub tokens: Tokens,
}

impl Notification {
    /// These items, with ordinary tokens.
    pub fn of(items: impl IntoIterator<Item = Item>) -> Self {
        Self { items: items.into_iter().collect(), tokens: Tokens::default() }
    }
}

/// Why a notification was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// It never existed, or expired, or was deleted.
    #[error("there is no live subscription {0}")]
    UnknownSubscription(Uuid),
    /// The item is of no kind, or of two.
    #[error("an item must have either changeType or lifecycleEvent")]
    AmbiguousItem,
    /// Lifecycle events have nowhere to go.
    #[error("subscription {0} has no lifecycleNotificationUrl")]
    NoLifecycleUrl(Uuid),
    /// More than Graph would ever batch.
    #[error("a notification may hold up to {MAX_ITEMS} items")]
    TooManyItems,
    /// The body is over the cap.
    #[error("a notification may be up to 4 MiB long")]
    TooLarge,
    /// Only the loopback interface may be reached.
    #[error("the target is not on the loopback interface")]
    ForbiddenTarget,
    /// The bound on unsettled deliveries is reached.
    #[error("too many deliveries are outstanding")]
    Overloaded,
    /// Encrypting or signing failed.
    #[error("the notification could not be sealed or signed")]
    Crypto(#[from] CryptoFailure),
}
