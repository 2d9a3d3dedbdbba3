//! Grants: the tokens of sign-ins, who is asking for the next one, and why there is none.
//!
//! Reading goes by workers' connections, in one statement by key, since every call to the provider begins with it. A
//! request for a token is made under a lease: an end and a random token, no transaction. What came of it, and the
//! notices that tell of it, are written together.

mod ending;
mod failing;
mod row;
mod telling;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;
use waypost_core::cloud::CloudName;
use waypost_core::connection::ClientCredentials;
use waypost_core::id::{ConnectionKey, EnvironmentId, EventId, TenantId};
use waypost_core::integration::AppCredentials;
use waypost_core::provider::Provider;
use waypost_core::token::{Failure, GrantKey, HeldToken, Standing};

pub use ending::{EndingCredential, Glance};

use crate::{Store, StoreError, TenantStore};
use row::{GrantRow, SignInRow, sealed_token};

/// The foreign key that a grant breaks which was destroyed while somebody began to use it.
const GRANT: &str = "connection_grants_grant";

/// A grant as it is stored, opened.
#[derive(Debug, Clone)]
pub struct StoredGrant {
    /// What is known of it.
    pub standing: Standing,
    /// Its token.
    pub token: Option<HeldToken>,
}

/// What a connection signs in with, and the grant that it used last.
#[derive(Debug)]
pub struct SignIn {
    /// The connection.
    pub connection: ConnectionKey,
    /// The provider.
    pub provider: Provider,
    /// The Entra tenant.
    pub tenant: Option<TenantId>,
    /// Non-secret parameters.
    pub config: Map<String, Value>,
    /// Its own credentials.
    pub credentials: ClientCredentials,
    /// The app registration of its integration.
    pub app: Option<AppCredentials>,
    /// The grant that it used last; another one when its credentials were changed since.
    pub grant: Option<(GrantKey, StoredGrant)>,
}

/// A grant that a connection is about to use.
#[derive(Debug)]
pub struct NewGrant {
    /// Its key.
    pub key: GrantKey,
    /// The cloud.
    pub cloud: CloudName,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The app.
    pub client_id: String,
    /// When the credential ends, as far as it is known.
    pub credential_ends_at: Option<DateTime<Utc>>,
    /// The token that was brought along, if the grant is new.
    pub imported: Option<HeldToken>,
}

/// What came of a request for a token.
#[derive(Debug)]
pub enum Outcome {
    /// There is a new one.
    Granted(HeldToken),
    /// There is none.
    Failed(Failure),
}

/// Why a connection has no new token, and the event that told it.
#[derive(Debug, Clone)]
pub struct SignInFailure {
    /// Why.
    pub failure: Failure,
    /// The event, once it was told.
    pub event: Option<EventId>,
}

impl Store {
    /// What a connection signs in with; `None` when there is no such connection.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn sign_in_across_environments(
        &self,
        environment: EnvironmentId,
        connection: ConnectionKey,
    ) -> Result<Option<SignIn>, StoreError> {
        let row = SignInRow::find(self.workers(), environment, connection).await?;
        row.map(|row| row.into_sign_in(self, environment)).transpose()
    }

    /// A grant; `None` when there is none of that key.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn grant_across_environments(
        &self,
        environment: EnvironmentId,
        key: GrantKey,
    ) -> Result<Option<StoredGrant>, StoreError> {
        let row = GrantRow::find(self.workers(), environment, key).await?;
        row.map(|row| row.into_grant(self, environment, key)).transpose()
    }

    /// Takes the right to ask for the next token until `until`, if the grant is still as it was at `generation` and
    /// nobody else has it. Tells whether it was taken.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn lease_grant_across_environments(
        &self,
        environment: EnvironmentId,
        (key, generation): (GrantKey, i64),
        lease: Uuid,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let taken = sqlx::query!(
            "UPDATE grants SET lease_token = $4, leased_until = $5, updated_at = $6
             WHERE environment_id = $1 AND key = $2 AND generation = $3
               AND (leased_until IS NULL OR leased_until <= $6)",
            environment.uuid(),
            key.as_bytes(),
            generation,
            lease,
            until,
            self.clock().now(),
        )
        .execute(self.workers())
        .await?
        .rows_affected();
        Ok(taken > 0)
    }
}

impl TenantStore {
    /// Notes that a connection uses a grant from now on, which is made if it isn't there. Customers of a grant that is
    /// known to fail, or to have recovered, are told. `None` when the connection is gone.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn link_grant(
        &self,
        connection: ConnectionKey,
        new: &NewGrant,
        max_age: TimeDelta,
    ) -> Result<Option<StoredGrant>, StoreError> {
        match self.try_link_grant(connection, new, max_age).await {
            // The last connection that used it was deleted in this moment, and the grant with it.
            Err(error) if error.breaks(GRANT) => self.try_link_grant(connection, new, max_age).await,
            result => result,
        }
    }

    async fn try_link_grant(
        &self,
        connection: ConnectionKey,
        new: &NewGrant,
        max_age: TimeDelta,
    ) -> Result<Option<StoredGrant>, StoreError> {
        let environment = self.environment;
        let mut tx = self.begin().await?;
        let lives = sqlx::query_scalar!(
            "SELECT id FROM connections WHERE environment_id = $1 AND id = $2 AND deleted_at IS NULL FOR SHARE",
            environment.uuid(),
            connection.number(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        if lives.is_none() {
            return Ok(None);
        }
        let life = new.imported.as_ref().map(|token| token.lifetime);
        sqlx::query!(
            "INSERT INTO grants (environment_id, key, cloud, tenant_id, client_id, token, obtained_at, refresh_at,
                                 expires_at, credential_ends_at, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
             ON CONFLICT (environment_id, key) DO NOTHING",
            environment.uuid(),
            new.key.as_bytes(),
            new.cloud.as_str(),
            new.tenant.map(TenantId::uuid) as Option<Uuid>,
            new.client_id,
            new.imported.as_ref().map(|token| sealed_token(&self.store, environment, new.key, token)),
            life.map(|life| life.obtained_at),
            life.map(|life| life.refresh_at),
            life.and_then(|life| life.expires_at),
            new.credential_ends_at,
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "INSERT INTO connection_grants AS l (connection, environment_id, grant_key) VALUES ($1, $2, $3)
             ON CONFLICT (connection) DO UPDATE SET grant_key = excluded.grant_key, warned_days = NULL
             WHERE l.grant_key <> excluded.grant_key",
            connection.number(),
            environment.uuid(),
            new.key.as_bytes(),
        )
        .execute(&mut *tx)
        .await?;
        self.tell_of_grant(&mut tx, new.key, max_age).await?;
        let row = GrantRow::find(&mut *tx, environment, new.key).await?;
        tx.commit().await?;
        row.map(|row| row.into_grant(&self.store, environment, new.key)).transpose()
    }

    /// Writes down what came of a request for a token, and tells it where that is a change. `None` when the lease had
    /// passed to somebody else, or the grant is gone: then nothing is written.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn settle_grant(
        &self,
        key: GrantKey,
        lease: Uuid,
        outcome: &Outcome,
        max_age: TimeDelta,
    ) -> Result<Option<StoredGrant>, StoreError> {
        let mut tx = self.begin().await?;
        let settled = match outcome {
            Outcome::Granted(token) => self.write_token(&mut tx, key, lease, token).await?,
            Outcome::Failed(failure) => self.write_failure(&mut tx, key, lease, failure).await?,
        };
        if !settled {
            return Ok(None);
        }
        self.tell_of_grant(&mut tx, key, max_age).await?;
        let row = GrantRow::find(&mut *tx, self.environment, key).await?;
        tx.commit().await?;
        row.map(|row| row.into_grant(&self.store, self.environment, key)).transpose()
    }

    async fn write_token(
        &self,
        tx: &mut sqlx::PgConnection,
        key: GrantKey,
        lease: Uuid,
        token: &HeldToken,
    ) -> Result<bool, StoreError> {
        let written = sqlx::query!(
            "UPDATE grants SET token = $4, obtained_at = $5, refresh_at = $6, expires_at = $7, failure = NULL,
                               told = false, generation = generation + 1, lease_token = NULL, leased_until = NULL,
                               updated_at = $8
             WHERE environment_id = $1 AND key = $2 AND lease_token = $3",
            self.environment.uuid(),
            key.as_bytes(),
            lease,
            sealed_token(&self.store, self.environment, key, token),
            token.lifetime.obtained_at,
            token.lifetime.refresh_at,
            token.lifetime.expires_at,
            self.store.clock().now(),
        )
        .execute(tx)
        .await?;
        Ok(written.rows_affected() > 0)
    }

    async fn write_failure(
        &self,
        tx: &mut sqlx::PgConnection,
        key: GrantKey,
        lease: Uuid,
        failure: &Failure,
    ) -> Result<bool, StoreError> {
        let now = self.store.clock().now();
        let written = sqlx::query!(
            // Once told it stays told until it is mended, whatever fails next.
            "UPDATE grants SET failure = $4,
                               told = told OR CASE WHEN token IS NOT NULL AND coalesce(expires_at > $7, true)
                                                   THEN $5::boolean ELSE $6::boolean END,
                               generation = generation + 1, lease_token = NULL, leased_until = NULL, updated_at = $7
             WHERE environment_id = $1 AND key = $2 AND lease_token = $3",
            self.environment.uuid(),
            key.as_bytes(),
            lease,
            serde_json::json!(failure),
            failure.is_worth_telling(true),
            failure.is_worth_telling(false),
            now,
        )
        .execute(tx)
        .await?;
        Ok(written.rows_affected() > 0)
    }

    /// Why a connection has no new token; `None` when nothing failed since it last had one.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn sign_in_failure(
        &self,
        connection: ConnectionKey,
    ) -> Result<Option<SignInFailure>, StoreError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query!(
            r#"SELECT g.failure AS "failure!", l.told_event
               FROM connection_grants l JOIN grants g ON g.environment_id = l.environment_id AND g.key = l.grant_key
               WHERE l.environment_id = $1 AND l.connection = $2 AND g.failure IS NOT NULL"#,
            self.environment.uuid(),
            connection.number(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        row.map(|row| {
            let failure = serde_json::from_value(row.failure)
                .map_err(|_| StoreError::inconsistent("grants", "failure", connection.number()))?;
            Ok(SignInFailure { failure, event: row.told_event.map(EventId::from_uuid) })
        })
        .transpose()
    }

    /// Destroys what connections that are being deleted used, unless others use it too.
    pub(crate) async fn forget_grants(
        &self,
        tx: &mut sqlx::PgConnection,
        connections: &[i64],
    ) -> Result<(), StoreError> {
        let unlinked = sqlx::query_scalar!(
            "DELETE FROM connection_grants WHERE environment_id = $1 AND connection = ANY($2) RETURNING grant_key",
            self.environment.uuid(),
            connections,
        )
        .fetch_all(&mut *tx)
        .await?;
        // Whoever links itself in this moment is waited for, so that the next statement sees it.
        sqlx::query_scalar!(
            "SELECT key FROM grants WHERE environment_id = $1 AND key = ANY($2) ORDER BY key FOR UPDATE",
            self.environment.uuid(),
            &unlinked,
        )
        .fetch_all(&mut *tx)
        .await?;
        sqlx::query!(
            "DELETE FROM grants g WHERE g.environment_id = $1 AND g.key = ANY($2)
               AND NOT EXISTS (SELECT FROM connection_grants l WHERE l.environment_id = $1 AND l.grant_key = g.key)",
            self.environment.uuid(),
            &unlinked,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
