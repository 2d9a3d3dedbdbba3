//! One call of the Graph API: who makes it, under which ids, and how it is answered.
//!
//! Must not know what the call is about.

use std::borrow::Cow;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    entra::token::{ALL_PERMISSIONS, AccessClaims, GRAPH},
    world::World,
};

/// An error as Graph tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), retry_after: None }
    }

    /// The ordinary refusal of what the caller sent.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", "The object was not found.")
    }

    pub(crate) fn throttled(seconds: u64) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "Too many requests.");
        Self { retry_after: Some(seconds), ..problem }
    }

    fn unauthenticated(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", message)
    }
}

/// The application and tenant that a token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    pub(crate) app: Uuid,
    pub(crate) tenant: Uuid,
    /// The person, when the application does not speak for itself.
    pub(crate) user: Option<Uuid>,
}

impl Caller {
    /// The token's bearer, without a judgement: for the record only.
    pub(crate) fn glance(request: &HttpRequest, world: &World) -> Option<Self> {
        world.keys.verify::<AccessClaims>(bearer(request)?).map(|claims| Self::named(&claims))
    }

    fn named(claims: &AccessClaims) -> Self {
        Self { app: claims.appid, tenant: claims.tid, user: claims.oid }
    }
}

/// A caller with what its token allows.
#[derive(Debug, Clone)]
pub(crate) struct Authorized {
    pub(crate) caller: Caller,
    /// `roles` or the parts of `scp`.
    permissions: Vec<String>,
}

impl Authorized {
    /// Proves the bearer token of a request.
    pub(crate) fn of(request: &HttpRequest, world: &World) -> Result<Self, Problem> {
        let token = bearer(request).ok_or_else(|| Problem::unauthenticated("Access token is empty."))?;
        let claims = claims(token, world)?;
        let permissions = match (&claims.scp, &claims.roles, claims.oid) {
            (Some(scopes), None, Some(_)) => scopes.split(' ').map(str::to_owned).collect(),
            (None, Some(roles), None) => roles.clone(),
            _ => {
                return Err(Problem::unauthenticated(
                    "The token contains no permissions, or permissions of both kinds.",
                ));
            }
        };
        Ok(Self { caller: Caller::named(&claims), permissions })
    }

    /// Whether one of the permissions is for this area, such as `Mail`, and suffices for writing if that is meant.
    pub(crate) fn require(&self, areas: &[&str], writes: bool) -> Result<(), Problem> {
        let suffices = |permission: &String| {
            permission == ALL_PERMISSIONS
                || permission.split_once('.').is_some_and(|(area, what)| {
                    areas.contains(&area) && (!writes || !what.starts_with("Read") || what.contains("Write"))
                })
        };
        if areas.is_empty() || self.permissions.iter().any(suffices) {
            return Ok(());
        }
        let message = "Insufficient privileges to complete the operation.";
        Err(Problem::new(StatusCode::FORBIDDEN, "Authorization_RequestDenied", message))
    }
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    header
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
}

/// The claims of a token that is good for Graph now.
fn claims(token: &str, world: &World) -> Result<AccessClaims, Problem> {
    let claims: AccessClaims = world.keys.verify(token).ok_or_else(|| {
        Problem::unauthenticated("IDX14100: JWT is not well formed, or its signature is invalid.")
    })?;
    let now = world.clock.now().timestamp();
    if claims.exp <= now || claims.nbf > now {
        return Err(Problem::unauthenticated("Lifetime validation failed, the token is expired."));
    }
    if claims.aud != GRAPH {
        return Err(Problem::unauthenticated("Access token validation failure. Invalid audience."));
    }
    if world.revoked.is_revoked(&claims) {
        return Err(Problem::unauthenticated("Continuous access evaluation: the token was revoked."));
    }
    Ok(claims)
}

/// The ids and the date that every answer of a call carries.
#[derive(Debug)]
pub(crate) struct Call {
    request_id: Uuid,
    client_request_id: String,
    at: DateTime<Utc>,
}

impl Call {
    pub(crate) fn of(request: &HttpRequest, world: &World) -> Self {
        let request_id = Uuid::new_v4();
        let sent = request.headers().get("client-request-id").and_then(|value| value.to_str().ok());
        Self {
            request_id,
            // Graph makes its own id do for both when the client sends none.
            client_request_id: sent
                .map_or_else(|| request_id.to_string(), |id| id.chars().take(128).collect()),
            at: world.clock.now(),
        }
    }

    pub(crate) fn answer(&self, outcome: Result<HttpResponse, Problem>) -> HttpResponse {
        outcome.unwrap_or_else(|problem| self.problem(&problem))
    }

    pub(crate) fn json(&self, status: StatusCode, body: &impl Serialize) -> HttpResponse {
        self.start(status).json(body)
    }

    pub(crate) fn empty(&self) -> HttpResponse {
        self.start(StatusCode::NO_CONTENT).finish()
    }

    pub(crate) fn problem(&self, problem: &Problem) -> HttpResponse {
        let mut response = self.start(problem.status);
        if let Some(seconds) = problem.retry_after {
            response.insert_header(("retry-after", seconds.to_string()));
        }
        if problem.status == StatusCode::UNAUTHORIZED {
            response.insert_header(("www-authenticate", "Bearer realm=\"\""));
        }
        response.json(json!({"error": {
            "code": problem.code,
            "message": problem.message,
            "innerError": {
                "date": self.at.format("%Y-%m-%dT%H:%M:%S").to_string(),
                "request-id": self.request_id,
                "client-request-id": self.client_request_id,
            },
        }}))
    }

    pub(crate) fn start(&self, status: StatusCode) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response.insert_header(("request-id", self.request_id.to_string()));
        response.insert_header(("client-request-id", self.client_request_id.as_str()));
        response
    }
}
