//! What is known about the origin of an event's encrypted items, item by item.
//!
//! A verdict comes from the validation tokens of the item's POST, and from its opening. Failures of an opening are all
//! one verdict: nobody learns from us at which stage a made-up ciphertext failed.

use serde::{Deserialize, Serialize};

use crate::provider::graph::validation_token::{Doubt, Findings, Forgery, Verdict};

/// What is thought of an encrypted item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemVerdict {
    /// Graph sent it.
    Proven,
    /// Graph sent it, but no certificate here fits the one it names.
    NoCertificate,
    /// Graph sent it, but no certificate came in time: the rest of the event went out without it.
    Unopened,
    /// Its tokens say that somebody else sent it.
    Forged(Forgery),
    /// Can't be told yet.
    Unknown(Doubt),
    /// It doesn't open.
    Tampered,
}

/// The verdict on one item of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemProof {
    /// Its place among all items of the event, from 0.
    pub item: u32,
    /// What is thought of it.
    pub verdict: ItemVerdict,
}

/// What is kept of the proof of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// What its tokens showed; `None` when nobody has looked yet.
    pub findings: Option<Findings>,
    /// What that means for its encrypted items; `None` when nobody has looked yet.
    pub items: Option<Vec<ItemProof>>,
}

impl ItemVerdict {
    /// Where the item stands: `proven`, `pending`, `unopened`, `quarantined`.
    #[must_use]
    pub const fn status(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::NoCertificate | Self::Unknown(_) => "pending",
            Self::Unopened => "unopened",
            Self::Forged(_) | Self::Tampered => "quarantined",
        }
    }

    /// Why it stands there, as a word; also the word in metrics.
    #[must_use]
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Proven => None,
            Self::NoCertificate | Self::Unopened => Some("unknown_certificate"),
            Self::Forged(forgery) => Some(forgery.as_str()),
            Self::Unknown(doubt) => Some(doubt.as_str()),
            Self::Tampered => Some("tampered"),
        }
    }

    /// The same in words for people.
    #[must_use]
    pub fn message(self) -> Option<String> {
        match self {
            Self::Proven => None,
            Self::NoCertificate | Self::Unopened => Some(
                "no certificate of this integration or connection has the id and thumbprint that the item names"
                    .to_owned(),
            ),
            Self::Forged(forgery) => Some(forgery.to_string()),
            Self::Unknown(doubt) => Some(doubt.to_string()),
            Self::Tampered => Some("the encrypted content can't be opened".to_owned()),
        }
    }

    /// Whether the item is kept from everybody.
    #[must_use]
    pub const fn is_quarantined(self) -> bool {
        matches!(self, Self::Forged(_) | Self::Tampered)
    }

    /// Whether Graph sent it, but no certificate here opens it.
    #[must_use]
    pub const fn lacks_certificate(self) -> bool {
        matches!(self, Self::NoCertificate | Self::Unopened)
    }

    /// Whether nothing is known of its origin yet.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

impl From<Verdict> for ItemVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Proven => Self::Proven,
            Verdict::Forged(forgery) => Self::Forged(forgery),
            Verdict::Unknown(doubt) => Self::Unknown(doubt),
        }
    }
}

impl Proof {
    /// This proof, written after `earlier` was: what was decided stays. Whoever looked longer may write later, so a doubt
    /// never takes the place of a verdict, and what was quarantined stays so.
    #[must_use]
    pub fn after(self, earlier: Self) -> Self {
        let was_final = earlier.findings.as_ref().is_some_and(Findings::are_final);
        let is_final = self.findings.as_ref().is_some_and(Findings::are_final);
        let findings = if was_final && !is_final { earlier.findings } else { self.findings };
        let known = earlier.items.unwrap_or_default();
        let kept = |new: ItemProof| {
            let before = known.iter().find(|before| before.item == new.item);
            let stays = |before: &&ItemProof| {
                before.verdict.is_quarantined() || (new.verdict.is_open() && !before.verdict.is_open())
            };
            before.filter(stays).copied().unwrap_or(new)
        };
        Self { findings, items: self.items.map(|items| items.into_iter().map(kept).collect()) }
    }

    /// The verdicts, once none of them is open.
    #[must_use]
    pub fn settled(&self) -> Option<&[ItemProof]> {
        self.items.as_deref().filter(|items| !items.iter().any(|item| item.verdict.is_open()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(verdicts: &[ItemVerdict]) -> Proof {
        let item = |(item, verdict): (usize, &ItemVerdict)| ItemProof {
            item: u32::try_from(item).unwrap(),
            verdict: *verdict,
        };
        Proof { findings: None, items: Some(verdicts.iter().enumerate().map(item).collect()) }
    }

    #[test]
    fn what_was_decided_is_not_undone_by_whoever_writes_later() {
        use ItemVerdict::{Forged, NoCertificate, Proven, Tampered, Unknown};
        let (forged, open) = (Forged(Forgery::Signature), Unknown(Doubt::KeysUnavailable));
        for (before, later, stands) in [
            (forged, open, forged),
            (open, forged, forged),
            (Proven, open, Proven),
            (open, Proven, Proven),
            (Tampered, Proven, Tampered),
            (Proven, Tampered, Tampered),
            (NoCertificate, Proven, Proven),
            (NoCertificate, open, NoCertificate),
            (open, Unknown(Doubt::UnknownKey), Unknown(Doubt::UnknownKey)),
        ] {
            assert_eq!(
                proof(&[later]).after(proof(&[before])),
                proof(&[stands]),
                "{before:?}, then {later:?}"
            );
        }
        assert_eq!(proof(&[open, Proven]).after(Proof::default()), proof(&[open, Proven]), "judged anew");
    }

    #[test]
    fn verdicts_read_back_as_they_were_written() {
        let forged = Forgery::ALL.iter().map(|forgery| ItemVerdict::Forged(*forgery));
        let unknown = Doubt::ALL.iter().map(|doubt| ItemVerdict::Unknown(*doubt));
        let others =
            [ItemVerdict::Proven, ItemVerdict::NoCertificate, ItemVerdict::Unopened, ItemVerdict::Tampered];
        for verdict in forged.chain(unknown).chain(others) {
            let text = serde_json::to_string(&ItemProof { item: 3, verdict }).unwrap();
            assert_eq!(serde_json::from_str::<ItemProof>(&text).unwrap().verdict, verdict, "{text}");
            assert_eq!(verdict.is_quarantined(), verdict.status() == "quarantined");
            assert_eq!(verdict.reason().is_none(), verdict == ItemVerdict::Proven);
        }
    }
}
