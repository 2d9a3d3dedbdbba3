//! Who is asking, and may they: fails closed.
//!
//! Two steps. A middleware finds out who asks before anything of the request is read: on the public listener by an API
//! key ([`key`]), under `/admin` by a token of a person ([`admin`]). Extractors then check what that caller may:
//! [`Authorized`] for routes of an environment, [`Viewer`] and [`Operator`] for the admin API. A handler reaches a tenant's
//! store through [`Authorized`] only, and gets a 401 where no middleware has put a caller.

pub mod admin;
pub mod key;

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::rc::Rc;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use waypost_core::scope::{Grant, Scope};
use waypost_postgres::{Actor, TenantStore};

use crate::auth::admin::{Person, Role};
use crate::error::{ApiError, Unauthorized};
use crate::routes::{Table, refuse_unread_query, routed};

/// Who asks for something of one environment.
#[derive(Debug, Clone)]
pub struct Caller {
    tenant: TenantStore,
    rights: Rights,
}

/// What a caller may.
#[derive(Debug, Clone)]
enum Rights {
    /// What its API key was granted.
    Granted(Vec<Grant>),
    /// What its admin role allows.
    Role(Role),
}

impl Caller {
    /// A caller with an API key.
    pub(crate) const fn with_grants(tenant: TenantStore, grants: Vec<Grant>) -> Self {
        Self { tenant, rights: Rights::Granted(grants) }
    }

    /// A person who acts in an environment through the admin API.
    pub(crate) const fn with_role(tenant: TenantStore, role: Role) -> Self {
        Self { tenant, rights: Rights::Role(role) }
    }

    /// Whether it may do what `scope` stands for.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        match &self.rights {
            Rights::Granted(grants) => grants.iter().any(|grant| grant.covers(scope)),
            Rights::Role(role) => role.may(scope),
        }
    }

    /// Refuses a caller that lacks `scope`.
    ///
    /// # Errors
    /// 403 when it lacks it.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.may(scope) { Ok(()) } else { Err(self.refusal(ApiError::insufficient_scope(scope))) }
    }

    /// What it is told when it may not do something: `of_a_key`, or for a person, who has no scopes, which role may.
    pub(crate) fn refusal(&self, of_a_key: ApiError) -> ApiError {
        match &self.rights {
            Rights::Granted(_) => of_a_key,
            Rights::Role(_) => ApiError::operators_only(),
        }
    }
}

/// A scope as a type, so that a handler's signature says what it needs.
pub trait Needed: 'static {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! needed_scopes {
    ($($name:ident),+ $(,)?) => {
        /// The scopes as types, for [`Authorized`].
        pub mod scope {
            use waypost_core::scope::Scope;

            $(
                #[doc = concat!("Asks for [`Scope::", stringify!($name), "`].")]
                #[derive(Debug, Clone, Copy)]
                pub struct $name;

                impl super::Needed for $name {
                    const SCOPE: Scope = Scope::$name;
                }
            )+
        }
    };
}

needed_scopes! {
    IntegrationsList, IntegrationsRead, IntegrationsReadCredentials, IntegrationsCreate, IntegrationsUpdate,
    IntegrationsDelete, ConnectionsList, ConnectionsRead, ConnectionsReadCredentials, ConnectionsCreate,
    ConnectionsUpdate, ConnectionsDelete, ConnectSessionsWrite, WebhooksRead, WebhooksWrite, WebhooksReadSecrets, SigningKeyRotate, CertificatesRead,
    CertificatesWrite, SubscriptionsList, SubscriptionsRead, SubscriptionsCreate, SubscriptionsUpdate, SubscriptionsDelete,
    EventsRead,
    EventsWrite, Proxy,
}

/// A caller that holds the scope `S` in the environment that the request is about.
#[derive(Debug)]
pub struct Authorized<S> {
    /// The store, bound to that environment, with the caller as the actor of its changes.
    pub tenant: TenantStore,
    /// The caller, to ask for what else it may.
    pub caller: Caller,
    needed: PhantomData<S>,
}

impl<S> Authorized<S> {
    /// The id of the request, as in its response's `request-id` and in the audit log.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.tenant.actor().request_id
    }
}

impl<S: Needed> FromRequest for Authorized<S> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        ready(caller.ok_or(Unauthorized::MissingHeader.into()).and_then(|caller| {
            caller.require(S::SCOPE)?;
            refuse_unread_query(request)?;
            Ok(Self { tenant: caller.tenant.clone(), caller, needed: PhantomData })
        }))
    }
}

/// Anybody with a valid admin token.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Who it is, for the audit log.
    pub actor: Actor,
}

/// A person with the role `operator`.
#[derive(Debug, Clone)]
pub struct Operator {
    /// Who it is, for the audit log.
    pub actor: Actor,
}

impl FromRequest for Viewer {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(person(request).map(|(_, actor)| Self { actor }))
    }
}

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        ready(person(request).and_then(|(person, actor)| match person.role {
            Role::Operator => Ok(Self { actor }),
            Role::Viewer => Err(ApiError::operators_only()),
        }))
    }
}

fn person(request: &HttpRequest) -> Result<(Person, Actor), ApiError> {
    let person = request.extensions().get::<Person>().cloned().ok_or(Unauthorized::MissingHeader)?;
    refuse_unread_query(request)?;
    let actor = person.actor(crate::trace::request_id(request));
    Ok((person, actor))
}

/// Refuses a POST that wants to be made once however often it is sent: nothing would keep that promise yet. The proxy hands
/// the header on to whom it is for, and ingress reads none.
pub(crate) fn refuse_idempotency_key(request: &ServiceRequest) -> Result<(), ApiError> {
    let (method, path) = (request.method(), routed(request.match_info()));
    let is_ours = !path.starts_with("/proxy/")
        && request.app_data::<Rc<Table>>().is_some_and(|table| table.serves(method, path));
    if method == Method::POST && is_ours && request.headers().contains_key("idempotency-key") {
        let message = "Idempotency-Key is not available in this version of Waypost: leave it out";
        return Err(ApiError::bad_request("idempotency_key_not_available", message));
    }
    Ok(())
}

/// The token of an `Authorization` header: what follows the last `Bearer `, in any letter case, or all of it.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Unauthorized> {
    const SCHEME: &str = "bearer";
    let header = headers.get(AUTHORIZATION).ok_or(Unauthorized::MissingHeader)?;
    let text = header.to_str().map_err(|_| Unauthorized::MalformedHeader)?.trim();
    let start = text.to_ascii_lowercase().rfind("bearer ").map_or(0, |at| at + SCHEME.len());
    let token = text.get(start..).unwrap_or_default().trim();
    if token.is_empty() || token.eq_ignore_ascii_case(SCHEME) {
        Err(Unauthorized::MalformedHeader)
    } else {
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        headers
    }

    #[test]
    fn a_token_is_what_follows_the_last_bearer() {
        for (header, expected) in [
            (b"Bearer abc".as_slice(), Ok("abc")),
            (b"abc", Ok("abc")),
            (b"Bearer Bearer abc", Ok("abc")),
            (b"Bearer   abc ", Ok("abc")),
            (b"bearer aBc", Ok("aBc")),
            (b"Basic abc", Ok("Basic abc")),
            (b"", Err(Unauthorized::MalformedHeader)),
            (b"Bearer", Err(Unauthorized::MalformedHeader)),
            (b"Bearer ", Err(Unauthorized::MalformedHeader)),
            (b"Bearer \xff", Err(Unauthorized::MalformedHeader)),
        ] {
            assert_eq!(bearer(&headers(header)), expected, "{header:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), Err(Unauthorized::MissingHeader));
    }
}
