//! `validationTokens`: whether Graph was speaking when a POST with encrypted items came.
//!
//! A token is examined by itself, against the time its POST was received ([`examine`]): what is found then holds for ever,
//! so it is written down before the keys roll. What the findings mean for an item depends on whose item it is
//! ([`Findings::verdict`]): nothing links a token to an item but the app and the tenant that both name.
//!
//! Only RS256 counts; the key is found by its `kid` in the sets that the caller gives, whatever else the header offers
//! (`jku`, `x5u`, `jwk`, `x5c` are not even read). One token that is bad in itself makes the whole POST suspect; one for
//! somebody else's app or tenant is simply not for this item.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::key_set::{Generation, KeySets, PublishedKey};
use crate::cloud::Cloud;
use crate::id::TenantId;

/// How far clocks may be apart.
const LEEWAY: TimeDelta = TimeDelta::minutes(5);
/// The most tokens of one POST: Graph sends one per app and tenant of a batch.
const MOST_TOKENS: usize = 500;

/// What tokens are held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The cloud of the integration.
    pub cloud: &'a Cloud,
    /// The app that publishes notifications: `graph.publisher_app_id`.
    pub publisher: &'a str,
    /// When the POST arrived.
    pub received_at: DateTime<Utc>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal, $message:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
        pub enum $name {
            $($(#[$variant_doc])* #[error($message)] #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire and in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// Why an item is not believed.
    Forgery {
        /// The POST brought no tokens at all.
        Missing = "no_tokens", "the POST brought no validation token for the item's app and tenant: Graph sends none when the app's service principal requires user assignment (appRoleAssignmentRequired); set that to false, or assign the Microsoft Graph Change Tracking app";
        /// There are more tokens than any batch has.
        TooMany = "too_many_tokens", "the POST brought far more validationTokens than a batch has apps and tenants";
        /// It isn't a token at all.
        Malformed = "malformed_token", "a validation token can't be read";
        /// It is signed otherwise than by RS256.
        Algorithm = "algorithm", "a validation token is not signed by RS256";
        /// Its version is unknown.
        Version = "version", "a validation token is neither of version 1.0 nor of 2.0";
        /// It wasn't valid when it arrived.
        Time = "not_valid_then", "a validation token was not valid when it arrived";
        /// It comes from somebody else than the tenant's issuer.
        Issuer = "issuer", "a validation token has the wrong issuer";
        /// It was made for somebody else than Graph.
        Publisher = "publisher", "a validation token was not issued to Microsoft Graph's publisher";
        /// It names a key that nobody published.
        NoSuchKey = "no_such_signing_key", "a validation token is signed with a key that was not published when it arrived";
        /// The signature is wrong.
        Signature = "signature", "a validation token has a wrong signature";
        /// None is for the item's tenant.
        Tenant = "no_token_for_tenant", "no validation token is for the item's tenant";
        /// None is for the item's app.
        Audience = "no_token_for_app", "no validation token is for the app of the connection: is its client id the right one?";
    }
}

words! {
    /// Why it can't be told yet whether an item is to be believed.
    Doubt {
        /// The keys could not be fetched.
        KeysUnavailable = "keys_unavailable", "the keys that sign validation tokens can't be fetched now";
        /// The key isn't among those that are published.
        UnknownKey = "unknown_signing_key", "a validation token is signed with a key that is not published, or not yet";
        /// No client id is known to hold the audience against.
        NoApp = "no_client_id", "neither the connection nor its integration has a client id to check validation tokens against";
    }
}

/// What a token showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Graph was speaking.
    Good,
    /// Somebody else was.
    Bad(Forgery),
    /// Can't be told yet.
    Open(Doubt),
}

/// What one token showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The app that it names.
    pub audience: String,
    /// The tenant that it names.
    pub tenant: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What the tokens of a POST showed, together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings(Vec<Finding>);

/// What the tokens mean for one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Graph sent it.
    Proven,
    /// It is to be kept from everybody.
    Forged(Forgery),
    /// It has to wait.
    Unknown(Doubt),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    tid: String,
    iss: String,
    ver: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    appid: Option<String>,
    azp: Option<String>,
}

/// A token taken apart.
struct Token<'a> {
    header: Header,
    claims: Claims,
    /// What is signed.
    message: &'a str,
    signature: &'a str,
}

/// Examines the tokens of a POST: `raw` is its `validationTokens`, `None` when it had none.
#[must_use]
pub fn examine(raw: Option<&[u8]>, expected: Expected<'_>, keys: &KeySets) -> Findings {
    let Some(raw) = raw else { return Findings(Vec::new()) };
    let Ok(mut texts) = serde_json::from_slice::<Vec<&RawValue>>(raw) else {
        return Findings(vec![Finding::unreadable(Forgery::Malformed)]);
    };
    texts.sort_unstable_by_key(|text| text.get());
    texts.dedup_by_key(|text| text.get());
    if texts.len() > MOST_TOKENS {
        return Findings(vec![Finding::unreadable(Forgery::TooMany)]);
    }
    Findings(texts.into_iter().map(|text| Finding::of(text, expected, keys)).collect())
}

impl Findings {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.0
    }

    /// Whether nothing about the tokens themselves can change any more.
    #[must_use]
    pub fn are_final(&self) -> bool {
        self.forgery().is_some() || !self.0.iter().any(|finding| matches!(finding.outcome, Outcome::Open(_)))
    }

    /// Whether another fetch of the key sets may tell more.
    #[must_use]
    pub fn want_keys(&self) -> bool {
        !self.are_final()
    }

    /// What makes the whole POST suspect.
    #[must_use]
    pub fn forgery(&self) -> Option<Forgery> {
        let bad = self.0.iter().find_map(|finding| match finding.outcome {
            Outcome::Bad(forgery) => Some(forgery),
            Outcome::Good | Outcome::Open(_) => None,
        });
        bad.or_else(|| self.0.is_empty().then_some(Forgery::Missing))
    }

    /// What they mean for an item of `tenant` that is for one of `apps` (client ids).
    #[must_use]
    pub fn verdict(&self, apps: &[String], tenant: Option<TenantId>) -> Verdict {
        if let Some(forgery) = self.forgery() {
            return Verdict::Forged(forgery);
        }
        let of_tenant = |finding: &&Finding| tenant.is_some() && finding.tenant.parse().ok() == tenant;
        let mut of_tenant = self.0.iter().filter(of_tenant).peekable();
        if of_tenant.peek().is_none() {
            return Verdict::Forged(Forgery::Tenant);
        }
        if apps.is_empty() {
            return Verdict::Unknown(Doubt::NoApp);
        }
        let mut verdict = Verdict::Forged(Forgery::Audience);
        for finding in of_tenant.filter(|finding| finding.is_for_one_of(apps)) {
            match finding.outcome {
                Outcome::Good => return Verdict::Proven,
                Outcome::Open(doubt) => verdict = Verdict::Unknown(doubt),
                Outcome::Bad(forgery) => verdict = Verdict::Forged(forgery),
            }
        }
        verdict
    }
}

impl Finding {
    fn unreadable(forgery: Forgery) -> Self {
        Self { audience: String::new(), tenant: String::new(), outcome: Outcome::Bad(forgery) }
    }

    fn of(text: &RawValue, expected: Expected<'_>, keys: &KeySets) -> Self {
        let Ok(token) = serde_json::from_str::<String>(text.get()) else {
            return Self::unreadable(Forgery::Malformed);
        };
        match Token::read(&token) {
            Ok(token) => Self {
                outcome: token.outcome(expected, keys),
                audience: token.claims.aud,
                tenant: token.claims.tid,
            },
            Err(forgery) => Self::unreadable(forgery),
        }
    }

    fn is_for_one_of(&self, apps: &[String]) -> bool {
        apps.iter().any(|app| app.eq_ignore_ascii_case(&self.audience))
    }
}

impl<'a> Token<'a> {
    fn read(text: &'a str) -> Result<Self, Forgery> {
        let (message, signature) = text.rsplit_once('.').ok_or(Forgery::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Forgery::Malformed)?;
        let header: Header = part(header)?;
        if header.alg != "RS256" {
            return Err(Forgery::Algorithm);
        }
        Ok(Self { header, claims: part(claims)?, message, signature })
    }

    /// What can be told without a key is told first: a forger should not be able to ask for a fetch.
    fn outcome(&self, expected: Expected<'_>, keys: &KeySets) -> Outcome {
        let generation = match self.check_claims(expected) {
            Ok(generation) => generation,
            Err(forgery) => return Outcome::Bad(forgery),
        };
        let set = keys.of(generation);
        let kid = self.header.kid.as_deref().unwrap_or_default();
        let named: Vec<&PublishedKey> = set.named(kid, expected.received_at).collect();
        if named.is_empty() {
            return match set.fetched_at {
                None => Outcome::Open(Doubt::KeysUnavailable),
                Some(_) if set.shows_all_of(expected.received_at) => Outcome::Bad(Forgery::NoSuchKey),
                Some(_) => Outcome::Open(Doubt::UnknownKey),
            };
        }
        let mut fitting =
            named.into_iter().filter(|key| key.signs_for(&self.claims.iss, &self.claims.tid)).peekable();
        if fitting.peek().is_none() {
            return Outcome::Bad(Forgery::Issuer);
        }
        if fitting.any(|key| self.is_signed_by(key)) {
            Outcome::Good
        } else {
            Outcome::Bad(Forgery::Signature)
        }
    }

    fn check_claims(&self, expected: Expected<'_>) -> Result<Generation, Forgery> {
        let claims = &self.claims;
        let tenant: TenantId = claims.tid.parse().map_err(|_| Forgery::Malformed)?;
        let (generation, issuer, publisher) = match claims.ver.as_str() {
            "1.0" => (Generation::V1, expected.cloud.v1_issuer_of(tenant), &claims.appid),
            "2.0" => (Generation::V2, expected.cloud.v2_issuer_of(tenant), &claims.azp),
            _ => return Err(Forgery::Version),
        };
        if claims.iss != issuer {
            return Err(Forgery::Issuer);
        }
        if !publisher.as_ref().is_some_and(|named| named.eq_ignore_ascii_case(expected.publisher)) {
            return Err(Forgery::Publisher);
        }
        let (then, leeway) = (expected.received_at.timestamp(), LEEWAY.num_seconds());
        let begun = claims.nbf.max(claims.iat) <= then.saturating_add(leeway);
        let ended = claims.exp <= then.saturating_sub(leeway);
        if begun && !ended { Ok(generation) } else { Err(Forgery::Time) }
    }

    fn is_signed_by(&self, key: &PublishedKey) -> bool {
        let Ok(key) = DecodingKey::from_rsa_components(&key.modulus, &key.exponent) else { return false };
        crypto::verify(self.signature, self.message.as_bytes(), &key, Algorithm::RS256).unwrap_or(false)
    }
}

/// A part of a token, decoded.
fn part<T: DeserializeOwned>(text: &str) -> Result<T, Forgery> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Forgery::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Forgery::Malformed)
}

#[cfg(test)]
mod tests;
