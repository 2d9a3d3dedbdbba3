//! The token that a connection is shown with, and what is answered where there is none.

use serde_json::json;
use waypost_core::connection::Connection;
use waypost_core::id::ConnectionKey;
use waypost_postgres::{StoreError, TenantStore};
use waypost_upstream::tokens::{Freshness, TokenError, Tokens};

use super::view::{ConnectionView, Shown, SignedIn};
use crate::error::ApiError;
use crate::time::nango_with_offset;

/// The sign-in of a connection that is there.
///
/// # Errors
/// When there is no token. A connection that can't sign in for want of a tenant or of credentials is shown as it is,
/// unless a new token is demanded.
pub(super) async fn current(
    tenant: &TenantStore,
    tokens: &Tokens,
    key: ConnectionKey,
    freshness: Freshness,
) -> Result<SignedIn, TokenError> {
    let live = match tokens.credentials(tenant.environment(), key, freshness).await {
        Ok(live) => Some(live.held),
        Err(TokenError::NoTenant | TokenError::NoCredentials) if freshness != Freshness::Forced => None,
        Err(error) => return Err(error),
    };
    Ok(SignedIn { live, failure: tenant.sign_in_failure(key).await? })
}

/// The sign-in of a connection that was just made or replaced. Where its credentials failed, whoever writes it has mended
/// something: it is tried at once, even though a token from before may be left.
pub(super) async fn first(
    tenant: &TenantStore,
    tokens: &Tokens,
    key: ConnectionKey,
) -> Result<SignedIn, StoreError> {
    let environment = tenant.environment();
    let mut live = tokens.credentials(environment, key, Freshness::Mended).await;
    if live.as_ref().is_err_and(|error| error.failure().is_some()) {
        // The token from before, should one be left.
        live = tokens.credentials(environment, key, Freshness::Cached).await;
    }
    if let Err(error @ TokenError::Store(_)) = &live {
        // The connection stands; its first use gets the token.
        tracing::warn!(error = error as &dyn std::error::Error, "a new connection got no token yet");
    }
    Ok(SignedIn { live: live.ok().map(|live| live.held), failure: tenant.sign_in_failure(key).await? })
}

/// What is known of a connection's sign-in, without a look at its token.
pub(super) async fn known(tenant: &TenantStore, key: ConnectionKey) -> Result<SignedIn, StoreError> {
    Ok(SignedIn { live: None, failure: tenant.sign_in_failure(key).await? })
}

/// What is answered where there is no token.
pub(super) async fn refused(tenant: &TenantStore, connection: Connection, error: TokenError) -> ApiError {
    let message = error.message();
    let again = error.next_forced_try().unwrap_or_default();
    let (code, refused, message) = match error {
        TokenError::UnknownConnection => return ApiError::not_found("Failed to find connection"),
        TokenError::Store(error) if error.is_passing() => {
            return ApiError::TemporarilyUnavailable { retry_after: std::time::Duration::from_secs(2) };
        }
        TokenError::Store(error) => return ApiError::internal(error),
        TokenError::CoolingDown { .. } => {
            ("connection_refresh_backoff", false, format!("{message}; {again}"))
        }
        TokenError::Refused { class, .. } => ("invalid_credentials", !class.passes(), message),
        TokenError::Unreachable { .. } => ("invalid_credentials", false, message),
        TokenError::NoTenant | TokenError::NoCredentials => ("invalid_credentials", true, message),
    };
    let signed_in = match known(tenant, connection.key).await {
        Ok(signed_in) => signed_in,
        Err(error) => return error.into(),
    };
    let shown = ConnectionView::of(connection, signed_in, Shown::None, nango_with_offset);
    ApiError::InvalidCredentials { code, refused, message, payload: json!({ "connection": shown }) }
}
