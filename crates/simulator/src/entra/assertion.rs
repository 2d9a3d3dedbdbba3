//! The proof of an application by a signed assertion in place of a secret.
//!
//! Must not accept an algorithm, an audience or a moment that Entra would not.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    problem::EntraProblem,
    registration::{ClientCertificate, Registration},
};

/// The one value of `client_assertion_type`.
pub(crate) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Clocks may differ by so many seconds.
const SKEW: i64 = 300;

#[derive(Debug, Deserialize)]
struct Claims {
    aud: String,
    iss: String,
    sub: String,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    jti: Option<String>,
}

/// Where and when an assertion is presented.
pub(crate) struct Presented<'a> {
    pub(crate) client_id: Uuid,
    /// Every audience that means this endpoint.
    pub(crate) audiences: &'a [String],
    pub(crate) now: DateTime<Utc>,
}

/// Proves that the application's own key signed this, for this endpoint, now.
pub(crate) fn prove(
    assertion: &str,
    registration: &Registration,
    presented: &Presented<'_>,
) -> Result<(), EntraProblem> {
    let header = jsonwebtoken::decode_header(assertion)
        .map_err(|_| EntraProblem::malformed_assertion("The header cannot be read."))?;
    if !matches!(header.alg, Algorithm::PS256 | Algorithm::RS256) {
        return Err(EntraProblem::malformed_assertion("The algorithm must be PS256 or RS256."));
    }
    let certificate = named(registration, &header)?;
    if certificate.expires_at.is_some_and(|at| at <= presented.now) {
        return Err(EntraProblem::bad_assertion_key("The key used is expired."));
    }
    let claims = claims(assertion, &header, certificate)?;
    judge(&claims, presented)
}

fn named<'a>(registration: &'a Registration, header: &Header) -> Result<&'a ClientCertificate, EntraProblem> {
    let (x5t, x5t_s256) = (header.x5t.as_deref(), header.x5t_s256.as_deref());
    let mut known = registration.certificates().iter();
    known.find(|certificate| certificate.is_named(x5t, x5t_s256)).ok_or_else(|| {
        EntraProblem::bad_assertion_key(
            "The key was not found. The certificate is not registered for the app.",
        )
    })
}

fn claims(assertion: &str, header: &Header, certificate: &ClientCertificate) -> Result<Claims, EntraProblem> {
    let mut validation = Validation::new(header.alg);
    // Times and audience are judged below, by the simulator's clock and with numbers of their own.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_rsa_raw_components(&certificate.modulus, &certificate.exponent);
    match jsonwebtoken::decode(assertion, &key, &validation) {
        Ok(token) => Ok(token.claims),
        Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => {
            Err(EntraProblem::malformed_assertion("The claims cannot be read."))
        }
        Err(_) => Err(EntraProblem::bad_assertion_key("Client assertion contains an invalid signature.")),
    }
}

fn judge(claims: &Claims, presented: &Presented<'_>) -> Result<(), EntraProblem> {
    let app = presented.client_id.to_string();
    if !claims.iss.eq_ignore_ascii_case(&app) || !claims.sub.eq_ignore_ascii_case(&app) {
        return Err(EntraProblem::foreign_assertion());
    }
    if !presented.audiences.contains(&claims.aud) {
        return Err(EntraProblem::assertion_audience());
    }
    let now = presented.now.timestamp();
    let starts = claims.nbf.into_iter().chain(claims.iat).max().unwrap_or(now);
    if claims.exp + SKEW <= now || starts > now + SKEW || claims.exp <= starts {
        return Err(EntraProblem::assertion_time());
    }
    if claims.jti.as_deref().is_none_or(str::is_empty) {
        return Err(EntraProblem::malformed_assertion("The claim 'jti' is missing."));
    }
    Ok(())
}
