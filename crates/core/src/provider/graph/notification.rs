//! Reading a `changeNotificationCollection` (Microsoft Graph, "changeNotification resource type").
//!
//! Lenient in what may be added, strict in what is relied upon: each item keeps its raw text, so that what goes out is
//! what came in, and an item that can't be read is told apart from a body that can't. Of duplicate keys the last counts,
//! as in JavaScript.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::id::TenantId;
use crate::provider::{Answer, Judgement, Wants};
use crate::rejection::{Reason, Rejection};

/// The most items that one body may hold: more than as many real ones fit the largest body.
pub const MAX_ITEMS: usize = 25_000;
const TOO_MANY_ITEMS: &str = "`value` holds more than 25000 items";

/// A body that could be read.
#[derive(Debug)]
pub struct Collection<'a> {
    /// Each item, or what is wrong with one that can't be read.
    pub items: Vec<Result<Item<'a>, Malformed<'a>>>,
    /// The raw `validationTokens`, when there are any.
    pub validation_tokens: Option<&'a str>,
}

/// What an item tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemKind<'a> {
    /// A change; the type as Graph wrote it.
    Change(Option<Cow<'a, str>>),
    /// An event in the life of the subscription itself.
    Lifecycle(Cow<'a, str>),
}

/// One notification.
#[derive(Debug)]
pub struct Item<'a> {
    /// Its text as it came.
    pub raw: &'a str,
    /// The notification's own id; not all resources send one.
    pub id: Option<Cow<'a, str>>,
    /// The subscription, when it is named by a GUID.
    pub subscription: Option<Uuid>,
    /// What proves where it comes from.
    pub client_state: Option<Cow<'a, str>>,
    /// The tenant, when it is named by a GUID.
    pub tenant: Option<TenantId>,
    /// Whether a tenant is named at all, as a GUID or otherwise.
    pub names_tenant: bool,
    /// What it tells of.
    pub kind: ItemKind<'a>,
    /// The resource path.
    pub resource: Option<Cow<'a, str>>,
    /// The raw `resourceData`.
    pub resource_data: Option<&'a str>,
    /// Whether it holds `encryptedContent`.
    pub rich: bool,
}

/// An item that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed<'a> {
    /// Its text as it came.
    pub raw: &'a str,
    /// What is wrong with it; holds nothing of what it says.
    pub why: &'static str,
}

/// Why a body can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It isn't JSON; the text says where.
    NotJson(String),
    /// It is JSON, but not an object with a `value` array.
    NotACollection(&'static str),
}

impl Fault {
    /// The refusal of the whole request.
    #[must_use]
    pub fn into_judgement(self) -> Judgement {
        let (fault, answer, reason) = match self {
            Self::NotJson(message) => (message.clone(), Answer::InvalidJson(message), Reason::InvalidJson),
            Self::NotACollection(message) => {
                (message.to_owned(), Answer::InvalidPayload(message), Reason::InvalidPayload)
            }
        };
        let sample = [("fault".to_owned(), Value::String(fault))].into_iter().collect();
        Judgement::refused(answer, vec![Rejection { reason, sample }])
    }
}

impl<'a> Collection<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Fault`] when it isn't JSON or not a collection.
    pub fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let frame = Checked::of(body)?;
        let items = frame.items.iter().map(|raw| Item::read(raw.get())).collect();
        Ok(Self { items, validation_tokens: frame.validation_tokens })
    }

    /// Checks a body without reading its items: cheap, for one that nobody will get.
    ///
    /// # Errors
    /// As [`Collection::read`].
    pub fn check(body: &'a [u8]) -> Result<(), Fault> {
        Checked::of(body).map(|_| ())
    }

    /// What must be looked up.
    #[must_use]
    pub fn wants(&self) -> Wants {
        let items = || self.items.iter().filter_map(|item| item.as_ref().ok());
        Wants {
            subscriptions: items().filter_map(|item| item.subscription).collect(),
            tenants: items().filter_map(|item| item.tenant).collect(),
            connections: Vec::new(),
        }
    }
}

/// A body that is a collection, its items not yet looked at.
struct Checked<'a> {
    items: Vec<&'a RawValue>,
    validation_tokens: Option<&'a str>,
}

impl<'a> Checked<'a> {
    fn of(body: &'a [u8]) -> Result<Self, Fault> {
        let text = std::str::from_utf8(body).map_err(|error| Fault::NotJson(error.to_string()))?;
        let whole: &RawValue =
            serde_json::from_str(text).map_err(|error| Fault::NotJson(error.to_string()))?;
        if !whole.get().starts_with('{') {
            return Err(Fault::NotACollection("the body must be an object with a `value` array"));
        }
        let frame: Frame<'a> =
            serde_json::from_str(whole.get()).map_err(|error| Fault::NotJson(error.to_string()))?;
        let value = frame.value.filter(|value| value.get().starts_with('['));
        let value = value.ok_or(Fault::NotACollection("`value` must be an array"))?;
        let Raws(items) =
            serde_json::from_str(value.get()).map_err(|_| Fault::NotACollection(TOO_MANY_ITEMS))?;
        let validation_tokens = frame.validation_tokens.map(RawValue::get).filter(|raw| raw.starts_with('['));
        Ok(Self { items, validation_tokens })
    }
}

impl<'a> Item<'a> {
    /// Reads an item: an error when it isn't an object or a field that counts has the wrong type.
    pub(super) fn read(raw: &'a str) -> Result<Self, Malformed<'a>> {
        Self::of_text(raw).map_err(|why| Malformed { raw, why })
    }

    fn of_text(raw: &'a str) -> Result<Self, &'static str> {
        let fields: Fields<'a> = serde_json::from_str(raw).map_err(|_| "the item is not an object")?;
        let lifecycle = text(fields.lifecycle_event).ok_or("`lifecycleEvent` is not a string")?;
        let tenant = text(fields.tenant_id).ok_or("`tenantId` is not a string")?;
        let subscription = text(fields.subscription_id).ok_or("`subscriptionId` is not a string")?;
        Ok(Self {
            raw,
            id: text(fields.id).ok_or("`id` is not a string")?,
            subscription: subscription.and_then(|id| Uuid::try_parse(&id).ok()),
            client_state: text(fields.client_state).ok_or("`clientState` is not a string")?,
            names_tenant: tenant.is_some(),
            tenant: tenant.and_then(|tenant| tenant.parse().ok()),
            kind: match lifecycle {
                Some(event) => ItemKind::Lifecycle(event),
                None => ItemKind::Change(text(fields.change_type).ok_or("`changeType` is not a string")?),
            },
            resource: text(fields.resource).ok_or("`resource` is not a string")?,
            resource_data: fields.resource_data.map(RawValue::get).filter(|raw| *raw != "null"),
            rich: fields.encrypted_content.is_some_and(|raw| raw.get() != "null"),
        })
    }

    /// A key that is the same for a repeat of this item by Graph: its subscription and its own id, or what the item
    /// says when it has none. `identity` stands for the subscription.
    #[must_use]
    pub fn key(&self, identity: Option<Uuid>) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: Option<&str>| {
            let part = part.unwrap_or_default();
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        };
        add(identity.map(|id| id.to_string()).as_deref());
        if let Some(id) = &self.id {
            add(Some(id.as_ref()));
        } else {
            let (kind, name) = match &self.kind {
                ItemKind::Change(change) => ("change", change.as_deref()),
                ItemKind::Lifecycle(event) => ("lifecycle", Some(event.as_ref())),
            };
            add(Some(kind));
            add(name);
            add(self.resource.as_deref());
            add(self.resource_data);
        }
        URL_SAFE_NO_PAD.encode(&hash.finalize()[..12])
    }

    /// What may be shown of the item when it is refused: neither state nor content.
    #[must_use]
    pub fn sample(&self) -> Map<String, Value> {
        let kind = match &self.kind {
            ItemKind::Change(change) => ("changeType", change.as_deref()),
            ItemKind::Lifecycle(event) => ("lifecycleEvent", Some(event.as_ref())),
        };
        let subscription = self.subscription.map(|id| id.to_string());
        let tenant = self.tenant.map(|id| id.to_string());
        [
            ("subscriptionId", subscription.as_deref()),
            ("tenantId", tenant.as_deref()),
            ("resource", self.resource.as_deref()),
            kind,
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(shortened(value?)))))
        .collect()
    }
}

/// What may be shown of an item that can't be read: its JSON type and what is wrong.
#[must_use]
pub(super) fn sample_of_malformed(item: Malformed<'_>) -> Map<String, Value> {
    let kind = match item.raw.as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    };
    [("type", kind), ("fault", item.why)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}

fn shortened(text: &str) -> String {
    text.chars().take(256).collect()
}

/// A string or nothing; `None` when it is something else.
#[expect(clippy::option_option, reason = "no value and no string are different things here")]
fn text(raw: Option<&RawValue>) -> Option<Option<Cow<'_, str>>> {
    match raw.map(RawValue::get) {
        None | Some("null") => Some(None),
        Some(raw) => serde_json::from_str::<Text<'_>>(raw).ok().map(|text| Some(text.0)),
    }
}

/// What a string of JSON says. Lone surrogates, which no text can hold, are replaced: they stand in nothing that counts,
/// and what is sent on is made from the raw text.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_bytes<E>(self, value: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(String::from_utf8_lossy(value)))
            }
            fn visit_bytes<E>(self, value: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(value).into_owned())))
            }
        }
        // As a str, a lone surrogate would be an error.
        deserializer.deserialize_bytes(Strings)
    }
}

/// The raw items of an array, [`MAX_ITEMS`] at most.
struct Raws<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Raws<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items)
    }
}

struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Raws<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Raws<'de>, A::Error> {
        let mut raws = Vec::new();
        while let Some(raw) = array.next_element()? {
            if raws.len() == MAX_ITEMS {
                return Err(A::Error::custom(TOO_MANY_ITEMS));
            }
            raws.push(raw);
        }
        Ok(Raws(raws))
    }
}

/// Reads the named members of an object as raw text, the last of duplicates, and passes over the rest.
macro_rules! raw_members {
    ($name:ident { $($field:ident = $($key:literal)|+),+ $(,)? }) => {
        #[derive(Default)]
        struct $name<'a> { $($field: Option<&'a RawValue>),+ }

        impl<'de> Deserialize<'de> for $name<'de> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;
                impl<'de> Visitor<'de> for Members {
                    type Value = $name<'de>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name<'de>, A::Error> {
                        let mut found = $name::default();
                        while let Some(Text(key)) = map.next_key()? {
                            match key.as_ref() {
                                $($($key)|+ => found.$field = Some(map.next_value()?),)+
                                _ => { map.next_value::<IgnoredAny>()?; }
                            }
                        }
                        Ok(found)
                    }
                }
                deserializer.deserialize_map(Members)
            }
        }
    };
}

raw_members!(Frame { value = "value", validation_tokens = "validationTokens" });
raw_members!(Fields {
    id = "id",
    subscription_id = "subscriptionId",
    client_state = "clientState",
    tenant_id = "tenantId",
    change_type = "changeType",
    lifecycle_event = "lifecycleEvent",
    resource = "resource",
    resource_data = "resourceData",
    encrypted_content = "encryptedContent" | "EncryptedContent",
});
