//! Callers under `/admin`: people and scripts with an admin token.
//!
//! A token is checked by the [`Verifier`]s in turn; each knows one kind of token (the secret of `admin.jwt_secret` now, an
//! identity provider beside it). With none configured nobody gets in. Must not know any resource.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;
use waypost_core::clock::SharedClock;
use waypost_core::id::EnvironmentId;
use waypost_core::scope::Scope;
use waypost_postgres::{Actor, ActorKind, Store};

use crate::auth::{Caller, bearer, refuse_idempotency_key};
use crate::error::{ApiError, Unauthorized};

/// How far the clocks of whoever makes tokens may be off, in seconds: a token is taken so long before its `nbf` and after its
/// `exp`.
const LEEWAY: i64 = 30;
/// The longest name of somebody, in bytes.
pub const LONGEST_SUBJECT: usize = 255;

/// What somebody may do through the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Operator,
    /// Reading, but no credentials or secrets.
    Viewer,
}

/// Who an admin token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The token's `sub`.
    pub subject: String,
    /// What its bearer may do.
    pub role: Role,
}

/// Why a verifier doesn't let somebody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The token isn't of this verifier, or isn't valid: another verifier may be asked.
    NotValid,
    /// The token is valid, but its role is none that Waypost knows.
    UnknownRole,
}

/// The answer of a [`Verifier`]; a future, since a key set may have to be fetched.
pub type Verdict<'a> = Pin<Box<dyn Future<Output = Result<Person, Refusal>> + 'a>>;

/// Knows one kind of admin token.
pub trait Verifier: Send + Sync + fmt::Debug {
    /// Checks `token`: its signature, audience and times, and whom it names.
    fn verify<'a>(&'a self, token: &'a str) -> Verdict<'a>;
}

/// All the ways to sign in to the admin API.
#[derive(Debug, Clone, Default)]
pub struct Verifiers(Arc<[Arc<dyn Verifier>]>);

/// Tokens signed with `admin.jwt_secret`.
pub struct SharedSecret {
    key: DecodingKey,
    validation: Validation,
    clock: SharedClock,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    nbf: Option<i64>,
    /// Whatever is there: a role that isn't one is not the same as a token that isn't valid.
    role: Option<Value>,
}

impl Role {
    /// The role of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "operator" => Some(Self::Operator),
            "viewer" => Some(Self::Viewer),
            _ => None,
        }
    }

    /// Whether it allows in an environment what `scope` stands for.
    #[must_use]
    pub fn may(self, scope: Scope) -> bool {
        match self {
            Self::Operator => true,
            Self::Viewer => scope.is_viewing(),
        }
    }
}

impl Person {
    pub(crate) fn actor(&self, request_id: String) -> Actor {
        Actor { kind: ActorKind::Admin, name: self.subject.clone(), request_id }
    }
}

impl Verifiers {
    /// The ways to sign in, asked in this order.
    pub fn new(verifiers: impl IntoIterator<Item = Arc<dyn Verifier>>) -> Self {
        Self(verifiers.into_iter().collect())
    }

    async fn verify(&self, token: &str) -> Result<Person, ApiError> {
        if self.0.is_empty() {
            return Err(Unauthorized::NotConfigured.into());
        }
        for verifier in self.0.iter() {
            match verifier.verify(token).await {
                Ok(person) => return Ok(person),
                Err(Refusal::NotValid) => {}
                Err(Refusal::UnknownRole) => {
                    let message = "The token's role is neither operator nor viewer".to_owned();
                    return Err(ApiError::Forbidden { message });
                }
            }
        }
        Err(Unauthorized::InvalidToken.into())
    }
}

impl SharedSecret {
    /// Takes tokens signed with `secret` by HS256, made for `audience`.
    #[must_use]
    pub fn new(secret: &SecretString, audience: &str, clock: SharedClock) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        // Times are compared below, with Waypost's clock instead of the library's.
        validation.validate_exp = false;
        Self { key: DecodingKey::from_secret(secret.expose_secret().as_bytes()), validation, clock }
    }

    fn check(&self, token: &str) -> Result<Person, Refusal> {
        let claims =
            decode::<Claims>(token, &self.key, &self.validation).map_err(|_| Refusal::NotValid)?.claims;
        let now = self.clock.now().timestamp();
        let is_over = claims.exp.saturating_add(LEEWAY) <= now;
        let is_early = claims.nbf.is_some_and(|nbf| nbf.saturating_sub(LEEWAY) > now);
        if is_over || is_early || !is_subject(&claims.sub) {
            return Err(Refusal::NotValid);
        }
        let role =
            claims.role.as_ref().and_then(Value::as_str).and_then(Role::parse).ok_or(Refusal::UnknownRole)?;
        Ok(Person { subject: claims.sub, role })
    }
}

impl Verifier for SharedSecret {
    fn verify<'a>(&'a self, token: &'a str) -> Verdict<'a> {
        Box::pin(ready(self.check(token)))
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret([redacted])")
    }
}

/// Whether the audit log can name somebody so.
#[must_use]
pub fn is_subject(text: &str) -> bool {
    text.len() <= LONGEST_SUBJECT && !text.trim().is_empty() && !text.chars().any(char::is_control)
}

type Answer<B> = Result<ServiceResponse<EitherBody<B, BoxBody>>, Error>;

/// Puts the [`Person`] into requests under `/admin`, or refuses.
pub(crate) async fn authenticate<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Answer<B> {
    let person = person(&request).await;
    match person.and_then(|person| refuse_idempotency_key(&request).map(|()| person)) {
        Ok(person) => {
            request.extensions_mut().insert(person);
        }
        Err(error) => return Ok(refused(request, error)),
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// Puts the [`Caller`] into requests under `/admin/environments/{environment}`, or refuses. Works on what
/// [`authenticate`] has found out.
pub(crate) async fn enter_environment<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Answer<B> {
    match caller(&request).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
        }
        Err(error) => return Ok(refused(request, error)),
    }
    Ok(next.call(request).await?.map_into_left_body())
}

fn refused<B>(request: ServiceRequest, error: ApiError) -> ServiceResponse<EitherBody<B, BoxBody>> {
    request.error_response(error).map_into_boxed_body().map_into_right_body()
}

async fn person(request: &ServiceRequest) -> Result<Person, ApiError> {
    let verifiers = request
        .app_data::<web::Data<Verifiers>>()
        .ok_or_else(|| ApiError::internal("the verifiers are missing from the application's data"))?;
    verifiers.verify(bearer(request.headers())?).await
}

async fn caller(request: &ServiceRequest) -> Result<Caller, ApiError> {
    let person = request.extensions().get::<Person>().cloned().ok_or(Unauthorized::MissingHeader)?;
    let store = request
        .app_data::<web::Data<Store>>()
        .ok_or_else(|| ApiError::internal("the store is missing from the application's data"))?;
    let id = request.match_info().get("environment").and_then(|id| Uuid::try_parse(id).ok());
    let environment = match id {
        Some(id) => store.environment(EnvironmentId::from_uuid(id)).await?,
        None => None,
    };
    let environment = environment.ok_or_else(|| ApiError::not_found("There is no such environment"))?;
    let actor = person.actor(crate::trace::request_id_of(&request.extensions()));
    Ok(Caller::with_role(store.tenant(environment.id, actor), person.role))
}

#[cfg(test)]
mod tests;
