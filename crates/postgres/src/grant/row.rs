//! Rows of `grants` with what they belong to, and what they mean.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, EnvironmentId, IntegrationId, TenantId};
use waypost_core::provider::Provider;
use waypost_core::token::{Failure, GrantKey, HeldToken, Lifetime, Said, Standing, TokenMark};
use zeroize::Zeroizing;

use super::{SignIn, StoredGrant};
use crate::{Store, StoreError, connection, integration};

/// A grant's row, its token still sealed.
#[derive(Debug)]
pub(super) struct GrantRow {
    generation: i64,
    token: Option<Vec<u8>>,
    obtained_at: Option<DateTime<Utc>>,
    refresh_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    leased_until: Option<DateTime<Utc>>,
    failure: Option<Value>,
}

#[derive(Serialize)]
struct TokenToSeal<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    said: &'a Said,
}

#[derive(Deserialize)]
struct OpenedToken {
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    said: Said,
}

/// What a sealed token is bound to.
fn row_key(environment: EnvironmentId, key: GrantKey) -> Vec<u8> {
    [environment.uuid().as_bytes().as_slice(), key.as_bytes()].concat()
}

/// A token, sealed for its grant.
pub(super) fn sealed_token(
    store: &Store,
    environment: EnvironmentId,
    key: GrantKey,
    token: &HeldToken,
) -> Vec<u8> {
    let plain = TokenToSeal {
        access_token: token.access_token.expose_secret(),
        refresh_token: token.refresh_token.as_ref().map(SecretString::expose_secret),
        said: &token.said,
    };
    let text = Zeroizing::new(serde_json::json!(plain).to_string());
    store.seal("grants", "token", &row_key(environment, key), text.as_bytes())
}

impl GrantRow {
    pub(super) async fn find<'e>(
        executor: impl PgExecutor<'e>,
        environment: EnvironmentId,
        key: GrantKey,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            "SELECT generation, token, obtained_at, refresh_at, expires_at, leased_until, failure
             FROM grants WHERE environment_id = $1 AND key = $2",
            environment.uuid(),
            key.as_bytes(),
        )
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// The grant, its token opened.
    pub(super) fn into_grant(
        self,
        store: &Store,
        environment: EnvironmentId,
        key: GrantKey,
    ) -> Result<StoredGrant, StoreError> {
        let broken = |column| StoreError::inconsistent("grants", column, environment);
        let failure: Option<Failure> =
            self.failure.map(serde_json::from_value).transpose().map_err(|_| broken("failure"))?;
        let token = match (self.token, self.obtained_at, self.refresh_at) {
            (Some(sealed), Some(obtained_at), Some(refresh_at)) => {
                let plain = store.open("grants", "token", &row_key(environment, key), &sealed)?;
                let opened: OpenedToken = serde_json::from_slice(&plain).map_err(|_| broken("token"))?;
                Some(HeldToken {
                    access_token: opened.access_token,
                    refresh_token: opened.refresh_token,
                    lifetime: Lifetime { obtained_at, refresh_at, expires_at: self.expires_at },
                    said: opened.said,
                })
            }
            (None, ..) => None,
            _ => return Err(broken("obtained_at")),
        };
        let held = token.as_ref().map(|token| (TokenMark::of(&token.access_token), token.lifetime));
        let standing =
            Standing { generation: self.generation, token: held, leased_until: self.leased_until, failure };
        Ok(StoredGrant { standing, token })
    }
}

/// A connection's row with what it signs in with, still sealed, and its grant.
#[derive(Debug)]
pub(super) struct SignInRow {
    id: i64,
    connection_id: String,
    tenant_id: Option<Uuid>,
    connection_config: Value,
    credentials: Vec<u8>,
    integration_id: Uuid,
    provider: String,
    app: Option<Vec<u8>>,
    grant_key: Option<Vec<u8>>,
    generation: Option<i64>,
    token: Option<Vec<u8>>,
    obtained_at: Option<DateTime<Utc>>,
    refresh_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    leased_until: Option<DateTime<Utc>>,
    failure: Option<Value>,
}

impl SignInRow {
    pub(super) async fn find<'e>(
        executor: impl PgExecutor<'e>,
        environment: EnvironmentId,
        connection: ConnectionKey,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query_as!(
            Self,
            r#"SELECT c.id, c.connection_id, c.tenant_id, c.connection_config, c.credentials, c.integration_id, i.provider,
                      i.credentials AS "app?", g.key AS "grant_key?", g.generation AS "generation?", g.token AS "token?",
                      g.obtained_at AS "obtained_at?", g.refresh_at AS "refresh_at?", g.expires_at AS "expires_at?",
                      g.leased_until AS "leased_until?", g.failure AS "failure?"
               FROM connections c
               JOIN integrations i ON i.id = c.integration_id AND i.environment_id = $1 AND i.deleted_at IS NULL
               LEFT JOIN connection_grants l ON l.connection = c.id AND l.environment_id = $1
               LEFT JOIN grants g ON g.environment_id = $1 AND g.key = l.grant_key
               WHERE c.id = $2 AND c.environment_id = $1 AND c.deleted_at IS NULL"#,
            environment.uuid(),
            connection.number(),
        )
        .fetch_optional(executor)
        .await?;
        Ok(row)
    }

    /// What the connection signs in with, opened.
    pub(super) fn into_sign_in(
        mut self,
        store: &Store,
        environment: EnvironmentId,
    ) -> Result<SignIn, StoreError> {
        let broken = |table, column| StoreError::inconsistent(table, column, self.id);
        let named = (IntegrationId::from_uuid(self.integration_id), self.connection_id.as_str());
        let credentials = connection::opened_credentials(store, environment, named, &self.credentials)?;
        let app = self.app.as_deref();
        let app = app.map(|sealed| integration::opened_credentials(store, self.integration_id, sealed));
        let config = self.connection_config.as_object().cloned();
        let config = config.ok_or_else(|| broken("connections", "connection_config"))?;
        let provider = Provider::named(&self.provider).ok_or_else(|| broken("integrations", "provider"))?;
        let key = self.grant_key.as_deref().map(<[u8; 32]>::try_from).transpose();
        let key = key.map_err(|_| broken("connection_grants", "grant_key"))?;
        let grant = key.map(GrantKey::from_bytes).map(|key| {
            let grant = self.grant_row().into_grant(store, environment, key)?;
            Ok::<_, StoreError>((key, grant))
        });
        Ok(SignIn {
            connection: ConnectionKey::from_number(self.id),
            provider,
            tenant: self.tenant_id.map(TenantId::from_uuid),
            config,
            credentials,
            app: app.transpose()?,
            grant: grant.transpose()?,
        })
    }

    fn grant_row(&mut self) -> GrantRow {
        GrantRow {
            generation: self.generation.unwrap_or_default(),
            token: self.token.take(),
            obtained_at: self.obtained_at,
            refresh_at: self.refresh_at,
            expires_at: self.expires_at,
            leased_until: self.leased_until,
            failure: self.failure.take(),
        }
    }
}
