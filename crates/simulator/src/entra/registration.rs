//! One application registration: the secrets and certificates it may prove itself with, and where it lets people return.
//!
//! Must not know tenants or consent: `directory` does.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};
use uuid::Uuid;

use crate::der;

/// Secrets, certificates and redirect addresses that an application may have of each.
const MAX_PER_APP: usize = 64;

/// What a secret turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretCheck {
    Right,
    Wrong,
    Expired,
}

#[derive(Debug, Clone)]
struct Secret {
    value: SecretString,
    expires_at: Option<DateTime<Utc>>,
}

/// The public half of a certificate that an application signs its assertions with.
#[derive(Debug, Clone)]
pub(crate) struct ClientCertificate {
    /// Base64url of the digests over the certificate, as `x5t` and `x5t#S256` write them.
    sha1: String,
    sha256: String,
    pub(crate) modulus: Vec<u8>,
    pub(crate) exponent: Vec<u8>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

impl ClientCertificate {
    /// Reads DER; nothing if it holds no RSA key of 2048 bits or more.
    pub(crate) fn parse(certificate: &[u8], expires_at: Option<DateTime<Utc>>) -> Option<Self> {
        let key = der::subject_public_key_info(certificate)?;
        if der::modulus_bits(key)? < 2048 {
            return None;
        }
        let (modulus, exponent) = der::rsa_public_key(der::rsa_key_of(key)?)?;
        Some(Self {
            sha1: URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate)),
            sha256: URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate)),
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
            expires_at,
        })
    }

    /// Whether a header with these thumbprints means this certificate.
    pub(crate) fn is_named(&self, x5t: Option<&str>, x5t_s256: Option<&str>) -> bool {
        let plain = |text: &str| text.trim_end_matches('=').to_owned();
        match (x5t, x5t_s256) {
            (None, None) => false,
            (sha1, sha256) => {
                sha1.is_none_or(|named| plain(named) == self.sha1)
                    && sha256.is_none_or(|named| plain(named) == self.sha256)
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Registration {
    secrets: Vec<Secret>,
    certificates: Vec<ClientCertificate>,
    redirect_uris: Vec<Url>,
    /// The only tenant that may use it, when it is not multi-tenant.
    pub(crate) home: Option<Uuid>,
    /// Whether it chose tokens of version 2 for itself.
    pub(crate) second_version: bool,
}

impl Registration {
    /// Forgets all secrets but this one.
    pub(crate) fn replace_secrets(&mut self, value: SecretString) {
        self.secrets = vec![Secret { value, expires_at: None }];
    }

    pub(crate) fn add_secret(&mut self, value: SecretString, expires_at: Option<DateTime<Utc>>) {
        // The same text again is a new date for it.
        self.secrets.retain(|known| known.value.expose_secret() != value.expose_secret());
        if self.secrets.len() < MAX_PER_APP {
            self.secrets.push(Secret { value, expires_at });
        }
    }

    pub(crate) fn remove_secrets(&mut self) {
        self.secrets.clear();
    }

    pub(crate) fn add_certificate(&mut self, certificate: ClientCertificate) {
        self.certificates.retain(|known| known.sha256 != certificate.sha256);
        if self.certificates.len() < MAX_PER_APP {
            self.certificates.push(certificate);
        }
    }

    pub(crate) fn remove_certificates(&mut self) {
        self.certificates.clear();
    }

    pub(crate) fn certificates(&self) -> &[ClientCertificate] {
        &self.certificates
    }

    pub(crate) fn add_redirect_uri(&mut self, uri: Url) {
        if self.redirect_uris.len() < MAX_PER_APP && !self.redirect_uris.contains(&uri) {
            self.redirect_uris.push(uri);
        }
    }

    pub(crate) fn check_secret(&self, secret: &str, now: DateTime<Utc>) -> SecretCheck {
        match self.secrets.iter().find(|known| known.value.expose_secret() == secret) {
            None => SecretCheck::Wrong,
            Some(known) if known.expires_at.is_some_and(|at| at <= now) => SecretCheck::Expired,
            Some(_) => SecretCheck::Right,
        }
    }

    /// Whether people may be sent back to this address: equal to a registered one, but for the port of an address on
    /// the caller's own machine, which Entra leaves open.
    pub(crate) fn allows_redirect(&self, uri: &Url) -> bool {
        self.redirect_uris.iter().any(|known| {
            let mut known = known.clone();
            if is_own_machine(&known) && is_own_machine(uri) && known.set_port(uri.port()).is_err() {
                return false;
            }
            known == *uri
        })
    }
}

fn is_own_machine(uri: &Url) -> bool {
    uri.scheme() == "http"
        && match uri.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_address_must_be_registered_and_only_a_loopback_port_is_free() {
        let mut app = Registration::default();
        for uri in ["https://relay.example/back", "http://localhost/back"] {
            app.add_redirect_uri(Url::parse(uri).unwrap());
        }
        for (uri, allowed) in [
            ("https://relay.example/back", true),
            ("https://relay.example/back/", false),
            ("https://relay.example:444/back", false),
            ("https://relay.example/back?a=1", false),
            ("http://localhost:8080/back", true),
            ("http://localhost:8080/elsewhere", false),
            ("http://127.0.0.1:8080/back", false),
        ] {
            assert_eq!(app.allows_redirect(&Url::parse(uri).unwrap()), allowed, "{uri}");
        }
    }
}
