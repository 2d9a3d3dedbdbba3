//! Callers of the public listener: API keys of an environment.
//!
//! Each request looks its key up: nothing is remembered, so a revoked key is refused at once.

use std::rc::Rc;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};
use secrecy::SecretString;
use uuid::Uuid;
use waypost_postgres::{Actor, ActorKind, Store};

use crate::auth::{Caller, bearer, refuse_idempotency_key};
use crate::error::{ApiError, Unauthorized};
use crate::routes::{Table, routed};

/// Puts the [`Caller`] into requests for routes of the environment API, or refuses. Other paths pass: they get their 404
/// or 405 from the default service.
pub(crate) async fn authenticate<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let path = routed(request.match_info());
    let serves = request.app_data::<Rc<Table>>().is_none_or(|table| table.serves(request.method(), path));
    if serves {
        let caller = caller(&request).await;
        match caller.and_then(|caller| refuse_idempotency_key(&request).map(|()| caller)) {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
            }
            Err(error) => {
                return Ok(request.error_response(error).map_into_boxed_body().map_into_right_body());
            }
        }
    }
    Ok(next.call(request).await?.map_into_left_body())
}

async fn caller(request: &ServiceRequest) -> Result<Caller, ApiError> {
    let key = parse(bearer(request.headers())?)?;
    let store = request
        .app_data::<web::Data<Store>>()
        .ok_or_else(|| ApiError::internal("the store is missing from the application's data"))?;
    let known = store.use_api_key(&key).await?.ok_or(Unauthorized::UnknownKey)?;
    let actor = Actor {
        kind: ActorKind::ApiKey,
        name: known.id.to_string(),
        request_id: crate::trace::request_id_of(&request.extensions()),
    };
    Ok(Caller::with_grants(store.tenant(known.environment, actor), known.scopes))
}

/// A key is a UUID v4 in its usual spelling, of either case.
fn parse(token: &str) -> Result<SecretString, Unauthorized> {
    const HYPHENATED: usize = 36;
    let key =
        Uuid::try_parse(token).ok().filter(|key| key.get_version_num() == 4 && token.len() == HYPHENATED);
    key.map(|key| SecretString::from(key.to_string())).ok_or(Unauthorized::NotAKey)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn only_a_uuid_v4_is_a_key() {
        let key = "5AC3F0A5-6C1E-4B8E-9A0F-2C3D4E5F6071";
        assert_eq!(parse(key).unwrap().expose_secret(), key.to_lowercase());
        for token in [
            "nonsense",
            "5ac3f0a56c1e4b8e9a0f2c3d4e5f6071",
            "{5ac3f0a5-6c1e-4b8e-9a0f-2c3d4e5f6071}",
            "5ac3f0a5-6c1e-7b8e-9a0f-2c3d4e5f6071",
            "5ac3f0a5-6c1e-4b8e-9a0f-2c3d4e5f607",
        ] {
            assert_eq!(parse(token).unwrap_err(), Unauthorized::NotAKey, "{token}");
        }
    }
}
