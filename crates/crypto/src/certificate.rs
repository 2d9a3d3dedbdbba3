//! Certificates for encrypted notifications and their private keys: making, reading, matching.
//!
//! RSA of 2,048 to 4,096 bits, self-signed. Nobody judges names or dates of these certificates, neither Graph nor we: what
//! counts is the public key in it and the private key beside it. People bring PEM or DER; inside there is only DER.
//!
//! Must not: open envelopes (that is [`crate::envelope`]), or show a private key in an error or `Debug`.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use thiserror::Error;
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;
use zeroize::Zeroizing;

/// The smallest modulus that Graph takes, in bits.
pub const LEAST_BITS: usize = 2048;
/// The largest.
pub const MOST_BITS: usize = 4096;

const PEM_MARK: &[u8] = b"-----BEGIN";

/// The sizes of keys that are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeySize {
    /// 2,048 bits: opens several times as fast as the others.
    #[default]
    Rsa2048,
    /// 3,072 bits.
    Rsa3072,
    /// 4,096 bits.
    Rsa4096,
}

/// Why a certificate or its key can't be used. Tells the cure as well, since people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// There is no certificate in it.
    #[error("this is no X.509 certificate: give one in PEM or DER")]
    NotACertificate,
    /// A private key stands where the certificate belongs; it must never be sent to Graph.
    #[error("there is a private key in place of the certificate, or beside it: give the certificate alone")]
    PrivateKeyInside,
    /// There is more than one certificate.
    #[error("there is more than one certificate: give the one to encrypt for, without its chain")]
    Several,
    /// The key is of another kind.
    #[error("the certificate's key is not RSA, which Graph encrypts with")]
    NotRsa,
    /// The modulus is too short or too long.
    #[error("the RSA key has {bits} bits; Graph takes {LEAST_BITS} to {MOST_BITS}")]
    Size {
        /// Its bits.
        bits: usize,
    },
    /// It says that it has ended.
    #[error("the certificate has expired, and Graph takes only valid ones: give one that has not")]
    Expired,
    /// There is no private key in it.
    #[error("this is no RSA private key: give one as PKCS#8 or PKCS#1, in PEM or DER")]
    NotAPrivateKey,
    /// The private key is locked with a password.
    #[error("the private key is encrypted: give it without a password")]
    Encrypted,
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// The machine's cryptography failed: no key could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a key could not be made")]
pub struct MakeError;

/// A certificate with an RSA key that Graph can encrypt for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    not_after: i64,
    bits: usize,
    /// The `RSAPublicKey` of PKCS#1, as it stands in the certificate.
    public_key: Vec<u8>,
}

/// An RSA private key. Its `Debug` keeps it to itself.
pub struct PrivateKey(rsa::KeyPair);

/// A certificate and the private key that belongs to it.
#[derive(Debug)]
pub struct CertifiedKey {
    certificate: Certificate,
    key: PrivateKey,
}

/// What a new certificate says. Nobody relies on it.
#[derive(Debug, Clone, Copy)]
pub struct Saying<'a> {
    /// The common name of subject and issuer.
    pub common_name: &'a str,
    /// From when it is valid, in seconds since 1970.
    pub not_before: u64,
    /// Until when, in seconds since 1970.
    pub not_after: u64,
}

impl KeySize {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> usize {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }

    /// The size with that many bits.
    #[must_use]
    pub fn of_bits(bits: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|size| u32::try_from(size.bits()) == Ok(bits))
    }

    const fn inner(self) -> rsa::KeySize {
        match self {
            Self::Rsa2048 => rsa::KeySize::Rsa2048,
            Self::Rsa3072 => rsa::KeySize::Rsa3072,
            Self::Rsa4096 => rsa::KeySize::Rsa4096,
        }
    }
}

impl Certificate {
    /// Reads a certificate: PEM, DER, or DER in base64.
    ///
    /// # Errors
    /// [`CertificateError`] when it isn't one that Graph can use, or holds a private key.
    pub fn read(given: &[u8]) -> Result<Self, CertificateError> {
        if is_pem(given) {
            return Self::from_der(certificate_of_pem(given)?);
        }
        let der = from_base64(given).map_or_else(|| given.to_vec(), |decoded| decoded.to_vec());
        if pair_of_der(&der).is_some() {
            return Err(CertificateError::PrivateKeyInside);
        }
        Self::from_der(der)
    }

    fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let (rest, parsed) = parse_x509_certificate(&der).map_err(|_| CertificateError::NotACertificate)?;
        if !rest.is_empty() {
            return Err(CertificateError::NotACertificate);
        }
        let info = parsed.public_key();
        let Ok(PublicKey::RSA(key)) = info.parsed() else { return Err(CertificateError::NotRsa) };
        let bits = bits_of(key.modulus);
        if !(LEAST_BITS..=MOST_BITS).contains(&bits) {
            return Err(CertificateError::Size { bits });
        }
        let public_key = info.subject_public_key.data.to_vec();
        let not_after = parsed.validity().not_after.timestamp();
        Ok(Self { der, not_after, bits, public_key })
    }

    /// The certificate itself.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as Graph wants it: DER in base64, without lines.
    #[must_use]
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// What Graph calls its thumbprint: SHA-1 of the DER in upper-case hexadecimal digits.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        hex::encode_upper(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der))
    }

    /// When it says that it ends, in seconds since 1970.
    #[must_use]
    pub const fn not_after(&self) -> i64 {
        self.not_after
    }

    /// The length of its modulus in bits.
    #[must_use]
    pub const fn bits(&self) -> usize {
        self.bits
    }
}

impl PrivateKey {
    /// Reads a private key: PKCS#8 or PKCS#1, in PEM, DER, or DER in base64.
    ///
    /// # Errors
    /// [`CertificateError`] when it is no RSA key that can be used.
    pub fn read(given: &[u8]) -> Result<Self, CertificateError> {
        let der = if is_pem(given) {
            key_of_pem(given)?
        } else {
            from_base64(given).unwrap_or_else(|| Zeroizing::new(given.to_vec()))
        };
        pair_of_der(&der).map(Self).ok_or(CertificateError::NotAPrivateKey)
    }

    /// For the mechanisms of this crate.
    pub(crate) const fn pair(&self) -> &rsa::KeyPair {
        &self.0
    }

    /// The key as it is kept: PKCS#8, DER.
    ///
    /// # Errors
    /// [`MakeError`] when the machine's cryptography fails.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, MakeError> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| MakeError)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").finish_non_exhaustive()
    }
}

impl CertifiedKey {
    /// Makes a key and a certificate for it. Takes a while, more so for large keys.
    ///
    /// # Errors
    /// [`MakeError`] when the machine's cryptography fails.
    pub fn make(size: KeySize, saying: Saying<'_>) -> Result<Self, MakeError> {
        let key = PrivateKey(rsa::KeyPair::generate(size.inner()).map_err(|_| MakeError)?);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, saying.common_name);
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(saying.not_before);
        params.not_after = epoch + Duration::from_secs(saying.not_after);
        let signed = params.self_signed(&key).map_err(|_| MakeError)?;
        let certificate = Certificate::from_der(signed.der().to_vec()).map_err(|_| MakeError)?;
        Ok(Self { certificate, key })
    }

    /// Puts together what somebody brought.
    ///
    /// # Errors
    /// [`CertificateError::Mismatch`] when the key belongs to another certificate.
    pub fn of(certificate: Certificate, key: PrivateKey) -> Result<Self, CertificateError> {
        if certificate.public_key == key.0.public_key().as_ref() {
            Ok(Self { certificate, key })
        } else {
            Err(CertificateError::Mismatch)
        }
    }

    /// The certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The private key.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature)
    }
}

fn is_pem(given: &[u8]) -> bool {
    given.windows(PEM_MARK.len()).any(|window| window == PEM_MARK)
}

fn holds(given: &[u8], words: &[u8]) -> bool {
    given.windows(words.len()).any(|window| window == words)
}

fn certificate_of_pem(given: &[u8]) -> Result<Vec<u8>, CertificateError> {
    if holds(given, b"PRIVATE KEY-----") {
        return Err(CertificateError::PrivateKeyInside);
    }
    let mut found = None;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(given) {
        let (kind, der) = section.map_err(|_| CertificateError::NotACertificate)?;
        if kind == SectionKind::Certificate && found.replace(der).is_some() {
            return Err(CertificateError::Several);
        }
    }
    found.ok_or(CertificateError::NotACertificate)
}

/// The first private key. What else stands in the text, as the certificate often does, is passed over.
fn key_of_pem(given: &[u8]) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    if holds(given, b"ENCRYPTED") {
        return Err(CertificateError::Encrypted);
    }
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(given) {
        let (kind, der) = section.map_err(|_| CertificateError::NotAPrivateKey)?;
        let der = Zeroizing::new(der);
        if matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey) {
            return Ok(der);
        }
    }
    Err(CertificateError::NotAPrivateKey)
}

fn pair_of_der(der: &[u8]) -> Option<rsa::KeyPair> {
    let pair = rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der)).ok()?;
    (pair.public_modulus_len() * 8 >= LEAST_BITS).then_some(pair)
}

/// What base64 text stands for, however it is broken into lines; `None` for anything else.
fn from_base64(given: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text: Zeroizing<Vec<u8>> =
        Zeroizing::new(given.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect());
    STANDARD.decode(&*text).ok().filter(|der| !der.is_empty()).map(Zeroizing::new)
}

fn bits_of(modulus: &[u8]) -> usize {
    let significant = modulus.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &modulus[first..]);
    significant.first().map_or(0, |first| significant.len() * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests;
