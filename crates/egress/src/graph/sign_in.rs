//! What the sign-in host of a cloud tells: which tenant a domain belongs to, and (in `token`) tokens.

mod authorization;
mod token;

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use url::Url;
use waypost_core::id::TenantId;

pub use authorization::CodeExchange;
pub use token::TokenRequest;

use super::TrustedClient;
use crate::body::{self, Deadline};

const LIMIT: Duration = Duration::from_secs(10);
const LARGEST_DOCUMENT: usize = 64 * 1024;
/// The longest name that DNS allows.
const LONGEST_NAME: usize = 253;

/// Why the tenant of a name isn't known.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// Neither a GUID nor a domain; the host wasn't asked.
    #[error("a tenant is named by its id (a GUID) or by one of its domains")]
    Name,
    /// The sign-in host knows no such tenant.
    #[error("there is no tenant of this name")]
    Unknown,
    /// No answer came.
    #[error("the sign-in host can't be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It answered with neither a document nor a refusal; worth another try later.
    #[error("the sign-in host answered with status {0}")]
    Status(u16),
    /// Its answer broke off, didn't end in time or is far too large.
    #[error("the sign-in host's answer is incomplete")]
    Incomplete,
    /// It answered with something that names no tenant.
    #[error("the sign-in host's answer names no tenant")]
    Answer,
}

/// The part of an `OpenID` configuration that names the tenant.
#[derive(Debug, Deserialize)]
struct Configuration {
    issuer: Option<String>,
    token_endpoint: Option<String>,
}

/// How the sign-in host says no.
#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(rename = "error")]
    _error: String,
}

impl TrustedClient {
    /// The tenant that `name` (a domain, or a GUID already) stands for at the cloud whose sign-in host is `login_url`.
    ///
    /// # Errors
    /// [`TenantError`]; `Unreachable`, `Status` and `Incomplete` may pass by themselves, the others won't.
    pub async fn resolve_tenant(&self, login_url: &Url, name: &str) -> Result<TenantId, TenantError> {
        if let Ok(id) = name.parse() {
            return Ok(id);
        }
        if !is_domain(name) {
            return Err(TenantError::Name);
        }
        let deadline = Deadline::after(LIMIT);
        let request = self.http.get(configuration_url(login_url, name)?).timeout(LIMIT);
        let answer = request.send().await.map_err(|error| TenantError::Unreachable(error.without_url()))?;
        let status = answer.status();
        let body = body::read(answer, LARGEST_DOCUMENT, deadline).await;
        if body.cut {
            return Err(TenantError::Incomplete);
        }
        match status {
            StatusCode::OK => tenant_of(&body.bytes).ok_or(TenantError::Answer),
            StatusCode::BAD_REQUEST if serde_json::from_slice::<Refusal>(&body.bytes).is_ok() => {
                Err(TenantError::Unknown)
            }
            _ => Err(TenantError::Status(status.as_u16())),
        }
    }
}

/// Whether `name` is a domain and so can't change the path it is put in. A name without a dot is none of a tenant's:
/// `common` and its like stand for many.
fn is_domain(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.len() <= LONGEST_NAME && name.contains('.') && name.split('.').all(is_label)
}

fn configuration_url(login_url: &Url, name: &str) -> Result<Url, TenantError> {
    let mut url = login_url.clone();
    url.path_segments_mut().map_err(|()| TenantError::Name)?.pop_if_empty().extend([
        name,
        "v2.0",
        ".well-known",
        "openid-configuration",
    ]);
    Ok(url)
}

fn tenant_of(document: &[u8]) -> Option<TenantId> {
    let found: Configuration = serde_json::from_slice(document).ok()?;
    [found.issuer, found.token_endpoint].into_iter().flatten().find_map(|text| {
        let url = Url::parse(&text).ok()?;
        // Behind a path of the sign-in host's own, if it has one.
        url.path_segments()?.find_map(|segment| segment.parse().ok())
    })
}

#[cfg(test)]
mod tests;
