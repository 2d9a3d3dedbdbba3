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
    entra::token::{AccessClaims, GRAPH},
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
}

impl Caller {
    /// Proves the bearer token of a request.
    pub(crate) fn of(request: &HttpRequest, world: &World) -> Result<Self, Problem> {
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = header
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(|| Problem::unauthenticated("Access token is empty."))?;
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
        Ok(Self { app: claims.appid, tenant: claims.tid })
    }
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

    fn start(&self, status: StatusCode) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response.insert_header(("request-id", self.request_id.to_string()));
        response.insert_header(("client-request-id", self.client_request_id.as_str()));
        response
    }
}
