//! `POST /login/{tenant}/oauth2/v2.0/token`: the client-credentials grant with a secret.
//!
//! Must not offer other grants: every token is app-only.

use actix_web::{
    HttpRequest, HttpResponse,
    http::StatusCode,
    web::{Bytes, Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{directory::SignIn, problem::EntraProblem};
use crate::{
    faults::Operation,
    world::{Urls, World},
};

/// The audience of every access token, and the resource whose scope may be asked for.
pub(crate) const GRAPH: &str = "https://graph.microsoft.com";

/// What an access token for Graph says.
#[derive(Debug, Serialize, Deserialize)]
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
}

/// The form's fields that count.
#[derive(Debug, Default)]
struct Form {
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
    grant_type: Option<String>,
}

impl Form {
    fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in url::form_urlencoded::parse(body) {
            let field = match name.as_ref() {
                "client_id" => &mut form.client_id,
                "client_secret" => &mut form.client_secret,
                "scope" => &mut form.scope,
                "grant_type" => &mut form.grant_type,
                _ => continue,
            };
            *field = Some(value.into_owned());
        }
        form
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
        match grant(&world, &tenant, &request, &body) {
            Ok(answer) => answer,
            Err(problem) => problem.respond(world.clock.now()),
        }
    };
    world.perform(&request, Operation::Token, work).await
}

fn grant(
    world: &World,
    tenant: &str,
    request: &HttpRequest,
    body: &[u8],
) -> Result<HttpResponse, EntraProblem> {
    let form_type = request
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    // A body of another type holds no parameter that Entra would see.
    let form = if form_type { Form::parse(body) } else { Form::default() };
    let tenant_id = world.directory.tenant(tenant).ok_or_else(|| EntraProblem::unknown_tenant(tenant))?;
    let grant_type = form.grant_type.as_deref().ok_or_else(|| EntraProblem::missing("grant_type"))?;
    if grant_type != "client_credentials" {
        return Err(EntraProblem::unsupported_grant(grant_type));
    }
    let client_id = form.client_id.as_deref().ok_or_else(|| EntraProblem::missing("client_id"))?;
    check_scope(world, form.scope.as_deref())?;
    let secret = form.client_secret.as_deref().ok_or_else(EntraProblem::missing_secret)?;
    let app = Uuid::parse_str(client_id).map_err(|_| EntraProblem::unknown_app(client_id, tenant))?;
    match world.directory.sign_in(app, tenant_id, secret) {
        SignIn::Allowed => {}
        SignIn::UnknownApp => return Err(EntraProblem::unknown_app(client_id, tenant)),
        SignIn::WrongSecret => return Err(EntraProblem::wrong_secret(app)),
    }
    let lifetime = world.access_token_lifetime().as_secs();
    let token = access_token(world, app, tenant_id).map_err(|failure| {
        EntraProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", 90_033, failure.to_string())
    })?;
    Ok(HttpResponse::Ok().insert_header(("cache-control", "no-store, no-cache")).json(json!({
        "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime, "access_token": token,
    })))
}

/// The scope must be the default one of Graph: of the real host, or of this simulator standing in for it.
fn check_scope(world: &World, scope: Option<&str>) -> Result<(), EntraProblem> {
    let scope = scope.unwrap_or_default();
    let resource = scope.strip_suffix("/.default").unwrap_or_default();
    if resource == GRAPH || resource == world.urls.base {
        return Ok(());
    }
    Err(EntraProblem::wrong_scope(scope))
}

fn access_token(world: &World, app: Uuid, tenant: Uuid) -> Result<String, super::keys::CryptoFailure> {
    let now = world.clock.now().timestamp();
    let lifetime = i64::try_from(world.access_token_lifetime().as_secs()).unwrap_or(i64::MAX / 2);
    world.keys.current().sign(&AccessClaims {
        aud: GRAPH.to_owned(),
        iss: Urls::issuer_v1(tenant),
        iat: now,
        // Entra dates tokens back a little, against clocks that run behind.
        nbf: now - 300,
        exp: now + lifetime,
        appid: app,
        appidacr: "1".to_owned(),
        idtyp: "app".to_owned(),
        tid: tenant,
        uti: Uuid::new_v4().simple().to_string(),
        ver: "1.0".to_owned(),
    })
}
