//! What people allowed applications to do in their name: authorization codes, and the refresh tokens that come of them.
//!
//! Must not sign anything; bounded, the oldest go first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{problem::EntraProblem, scopes::Scopes};
use crate::behaviour::Behaviour;

/// Codes and refresh tokens that are remembered of each.
const MAX_KEPT: usize = 50_000;
/// How long a code may wait.
const CODE_LIFE: TimeDelta = TimeDelta::minutes(10);

/// What a person allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permit {
    pub(crate) app: Uuid,
    pub(crate) tenant: Uuid,
    pub(crate) user: Uuid,
    pub(crate) scopes: Scopes,
    pub(crate) nonce: Option<String>,
}

/// A code in waiting.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) permit: Permit,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    expires_at: DateTime<Utc>,
    redeemed: bool,
}

#[derive(Debug, Clone)]
struct Refresh {
    permit: Permit,
    issued_at: DateTime<Utc>,
    /// When another took its place.
    replaced_at: Option<DateTime<Utc>>,
    expired: bool,
    revoked: bool,
}

/// What the bearer of a code shows beside it.
pub(crate) struct Redemption<'a> {
    pub(crate) code: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) verifier: &'a str,
    pub(crate) app: Uuid,
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    codes: Kept<Code>,
    refresh: Kept<Refresh>,
}

/// Values by a random name, in the order in which they came.
#[derive(Debug)]
struct Kept<T> {
    number: u64,
    names: BTreeMap<u64, String>,
    values: HashMap<String, T>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { number: 0, names: BTreeMap::new(), values: HashMap::new() }
    }
}

impl<T> Kept<T> {
    fn keep(&mut self, name: String, value: T) {
        self.number += 1;
        self.names.insert(self.number, name.clone());
        self.values.insert(name, value);
        if self.values.len() > MAX_KEPT
            && let Some((_, oldest)) = self.names.pop_first()
        {
            self.values.remove(&oldest);
        }
    }
}

impl Sessions {
    /// Gives out a code.
    pub(crate) fn allow(
        &self,
        permit: Permit,
        redirect_uri: String,
        challenge: String,
        now: DateTime<Utc>,
    ) -> String {
        let name = random("0.A");
        let code = Code { permit, redirect_uri, challenge, expires_at: now + CODE_LIFE, redeemed: false };
        self.with(|state| state.codes.keep(name.clone(), code));
        name
    }

    /// Redeems a code, once.
    pub(crate) fn redeem(&self, shown: &Redemption<'_>, now: DateTime<Utc>) -> Result<Permit, EntraProblem> {
        self.with(|state| {
            let unknown =
                || EntraProblem::invalid_grant(70_000, "The provided value for 'code' is not valid.");
            let code = state.codes.values.get_mut(shown.code).ok_or_else(unknown)?;
            if code.permit.app != shown.app {
                let text = "The code was issued to another application.";
                return Err(EntraProblem::invalid_grant(700_005, text));
            }
            if code.redeemed {
                let text =
                    "OAuth2 Authorization code was already redeemed, please retry with a new valid code.";
                return Err(EntraProblem::invalid_grant(54_005, text));
            }
            if code.expires_at <= now {
                let text = "The provided authorization code has expired. Send a new interactive request.";
                return Err(EntraProblem::invalid_grant(70_008, text));
            }
            if code.redirect_uri != shown.redirect_uri {
                let text = "The reply address does not match the one provided when requesting the code.";
                return Err(EntraProblem::invalid_grant(500_112, text));
            }
            if URL_SAFE_NO_PAD.encode(digest(&SHA256, shown.verifier.as_bytes())) != code.challenge {
                let text =
                    "The Code_Verifier does not match the code_challenge of the authorization request.";
                return Err(EntraProblem::invalid_grant(501_481, text));
            }
            code.redeemed = true;
            Ok(code.permit.clone())
        })
    }

    /// Gives out a refresh token.
    pub(crate) fn issue(&self, permit: Permit, now: DateTime<Utc>) -> String {
        let name = random("1.A");
        let refresh = Refresh { permit, issued_at: now, replaced_at: None, expired: false, revoked: false };
        self.with(|state| state.refresh.keep(name.clone(), refresh));
        name
    }

    /// What a refresh token allows its application now.
    pub(crate) fn look_up(
        &self,
        token: &str,
        app: Uuid,
        behaviour: &Behaviour,
        now: DateTime<Utc>,
    ) -> Result<Permit, EntraProblem> {
        let seconds = |count: u32| TimeDelta::seconds(i64::from(count));
        self.with(|state| {
            let found = state.refresh.values.get(token).filter(|found| found.permit.app == app);
            let found = found.ok_or_else(|| {
                EntraProblem::invalid_grant(70_000, "The provided value for 'refresh_token' is not valid.")
            })?;
            if found.revoked {
                let text = "The provided grant has expired due to it being revoked, a fresh auth token is needed. \
                            The user might have changed or reset their password.";
                return Err(EntraProblem::invalid_grant(50_173, text));
            }
            if found.expired || found.issued_at + seconds(behaviour.refresh_token_seconds) <= now {
                let text = "The refresh token has expired due to inactivity.";
                return Err(EntraProblem::invalid_grant(700_082, text));
            }
            let overlap = seconds(behaviour.refresh_overlap_seconds);
            if found.replaced_at.is_some_and(|at| at + overlap <= now) {
                let text = "The refresh token was replaced by a newer one.";
                return Err(EntraProblem::invalid_grant(70_008, text));
            }
            Ok(found.permit.clone())
        })
    }

    /// Marks a refresh token as replaced; its time runs from the first time on.
    pub(crate) fn replace(&self, token: &str, now: DateTime<Utc>) {
        self.with(|state| {
            if let Some(found) = state.refresh.values.get_mut(token) {
                found.replaced_at.get_or_insert(now);
            }
        });
    }

    /// Revokes every refresh token of a person.
    pub(crate) fn revoke(&self, user: Uuid) {
        self.of(user, |found| found.revoked = true);
    }

    /// Lets every refresh token of a person be expired.
    pub(crate) fn expire(&self, user: Uuid) {
        self.of(user, |found| found.expired = true);
    }

    fn of(&self, user: Uuid, change: impl FnMut(&mut Refresh)) {
        self.with(|state| {
            state.refresh.values.values_mut().filter(|found| found.permit.user == user).for_each(change);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A long random text in the alphabet of URLs.
fn random(prefix: &str) -> String {
    let mut bytes = [0_u8; 96];
    if rand::fill(&mut bytes).is_err() {
        // Two random ids are as good; nothing here guards more than a simulator.
        bytes[..16].copy_from_slice(Uuid::new_v4().as_bytes());
        bytes[16..32].copy_from_slice(Uuid::new_v4().as_bytes());
    }
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}
