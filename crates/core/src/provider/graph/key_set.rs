//! The public keys that sign validation tokens: reading a published set, and which of its keys may vouch when.
//!
//! Pure: fetching and keeping sets is done elsewhere. Of a key nothing but its numbers is used; certificates and links in
//! it are passed over.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

/// How often a set is fetched anew.
pub const REFRESH_EVERY: TimeDelta = TimeDelta::hours(1);
/// The least time between two fetches because of a key that is not in the set.
pub const UNKNOWN_KEY_EVERY: TimeDelta = TimeDelta::minutes(5);
/// The least time before a fetch that failed is tried again.
pub const AFTER_FAILURE: TimeDelta = TimeDelta::seconds(30);

/// How long after a key was in use the set is sure to hold it: keys are published well before they sign and for long
/// after. What a later fetch doesn't show may have been there.
const SURELY_KEPT: TimeDelta = TimeDelta::days(1);
/// The most keys that are taken from one document.
const MOST_KEYS: usize = 256;
/// The longest text of a key that is kept.
const LONGEST: usize = 2048;
/// What stands for the tenant in a key's issuer.
const TEMPLATE: &str = "{tenantid}";

/// Which generation of tokens a set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// `ver` 1.0.
    V1,
    /// `ver` 2.0.
    V2,
}

/// A document that is no key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the document is no set of RSA keys")]
pub struct KeySetError;

/// A key as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    /// What tokens call it.
    pub kid: String,
    /// Whose tokens it signs, as a template; `None` when the key doesn't say.
    pub issuer: Option<String>,
    /// The modulus, base64url.
    pub modulus: String,
    /// The exponent, base64url.
    pub exponent: String,
}

/// A key that was published at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub key: PublishedKey,
    /// When it was last seen, if it is no longer published.
    pub gone_since: Option<DateTime<Utc>>,
}

/// The keys of one generation, as far as they are known.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    /// The keys.
    pub keys: Vec<KnownKey>,
    /// When the set was last fetched; `None` when it never could be.
    pub fetched_at: Option<DateTime<Utc>>,
}

/// The sets of a cloud.
#[derive(Debug, Clone, Default)]
pub struct KeySets {
    /// For tokens of version 1.0.
    pub v1: KeySet,
    /// For tokens of version 2.0.
    pub v2: KeySet,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    issuer: Option<String>,
}

impl Generation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];
}

impl PublishedKey {
    /// The RSA signing keys of a document.
    ///
    /// # Errors
    /// [`KeySetError`] when there are none in it.
    pub fn read_set(document: &[u8]) -> Result<Vec<Self>, KeySetError> {
        let document: Document = serde_json::from_slice(document).map_err(|_| KeySetError)?;
        let keys: Vec<Self> = document.keys.into_iter().filter_map(Jwk::into_key).take(MOST_KEYS).collect();
        if keys.is_empty() { Err(KeySetError) } else { Ok(keys) }
    }

    /// Whether it may sign tokens of `issuer` for `tenant`.
    #[must_use]
    pub fn signs_for(&self, issuer: &str, tenant: &str) -> bool {
        self.issuer.as_ref().is_none_or(|template| template.replace(TEMPLATE, tenant) == issuer)
    }
}

impl Jwk {
    fn into_key(self) -> Option<PublishedKey> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let key = PublishedKey { kid: self.kid?, issuer: self.issuer, modulus: self.n?, exponent: self.e? };
        let texts = [Some(&key.kid), Some(&key.modulus), Some(&key.exponent), key.issuer.as_ref()];
        let fits = texts.into_iter().flatten().all(|text| !text.is_empty() && text.len() <= LONGEST);
        (self.kty.as_deref() == Some("RSA") && signs && fits).then_some(key)
    }
}

impl KnownKey {
    /// Whether it may vouch for what was received at `time`: a key that has left the set does for what came until then.
    /// A set is looked at once in [`REFRESH_EVERY`], so nobody knows better when it left.
    #[must_use]
    pub fn vouches_at(&self, time: DateTime<Utc>) -> bool {
        self.gone_since.is_none_or(|seen| time <= seen + REFRESH_EVERY)
    }
}

impl KeySet {
    /// The keys of that name that may vouch for what was received at `time`.
    pub fn named(&self, kid: &str, time: DateTime<Utc>) -> impl Iterator<Item = &PublishedKey> {
        self.keys
            .iter()
            .filter(move |known| known.key.kid == kid && known.vouches_at(time))
            .map(|known| &known.key)
    }

    /// Whether it was fetched so long after `time` that a key in use then would be in it, and soon enough that the key
    /// can't have left it.
    #[must_use]
    pub fn shows_all_of(&self, time: DateTime<Utc>) -> bool {
        let fits = time + UNKNOWN_KEY_EVERY..=time + SURELY_KEPT;
        self.fetched_at.is_some_and(|fetched| fits.contains(&fetched))
    }

    /// Whether it is due to be fetched anew at `now`.
    #[must_use]
    pub fn is_stale(&self, now: DateTime<Utc>) -> bool {
        self.fetched_at.is_none_or(|fetched| now >= fetched + REFRESH_EVERY)
    }
}

impl KeySets {
    /// The set of a generation.
    #[must_use]
    pub const fn of(&self, generation: Generation) -> &KeySet {
        match generation {
            Generation::V1 => &self.v1,
            Generation::V2 => &self.v2,
        }
    }

    /// The same, to be changed.
    pub const fn of_mut(&mut self, generation: Generation) -> &mut KeySet {
        match generation {
            Generation::V1 => &mut self.v1,
            Generation::V2 => &mut self.v2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rsa_keys_that_sign_are_taken_and_everything_else_is_passed_over() {
        let document = br#"{"keys":[
            {"kty":"RSA","use":"sig","kid":"a","n":"AQAB","e":"AQAB","issuer":"https://x/{tenantid}/","x5c":["junk"]},
            {"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","use":"enc","kid":"c","n":"AQAB","e":"AQAB"},
            {"kty":"EC","use":"sig","kid":"d"},
            {"kty":"RSA","kid":"","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","n":"AQAB","e":"AQAB"}
        ],"extra":1}"#;
        let kids: Vec<String> =
            PublishedKey::read_set(document).unwrap().into_iter().map(|key| key.kid).collect();
        assert_eq!(kids, ["a", "b"]);
        for nothing in [&b"{}"[..], b"[]", b"", br#"{"keys":[]}"#, br#"{"keys":[{"kty":"EC"}]}"#, b"<html>"] {
            assert_eq!(PublishedKey::read_set(nothing), Err(KeySetError));
        }
    }

    #[test]
    fn a_key_signs_for_the_issuer_that_its_template_gives() {
        let mut key =
            PublishedKey { kid: "a".into(), issuer: None, modulus: "n".into(), exponent: "e".into() };
        assert!(key.signs_for("https://anybody", "t"));
        key.issuer = Some("https://sts.windows.net/{tenantid}/".into());
        assert!(key.signs_for("https://sts.windows.net/t/", "t"));
        assert!(!key.signs_for("https://sts.windows.net/u/", "t"));
        key.issuer = Some("https://sts.windows.net/fixed/".into());
        assert!(!key.signs_for("https://sts.windows.net/t/", "t"));
    }

    #[test]
    fn a_key_that_left_vouches_for_what_came_before() {
        let seen = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let key = PublishedKey { kid: "a".into(), issuer: None, modulus: "n".into(), exponent: "e".into() };
        let gone = KnownKey { key: key.clone(), gone_since: Some(seen) };
        assert!(gone.vouches_at(seen - TimeDelta::days(3)));
        assert!(gone.vouches_at(seen + TimeDelta::minutes(59)));
        assert!(!gone.vouches_at(seen + TimeDelta::minutes(61)));
        assert!(KnownKey { key, gone_since: None }.vouches_at(seen + TimeDelta::days(3000)));
    }
}
