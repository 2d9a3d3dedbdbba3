//! Signatures over what Waypost sends: Nango's two headers and Standard Webhooks.
//!
//! Works on the exact bytes of the body. It builds no headers, knows no endpoint and reads no clock: the id
//! and the timestamp of a message are arguments.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::primitive;

const SECRET_PREFIX: &str = "whsec_";
const SECRET_MIN_BYTES: usize = 24;
const SECRET_MAX_BYTES: usize = 64;
/// Room for one `v1,<base64 of 32 bytes>` and the space before the next.
const ENTRY_CHARS: usize = 48;

/// The webhook signing key of an environment; its text, dashes and all, is the key.
#[derive(Clone)]
pub struct SigningKey(SecretString);

/// The values of `X-Nango-Signature` and `X-Nango-Hmac-Sha256` for one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NangoSignatures {
    /// Lower-case hex of SHA-256 over the key followed by the body. Kept for old receivers only: such a hash
    /// can be extended by whoever knows one.
    pub signature: String,
    /// Lower-case hex of HMAC-SHA256 over the body.
    pub hmac_sha256: String,
}

/// A Standard Webhooks secret of an endpoint.
#[derive(Clone)]
pub struct EndpointSecret(Zeroizing<Vec<u8>>);

/// Why a text is not a Standard Webhooks secret. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndpointSecretError {
    /// It does not begin with `whsec_`.
    #[error("a webhook secret begins with \"whsec_\"")]
    Prefix,
    /// What follows the prefix is not padded standard base64.
    #[error("a webhook secret is \"whsec_\" followed by standard base64 with padding")]
    Base64,
    /// The decoded secret is too short or too long.
    #[error("a webhook secret holds 24 to 64 bytes, this one holds {bytes}")]
    Length {
        /// How many bytes it decodes to.
        bytes: usize,
    },
}

impl SigningKey {
    /// Takes a key as it was stored.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text.into())
    }

    /// Makes a new key: a random UUID (version 4) in lower-case text.
    #[must_use]
    pub fn generate() -> Self {
        let bytes = primitive::random::<16>();
        Self::new(uuid::Builder::from_random_bytes(*bytes).into_uuid().to_string())
    }

    /// The text, for storing it sealed and for showing it to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Signs `body` as Nango does.
    #[must_use]
    pub fn nango(&self, body: &[u8]) -> NangoSignatures {
        let key = self.expose().as_bytes();
        let digest = Sha256::new().chain_update(key).chain_update(body).finalize();
        NangoSignatures {
            signature: hex::encode(digest),
            hmac_sha256: hex::encode(primitive::hmac_sha256(key, &[body])),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

impl EndpointSecret {
    /// Makes a new secret of 32 bytes.
    #[must_use]
    pub fn generate() -> Self {
        Self(Zeroizing::new(primitive::random::<32>().to_vec()))
    }

    /// Reads the text form, `whsec_<base64>`.
    ///
    /// # Errors
    /// Says which rule of the form the text breaks.
    pub fn parse(text: &str) -> Result<Self, EndpointSecretError> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(EndpointSecretError::Prefix)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| EndpointSecretError::Base64)?;
        let bytes = Zeroizing::new(bytes);
        if (SECRET_MIN_BYTES..=SECRET_MAX_BYTES).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(EndpointSecretError::Length { bytes: bytes.len() })
        }
    }

    /// The text form, `whsec_<base64>`, which [`EndpointSecret::parse`] takes back.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        // Sized up front: a growing string would leave copies of its beginning in freed memory.
        let mut text = String::with_capacity(SECRET_PREFIX.len() + self.0.len().div_ceil(3) * 4);
        text.push_str(SECRET_PREFIX);
        STANDARD.encode_string(self.0.as_slice(), &mut text);
        text.into()
    }
}

impl fmt::Debug for EndpointSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointSecret([redacted])")
    }
}

/// The value of `webhook-signature`: one `v1,<base64>` for each secret, in their order, with spaces between.
///
/// `id` and `timestamp` are the values of `webhook-id` and `webhook-timestamp` of the same request. An id
/// holds no full stop, since that is what parts the signed fields.
pub fn standard_webhooks<'a>(
    secrets: impl IntoIterator<Item = &'a EndpointSecret>,
    id: &str,
    timestamp: i64,
    body: &[u8],
) -> String {
    let timestamp = timestamp.to_string();
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let mut value = String::with_capacity(2 * ENTRY_CHARS);
    for secret in secrets {
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str("v1,");
        STANDARD.encode_string(primitive::hmac_sha256(&secret.0, &signed), &mut value);
    }
    value
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;
    use standardwebhooks::Webhook;

    use super::*;

    const FORWARD: &str = concat!(
        r#"{"connectionId":"conn-1","from":"microsoft-oauth2-cc","payload":{"value":[{"changeType":"updated","#,
        r#""clientState":"cs","resource":"users/u1","resourceData":{"@odata.type":"#,
        r##""#Microsoft.Graph.User","id":"u1"},"subscriptionId":"s1","tenantId":"t1"}]},"##,
        r#""providerConfigKey":"graph-cc","type":"forward"}"#,
    );

    fn now() -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_secs()).unwrap()
    }

    fn headers(id: &str, timestamp: i64, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", HeaderValue::from_str(id).unwrap());
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        headers.insert("webhook-signature", HeaderValue::from_str(signature).unwrap());
        headers
    }

    fn receiver(secret: &EndpointSecret) -> Webhook {
        Webhook::new(secret.to_text().expose_secret()).unwrap()
    }

    #[test]
    fn the_short_golden_body_is_signed_as_nango_signs_it() {
        let signed = SigningKey::new("secret".to_owned()).nango(b"payload");
        assert_eq!(signed.signature, "22439a879b090cd05e5b51c5b5d7e4a205830e6ab4f54b90f5a822b7c7110934");
        assert_eq!(signed.hmac_sha256, "b82fcb791acec57859b989b430a826488ce2e479fdf92326bd0a2e8375a42ba4");
    }

    #[test]
    fn the_golden_forward_body_is_signed_as_nango_signs_it() {
        assert_eq!(FORWARD.len(), 293);
        let key = SigningKey::new("11111111-2222-4333-8444-555555555555".to_owned());
        let signed = key.nango(FORWARD.as_bytes());
        assert_eq!(signed.signature, "8aaeafc28dc0048ede2b5789cb9fce595c5ea44fa6f72f8a577108b1a6ed0b7c");
        assert_eq!(signed.hmac_sha256, "2125f9d272e4d04f6d615bdd2ffeee8fcc0d3f63ed217d3d9e9ab28758da4675");
    }

    #[test]
    fn a_generated_signing_key_is_a_new_random_uuid_each_time() {
        let (one, other) = (SigningKey::generate(), SigningKey::generate());
        let id = uuid::Uuid::parse_str(one.expose()).unwrap();
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(id.to_string(), one.expose());
        assert_ne!(one.expose(), other.expose());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let key = SigningKey::new("11111111-2222-4333-8444-555555555555".to_owned());
        assert_eq!(format!("{key:?}"), "SigningKey([redacted])");
        assert_eq!(format!("{:?}", EndpointSecret::generate()), "EndpointSecret([redacted])");
    }

    #[test]
    fn a_generated_endpoint_secret_has_32_bytes_and_survives_its_text() {
        let secret = EndpointSecret::generate();
        assert_eq!(secret.0.len(), 32);
        let again = EndpointSecret::parse(secret.to_text().expose_secret()).unwrap();
        assert_eq!(secret.0, again.0);
        assert_ne!(secret.0, EndpointSecret::generate().0);
    }

    #[test]
    fn a_refused_endpoint_secret_names_the_broken_rule() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        let refusal = |text: &str| EndpointSecret::parse(text).err();
        assert_eq!(refusal("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Some(EndpointSecretError::Prefix));
        assert_eq!(refusal("whsec_not base64!"), Some(EndpointSecretError::Base64));
        assert_eq!(refusal(of(32).trim_end_matches('=')), Some(EndpointSecretError::Base64));
        assert_eq!(refusal("whsec_"), Some(EndpointSecretError::Length { bytes: 0 }));
        assert_eq!(refusal(&of(23)), Some(EndpointSecretError::Length { bytes: 23 }));
        assert_eq!(refusal(&of(24)), None);
        assert_eq!(refusal(&of(64)), None);
        assert_eq!(refusal(&of(65)), Some(EndpointSecretError::Length { bytes: 65 }));
    }

    #[test]
    fn while_a_secret_is_rotated_either_one_verifies() {
        let (new, old, foreign) =
            (EndpointSecret::generate(), EndpointSecret::generate(), EndpointSecret::generate());
        let at = now();
        let value = standard_webhooks([&new, &old], "evt_1", at, FORWARD.as_bytes());
        assert_eq!(value.split(' ').count(), 2);
        let headers = headers("evt_1", at, &value);
        receiver(&new).verify(FORWARD.as_bytes(), &headers).unwrap();
        receiver(&old).verify(FORWARD.as_bytes(), &headers).unwrap();
        assert!(receiver(&foreign).verify(FORWARD.as_bytes(), &headers).is_err());
    }

    #[test]
    fn no_secrets_give_an_empty_value() {
        assert_eq!(standard_webhooks([], "evt_1", 1, b"{}"), "");
    }

    proptest! {
        #[test]
        fn the_official_library_makes_the_same_signature(
            key in prop::collection::vec(any::<u8>(), SECRET_MIN_BYTES..=SECRET_MAX_BYTES),
            id in "[A-Za-z0-9_-]{1,40}",
            timestamp in 0_i64..4_102_444_800,
            body in "\\PC{0,200}",
        ) {
            let secret = EndpointSecret(Zeroizing::new(key));
            let theirs = receiver(&secret).sign(&id, timestamp, body.as_bytes()).unwrap();
            prop_assert_eq!(standard_webhooks([&secret], &id, timestamp, body.as_bytes()), theirs);
        }

        #[test]
        fn the_official_library_verifies_ours_and_refuses_a_changed_body(
            body in "\\PC{0,200}",
            cut in any::<prop::sample::Index>(),
        ) {
            let secret = EndpointSecret::generate();
            let at = now();
            let headers = headers("evt_1", at, &standard_webhooks([&secret], "evt_1", at, body.as_bytes()));
            prop_assert!(receiver(&secret).verify(body.as_bytes(), &headers).is_ok());
            let mut changed: Vec<char> = body.chars().collect();
            changed.insert(cut.index(changed.len() + 1), 'x');
            let changed: String = changed.into_iter().collect();
            prop_assert!(receiver(&secret).verify(changed.as_bytes(), &headers).is_err());
        }
    }
}
