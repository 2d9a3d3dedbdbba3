//! Access tokens: how long one is used, when the next is asked for, and what is done when that fails. Decisions only.
//!
//! A *grant* is what connections with the same app, tenant and credential share: one token, or the failure to get one.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use waypost_crypto::token::{HashKey, Purpose};
use zeroize::Zeroizing;

use crate::provider::graph::sign_in::{Class, Granted, Refusal, asks_to_stop};
use crate::retry::with_jitter;

/// The shortest wait after a failure that somebody must mend; it doubles with each.
const FIRST_COOL_DOWN: TimeDelta = TimeDelta::seconds(30);
/// The longest.
const LONGEST_COOL_DOWN: TimeDelta = TimeDelta::minutes(15);
/// The same for failures that pass by themselves.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(1);
const LONGEST_PAUSE: TimeDelta = TimeDelta::seconds(30);
/// The longest that a `Retry-After` is believed.
const LONGEST_PATIENCE: TimeDelta = TimeDelta::hours(1);
/// How soon after a failure somebody may force another try.
pub const FORCED_PAUSE: TimeDelta = TimeDelta::seconds(5);
/// How often something that passes by itself may fail before it is told.
const PATIENT_TRIES: u32 = 3;

/// Which token it is, without the token: what tells whether the stored one is still the one that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenMark([u8; 32]);

impl TokenMark {
    /// The mark of a token.
    #[must_use]
    pub fn of(token: &SecretString) -> Self {
        Self(Sha256::digest(token.expose_secret().as_bytes()).into())
    }
}

impl fmt::Debug for TokenMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenMark([redacted])")
    }
}

/// Which grant it is: a keyed hash of everything that is signed in with, so that other credentials are another grant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrantKey([u8; 32]);

impl GrantKey {
    /// The key of a sign-in with these parts.
    #[must_use]
    pub fn of(key: &HashKey, parts: &[&str]) -> Self {
        let mut whole = Zeroizing::new(Vec::new());
        for part in parts {
            // With its length before it, so that no two lists of parts are the same text.
            whole.extend_from_slice(&part.len().to_be_bytes());
            whole.extend_from_slice(part.as_bytes());
        }
        Self(*key.hash(Purpose::SignIn, &whole).as_bytes())
    }

    /// Takes a key as it was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a query.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantKey([redacted])")
    }
}

/// A token with what came with it.
#[derive(Debug, Clone)]
pub struct HeldToken {
    /// The access token.
    pub access_token: SecretString,
    /// The newest refresh token, of a user's sign-in.
    pub refresh_token: Option<SecretString>,
    /// Its times.
    pub lifetime: Lifetime,
    /// What else the sign-in host said, as numbers and texts without secrets.
    pub said: Said,
}

/// What a sign-in host says of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// `token_type`.
    pub token_type: Option<String>,
    /// `expires_in`.
    pub expires_in: Option<i64>,
    /// `ext_expires_in`.
    pub ext_expires_in: Option<i64>,
    /// `scope`.
    pub scope: Option<String>,
}

impl HeldToken {
    /// What was granted at `now`; the refresh token `before` stays where no other came.
    #[must_use]
    pub fn granted(granted: Granted, before: Option<SecretString>, now: DateTime<Utc>) -> Self {
        Self {
            lifetime: Lifetime::granted(now, granted.expires_in),
            access_token: granted.access_token,
            refresh_token: granted.refresh_token.or(before),
            said: Said {
                token_type: Some(granted.token_type).filter(|kind| !kind.is_empty()),
                expires_in: Some(granted.expires_in),
                ext_expires_in: granted.ext_expires_in,
                scope: granted.scope,
            },
        }
    }
}

/// What kind of token a caller takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Whichever is good.
    Cached,
    /// Another than this one, which was refused.
    Instead(TokenMark),
    /// One that is newer than the call.
    Forced,
    /// Whichever is good, but where the last request failed only one that came after that.
    Working,
    /// The same for a caller who has mended something: a cool-down doesn't count.
    Mended,
}

/// The times of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was obtained, or brought along.
    pub obtained_at: DateTime<Utc>,
    /// When the next one is asked for.
    pub refresh_at: DateTime<Utc>,
    /// When it ends; `None` when nobody said.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Lifetime {
    /// Of a token that was granted at `now` for so many seconds: the next is asked for at four fifths of its life.
    #[must_use]
    pub fn granted(now: DateTime<Utc>, seconds: i64) -> Self {
        let life = TimeDelta::seconds(seconds.clamp(0, 7 * 24 * 3600));
        Self { obtained_at: now, refresh_at: now + life * 4 / 5, expires_at: Some(now + life) }
    }

    /// Of a token that a customer brought along: used until it ends. Where nobody says when that is, the next one is
    /// asked for at once.
    #[must_use]
    pub fn imported(now: DateTime<Utc>, expires_at: Option<DateTime<Utc>>) -> Self {
        Self { obtained_at: now, refresh_at: expires_at.unwrap_or(now), expires_at }
    }

    fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        now < self.refresh_at
    }

    fn has_ended(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// Why there is no new token, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Who must act.
    pub class: Class,
    /// Entra's `error`; empty when no answer came.
    pub error: String,
    /// Entra's numbers.
    pub codes: Vec<i64>,
    /// What to do, and what Entra said; for people, without secrets.
    pub description: String,
    /// When the first of these failures happened.
    pub since: DateTime<Utc>,
    /// How many there were without a success between.
    pub count: u32,
    /// When the last of them happened.
    #[serde(default)]
    pub failed_at: DateTime<Utc>,
    /// Before this nobody asks again, unless forced to.
    pub next_try_at: DateTime<Utc>,
}

/// What came of one request for a token.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// The sign-in host refused.
    Refused(Box<Refusal>),
    /// No answer came, or none that can be read; why, for people.
    Unreachable(String),
}

impl Failure {
    /// The failure that `trouble` at `now` makes of the one before.
    #[must_use]
    pub fn after(before: Option<&Self>, trouble: &Trouble, now: DateTime<Utc>, rng: &mut impl Rng) -> Self {
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        let since = before.map_or(now, |before| before.since);
        match trouble {
            Trouble::Unreachable(words) => Self {
                class: Class::Unreachable,
                error: String::new(),
                codes: Vec::new(),
                description: words.clone(),
                since,
                count,
                failed_at: now,
                next_try_at: now + with_jitter(doubled(FIRST_PAUSE, count, LONGEST_PAUSE), rng),
            },
            Trouble::Refused(refusal) => {
                let verdict = refusal.verdict();
                let wait = if verdict.stop {
                    LONGEST_COOL_DOWN
                } else if matches!(verdict.class, Class::Transient | Class::Unreachable) {
                    doubled(FIRST_PAUSE, count, LONGEST_PAUSE)
                } else {
                    doubled(FIRST_COOL_DOWN, count, LONGEST_COOL_DOWN)
                };
                // A sign-in host that says when to come back is not asked before.
                let asked = refusal.retry_after.unwrap_or_default().min(LONGEST_PATIENCE);
                Self {
                    class: verdict.class,
                    error: refusal.error.clone(),
                    codes: refusal.codes.clone(),
                    description: described(verdict.words, &refusal.description),
                    since,
                    count,
                    failed_at: now,
                    next_try_at: now + with_jitter(wait, rng).max(asked),
                }
            }
        }
    }

    /// Whether the sign-in host asked for patience: then nobody can force a try.
    #[must_use]
    pub fn withstands_force(&self) -> bool {
        self.class == Class::Throttled || asks_to_stop(&self.codes)
    }

    /// Whether somebody who wants such a token may ask at `now`.
    fn lets_ask(&self, wanted: Freshness, now: DateTime<Utc>) -> bool {
        let forced = match wanted {
            Freshness::Cached | Freshness::Instead(_) | Freshness::Working => false,
            Freshness::Forced => self.failed_at + FORCED_PAUSE <= now,
            Freshness::Mended => true,
        };
        self.next_try_at <= now || (forced && !self.withstands_force())
    }

    /// Whether customers are told: at once when somebody must act, after a few tries when no good token is left.
    #[must_use]
    pub fn is_worth_telling(&self, token_left: bool) -> bool {
        if self.class.passes() { !token_left && self.count >= PATIENT_TRIES } else { true }
    }
}

fn described(words: &str, said: &str) -> String {
    if said.is_empty() { words.to_owned() } else { format!("{words} (Microsoft says: {said})") }
}

fn doubled(first: TimeDelta, count: u32, longest: TimeDelta) -> TimeDelta {
    let factor = 1_i32 << count.saturating_sub(1).min(16);
    (first * factor).min(longest)
}

/// What is known of a grant at one moment, but for the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Rises with each request for a token that ended, whatever came of it.
    pub generation: i64,
    /// The token that is there.
    pub token: Option<(TokenMark, Lifetime)>,
    /// Until when somebody is asking for the next one.
    pub leased_until: Option<DateTime<Utc>>,
    /// Why the last request failed; `None` after a success.
    pub failure: Option<Failure>,
}

/// What a caller does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Take the token that is there.
    Use,
    /// Ask for a new one.
    Ask,
    /// Wait for whoever is asking.
    Wait,
    /// Give up: it failed, and it is too soon to try again.
    Fail,
}

impl Standing {
    /// Whether there is a token that has not ended.
    #[must_use]
    pub fn has_token(&self, now: DateTime<Utc>) -> bool {
        self.token.as_ref().is_some_and(|(_, life)| !life.has_ended(now))
    }

    /// What a caller does who found `first` as the generation when it came.
    #[must_use]
    pub fn step(&self, wanted: Freshness, first: i64, now: DateTime<Utc>) -> Step {
        let asked_since = self.generation > first;
        let good = match wanted {
            Freshness::Cached => self.has_token(now),
            Freshness::Instead(refused) => {
                self.has_token(now) && self.token.as_ref().is_some_and(|(mark, _)| *mark != refused)
            }
            Freshness::Forced => self.has_token(now) && asked_since && self.failure.is_none(),
            Freshness::Working | Freshness::Mended => self.has_token(now) && self.failure.is_none(),
        };
        let fresh = self.token.as_ref().is_some_and(|(_, life)| life.is_fresh(now));
        // What was asked for since the caller came is as new as it gets, however short it lives.
        if good && (fresh || (asked_since && self.failure.is_none())) {
            return Step::Use;
        }
        let otherwise = |step| if good { Step::Use } else { step };
        if self.leased_until.is_some_and(|until| until > now) {
            return otherwise(Step::Wait);
        }
        let Some(failure) = &self.failure else { return Step::Ask };
        if !asked_since && failure.lets_ask(wanted, now) {
            return Step::Ask;
        }
        otherwise(Step::Fail)
    }
}

#[cfg(test)]
mod tests;
