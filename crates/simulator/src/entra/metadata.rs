//! Discovery: the `OpenID` configuration of a tenant, and the key sets of both token versions.
//!
//! Must not tell one tenant's keys from another's: all share the simulator's ring.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde_json::json;
use uuid::Uuid;

use super::problem::EntraProblem;
use crate::{
    faults::Operation,
    world::{Urls, World},
};

/// The placeholder that stands for the tenant in documents that serve all of them.
const TEMPLATE: &str = "{tenantid}";

/// Whom a document speaks about.
enum Audience {
    /// `common`, `organizations`: a template.
    All(String),
    /// One tenant, by its id, also when it was asked for by domain.
    One(Uuid),
}

impl Audience {
    fn of(world: &World, name: &str) -> Result<Self, EntraProblem> {
        if matches!(name.to_ascii_lowercase().as_str(), "common" | "organizations") {
            return Ok(Self::All(name.to_ascii_lowercase()));
        }
        world.directory.tenant(name).map(Self::One).ok_or_else(|| EntraProblem::unknown_tenant(name))
    }

    /// What replaces the tenant in an issuer.
    fn in_issuer(&self) -> String {
        match self {
            Self::All(_) => TEMPLATE.to_owned(),
            Self::One(id) => id.to_string(),
        }
    }

    /// What replaces the tenant in an endpoint's path.
    fn in_path(&self) -> String {
        match self {
            Self::All(name) => name.clone(),
            Self::One(id) => id.to_string(),
        }
    }
}

/// Which generation of documents is asked for.
#[derive(Clone, Copy)]
enum Version {
    V1,
    V2,
}

impl Version {
    fn issuer(self, world: &World, tenant: &str) -> String {
        match self {
            Self::V1 => Urls::issuer_v1(tenant),
            Self::V2 => world.urls.issuer_v2(tenant),
        }
    }

    /// The part of an endpoint's path that names the version.
    fn infix(self) -> &'static str {
        match self {
            Self::V1 => "",
            Self::V2 => "/v2.0",
        }
    }
}

/// `GET /login/{tenant}/v2.0/.well-known/openid-configuration`
pub(crate) async fn configuration_v2(
    request: HttpRequest,
    world: Data<World>,
    tenant: Path<String>,
) -> HttpResponse {
    configuration(&request, &world, &tenant, Version::V2).await
}

/// `GET /login/{tenant}/.well-known/openid-configuration`
pub(crate) async fn configuration_v1(
    request: HttpRequest,
    world: Data<World>,
    tenant: Path<String>,
) -> HttpResponse {
    configuration(&request, &world, &tenant, Version::V1).await
}

/// `GET /login/{tenant}/discovery/v2.0/keys`
pub(crate) async fn keys_v2(request: HttpRequest, world: Data<World>, tenant: Path<String>) -> HttpResponse {
    keys(&request, &world, &tenant, Version::V2).await
}

/// `GET /login/{tenant}/discovery/keys`
pub(crate) async fn keys_v1(request: HttpRequest, world: Data<World>, tenant: Path<String>) -> HttpResponse {
    keys(&request, &world, &tenant, Version::V1).await
}

async fn configuration(request: &HttpRequest, world: &World, tenant: &str, version: Version) -> HttpResponse {
    let work = async {
        let audience = match Audience::of(world, tenant) {
            Ok(audience) => audience,
            Err(problem) => return problem.respond(world.clock.now()),
        };
        let endpoints = format!("{}/{}", world.urls.login, audience.in_path());
        let infix = version.infix();
        HttpResponse::Ok().json(json!({
            "issuer": version.issuer(world, &audience.in_issuer()),
            // Tokens are issued in one form only, so both generations point to the endpoints that are served.
            "token_endpoint": format!("{endpoints}/oauth2/v2.0/token"),
            "authorization_endpoint": format!("{endpoints}/oauth2/v2.0/authorize"),
            "jwks_uri": format!("{endpoints}/discovery{infix}/keys"),
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
            "grant_types_supported": ["client_credentials", "authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "tenant_region_scope": null,
            "cloud_instance_name": "microsoftonline.com",
            "msgraph_host": world.urls.host,
        }))
    };
    world.perform(request, Operation::OpenidConfiguration, work).await
}

async fn keys(request: &HttpRequest, world: &World, tenant: &str, version: Version) -> HttpResponse {
    let work = async {
        match Audience::of(world, tenant) {
            Ok(audience) => {
                let issuer = version.issuer(world, &audience.in_issuer());
                HttpResponse::Ok().json(world.keys.published(&issuer))
            }
            Err(problem) => problem.respond(world.clock.now()),
        }
    };
    world.perform(request, Operation::Keys, work).await
}
