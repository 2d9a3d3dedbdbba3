//! ID tokens: proof of which tenant's account a person has just signed in with.
//!
//! Only RS256 counts, by a key of the cloud's published set that may sign for that issuer. Everything is checked: whom the
//! token is for, who issued it and for which tenant, when, and that it answers this very request (the nonce).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use waypost_crypto::token::constant_time_eq;

use crate::cloud::Cloud;
use crate::id::TenantId;
use crate::provider::graph::key_set::{KeySet, PublishedKey};

/// How far clocks may be apart.
const LEEWAY: TimeDelta = TimeDelta::minutes(5);
/// The longest token that is looked at.
const LONGEST: usize = 64 * 1024;
/// The directory roles that may consent for a whole tenant: global, privileged role, cloud application and application
/// administrator.
const MAY_CONSENT: [&str; 4] = [
    "62e90394-69f5-4237-9190-012177145e10",
    "e8611ab8-c189-46e8-94e1-60213ab1f814",
    "158c047a-c907-4556-b7ef-446551a6b5f7",
    "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",
];

/// What a token is held against.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The cloud that issues it.
    pub cloud: &'a Cloud,
    /// The app that it is for.
    pub client_id: &'a str,
    /// What it has to repeat.
    pub nonce: &'a SecretString,
    /// The time.
    pub now: DateTime<Utc>,
}

/// Who signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// The tenant of the account.
    pub tenant: TenantId,
    /// Whether the account's roles, where the token tells them (`wids`, an optional claim of the app registration),
    /// include one that may consent for all. `None` where it doesn't tell.
    pub administrator: Option<bool>,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// It isn't a token.
    #[error("the ID token can't be read")]
    Malformed,
    /// It is signed otherwise than by RS256.
    #[error("the ID token is not signed by RS256")]
    Algorithm,
    /// It is for another app.
    #[error("the ID token is for another app")]
    Audience,
    /// Somebody else issued it.
    #[error("the ID token has the wrong issuer")]
    Issuer,
    /// It is from another time.
    #[error("the ID token is not valid now")]
    Time,
    /// It answers another request.
    #[error("the ID token answers another request")]
    Nonce,
    /// No published key has its name: a newer set may have it.
    #[error("the ID token is signed with a key that is not published")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the ID token has a wrong signature")]
    Signature,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    tid: String,
    ver: String,
    exp: i64,
    nbf: Option<i64>,
    iat: i64,
    nonce: Option<String>,
    wids: Option<Vec<String>>,
}

/// Who the token says has signed in, once all of it is proven.
///
/// # Errors
/// [`IdTokenError`]; [`IdTokenError::UnknownKey`] is worth another try with a newer set.
pub fn verify(token: &SecretString, expected: Expected<'_>, keys: &KeySet) -> Result<Person, IdTokenError> {
    let token = token.expose_secret();
    if token.len() > LONGEST {
        return Err(IdTokenError::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(IdTokenError::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(IdTokenError::Malformed)?;
    let header: Header = part(header)?;
    if header.alg != "RS256" {
        return Err(IdTokenError::Algorithm);
    }
    let claims: Claims = part(claims)?;
    let tenant = check(&claims, expected)?;
    let named: Vec<&PublishedKey> = keys.named(&header.kid, expected.now).collect();
    if named.is_empty() {
        return Err(IdTokenError::UnknownKey);
    }
    let mut fitting = named.into_iter().filter(|key| key.signs_for(&claims.iss, &claims.tid)).peekable();
    if fitting.peek().is_none() {
        return Err(IdTokenError::Issuer);
    }
    if !fitting.any(|key| is_signed_by(key, message, signature)) {
        return Err(IdTokenError::Signature);
    }
    Ok(Person { tenant, administrator: claims.wids.map(|roles| may_consent(&roles)) })
}

fn check(claims: &Claims, expected: Expected<'_>) -> Result<TenantId, IdTokenError> {
    let tenant: TenantId = claims.tid.parse().map_err(|_| IdTokenError::Malformed)?;
    if claims.ver != "2.0" || claims.iss != expected.cloud.v2_issuer_of(tenant) {
        return Err(IdTokenError::Issuer);
    }
    if !claims.aud.eq_ignore_ascii_case(expected.client_id) {
        return Err(IdTokenError::Audience);
    }
    let nonce = claims.nonce.as_deref().unwrap_or_default();
    if !constant_time_eq(nonce.as_bytes(), expected.nonce.expose_secret().as_bytes()) {
        return Err(IdTokenError::Nonce);
    }
    let (now, leeway) = (expected.now.timestamp(), LEEWAY.num_seconds());
    let begun = claims.nbf.unwrap_or(claims.iat).max(claims.iat) <= now.saturating_add(leeway);
    let ended = claims.exp <= now.saturating_sub(leeway);
    if begun && !ended { Ok(tenant) } else { Err(IdTokenError::Time) }
}

fn may_consent(roles: &[String]) -> bool {
    roles.iter().any(|role| MAY_CONSENT.iter().any(|known| known.eq_ignore_ascii_case(role)))
}

fn is_signed_by(key: &PublishedKey, message: &str, signature: &str) -> bool {
    let Ok(key) = DecodingKey::from_rsa_components(&key.modulus, &key.exponent) else { return false };
    crypto::verify(signature, message.as_bytes(), &key, Algorithm::RS256).unwrap_or(false)
}

fn part<T: DeserializeOwned>(text: &str) -> Result<T, IdTokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| IdTokenError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| IdTokenError::Malformed)
}

#[cfg(test)]
mod tests;
