//! Three makers of envelopes against one opener: the openssl command line, the SDK's own vector, and the `rsa` crate.

use std::path::Path;

use aes::cipher::BlockModeEncrypt as _;
use proptest::prelude::*;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts as _;
use rsa::{Oaep, RsaPrivateKey};
use serde_json::Value;

use super::*;
use crate::certificate::{Certificate, PrivateKey};

const CERTIFICATE: &[u8] = include_bytes!("../../tests/openssl/certificate.pem");
const KEY: &str = include_str!("../../tests/openssl/key.pem");
const ENVELOPE: &str = include_str!("../../tests/openssl/envelope.json");
/// Beside the project, for those who have it: it is not ours to copy.
const OFFICIAL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/sdk-chatmessage-reply.json");

/// One of its parts.
type Part = fn(&mut Raw) -> &mut Vec<u8>;

/// An envelope whose parts are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Raw {
    data_key: Vec<u8>,
    data: Vec<u8>,
    data_signature: Vec<u8>,
}

impl Raw {
    fn of(json: &Value) -> Self {
        let part = |name: &str| STANDARD.decode(json[name].as_str().unwrap()).unwrap();
        Self { data_key: part("dataKey"), data: part("data"), data_signature: part("dataSignature") }
    }

    fn open(&self, key: &OpeningKey) -> Result<Vec<u8>, EnvelopeError> {
        let [data_key, data, data_signature] =
            [&self.data_key, &self.data, &self.data_signature].map(|part| STANDARD.encode(part));
        let envelope = Envelope { data_key: &data_key, data: &data, data_signature: &data_signature };
        key.open(envelope).map(|plaintext| plaintext.to_vec())
    }

    /// Made by the second implementation.
    fn seal(plaintext: &[u8], symmetric: &[u8; KEY_LEN], for_key: &RsaPrivateKey) -> Self {
        let cipher = cbc::Encryptor::<Aes256>::new_from_slices(symmetric, &symmetric[..VECTOR_LEN]).unwrap();
        let mut data = plaintext.to_vec();
        data.resize(plaintext.len() + VECTOR_LEN, 0);
        let length = cipher.encrypt_padded::<Pkcs7>(&mut data, plaintext.len()).unwrap().len();
        data.truncate(length);
        let mut mac = Hmac::<Sha256>::new_from_slice(symmetric).unwrap();
        mac.update(&data);
        let data_signature = mac.finalize().into_bytes().to_vec();
        let padding = Oaep::new::<sha1::Sha1>();
        let data_key = for_key.to_public_key().encrypt(&mut OsRng, padding, symmetric).unwrap();
        Self { data_key, data, data_signature }
    }

    /// Opened by the second implementation.
    fn open_otherwise(&self, key: &RsaPrivateKey) -> Option<Vec<u8>> {
        let symmetric = key.decrypt(Oaep::new::<sha1::Sha1>(), &self.data_key).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&symmetric).ok()?;
        mac.update(&self.data);
        mac.verify_slice(&self.data_signature).ok()?;
        let cipher = Decryptor::<Aes256>::new_from_slices(&symmetric, symmetric.get(..VECTOR_LEN)?).ok()?;
        let mut data = self.data.clone();
        cipher.decrypt_padded::<Pkcs7>(&mut data).ok().map(<[u8]>::to_vec)
    }
}

fn opening(pem: &str) -> OpeningKey {
    OpeningKey::from_pkcs8(&PrivateKey::read(pem.as_bytes()).unwrap().to_pkcs8().unwrap()).unwrap()
}

fn second() -> RsaPrivateKey {
    RsaPrivateKey::from_pkcs8_pem(KEY).unwrap()
}

fn made_by_openssl() -> (Value, Raw) {
    let json: Value = serde_json::from_str(ENVELOPE).unwrap();
    let raw = Raw::of(&json);
    (json, raw)
}

#[test]
fn what_openssl_sealed_opens_and_both_implementations_agree() {
    let (json, raw) = made_by_openssl();
    let plaintext = STANDARD.decode(json["plaintext"].as_str().unwrap()).unwrap();
    assert_eq!(raw.open(&opening(KEY)).unwrap(), plaintext);
    assert_eq!(raw.open_otherwise(&second()).unwrap(), plaintext);
    assert_eq!(Certificate::read(CERTIFICATE).unwrap().thumbprint(), json["thumbprint"].as_str().unwrap());
}

#[test]
fn the_official_vector_opens_and_both_implementations_agree() {
    let Ok(text) = std::fs::read(Path::new(OFFICIAL)) else {
        // Whoever runs the tests is to know that this one had nothing to check.
        eprintln!("the official vector is absent ({OFFICIAL}): nothing was checked");
        return;
    };
    let json: Value = serde_json::from_slice(&text).unwrap();
    let raw = Raw::of(&json["encryptedContent"]);
    let der = STANDARD.decode(json["key"]["private_key_pkcs8_der_base64"].as_str().unwrap()).unwrap();
    let expected = json["derived"]["plaintext_utf8"].as_str().unwrap();
    assert_eq!(raw.open(&OpeningKey::from_pkcs8(&der).unwrap()).unwrap(), expected.as_bytes());
    let key = RsaPrivateKey::from_pkcs8_der(&der).unwrap();
    assert_eq!(raw.open_otherwise(&key).unwrap(), expected.as_bytes());
    let certificate = json["key"]["certificate_der_base64"].as_str().unwrap();
    let certificate = Certificate::read(certificate.as_bytes()).unwrap();
    let named = json["encryptedContent"]["encryptionCertificateThumbprint"].as_str().unwrap();
    assert_eq!((certificate.thumbprint().as_str(), certificate.bits()), (named, 4096));
}

#[test]
fn a_change_of_any_byte_of_any_part_fails_at_its_own_stage() {
    let (_, raw) = made_by_openssl();
    let key = opening(KEY);
    let parts: [(Part, EnvelopeError); 3] = [
        (|raw| &mut raw.data_key, EnvelopeError::Key),
        (|raw| &mut raw.data, EnvelopeError::Signature),
        (|raw| &mut raw.data_signature, EnvelopeError::Signature),
    ];
    for (part, stage) in parts {
        for at in 0..part(&mut raw.clone()).len() {
            let mut tampered = raw.clone();
            part(&mut tampered)[at] ^= 1 << (at % 8);
            assert_eq!(tampered.open(&key), Err(stage), "byte {at}");
            // The second implementation takes its time.
            if at % 32 == 0 {
                assert_eq!(tampered.open_otherwise(&second()), None, "byte {at}");
            }
        }
    }
}

#[test]
fn a_wrapped_key_of_another_length_is_refused_before_it_is_unwrapped() {
    let (_, raw) = made_by_openssl();
    let key = opening(KEY);
    for change in [-256_isize, -1, 1, 256] {
        let mut other = raw.clone();
        let length = other.data_key.len().checked_add_signed(change).unwrap();
        other.data_key.resize(length, 0);
        assert_eq!(other.open(&key), Err(EnvelopeError::KeyLength));
    }
}

#[test]
fn a_key_wrapped_by_oaep_with_sha256_does_not_open() {
    let (json, mut raw) = made_by_openssl();
    raw.data_key = STANDARD.decode(json["dataKeySha256"].as_str().unwrap()).unwrap();
    assert_eq!(raw.open(&opening(KEY)), Err(EnvelopeError::Key));
}

#[test]
fn a_symmetric_key_of_another_length_is_refused() {
    let (_, mut raw) = made_by_openssl();
    for length in [0, 16, 31, 33, 48] {
        let symmetric = vec![7; length];
        let padding = Oaep::new::<sha1::Sha1>();
        raw.data_key = second().to_public_key().encrypt(&mut OsRng, padding, &symmetric).unwrap();
        assert_eq!(raw.open(&opening(KEY)), Err(EnvelopeError::Key), "{length}");
    }
}

#[test]
fn a_ciphertext_with_a_good_mac_that_is_none_fails_last() {
    let key = second();
    for data in [Vec::new(), vec![1; 15], vec![1; 16], vec![1; 17]] {
        let mut raw = Raw::seal(b"", &[9; KEY_LEN], &key);
        let mut mac = Hmac::<Sha256>::new_from_slice(&[9; KEY_LEN]).unwrap();
        mac.update(&data);
        raw.data_signature = mac.finalize().into_bytes().to_vec();
        raw.data = data;
        assert_eq!(raw.open(&opening(KEY)), Err(EnvelopeError::Cipher));
    }
}

#[test]
fn a_mac_that_is_cut_short_is_refused() {
    let (_, mut raw) = made_by_openssl();
    while raw.data_signature.pop().is_some() {
        assert_eq!(raw.open(&opening(KEY)), Err(EnvelopeError::Signature));
    }
}

#[test]
fn parts_that_are_no_base64_are_refused() {
    let key = opening(KEY);
    let good = "AAAA";
    for bad in ["*", "AAA", "AAAA\n", "AA=A", "ä"] {
        for envelope in [
            Envelope { data_key: bad, data: good, data_signature: good },
            Envelope { data_key: good, data: bad, data_signature: good },
            Envelope { data_key: good, data: good, data_signature: bad },
        ] {
            assert_eq!(key.open(envelope).err(), Some(EnvelopeError::Encoding), "{bad:?}");
        }
    }
}

#[test]
fn all_failures_look_alike() {
    for error in EnvelopeError::ALL {
        assert_eq!(error.to_string(), "the encrypted content can't be opened");
        assert!(std::error::Error::source(&error).is_none());
    }
}

#[test]
fn another_key_opens_nothing() {
    let (_, raw) = made_by_openssl();
    let saying = crate::certificate::Saying { common_name: "other", not_before: 0, not_after: 1 };
    let other = crate::certificate::CertifiedKey::make(crate::certificate::KeySize::Rsa2048, saying).unwrap();
    let other = OpeningKey::from_pkcs8(&other.key().to_pkcs8().unwrap()).unwrap();
    assert_eq!(raw.open(&other), Err(EnvelopeError::Key));
}

#[test]
fn keys_and_envelopes_are_not_shown() {
    assert_eq!(format!("{:?}", opening(KEY)), "OpeningKey { .. }");
    let shown = format!("{:?}", Envelope { data_key: "secret", data: "hidden", data_signature: "silent" });
    assert!(!["secret", "hidden", "silent"].iter().any(|part| shown.contains(part)), "{shown}");
    assert_eq!(second().size(), 256);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_sealed_opens_as_it_was(
        plaintext in prop::collection::vec(any::<u8>(), 0..600),
        symmetric in any::<[u8; KEY_LEN]>(),
    ) {
        let raw = Raw::seal(&plaintext, &symmetric, &second());
        prop_assert_eq!(raw.open(&opening(KEY)), Ok(plaintext.clone()));
        prop_assert_eq!(raw.open_otherwise(&second()), Some(plaintext));
    }

    #[test]
    fn whatever_is_changed_does_not_open(
        plaintext in prop::collection::vec(any::<u8>(), 0..200),
        symmetric in any::<[u8; KEY_LEN]>(),
        part in 0_usize..3,
        at in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        let mut raw = Raw::seal(&plaintext, &symmetric, &second());
        let bytes = match part {
            0 => &mut raw.data_key,
            1 => &mut raw.data,
            _ => &mut raw.data_signature,
        };
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let stage = if part == 0 { EnvelopeError::Key } else { EnvelopeError::Signature };
        prop_assert_eq!(raw.open(&opening(KEY)), Err(stage));
    }

    #[test]
    fn noise_never_opens(
        data_key in prop::collection::vec(any::<u8>(), 0..300),
        data in prop::collection::vec(any::<u8>(), 0..100),
        data_signature in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let raw = Raw { data_key, data, data_signature };
        prop_assert!(raw.open(&opening(KEY)).is_err());
    }
}
