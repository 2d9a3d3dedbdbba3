//! Certificates for encrypted notifications: the one that a new subscription is to name, made when there is none, and
//! those that people ask for.
//!
//! Keys are made on the blocking pool: a large one takes seconds.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use waypost_core::clock::SharedClock;
use waypost_core::id::{ConnectionKey, EnvironmentId, IntegrationId};
use waypost_crypto::certificate::{
    Certificate, CertificateError as Unusable, CertifiedKey, KeySize, MakeError, PrivateKey, Saying,
};
use waypost_postgres::certificate::{Current, NewCertificate, Owner};
use waypost_postgres::{Store, StoreError};

/// How long a new certificate is valid. Nobody judges it by that; it only has to be valid when a subscription is made.
const VALID_FOR: TimeDelta = TimeDelta::days(5 * 365);
/// How far clocks may be apart.
const SKEW: TimeDelta = TimeDelta::days(1);
/// The name in certificates that Waypost makes.
const NAME: &str = "Waypost encrypted notifications";

/// What a subscription with resource data names at Graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionCertificate {
    /// `encryptionCertificateId`.
    pub id: String,
    /// `encryptionCertificate`: the certificate, DER in base64, public part only.
    pub der_base64: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The machine could not make one.
    #[error("a certificate could not be made")]
    Making,
    /// The store failed.
    #[error("the certificate can't be read or kept")]
    Store(#[from] StoreError),
}

/// Gives certificates to subscriptions, and makes them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificates {
    store: Store,
    clock: SharedClock,
}

impl Certificates {
    /// Certificates that are kept in `store`.
    #[must_use]
    pub const fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// The current certificate of the connection, when it has its own, else of the integration. Makes one when there is
    /// none.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub async fn for_subscription(
        &self,
        environment: EnvironmentId,
        integration: IntegrationId,
        connection: ConnectionKey,
    ) -> Result<EncryptionCertificate, CertificateError> {
        let owner = Owner { environment, integration, connection: Some(connection) };
        if let Some(current) = self.store.current_certificate_across_environments(owner).await? {
            return Ok(current.into());
        }
        let made = self.make(KeySize::default()).await?;
        let new = NewCertificate::of(&made, None).map_err(|_| CertificateError::Making)?;
        let shared = Owner { connection: None, ..owner };
        self.store.add_first_certificate_across_environments(shared, &new).await?;
        // Whoever was first: this is the one.
        let current = self.store.current_certificate_across_environments(owner).await?;
        current.map(EncryptionCertificate::from).ok_or(CertificateError::Making)
    }

    /// Makes a key and a certificate for it.
    ///
    /// # Errors
    /// [`CertificateError::Making`] when the machine's cryptography fails.
    pub async fn make(&self, size: KeySize) -> Result<CertifiedKey, CertificateError> {
        let now = self.clock.now();
        let making = move || {
            let seconds = |time: DateTime<Utc>| u64::try_from(time.timestamp()).unwrap_or_default();
            let (not_before, not_after) = (seconds(now - SKEW), seconds(now + VALID_FOR));
            CertifiedKey::make(size, Saying { common_name: NAME, not_before, not_after })
        };
        match tokio::task::spawn_blocking(making).await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(MakeError)) | Err(_) => Err(CertificateError::Making),
        }
    }

    /// Reads a certificate and a private key that somebody brought, and sees that they belong together and are of use.
    ///
    /// # Errors
    /// [`Unusable`] tells which of them is at fault, and the cure.
    pub async fn read(&self, certificate: String, key: SecretString) -> Result<CertifiedKey, Unusable> {
        let now = self.clock.now().timestamp();
        let reading = move || {
            let certificate = Certificate::read(certificate.as_bytes())?;
            if certificate.not_after() <= now {
                return Err(Unusable::Expired);
            }
            CertifiedKey::of(certificate, PrivateKey::read(key.expose_secret().as_bytes())?)
        };
        tokio::task::spawn_blocking(reading).await.unwrap_or(Err(Unusable::NotAPrivateKey))
    }
}

impl From<Current> for EncryptionCertificate {
    fn from(current: Current) -> Self {
        Self { id: current.label.into(), der_base64: base64(&current.der) }
    }
}

/// What Graph takes: no lines.
fn base64(der: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(der)
}
