//! What is wanted of a subscription, and when two wishes are the same.

use std::collections::BTreeSet;
use std::fmt;

use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};

use crate::id::{ConnectionKey, IntegrationId, TenantId};
use crate::provider::graph::resource::Resource;

/// The most kinds of change that a subscription names.
const MOST_TYPES: usize = 10;

/// Which changes are wanted: sorted, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeTypes(BTreeSet<String>);

/// A text that names no kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("change_type is a list out of created, updated and deleted, separated by commas")]
pub struct ChangeTypesError;

impl ChangeTypes {
    /// Reads a list with commas; letter case and order mean nothing. Words that Graph doesn't know are left to Graph.
    ///
    /// # Errors
    /// [`ChangeTypesError`] when it holds something else than words, or none, or too many.
    pub fn parse(text: &str) -> Result<Self, ChangeTypesError> {
        let words: BTreeSet<String> = text.split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
        let is_word = |word: &String| {
            (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphabetic())
        };
        if words.iter().all(is_word) && (1..=MOST_TYPES).contains(&words.len()) {
            Ok(Self(words))
        } else {
            Err(ChangeTypesError)
        }
    }

    /// Whether they are all kinds that Graph is known to have.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.0.iter().all(|word| matches!(word.as_str(), "created" | "updated" | "deleted"))
    }
}

impl fmt::Display for ChangeTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, word) in self.0.iter().enumerate() {
            write!(f, "{}{word}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// How long a subscription shall live at a time, where that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as Graph grants.
    Longest,
    /// So long.
    For(TimeDelta),
}

impl Lifetime {
    /// In seconds, as it is stored.
    #[must_use]
    pub const fn seconds(self) -> Option<i64> {
        match self {
            Self::Longest => None,
            Self::For(life) => Some(life.num_seconds()),
        }
    }
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What to watch.
    pub resource: Resource,
    /// Which changes.
    pub change_types: ChangeTypes,
    /// Whether notifications shall hold the resource, encrypted.
    pub include_resource_data: bool,
    /// How long it shall live at a time; `None` for as long as Graph grants.
    pub lifetime: Option<TimeDelta>,
    /// Whether Waypost renews it.
    pub auto_renew: bool,
}

impl Wish {
    /// How much life to ask for.
    #[must_use]
    pub fn life(&self) -> TimeDelta {
        let longest = self.resource.longest(self.include_resource_data);
        self.lifetime.map_or(longest, |wanted| wanted.min(longest))
    }

    /// Whether it is about the same notifications as another: how long it lives is not asked.
    #[must_use]
    pub fn watches_the_same(&self, other: &Self) -> bool {
        self.resource.key() == other.resource.key()
            && self.change_types == other.change_types
            && self.include_resource_data == other.include_resource_data
    }

    /// What makes it the same as another: what Graph would see as a duplicate, and what decides who may manage it.
    #[must_use]
    pub fn key(&self, owner: &Owner<'_>) -> WishKey {
        let mut hash = Sha256::new();
        // Each part is told by its length, so that no two lists of parts read alike.
        let mut part = |bytes: &[u8]| {
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        };
        part(owner.integration.uuid().as_bytes());
        part(owner.cloud.as_bytes());
        part(owner.tenant.uuid().as_bytes());
        part(owner.client_id.to_ascii_lowercase().as_bytes());
        part(owner.identity.to_string().as_bytes());
        part(self.resource.key().as_bytes());
        part(self.change_types.to_string().as_bytes());
        part(&[u8::from(self.include_resource_data)]);
        WishKey(hash.finalize().into())
    }
}

/// On whose behalf something is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The integration: notifications come to its URL, so another one's subscription is no substitute.
    pub integration: IntegrationId,
    /// The cloud's name.
    pub cloud: &'a str,
    /// The tenant.
    pub tenant: TenantId,
    /// The app registration's client id.
    pub client_id: &'a str,
    /// As whom Graph is called.
    pub identity: Identity,
}

/// As whom Graph is called. A subscription can only be managed as whoever created it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// As the app.
    App,
    /// As the person behind a connection, on whose behalf nobody else acts.
    Person(ConnectionKey),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App => f.write_str("app"),
            Self::Person(connection) => write!(f, "connection:{}", connection.number()),
        }
    }
}

/// What equal wishes have in common: a digest of all that makes them equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WishKey([u8; 32]);

impl WishKey {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for WishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn wish(resource: &str, types: &str) -> Wish {
        Wish {
            resource: Resource::parse(resource).unwrap(),
            change_types: ChangeTypes::parse(types).unwrap(),
            include_resource_data: false,
            lifetime: None,
            auto_renew: true,
        }
    }

    const OWNER: Owner<'_> = Owner {
        integration: IntegrationId::from_uuid(Uuid::nil()),
        cloud: "global",
        tenant: TenantId::from_uuid(Uuid::nil()),
        client_id: "App",
        identity: Identity::App,
    };

    #[test]
    fn kinds_of_change_are_read_in_any_order_and_case() {
        assert_eq!(ChangeTypes::parse(" Updated,created , updated").unwrap().to_string(), "created,updated");
        for nothing in ["", ",", "created,", "cre ated", "a;b", "1"] {
            assert_eq!(ChangeTypes::parse(nothing), Err(ChangeTypesError), "{nothing}");
        }
        assert!(!ChangeTypes::parse("created,moved").unwrap().are_known());
    }

    #[test]
    fn equal_wishes_have_one_key_and_every_difference_makes_another() {
        let key = wish("/Users/1/Messages", "updated,created").key(&OWNER);
        assert_eq!(key, wish("users/1/messages", "created,updated").key(&OWNER));
        assert_eq!(
            key,
            wish("users/1/messages", "created,updated").key(&Owner { client_id: "app", ..OWNER })
        );
        let rich = Wish { include_resource_data: true, ..wish("users/1/messages", "created,updated") };
        let others = [
            wish("users/2/messages", "created,updated").key(&OWNER),
            wish("users/1/messages", "created").key(&OWNER),
            rich.key(&OWNER),
            wish("users/1/messages", "created,updated").key(&Owner { cloud: "china", ..OWNER }),
            wish("users/1/messages", "created,updated").key(&Owner { client_id: "other", ..OWNER }),
            wish("users/1/messages", "created,updated")
                .key(&Owner { identity: Identity::Person(ConnectionKey::from_number(1)), ..OWNER }),
            wish("users/1/messages", "created,updated")
                .key(&Owner { tenant: TenantId::from_uuid(Uuid::max()), ..OWNER }),
        ];
        assert!(others.iter().all(|other| *other != key));
    }

    #[test]
    fn life_is_what_is_wanted_but_no_more_than_graph_grants() {
        let whole = wish("chats/getAllMessages", "created");
        assert_eq!(whole.life(), TimeDelta::minutes(4_320) - TimeDelta::minutes(4_320) / 100);
        let short = Wish { lifetime: Some(TimeDelta::hours(2)), ..whole.clone() };
        assert_eq!(short.life(), TimeDelta::hours(2));
        let long = Wish { lifetime: Some(TimeDelta::days(90)), ..whole.clone() };
        assert_eq!(long.life(), whole.life());
    }
}
