//! Which application calls the token endpoint, and how it proves that: by a secret or by an assertion.
//!
//! Must not look at the grant.

use actix_web::http::StatusCode;
use uuid::Uuid;

use super::{
    assertion::{self, ASSERTION_TYPE, Presented},
    directory::Standing,
    problem::EntraProblem,
    registration::{Registration, SecretCheck},
    token::Form,
};
use crate::world::World;

/// How an application proved itself, in the words of `appidacr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Secret,
    Certificate,
}

impl Proof {
    pub(crate) fn acr(self) -> &'static str {
        match self {
            Self::Secret => "1",
            Self::Certificate => "2",
        }
    }
}

/// The application that a form names; it need not have proved itself.
pub(crate) fn named(world: &World, form: &Form, tenant: &str) -> Result<(Uuid, Registration), EntraProblem> {
    let text = form.required("client_id")?;
    let unknown = || EntraProblem::unknown_app(text, tenant);
    let id = Uuid::parse_str(text).map_err(|_| unknown())?;
    let registration = world.directory.app(id).ok_or_else(unknown)?;
    Ok((id, registration))
}

/// Proves the application.
pub(crate) fn prove(
    world: &World,
    form: &Form,
    tenant: &str,
    client: (Uuid, &Registration),
) -> Result<Proof, EntraProblem> {
    let (client_id, registration) = client;
    let now = world.clock.now();
    match (form.get("client_secret"), form.get("client_assertion")) {
        (Some(_), Some(_)) => {
            let text = "The request must not contain both 'client_secret' and 'client_assertion'.";
            Err(EntraProblem::new(StatusCode::BAD_REQUEST, "invalid_request", 90_023, text))
        }
        (None, None) => Err(EntraProblem::missing_secret()),
        (Some(secret), None) => match registration.check_secret(secret, now) {
            SecretCheck::Right => Ok(Proof::Secret),
            SecretCheck::Wrong => Err(EntraProblem::wrong_secret(client_id)),
            SecretCheck::Expired => Err(EntraProblem::expired_secret(client_id)),
        },
        (None, Some(assertion)) => {
            if form.required("client_assertion_type")? != ASSERTION_TYPE {
                return Err(EntraProblem::assertion_type());
            }
            let audiences = audiences(world, tenant);
            let presented = Presented { client_id, audiences: &audiences, now };
            assertion::prove(assertion, registration, &presented)?;
            Ok(Proof::Certificate)
        }
    }
}

/// Whether the application may have app-only tokens in this tenant.
pub(crate) fn admitted(world: &World, app: Uuid, tenant: Uuid, name: &str) -> Result<(), EntraProblem> {
    match world.directory.standing(app, tenant, world.clock.now()) {
        Standing::Allowed => Ok(()),
        Standing::Absent => Err(EntraProblem::unknown_app(&app.to_string(), name)),
        Standing::Disabled => Err(EntraProblem::app_disabled(app)),
    }
}

/// The token endpoint of the tenant, by the name that was called and by its id.
fn audiences(world: &World, tenant: &str) -> Vec<String> {
    let id = world.directory.tenant(tenant).map(|id| id.to_string());
    let names = std::iter::once(tenant.to_owned()).chain(id);
    names.map(|name| format!("{}/{name}/oauth2/v2.0/token", world.urls.login)).collect()
}
