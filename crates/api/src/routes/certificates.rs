//! `/integrations/{key}/certificates`: what encrypted notifications are encrypted for. Private keys come in and never go
//! out.

use actix_web::{HttpResponse, get, post, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waypost_core::certificate::{Certificate, Label};
use waypost_core::connection::ConnectionId;
use waypost_core::id::CertificateId;
use waypost_core::integration::UniqueKey;
use waypost_crypto::certificate::{CertificateError as Unusable, CertifiedKey, KeySize};
use waypost_postgres::certificate::{NewCertificate, Rotated};
use waypost_upstream::certificates::{CertificateError, Certificates};

use crate::auth::{Authorized, scope};
use crate::error::{ApiError, ErrorBody, Issue};
use crate::extract::{Body, Path};
use crate::page::{Listed, PageParams, Paged};
use crate::routes::routes;
use crate::time::Time;

/// The longest certificate or key that is read, in characters.
const LONGEST: usize = 64 * 1024;

/// Names an integration.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Address {
    /// The integration's unique key.
    unique_key: String,
}

/// Which certificate is to be current: a new one of `bits`, or the one that is given with its private key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CertificateRotation)]
struct Wanted {
    /// 2048 (when absent), 3072 or 4096. Larger keys open several times slower.
    #[schema(example = 2048)]
    bits: Option<u32>,
    /// X.509 with an RSA key of 2,048 to 4,096 bits: PEM, or DER in base64.
    certificate: Option<String>,
    /// Its private key: PKCS#8 or PKCS#1, PEM or DER in base64, without a password.
    #[schema(value_type = Option<String>)]
    private_key: Option<SecretString>,
    /// What notifications call a certificate that is given, when subscriptions name it already; else its own id.
    #[schema(value_type = Option<String>)]
    encryption_certificate_id: Option<Label>,
    /// The connection that gets a certificate of its own; the integration's when absent.
    #[schema(value_type = Option<String>)]
    connection_id: Option<ConnectionId>,
}

/// What is to be kept.
#[derive(Debug)]
enum Source {
    New(KeySize),
    Given(String, SecretString, Option<Label>),
}

/// A certificate; its private key is never shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Certificate)]
struct View {
    #[schema(value_type = String, example = "cert_01jd7q3v5he8r9w0x1y2z3a4b5")]
    id: CertificateId,
    /// `current`: new subscriptions name it; `retiring`: it only opens; `retired`: its key is destroyed.
    status: &'static str,
    /// What subscriptions and notifications call it (`encryptionCertificateId`).
    #[schema(value_type = String)]
    encryption_certificate_id: Label,
    /// The connection that it belongs to alone; null when all of the integration share it.
    #[schema(value_type = Option<String>)]
    connection_id: Option<ConnectionId>,
    bits: u32,
    /// SHA-1 of the certificate, as notifications name it.
    thumbprint: String,
    /// The certificate as Graph takes it (`encryptionCertificate`): DER in base64.
    certificate: String,
    /// When it says that it ends; opening doesn't depend on it.
    not_after: Time,
    created_at: Time,
    /// When another took its place.
    replaced_at: Option<Time>,
    /// When its private key was destroyed.
    retired_at: Option<Time>,
}

impl From<Certificate> for View {
    fn from(certificate: Certificate) -> Self {
        Self {
            id: certificate.id,
            status: certificate.status.as_str(),
            encryption_certificate_id: certificate.label,
            connection_id: certificate.connection,
            bits: certificate.bits,
            thumbprint: certificate.thumbprint,
            certificate: STANDARD.encode(&certificate.der),
            not_after: certificate.not_after.into(),
            created_at: certificate.created_at.into(),
            replaced_at: certificate.replaced_at.map(Into::into),
            retired_at: certificate.retired_at.map(Into::into),
        }
    }
}

impl Address {
    fn key(&self) -> Result<UniqueKey, ApiError> {
        UniqueKey::parse(self.unique_key.as_str()).map_err(|_| self.unknown())
    }

    fn unknown(&self) -> ApiError {
        ApiError::not_found(format!("Integration \"{}\" does not exist", self.unique_key))
    }
}

impl Wanted {
    fn check(self) -> Result<(Option<ConnectionId>, Source), ApiError> {
        let refused = |field: &str, message: &str| {
            Err(ApiError::invalid_body(vec![Issue::at(&[field], "custom", message)]))
        };
        let source = match (self.bits, self.certificate, self.private_key) {
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => {
                return refused("bits", "give either bits, or a certificate with its private key");
            }
            (None, Some(_), None) => return refused("private_key", "a certificate needs its private key"),
            (None, None, Some(_)) => return refused("certificate", "a private key needs its certificate"),
            (None, Some(certificate), Some(key)) => {
                let label = self.encryption_certificate_id;
                return Ok((self.connection_id, Source::Given(certificate, key, label)));
            }
            (bits, None, None) => KeySize::of_bits(bits.unwrap_or(2048)),
        };
        let Some(size) = source else { return refused("bits", "bits is 2048, 3072 or 4096") };
        if self.encryption_certificate_id.is_some() {
            return refused("encryption_certificate_id", "a new certificate is named by its own id");
        }
        Ok((self.connection_id, Source::New(size)))
    }
}

impl Source {
    async fn certified(self, certificates: &Certificates) -> Result<(CertifiedKey, Option<Label>), ApiError> {
        match self {
            Self::New(size) => {
                let made = certificates.make(size).await.map_err(|error| match error {
                    CertificateError::Store(error) => ApiError::from(error),
                    error @ CertificateError::Making => ApiError::internal(error),
                })?;
                Ok((made, None))
            }
            Self::Given(certificate, key, label) => {
                let too_long = certificate.len() > LONGEST;
                let read = if too_long {
                    Err(Unusable::NotACertificate)
                } else {
                    certificates.read(certificate, key).await
                };
                read.map(|read| (read, label)).map_err(unusable)
            }
        }
    }
}

fn unusable(error: Unusable) -> ApiError {
    let field = match error {
        Unusable::NotAPrivateKey | Unusable::Encrypted | Unusable::Mismatch => "private_key",
        Unusable::NotACertificate
        | Unusable::PrivateKeyInside
        | Unusable::Several
        | Unusable::NotRsa
        | Unusable::Expired
        | Unusable::Size { .. } => "certificate",
    };
    ApiError::invalid_body(vec![Issue::at(&[field], "custom", error.to_string())])
}

/// List the certificates
///
/// Those of the integration and of its connections, the newest first.
#[utoipa::path(
    tag = "Certificates",
    security(("api_key" = [])),
    params(Address, PageParams),
    responses(
        (status = 200, description = "A page of certificates", body = Listed<View>),
        (status = 400, description = "The query can't be read", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:certificates:read`", body = ErrorBody),
        (status = 404, description = "No such integration", body = ErrorBody),
    )
)]
#[get("/integrations/{unique_key}/certificates")]
async fn list_certificates(
    authorized: Authorized<scope::CertificatesRead>,
    address: Path<Address>,
    query: Paged<CertificateId>,
) -> Result<HttpResponse, ApiError> {
    let listed = authorized.tenant.list_certificates(&address.0.key()?, &query.page).await?;
    let listed = listed.ok_or_else(|| address.0.unknown())?;
    Ok(HttpResponse::Ok().json(Listed::of(listed, View::from)))
}

/// Rotate the certificate
///
/// Makes a certificate, or takes the one that is given, and lets new subscriptions name it. The one before goes on
/// opening notifications until nothing can name it any more; then its private key is destroyed. One that is here already
/// under the same name becomes the current one again.
#[utoipa::path(
    tag = "Certificates",
    security(("api_key" = [])),
    params(Address),
    request_body = Wanted,
    responses(
        (status = 200, description = "The certificate, which was here already and is current now", body = View),
        (status = 201, description = "The certificate that is current now", body = View),
        (status = 400, description = "The body is invalid, or the certificate or key can't be used", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks `environment:certificates:write`", body = ErrorBody),
        (status = 404, description = "No such integration or connection", body = ErrorBody),
    )
)]
#[post("/integrations/{unique_key}/certificates")]
async fn rotate_certificate(
    authorized: Authorized<scope::CertificatesWrite>,
    address: Path<Address>,
    wanted: Body<Wanted>,
    certificates: web::Data<Certificates>,
) -> Result<HttpResponse, ApiError> {
    let key = address.0.key()?;
    let (connection, source) = wanted.0.check()?;
    // An unknown integration is told before a key is made in vain.
    authorized.tenant.find_integration(&key).await?.ok_or_else(|| address.0.unknown())?;
    let (certified, label) = source.certified(&certificates).await?;
    let new = NewCertificate::of(&certified, label).map_err(ApiError::internal)?;
    match authorized.tenant.rotate_certificate(&key, connection.as_ref(), &new).await? {
        Rotated::Known(certificate) => Ok(HttpResponse::Ok().json(View::from(*certificate))),
        Rotated::Done(certificate) => Ok(HttpResponse::Created().json(View::from(*certificate))),
        Rotated::UnknownIntegration => Err(address.0.unknown()),
        Rotated::UnknownConnection => Err(ApiError::not_found("There is no such connection")),
    }
}

routes![list_certificates, rotate_certificate];
