//! Ids: one type per entity, so that passing a delivery for an event doesn't compile.
//!
//! All but an environment's are TypeIDs (a prefix, an underscore, 26 characters of Crockford base 32 over a UUIDv7):
//! they sort by time and say in a log what they are. An environment's id is a bare UUID, as it stands in ingress URLs.
//! The UTC date inside an event's or delivery's id is its partition's day; nothing else may be read out of an id.

use std::fmt;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{ContextV7, Timestamp, Uuid};

/// Why a text isn't the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The prefix belongs to another entity, or there is none.
    #[error("an id here starts with `{expected}_`")]
    Prefix {
        /// The prefix that was wanted.
        expected: &'static str,
    },
    /// The part after the prefix isn't 26 characters of base 32 that fit 128 bits.
    #[error("the part after `{expected}_` must be 26 characters out of 0-9 and a-z (without i, l, o, u)")]
    Suffix {
        /// The prefix of the id in question.
        expected: &'static str,
    },
}

/// How far a time may lie behind the last one and still count as the same moment, seen by another thread.
const SAME_MOMENT: TimeDelta = TimeDelta::seconds(10);

/// Keeps ids in the order in which they are made.
static SEQUENCE: LazyLock<Mutex<Sequence>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Sequence {
    context: ContextV7,
    latest: Option<DateTime<Utc>>,
}

impl Sequence {
    fn next(&mut self, now: DateTime<Utc>) -> Uuid {
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let nanos = now.timestamp_subsec_nanos();
        // A context never goes back: an event that waited, or all of them once a clock that ran ahead is set right,
        // would get the context's last time, and with it the day of another partition.
        if self.latest.is_some_and(|latest| latest - now > SAME_MOMENT) {
            return Uuid::new_v7(Timestamp::from_unix(ContextV7::new(), seconds, nanos));
        }
        self.latest = self.latest.max(Some(now));
        Uuid::new_v7(Timestamp::from_unix(&self.context, seconds, nanos))
    }
}

/// A UUIDv7 for `now`. Within this process later calls sort after earlier ones, but for those that are made for a time
/// well before: such an id belongs to its own time.
#[must_use]
pub fn uuid_at(now: DateTime<Utc>) -> Uuid {
    SEQUENCE.lock().unwrap_or_else(PoisonError::into_inner).next(now)
}

/// The smallest UUIDv7-shaped value of the millisecond `at`: the lower bound of everything made from then on.
#[must_use]
pub fn uuid_floor(at: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default();
    Uuid::from_u128(u128::from(millis) << 80)
}

/// The time inside a UUIDv7, to the millisecond; the epoch for anything else.
#[must_use]
pub fn time_of(id: Uuid) -> DateTime<Utc> {
    let millis = i64::try_from(id.as_u128() >> 80).unwrap_or_default();
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SUFFIX_LENGTH: usize = 26;

fn write_suffix(id: Uuid, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bits = id.as_u128();
    (0..SUFFIX_LENGTH).rev().try_for_each(|place| {
        let digit = (bits >> (place * 5)) & 31;
        let letter = ALPHABET[usize::try_from(digit).unwrap_or_default()];
        fmt::Write::write_char(f, char::from(letter))
    })
}

fn read_suffix(text: &str) -> Option<Uuid> {
    let bytes = text.as_bytes();
    // 26 places hold 130 bits: the first one may only use three of its five.
    if bytes.len() != SUFFIX_LENGTH || !(b'0'..=b'7').contains(&bytes[0]) {
        return None;
    }
    bytes
        .iter()
        .try_fold(0_u128, |bits, byte| {
            let digit = ALPHABET.iter().position(|letter| letter == byte)?;
            Some((bits << 5) | u128::try_from(digit).ok()?)
        })
        .map(Uuid::from_u128)
}

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, made at `now`; ids made later in this process sort after it.
            #[must_use]
            pub fn at(now: DateTime<Utc>) -> Self {
                Self(uuid_at(now))
            }

            /// Takes a UUID that is known to be this entity's, as from its table.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// When it was made, to the millisecond.
            #[must_use]
            pub fn made_at(self) -> DateTime<Utc> {
                time_of(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                write_suffix(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let suffix = text.strip_prefix(concat!($prefix, "_"))
                    .ok_or(IdError::Prefix { expected: $prefix })?;
                read_suffix(suffix).map(Self).ok_or(IdError::Suffix { expected: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

typed_ids! {
    /// An account: a company that uses this Waypost.
    AccountId = "acc";
    /// An integration of an environment.
    IntegrationId = "int";
    /// A subscription as Waypost knows it; outlives the Graph id that it has at the moment.
    SubscriptionId = "sub";
    /// An endpoint.
    EndpointId = "ep";
    /// An event; also the `webhook-id` of its deliveries.
    EventId = "evt";
    /// A delivery.
    DeliveryId = "dlv";
    /// An attempt of a delivery.
    AttemptId = "att";
    /// An API key of an environment.
    ApiKeyId = "key";
    /// An encryption certificate.
    CertificateId = "cert";
    /// A bulk replay.
    ReplayId = "rpl";
}

/// An environment: the wall between tenants. A bare UUID v4, unguessable, as in its ingress URLs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvironmentId(Uuid);

impl EnvironmentId {
    /// A new, unguessable id.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }

    /// Takes a UUID that names an environment, or claims to.
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The UUID inside.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A Microsoft Entra tenant. Compared as the GUID that it is, whatever its spelling on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(Uuid);

impl TenantId {
    /// Takes the GUID of a tenant.
    #[must_use]
    pub const fn from_uuid(id: Uuid) -> Self {
        Self(id)
    }

    /// The GUID.
    #[must_use]
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TenantId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// A connection's integer id (Nango's wire format has it so), and its key inside Waypost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionKey(i64);

impl ConnectionKey {
    /// Takes the number of a connection's row.
    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_reads_back_what_it_shows() {
        let id = EventId::at(Utc.timestamp_opt(1_800_000_000, 5_000_000).unwrap());
        assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        assert_eq!(id.made_at(), Utc.timestamp_opt(1_800_000_000, 5_000_000).unwrap());
    }

    #[test]
    fn an_id_matches_the_published_typeid_example() {
        let id = EventId::from_uuid("01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap());
        assert_eq!(id.to_string(), "evt_01h455vb4pex5vsknk084sn02q");
    }

    #[test]
    fn the_id_of_another_entity_is_refused() {
        let id = EventId::at(Utc.timestamp_opt(1_800_000_000, 0).unwrap()).to_string();
        assert_eq!(id.parse::<DeliveryId>(), Err(IdError::Prefix { expected: "dlv" }));
    }

    #[test]
    fn ids_of_one_millisecond_keep_their_order() {
        let now = Utc.timestamp_opt(1_800_000_000, 0).unwrap();
        let ids: Vec<_> = (0..1000).map(|_| EventId::at(now)).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn threads_that_see_the_time_a_little_differently_keep_their_order() {
        let now = Utc.timestamp_opt(1_800_000_000, 0).unwrap();
        let mut sequence = Sequence::default();
        let ids = [0, -3, 2, -8, 1].map(|seconds| sequence.next(now + TimeDelta::seconds(seconds)));
        assert!(ids.is_sorted());
    }

    #[test]
    fn an_id_for_an_earlier_time_belongs_to_that_time() {
        let now = Utc.timestamp_opt(1_800_000_000, 0).unwrap();
        let mut sequence = Sequence::default();
        let ahead = sequence.next(now + TimeDelta::days(30));
        for earlier in [now, now - TimeDelta::days(400), now + TimeDelta::days(1)] {
            assert_eq!(time_of(sequence.next(earlier)), earlier);
        }
        assert!(sequence.next(now + TimeDelta::days(30)) > ahead);
    }

    proptest! {
        #[test]
        fn every_uuid_survives_its_text(bits: u128) {
            let id = DeliveryId::from_uuid(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse::<DeliveryId>(), Ok(id));
        }

        #[test]
        fn no_text_makes_parsing_panic(text in ".{0,40}") {
            let _parsed = text.parse::<EventId>();
        }
    }
}
