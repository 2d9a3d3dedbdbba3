//! Certificates that encrypted notifications are encrypted for, as people and subscriptions see them.
//!
//! Must not: hold a private key. Those are the store's to seal and the deliverer's to use.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::connection::ConnectionId;
use crate::id::CertificateId;

/// The longest life of any subscription: what was created last with a replaced certificate names it that long.
pub const LONGEST_SUBSCRIPTION: TimeDelta = TimeDelta::days(30);
/// How long Graph goes on trying to deliver.
pub const GRAPH_RETRIES: TimeDelta = TimeDelta::hours(4);

/// What notifications call a certificate: `encryptionCertificateId`. 1 to 128 visible characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Box<str>);

/// A text that can't be a [`Label`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of an encryption certificate has 1 to 128 characters, all of them visible ASCII")]
pub struct LabelError;

/// Where a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStatus {
    /// New subscriptions name it.
    Current,
    /// It was replaced and only opens what still names it.
    Retiring,
    /// Nothing can name it any more; its private key is destroyed.
    Retired,
}

/// A certificate of an integration, or of one connection.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Its id.
    pub id: CertificateId,
    /// What notifications call it.
    pub label: Label,
    /// The connection it belongs to alone; `None` when all of the integration share it.
    pub connection: Option<ConnectionId>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// SHA-1 of the DER in upper-case hexadecimal digits.
    pub thumbprint: String,
    /// The length of its modulus in bits.
    pub bits: u32,
    /// When it says that it ends. Opening doesn't depend on it; what is brought must not have ended.
    pub not_after: DateTime<Utc>,
    /// Where it stands.
    pub status: CertificateStatus,
    /// When it was made or uploaded.
    pub created_at: DateTime<Utc>,
    /// When another took its place.
    pub replaced_at: Option<DateTime<Utc>>,
    /// When its private key was destroyed.
    pub retired_at: Option<DateTime<Utc>>,
}

impl Label {
    /// Reads a label.
    ///
    /// # Errors
    /// [`LabelError`] when its length or a character is not allowed.
    pub fn parse(text: impl Into<Box<str>>) -> Result<Self, LabelError> {
        let text = text.into();
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text)) } else { Err(LabelError) }
    }

    /// The label of a certificate that needs no other: its own id.
    #[must_use]
    pub fn of(id: CertificateId) -> Self {
        Self(id.to_string().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        Self::parse(text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.into()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl CertificateStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Current, Self::Retiring, Self::Retired];

    /// The word on the wire and in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }

    /// The status of that word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// How long after its replacement a certificate is kept for opening, where events are kept for `retention`: as long as
/// anything can name it.
#[must_use]
pub fn overlap(retention: TimeDelta) -> TimeDelta {
    LONGEST_SUBSCRIPTION + GRAPH_RETRIES + retention
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_short_and_visible() {
        assert_eq!(Label::parse("tenant/2026-01/1").unwrap().as_str(), "tenant/2026-01/1");
        for wrong in ["", "a b", "a\n", "ä", &"a".repeat(129)] {
            assert_eq!(Label::parse(wrong), Err(LabelError), "{wrong}");
        }
    }

    #[test]
    fn every_status_reads_back_from_its_word() {
        for status in CertificateStatus::ALL {
            assert_eq!(CertificateStatus::named(status.as_str()), Some(status));
        }
    }
}
