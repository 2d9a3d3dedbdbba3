//! Opening what Graph encrypts for us: an RSA-OAEP wrapped key, a MAC over the ciphertext, AES-256-CBC.
//!
//! In this order, and not one step further than it holds: the wrapped key must be as long as the modulus; RSA-OAEP (SHA-1,
//! MGF1 with SHA-1, no label) gives 32 bytes; HMAC-SHA256 over the ciphertext under these bytes must be what came along;
//! only then is the ciphertext decrypted, with the same bytes as key and their first 16 as vector. That one key serves all
//! three is the sender's design, safe as long as no key is used twice.
//!
//! The MAC shows that the content is whole, not who sent it: anybody who knows the certificate can make an envelope.
//!
//! Must not: tell the stages of a failure apart to anybody outside, log, or keep plaintext longer than its caller does.

use std::fmt;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::Decryptor;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;
use zeroize::Zeroizing;

/// How long the symmetric key is.
const KEY_LEN: usize = 32;
/// How long the vector is.
const VECTOR_LEN: usize = 16;

/// An envelope as it is sent: all parts in base64.
#[derive(Clone, Copy)]
pub struct Envelope<'a> {
    /// The wrapped symmetric key.
    pub data_key: &'a str,
    /// The ciphertext.
    pub data: &'a str,
    /// The MAC over the ciphertext.
    pub data_signature: &'a str,
}

/// Why an envelope doesn't open. For counting and for tests: outside, all of these look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum EnvelopeError {
    /// A part isn't base64.
    #[error("the encrypted content can't be opened")]
    Encoding,
    /// The wrapped key isn't as long as the modulus.
    #[error("the encrypted content can't be opened")]
    KeyLength,
    /// The wrapped key doesn't unwrap to 32 bytes under this private key.
    #[error("the encrypted content can't be opened")]
    Key,
    /// The MAC is another one.
    #[error("the encrypted content can't be opened")]
    Signature,
    /// The MAC is right, but the ciphertext isn't one.
    #[error("the encrypted content can't be opened")]
    Cipher,
}

impl EnvelopeError {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Encoding, Self::KeyLength, Self::Key, Self::Signature, Self::Cipher];

    /// The word in metrics.
    #[must_use]
    pub const fn stage(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::KeyLength => "key_length",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Cipher => "cipher",
        }
    }
}

/// A kept private key can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this is no private key that can open anything")]
pub struct OpeningKeyError;

/// A private key that opens envelopes. Its `Debug` keeps it to itself.
pub struct OpeningKey(OaepPrivateDecryptingKey);

impl OpeningKey {
    /// Takes a key as it is kept: PKCS#8, DER.
    ///
    /// # Errors
    /// [`OpeningKeyError`] when it is none.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, OpeningKeyError> {
        let key = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| OpeningKeyError)?;
        OaepPrivateDecryptingKey::new(key).map(Self).map_err(|_| OpeningKeyError)
    }

    /// Opens an envelope. The RSA step takes a good part of a millisecond or more: not for an executor's thread.
    ///
    /// # Errors
    /// [`EnvelopeError`], the first stage that doesn't hold.
    pub fn open(&self, envelope: Envelope<'_>) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let decoded = |part: &str| STANDARD.decode(part).map_err(|_| EnvelopeError::Encoding);
        let wrapped = decoded(envelope.data_key)?;
        let mut data = Zeroizing::new(decoded(envelope.data)?);
        let signature = decoded(envelope.data_signature)?;
        let key = self.unwrap_key(&wrapped)?;
        check_signature(&key, &data, &signature)?;
        decrypt(&key, &mut data)?;
        Ok(data)
    }

    fn unwrap_key(&self, wrapped: &[u8]) -> Result<Zeroizing<[u8; KEY_LEN]>, EnvelopeError> {
        if wrapped.len() != self.0.key_size_bytes() {
            return Err(EnvelopeError::KeyLength);
        }
        let mut room = Zeroizing::new(vec![0; self.0.min_output_size()]);
        let unwrapped =
            self.0.decrypt(&OAEP_SHA1_MGF1SHA1, wrapped, &mut room, None).map_err(|_| EnvelopeError::Key)?;
        let mut key = Zeroizing::new([0; KEY_LEN]);
        if unwrapped.len() != KEY_LEN {
            return Err(EnvelopeError::Key);
        }
        key.copy_from_slice(unwrapped);
        Ok(key)
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpeningKey").finish_non_exhaustive()
    }
}

impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("data", &self.data.len()).finish_non_exhaustive()
    }
}

fn check_signature(key: &[u8; KEY_LEN], data: &[u8], signature: &[u8]) -> Result<(), EnvelopeError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| EnvelopeError::Signature)?;
    mac.update(data);
    // Compares in constant time, and the whole MAC: a shorter one is refused.
    mac.verify_slice(signature).map_err(|_| EnvelopeError::Signature)
}

/// Decrypts in place.
fn decrypt(key: &[u8; KEY_LEN], data: &mut Zeroizing<Vec<u8>>) -> Result<(), EnvelopeError> {
    let cipher =
        Decryptor::<Aes256>::new_from_slices(key, &key[..VECTOR_LEN]).map_err(|_| EnvelopeError::Cipher)?;
    let opened = cipher.decrypt_padded::<Pkcs7>(data).map_err(|_| EnvelopeError::Cipher)?.len();
    data.truncate(opened);
    Ok(())
}

#[cfg(test)]
mod tests;
