//! Whether an organization has consented to an app that acts by itself: tried out, by asking for a token.
//!
//! Must not keep the token: the connection gets its own.

use secrecy::ExposeSecret as _;
use uuid::Uuid;
use waypost_core::connect::permissions::holds_permissions;
use waypost_core::id::TenantId;
use waypost_core::token::Trouble;
use waypost_egress::graph::sign_in::TokenRequest;

use super::app;
use super::onboarding::Parts;
use super::problem::{ConnectError, ConnectProblem, is_not_there_yet};
use super::scene::{Scene, told};

/// Whether the app is granted a token of permissions for `tenant` now.
///
/// # Errors
/// What keeps it from being known, for the person.
pub(super) async fn is_given(
    parts: &Parts,
    scene: &Scene<'_>,
    tenant: TenantId,
) -> Result<bool, ConnectProblem> {
    let now = parts.clock.now();
    let url = scene.cloud.token_url(&tenant.to_string());
    let mut form = app::proof(&scene.app, &url, now)?;
    form.push(("grant_type", "client_credentials".into()));
    form.push(("scope", scene.asked().unwrap_or_else(|| scene.cloud.scope.clone()).into()));
    let form: Vec<(&'static str, &str)> =
        form.iter().map(|(name, value)| (*name, value.expose_secret())).collect();
    let id = Uuid::new_v4().to_string();
    match parts.client.token(TokenRequest { url: &url, form: &form, id: &id, now }).await {
        Ok(granted) => Ok(holds_permissions(&granted.access_token)),
        Err(Trouble::Refused(refusal)) if is_not_there_yet(&refusal) => Ok(false),
        Err(trouble) => Err(told(scene, &trouble)),
    }
}

/// Refuses a person who isn't known to be an administrator where the consent proves nothing of them: where it was given
/// before they came, they need no administrator to say yes, only an address to type.
///
/// # Errors
/// [`ConnectProblem::AdministratorUnproven`], or why it can't be told whether it was given before.
pub(super) async fn check_proves(
    parts: &Parts,
    scene: &Scene<'_>,
    tenant: TenantId,
) -> Result<(), ConnectError> {
    if scene.integration.connect_without_admin_proof || scene.renews(tenant).await? {
        return Ok(());
    }
    match is_given(parts, scene, tenant).await {
        Ok(true) => Err(ConnectProblem::AdministratorUnproven.into()),
        // What the organization refuses it has not let in.
        Ok(false) | Err(ConnectProblem::TenantRefuses { .. }) => Ok(()),
        Err(problem) => Err(problem.into()),
    }
}
