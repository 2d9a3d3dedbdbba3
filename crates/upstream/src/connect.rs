//! What is settled at the provider when a connection is made: which tenant its configuration names.

mod app;
mod consent;
pub mod onboarding;
pub mod problem;
mod scene;

use serde_json::{Map, Value};
use url::Url;
use waypost_core::id::TenantId;
use waypost_egress::graph::TrustedClient;
use waypost_egress::graph::sign_in::TenantError;

/// The member of `connection_config` that names the tenant.
pub const TENANT: &str = "tenantId";

/// Why the tenant of a connection isn't known. Tells the cure as well, since people read it.
#[derive(Debug, thiserror::Error)]
pub enum TenantProblem {
    /// The configuration holds something else than a text.
    #[error("tenantId must be a text: the tenant's id (a GUID) or one of its domains")]
    NotText,
    /// Neither a GUID nor a domain.
    #[error(
        "tenantId is neither a GUID nor a domain: give the tenant's id, as the Entra admin center shows it"
    )]
    Name,
    /// The sign-in host knows no such tenant.
    #[error("there is no tenant of this domain: check its spelling, or give the tenant's id (a GUID)")]
    Unknown,
    /// The sign-in host gave no usable answer.
    #[error(
        "the domain of tenantId can't be resolved to a tenant now: give the tenant's id (a GUID), or try again later"
    )]
    Unresolved(#[source] TenantError),
}

/// Settles what a connection needs at the sign-in host. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connector {
    client: TrustedClient,
    login_url: Url,
}

impl Connector {
    /// Asks the sign-in host at `login_url` (`graph.login_url`).
    #[must_use]
    pub const fn new(client: TrustedClient, login_url: Url) -> Self {
        Self { client, login_url }
    }

    /// The tenant that a `connection_config` names: a GUID in any letter case, or a domain, which is looked up. `None`
    /// when it names none.
    ///
    /// # Errors
    /// [`TenantProblem`] when it names none that is known.
    pub async fn resolve_tenant(
        &self,
        config: &Map<String, Value>,
    ) -> Result<Option<TenantId>, TenantProblem> {
        let Some(value) = config.get(TENANT) else { return Ok(None) };
        let name = value.as_str().ok_or(TenantProblem::NotText)?.trim();
        if let Ok(id) = name.parse() {
            return Ok(Some(id));
        }
        match self.client.resolve_tenant(&self.login_url, name).await {
            Ok(id) => Ok(Some(id)),
            Err(TenantError::Name) => Err(TenantProblem::Name),
            Err(TenantError::Unknown) => Err(TenantProblem::Unknown),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a tenant's domain could not be resolved"
                );
                Err(TenantProblem::Unresolved(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn connector() -> Connector {
        let login_url = Url::parse("http://127.0.0.1:1/").unwrap();
        Connector::new(TrustedClient::new(&[]).unwrap(), login_url)
    }

    async fn resolved(config: Value) -> Result<Option<TenantId>, TenantProblem> {
        connector().resolve_tenant(config.as_object().unwrap()).await
    }

    #[tokio::test]
    async fn a_guid_is_taken_in_any_letter_case_without_asking() {
        let upper = resolved(json!({"tenantId": "AAAAAAAA-0000-4000-8000-00000000000B"})).await.unwrap();
        let lower = resolved(json!({"tenantId": "aaaaaaaa-0000-4000-8000-00000000000b"})).await.unwrap();
        assert!(upper.is_some());
        assert_eq!(upper, lower);
        assert!(resolved(json!({"oauth_scopes": "x"})).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_names_no_tenant_is_told_apart() {
        assert!(matches!(resolved(json!({"tenantId": 7})).await, Err(TenantProblem::NotText)));
        assert!(matches!(resolved(json!({"tenantId": "common"})).await, Err(TenantProblem::Name)));
        assert!(matches!(
            resolved(json!({"tenantId": "contoso.example"})).await,
            Err(TenantProblem::Unresolved(_))
        ));
    }
}
