//! `POST /login/{tenant}/oauth2/v2.0/token`: which grant is asked for, and the access tokens that come of it.
//!
//! Must not hold the rules of a grant beyond that of client credentials; the others have files of their own.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Bytes, Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    client::{self, Proof},
    delegated,
    keys::CryptoFailure,
    problem::EntraProblem,
};
use crate::{
    faults::Operation,
    world::{Urls, World},
};

/// The audience of every access token, and the resource whose scope may be asked for.
pub(crate) const GRAPH: &str = "https://graph.microsoft.com";

/// What an access token for Graph says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    pub(crate) aud: String,
    pub(crate) iss: String,
    pub(crate) iat: i64,
    pub(crate) nbf: i64,
    pub(crate) exp: i64,
    pub(crate) appid: Uuid,
    pub(crate) appidacr: String,
    pub(crate) idtyp: String,
    pub(crate) tid: Uuid,
    pub(crate) uti: String,
    pub(crate) ver: String,
    /// Counts up with every token of the simulator, so that all until now can be revoked at once.
    pub(crate) serial: u64,
    /// Application permissions, in an app-only token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) roles: Option<Vec<String>>,
    /// Delegated permissions, in the token of a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) scp: Option<String>,
    /// The person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) oid: Option<Uuid>,
}

/// The person that a delegated token stands for.
#[derive(Debug, Clone)]
pub(crate) struct OnBehalf {
    pub(crate) user: Uuid,
    pub(crate) scopes: String,
}

/// The fields of the form; of one that comes twice the last counts.
#[derive(Debug, Default)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(body).into_owned().collect())
    }

    /// A field that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, EntraProblem> {
        self.get(name).ok_or_else(|| EntraProblem::missing(name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// The route.
pub(crate) async fn issue(
    request: HttpRequest,
    world: Data<World>,
    tenant: Path<String>,
    body: Bytes,
) -> HttpResponse {
    let work = async {
        let outcome = grant(&world, &tenant, &request, &body);
        match outcome {
            Ok(answer) => {
                HttpResponse::Ok().insert_header(("cache-control", "no-store, no-cache")).json(answer)
            }
            Err(problem) => problem.respond(world.clock.now()),
        }
    };
    world.perform(&request, Operation::Token, work).await
}

fn grant(world: &World, tenant: &str, request: &HttpRequest, body: &[u8]) -> Result<Value, EntraProblem> {
    let form_type = request
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    // A body of another type holds no parameter that Entra would see.
    let form = if form_type { Form::parse(body) } else { Form::default() };
    match form.required("grant_type")? {
        "client_credentials" => client_credentials(world, tenant, &form),
        "authorization_code" => delegated::authorization_code(world, tenant, &form),
        "refresh_token" => delegated::refresh_token(world, tenant, &form),
        other => Err(EntraProblem::unsupported_grant(other)),
    }
}

fn client_credentials(world: &World, tenant: &str, form: &Form) -> Result<Value, EntraProblem> {
    let tenant_id = world.directory.tenant(tenant).ok_or_else(|| EntraProblem::unknown_tenant(tenant))?;
    form.required("client_id")?;
    check_scope(world, form.get("scope"))?;
    if form.get("client_secret").or_else(|| form.get("client_assertion")).is_none() {
        return Err(EntraProblem::missing_secret());
    }
    let (app, registration) = client::named(world, form, tenant)?;
    client::admitted(world, app, tenant_id, tenant)?;
    let proof = client::prove(world, form, tenant, (app, &registration))?;
    let lifetime = world.access_token_lifetime().as_secs();
    let token = access_token(world, app, tenant_id, proof, None)?;
    Ok(json!({
        "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token,
    }))
}

/// The scope must be the default one of Graph: of the real host, or of this simulator standing in for it.
fn check_scope(world: &World, scope: Option<&str>) -> Result<(), EntraProblem> {
    let scope = scope.unwrap_or_default();
    if scope.strip_suffix("/.default").is_some_and(|resource| is_graph(world, resource)) {
        return Ok(());
    }
    Err(EntraProblem::wrong_scope(scope))
}

/// Whether a resource is Graph: the real host, or this simulator standing in for it.
pub(crate) fn is_graph(world: &World, resource: &str) -> bool {
    resource == GRAPH || resource == world.urls.base
}

/// Signs an access token: of the application alone, or on behalf of a person.
pub(crate) fn access_token(
    world: &World,
    app: Uuid,
    tenant: Uuid,
    proof: Proof,
    on_behalf: Option<OnBehalf>,
) -> Result<String, EntraProblem> {
    let now = world.clock.now().timestamp();
    let lifetime = i64::try_from(world.access_token_lifetime().as_secs()).unwrap_or(i64::MAX / 2);
    let roles = on_behalf.is_none().then(|| {
        let given = world.directory.permissions(app, tenant);
        given.unwrap_or_else(|| vec![ALL_PERMISSIONS.to_owned()])
    });
    let (oid, scp) = on_behalf.map(|person| (person.user, person.scopes)).unzip();
    let claims = AccessClaims {
        aud: GRAPH.to_owned(),
        iss: Urls::issuer_v1(tenant),
        iat: now,
        // Entra dates tokens back a little, against clocks that run behind.
        nbf: now - 300,
        exp: now + lifetime,
        appid: app,
        appidacr: proof.acr().to_owned(),
        idtyp: if oid.is_some() { "user" } else { "app" }.to_owned(),
        tid: tenant,
        uti: Uuid::new_v4().simple().to_string(),
        ver: "1.0".to_owned(),
        serial: world.revoked.next_serial(),
        roles,
        scp,
        oid,
    };
    world.keys.current().sign(&claims).map_err(failed)
}

/// Stands in `roles` for every permission there is.
pub(crate) const ALL_PERMISSIONS: &str = "*";

pub(crate) fn failed(failure: CryptoFailure) -> EntraProblem {
    EntraProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", 90_033, failure.to_string())
}
