//! What openssl made is read, what Waypost makes is read back, and what can't be used is told apart.

use super::*;

const CERTIFICATE: &str = include_str!("../../tests/openssl/certificate.pem");
const KEY: &str = include_str!("../../tests/openssl/key.pem");
const TOO_SMALL: &str = include_str!("../../tests/openssl/too-small.pem");
const PKCS1: &str = include_str!("../../tests/openssl/key-pkcs1.pem");

fn der(pem: &str) -> Vec<u8> {
    <(SectionKind, Vec<u8>)>::from_pem_slice(pem.as_bytes()).unwrap().1
}

/// The inner text of a PEM, as people paste it.
fn inner(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_certificate_is_read_from_pem_der_and_bare_base64() {
    let read = Certificate::read(CERTIFICATE.as_bytes()).unwrap();
    assert_eq!(read.bits(), 2048);
    assert_eq!(read.der(), der(CERTIFICATE));
    assert_eq!(STANDARD.decode(read.base64()).unwrap(), read.der());
    assert_eq!(Certificate::read(&der(CERTIFICATE)).unwrap(), read);
    assert_eq!(Certificate::read(inner(CERTIFICATE).as_bytes()).unwrap(), read);
    let surrounded = format!("Bag Attributes\n  friendlyName: x\n{CERTIFICATE}\n");
    assert_eq!(Certificate::read(surrounded.as_bytes()).unwrap(), read);
}

#[test]
fn a_private_key_is_read_from_every_form_and_belongs_to_its_certificate() {
    let certificate = Certificate::read(CERTIFICATE.as_bytes()).unwrap();
    let expected = PrivateKey::read(KEY.as_bytes()).unwrap().to_pkcs8().unwrap();
    let both = format!("{CERTIFICATE}{KEY}");
    let forms = [
        KEY.as_bytes().to_vec(),
        PKCS1.as_bytes().to_vec(),
        der(KEY),
        der(PKCS1),
        inner(KEY).into_bytes(),
        inner(PKCS1).into_bytes(),
        both.into_bytes(),
    ];
    for form in forms {
        let key = PrivateKey::read(&form).unwrap();
        assert_eq!(*key.to_pkcs8().unwrap(), *expected);
        CertifiedKey::of(certificate.clone(), key).unwrap();
    }
}

#[test]
fn a_private_key_in_place_of_the_certificate_or_beside_it_is_refused() {
    for given in [
        KEY.as_bytes().to_vec(),
        PKCS1.as_bytes().to_vec(),
        der(KEY),
        der(PKCS1),
        inner(KEY).into_bytes(),
        format!("{CERTIFICATE}{KEY}").into_bytes(),
        format!("{PKCS1}{CERTIFICATE}").into_bytes(),
        KEY.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE")
            .replace("END PRIVATE", "END ENCRYPTED PRIVATE")
            .into_bytes(),
    ] {
        assert_eq!(Certificate::read(&given).unwrap_err(), CertificateError::PrivateKeyInside);
    }
}

#[test]
fn what_is_no_certificate_is_told_apart() {
    let twice = format!("{CERTIFICATE}{CERTIFICATE}");
    assert_eq!(Certificate::read(twice.as_bytes()).unwrap_err(), CertificateError::Several);
    let mut longer = der(CERTIFICATE);
    longer.push(0);
    let broken = CERTIFICATE.replace("END CERTIFICATE", "END NOTHING");
    for given in [&b""[..], b"hello", b"AAAA", &longer, broken.as_bytes()] {
        assert_eq!(Certificate::read(given).unwrap_err(), CertificateError::NotACertificate);
    }
    let elliptic = rcgen::KeyPair::generate().unwrap();
    let signed = CertificateParams::default().self_signed(&elliptic).unwrap();
    assert_eq!(Certificate::read(signed.der()).unwrap_err(), CertificateError::NotRsa);
    assert_eq!(PrivateKey::read(&elliptic.serialize_der()).unwrap_err(), CertificateError::NotAPrivateKey);
}

#[test]
fn a_key_is_refused_that_graph_would_not_take() {
    for (bits, fits) in [(1024, false), (2048, true), (4096, true), (8192, false)] {
        // The certificate of such a key, though nobody holds the key: only its length counts here.
        let modulus = vec![0x80 | 1; bits / 8];
        assert_eq!(bits_of(&modulus), bits);
        assert_eq!((LEAST_BITS..=MOST_BITS).contains(&bits_of(&modulus)), fits, "{bits}");
    }
    assert_eq!(bits_of(&[0, 0, 1, 0]), 9);
    assert_eq!(bits_of(&[0]), 0);
    let small = Certificate::read(TOO_SMALL.as_bytes());
    assert_eq!(small.unwrap_err(), CertificateError::Size { bits: 1024 });
}

#[test]
fn keys_that_can_not_be_used_are_told_apart() {
    let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
    assert_eq!(PrivateKey::read(encrypted.as_bytes()).unwrap_err(), CertificateError::Encrypted);
    for given in [&b""[..], b"hello", CERTIFICATE.as_bytes(), &der(CERTIFICATE)] {
        assert_eq!(PrivateKey::read(given).unwrap_err(), CertificateError::NotAPrivateKey);
    }
    let other = PrivateKey(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap());
    let certificate = Certificate::read(CERTIFICATE.as_bytes()).unwrap();
    assert_eq!(CertifiedKey::of(certificate, other).unwrap_err(), CertificateError::Mismatch);
}

#[test]
fn what_is_made_is_what_was_asked_for() {
    for size in [KeySize::Rsa2048, KeySize::Rsa3072] {
        let saying = Saying { common_name: "made", not_before: 1_700_000_000, not_after: 1_900_000_000 };
        let made = CertifiedKey::make(size, saying).unwrap();
        let certificate = made.certificate();
        assert_eq!((certificate.bits(), certificate.not_after()), (size.bits(), 1_900_000_000));
        assert_eq!(Certificate::read(certificate.base64().as_bytes()).unwrap(), *certificate);
        assert_eq!(certificate.thumbprint().len(), 40);
        assert_eq!(certificate.thumbprint(), certificate.thumbprint().to_uppercase());
        let key = PrivateKey::read(&made.key().to_pkcs8().unwrap()).unwrap();
        CertifiedKey::of(certificate.clone(), key).unwrap();
        let (_, parsed) = parse_x509_certificate(certificate.der()).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=made");
        assert_eq!(format!("{:?}", made.key()), "PrivateKey { .. }");
    }
    assert_eq!(KeySize::of_bits(4096), Some(KeySize::Rsa4096));
    assert_eq!(KeySize::of_bits(1024), None);
}
