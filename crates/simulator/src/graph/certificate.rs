//! The certificate of a rich subscription: read as strictly as Graph reads it, then good for encrypting.
//!
//! Must not look at dates or issuers: Graph takes self-signed and expired ones.

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    rsa::{OaepPublicEncryptingKey, PublicEncryptingKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::call::Problem;
use crate::der;

/// Longer certificates are refused unread.
const MAX_BASE64: usize = 64 * 1024;

/// A certificate that Graph would take.
pub(crate) struct Certificate {
    pub(crate) key: OaepPublicEncryptingKey,
    /// Upper-case hex of the SHA-1 over the certificate.
    pub(crate) thumbprint: String,
}

impl Certificate {
    /// Reads base64 of DER, without PEM lines or anything beside the certificate.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_BASE64 {
            return Err(refused("The certificate is too long."));
        }
        let der = STANDARD.decode(text).map_err(|_| refused("The input is not a valid Base-64 string."))?;
        let key =
            der::subject_public_key_info(&der).ok_or_else(|| refused("Cannot find the requested object."))?;
        // The size is read first: the cryptography refuses some sizes itself, without saying why.
        let bits = der::modulus_bits(key).ok_or_else(|| refused("The public key must be an RSA key."))?;
        if !(2048..=4096).contains(&bits) {
            return Err(refused("The key size must be from 2048 to 4096 bits."));
        }
        let key =
            PublicEncryptingKey::from_der(key).map_err(|_| refused("The public key must be an RSA key."))?;
        let key =
            OaepPublicEncryptingKey::new(key).map_err(|_| refused("The public key must be an RSA key."))?;
        let thumbprint = hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, &der));
        Ok(Self { key, thumbprint })
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

fn refused(reason: &str) -> Problem {
    Problem::invalid(format!("Certificate validation error: {reason}"))
}
