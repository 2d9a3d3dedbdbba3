//! Client assertions: short-lived signed statements by which an app shows a sign-in host that it holds a certificate's
//! private key (RFC 7523), in the form that Entra takes: PS256, and the certificate named by its SHA-256.
//!
//! Must not: read a clock or make ids; both come in.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::certificate::CertifiedKey;

/// How long an assertion is good, in seconds: for one request, and clocks that differ.
const LIFE: i64 = 300;

/// What an assertion says.
#[derive(Debug, Clone, Copy)]
pub struct Claims<'a> {
    /// The app that signs in.
    pub client_id: &'a str,
    /// The token endpoint that it is for.
    pub audience: &'a str,
    /// What tells it from every other one.
    pub id: &'a str,
    /// When it is made, in seconds since 1970.
    pub now: i64,
}

/// The machine's cryptography failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the assertion could not be signed")]
pub struct SignError;

/// An assertion that the holder of `key` makes.
///
/// # Errors
/// [`SignError`] when the machine's cryptography fails.
pub fn sign(key: &CertifiedKey, claims: Claims<'_>) -> Result<SecretString, SignError> {
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(key.certificate().der()));
    let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
    let body = json!({
        "aud": claims.audience,
        "exp": claims.now + LIFE,
        "iat": claims.now,
        "iss": claims.client_id,
        "jti": claims.id,
        "nbf": claims.now,
        "sub": claims.client_id,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let statement = format!("{}.{}", part(&header), part(&body));
    let pair = key.key().pair();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), statement.as_bytes(), &mut signature)
        .map_err(|_| SignError)?;
    Ok(format!("{statement}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::certificate::{KeySize, Saying};

    #[test]
    fn an_assertion_is_signed_by_the_key_names_the_certificate_and_is_short_lived() {
        let saying = Saying { common_name: "app", not_before: 0, not_after: 4_000_000_000 };
        let key = CertifiedKey::make(KeySize::Rsa2048, saying).unwrap();
        let claims = Claims { client_id: "app-\"1\"", audience: "https://login/t", id: "id-1", now: 1000 };

        let assertion = sign(&key, claims).unwrap();

        let parts: Vec<&str> = assertion.expose_secret().split('.').collect();
        let [header, body, signature] = parts[..] else { panic!("not three parts") };
        let read =
            |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(key.certificate().der()));
        assert_eq!(read(header), json!({"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}));
        assert_eq!(
            read(body),
            json!({"aud": "https://login/t", "exp": 1300, "iat": 1000, "iss": "app-\"1\"", "jti": "id-1", "nbf": 1000, "sub": "app-\"1\""})
        );
        let public = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key.key().pair().public_key());
        let statement = format!("{header}.{body}");
        public.verify(statement.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        assert!(public.verify(b"another", &URL_SAFE_NO_PAD.decode(signature).unwrap()).is_err());
    }
}
