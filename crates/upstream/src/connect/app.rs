//! How the app of an integration proves who it is when a person connects.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use url::Url;
use uuid::Uuid;
use waypost_core::integration::AppCredentials;
use waypost_crypto::assertion::{self, Claims};

use super::problem::ConnectProblem;

/// What Entra calls an assertion that is a JWT.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The part of a form that names the app and proves it, for the token endpoint `url`.
pub(super) fn proof(
    app: &AppCredentials,
    url: &Url,
    now: DateTime<Utc>,
) -> Result<Vec<(&'static str, SecretString)>, ConnectProblem> {
    let mut form = vec![("client_id", SecretString::from(app.client_id.as_str()))];
    if let Some(certificate) = &app.certificate {
        let unusable = |_| ConnectProblem::Misconfigured { number: None };
        let key = certificate.read().map_err(unusable)?;
        let id = Uuid::new_v4().to_string();
        let claims =
            Claims { client_id: &app.client_id, audience: url.as_str(), id: &id, now: now.timestamp() };
        let signed =
            assertion::sign(&key, claims).map_err(|_| ConnectProblem::Misconfigured { number: None })?;
        form.push(("client_assertion_type", ASSERTION_TYPE.into()));
        form.push(("client_assertion", signed));
        return Ok(form);
    }
    let secret = app.client_secret.clone().ok_or(ConnectProblem::NotReady)?;
    form.push(("client_secret", secret));
    Ok(form)
}
