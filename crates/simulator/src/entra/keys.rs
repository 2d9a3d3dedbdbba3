//! The signing keys: RS256 tokens, their verification, and the key sets that clients fetch.
//!
//! Must not decide who gets a token.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::der;

/// Keys that are kept; rotating past this forgets the oldest.
const MAX_KEYS: usize = 8;

/// A key could not be made or did not sign: the machine's cryptography failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cryptographic operation of the simulator failed")]
pub struct CryptoFailure;

/// One RSA key with its published name.
pub(crate) struct SigningKey {
    pair: KeyPair,
    kid: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl SigningKey {
    pub(crate) fn generate() -> Result<Self, CryptoFailure> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| CryptoFailure)?;
        let public = pair.public_key().as_ref();
        let (modulus, exponent) = der::rsa_public_key(public).ok_or(CryptoFailure)?;
        let (modulus, exponent) = (modulus.to_vec(), exponent.to_vec());
        // Entra names a key by the SHA-1 of its certificate; there is none here, so the public key stands for it.
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, public));
        Ok(Self { pair, kid, modulus, exponent })
    }

    /// A compact RS256 token.
    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, CryptoFailure> {
        self.sign_as(claims, self)
    }

    /// A token that this key signs and that claims to be signed by `named`.
    pub(crate) fn sign_as(&self, claims: &impl Serialize, named: &Self) -> Result<String, CryptoFailure> {
        let header = json!({"typ": "JWT", "alg": "RS256", "x5t": named.kid, "kid": named.kid});
        let claims = serde_json::to_vec(claims).map_err(|_| CryptoFailure)?;
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
            .map_err(|_| CryptoFailure)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn jwk(&self, issuer: &str) -> Value {
        json!({
            "kty": "RSA", "use": "sig", "kid": self.kid, "x5t": self.kid,
            "n": URL_SAFE_NO_PAD.encode(&self.modulus), "e": URL_SAFE_NO_PAD.encode(&self.exponent),
            "issuer": issuer,
        })
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The keys that are published; the newest one signs.
#[derive(Debug)]
pub(crate) struct KeyRing {
    keys: RwLock<Vec<Arc<SigningKey>>>,
    /// A key that is never published, for forged tokens.
    stranger: Arc<SigningKey>,
    newest: RwLock<Arc<SigningKey>>,
}

impl KeyRing {
    pub(crate) fn generate() -> Result<Self, CryptoFailure> {
        let newest = Arc::new(SigningKey::generate()?);
        Ok(Self {
            keys: RwLock::new(vec![Arc::clone(&newest)]),
            stranger: Arc::new(SigningKey::generate()?),
            newest: RwLock::new(newest),
        })
    }

    pub(crate) fn current(&self) -> Arc<SigningKey> {
        Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A key outside every published set.
    pub(crate) fn stranger(&self) -> &SigningKey {
        &self.stranger
    }

    /// Signs with a new key from now on. The old ones stay published unless `forget` says otherwise.
    pub(crate) fn roll(&self, forget: bool) -> Result<(), CryptoFailure> {
        let fresh = Arc::new(SigningKey::generate()?);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if forget {
            keys.clear();
        } else if keys.len() >= MAX_KEYS {
            keys.remove(0);
        }
        keys.push(Arc::clone(&fresh));
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// The key set in which every key names this issuer.
    pub(crate) fn published(&self, issuer: &str) -> Value {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        json!({"keys": keys.iter().map(|key| key.jwk(issuer)).collect::<Vec<_>>()})
    }

    /// The claims of a token that one of the published keys signed. Times are the caller's to judge, by its clock.
    pub(crate) fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.kid == kid)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let key = DecodingKey::from_rsa_raw_components(&key.modulus, &key.exponent);
        jsonwebtoken::decode(token, &key, &validation).ok().map(|token| token.claims)
    }
}
