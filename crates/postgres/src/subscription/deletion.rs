//! What must still be deleted at Graph, though nobody here knows it any more.
//!
//! A note carries the credentials that it signs in with, sealed as they were in the rows that they come from: its
//! connection may be gone, and its credentials destroyed. They go with the note, once it is done or past its end. Crosses
//! environments: for workers only.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;
use waypost_core::connection::ClientCredentials;
use waypost_core::id::{ConnectionKey, EnvironmentId, IntegrationId, TenantId};
use waypost_core::integration::UniqueKey;
use waypost_core::provider::Provider;
use waypost_core::subscription::LastError;
use waypost_crypto::token::{LookupHash, Purpose};

use crate::grant::SignIn;
use crate::{Store, StoreError, connection, integration};

/// A subscription that must be deleted at Graph.
#[derive(Debug)]
pub struct DueDeletion {
    /// The note's id.
    pub id: Uuid,
    /// Its environment.
    pub environment: EnvironmentId,
    /// The connection as which Graph is called.
    pub connection: ConnectionKey,
    /// Whether that connection is still there, to sign in with what it has now.
    pub connection_lives: bool,
    /// Graph's id; `None` when its create was in flight: then it is looked for by what follows.
    pub graph_id: Option<Uuid>,
    /// The hash of its `clientState`.
    pub state: LookupHash,
    /// Where its notifications were to go.
    pub notification_url: Option<String>,
    /// The resource in its one spelling.
    pub resource_key: Option<String>,
    /// When the note was written.
    pub created_at: DateTime<Utc>,
    /// When there is nothing left to delete.
    pub give_up_at: DateTime<Utc>,
    /// How often it was tried.
    pub tries: i32,
    sign_in: SealedSignIn,
}

/// Who tracks a living subscription. Of another environment nothing may be told to a caller.
#[derive(Debug)]
pub struct Holder {
    /// The environment.
    pub environment: EnvironmentId,
    /// The integration.
    pub integration: IntegrationId,
    /// That integration's name on the wire.
    pub unique_key: UniqueKey,
}

/// What signing in takes, still sealed.
#[derive(Debug)]
struct SealedSignIn {
    integration: IntegrationId,
    name: String,
    provider: String,
    tenant: Option<Uuid>,
    config: Value,
    connection_credentials: Vec<u8>,
    integration_credentials: Option<Vec<u8>>,
}

struct DeletionRow {
    id: Uuid,
    environment_id: Uuid,
    integration_id: Uuid,
    connection: i64,
    connection_id: String,
    lives: bool,
    provider: String,
    tenant_id: Option<Uuid>,
    connection_config: Value,
    graph_id: Option<Uuid>,
    state_hash: Vec<u8>,
    notification_url: Option<String>,
    resource_key: Option<String>,
    connection_credentials: Vec<u8>,
    integration_credentials: Option<Vec<u8>>,
    created_at: DateTime<Utc>,
    give_up_at: DateTime<Utc>,
    tries: i32,
}

impl DueDeletion {
    /// What its connection signed in with when it was deleted.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when the credentials can't be opened.
    pub fn sign_in(&self, store: &Store) -> Result<SignIn, StoreError> {
        let sealed = &self.sign_in;
        let name = (sealed.integration, sealed.name.as_str());
        let credentials = if sealed.connection_credentials.is_empty() {
            ClientCredentials::default()
        } else {
            connection::opened_credentials(store, self.environment, name, &sealed.connection_credentials)?
        };
        let app = sealed.integration_credentials.as_deref();
        let app = app.map(|app| integration::opened_credentials(store, sealed.integration.uuid(), app));
        let broken = |column| StoreError::inconsistent("graph_deletions", column, self.id);
        Ok(SignIn {
            connection: self.connection,
            provider: Provider::named(&sealed.provider).ok_or_else(|| broken("provider"))?,
            tenant: sealed.tenant.map(TenantId::from_uuid),
            config: sealed.config.as_object().cloned().ok_or_else(|| broken("connection_config"))?,
            credentials,
            app: app.transpose()?,
            grant: None,
        })
    }
}

impl Store {
    /// Takes up to `limit` notes that are due, or `only` the one of that id; others get them after `lease`.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn take_graph_deletions_across_environments(
        &self,
        limit: i64,
        lease: TimeDelta,
        only: Option<Uuid>,
    ) -> Result<Vec<DueDeletion>, StoreError> {
        let now = self.clock().now();
        let rows = sqlx::query_as!(
            DeletionRow,
            r#"-- take_graph_deletions
               WITH due AS (
                   SELECT id FROM graph_deletions WHERE due_at <= $1 AND ($4::uuid IS NULL OR id = $4)
                   ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
               ), taken AS (
                   UPDATE graph_deletions g SET due_at = $3, taken_until = $3, tries = g.tries + 1 FROM due WHERE g.id = due.id
                   RETURNING g.*
               )
               SELECT t.id, t.environment_id, t.integration_id, t.connection, c.connection_id, i.provider,
                      c.deleted_at IS NULL AND i.deleted_at IS NULL AND e.deleted_at IS NULL AS "lives!", c.tenant_id,
                      c.connection_config, t.graph_id, t.state_hash, t.notification_url, t.resource_key,
                      t.connection_credentials, t.integration_credentials, t.created_at, t.give_up_at, t.tries
               FROM taken t
               CROSS JOIN LATERAL (SELECT * FROM connections WHERE id = t.connection LIMIT 1) c
               CROSS JOIN LATERAL (SELECT * FROM integrations WHERE id = t.integration_id LIMIT 1) i
               CROSS JOIN LATERAL (SELECT * FROM environments WHERE id = t.environment_id LIMIT 1) e"#,
            now,
            limit,
            now + lease,
            only as Option<Uuid>,
        )
        .fetch_all(self.workers())
        .await?;
        rows.into_iter().map(DeletionRow::into_due).collect()
    }

    /// A note is done, or over: it and its credentials are destroyed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish_graph_deletion_across_environments(&self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM graph_deletions WHERE id = $1", id).execute(self.workers()).await?;
        Ok(())
    }

    /// A note is to be tried again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn postpone_graph_deletion_across_environments(
        &self,
        id: Uuid,
        due_at: DateTime<Utc>,
        error: &LastError,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE graph_deletions SET due_at = $2, taken_until = NULL, last_error = $3 WHERE id = $1",
            id,
            due_at,
            json!(error)
        )
        .execute(self.workers())
        .await?;
        Ok(())
    }

    /// Keeps others from deleting what is about to be adopted: its notes are left alone until `until`. False when somebody
    /// is deleting it at this moment.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn hold_graph_deletions_across_environments(
        &self,
        graph_id: Uuid,
        state: &SecretString,
        until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let state = self.hash_key().hash(Purpose::ClientState, state.expose_secret().as_bytes());
        let under_way = sqlx::query_scalar!(
            r#"-- hold_graph_deletions
               WITH notes AS (
                   SELECT id, taken_until FROM graph_deletions
                   -- One without an id is of a create that was in flight: its state tells.
                   WHERE graph_id = $1 OR (graph_id IS NULL AND state_hash = $2) FOR UPDATE
               ), held AS (
                   UPDATE graph_deletions g SET due_at = greatest(g.due_at, $3) FROM notes
                   WHERE g.id = notes.id AND (notes.taken_until IS NULL OR notes.taken_until <= $4)
               )
               SELECT EXISTS (SELECT FROM notes WHERE taken_until > $4) AS "under_way!""#,
            graph_id,
            state.as_bytes().as_slice(),
            until,
            self.clock().now(),
        );
        Ok(!under_way.fetch_one(self.workers()).await?)
    }

    /// Who tracks a living subscription of Graph's.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn find_holder_across_environments(
        &self,
        graph_id: Uuid,
    ) -> Result<Option<Holder>, StoreError> {
        let row = sqlx::query!(
            "-- find_holder
             SELECT s.environment_id, s.integration_id, i.unique_key FROM subscriptions s
             JOIN integrations i ON i.id = s.integration_id
             WHERE s.graph_id = $1 AND s.status IN ('active', 'renewal_failing')",
            graph_id,
        );
        let Some(row) = row.fetch_optional(self.workers()).await? else { return Ok(None) };
        let broken = |_| StoreError::inconsistent("integrations", "unique_key", row.integration_id);
        Ok(Some(Holder {
            environment: EnvironmentId::from_uuid(row.environment_id),
            integration: IntegrationId::from_uuid(row.integration_id),
            unique_key: UniqueKey::parse(row.unique_key).map_err(broken)?,
        }))
    }

    /// How many notes there are.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn count_graph_deletions_across_environments(&self) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM graph_deletions"#);
        Ok(count.fetch_one(self.requests()).await?)
    }
}

impl DeletionRow {
    fn into_due(self) -> Result<DueDeletion, StoreError> {
        Ok(DueDeletion {
            id: self.id,
            environment: EnvironmentId::from_uuid(self.environment_id),
            connection: ConnectionKey::from_number(self.connection),
            connection_lives: self.lives,
            graph_id: self.graph_id,
            state: LookupHash::try_from(self.state_hash.as_slice())
                .map_err(|_| StoreError::inconsistent("graph_deletions", "state_hash", self.id))?,
            notification_url: self.notification_url,
            resource_key: self.resource_key,
            created_at: self.created_at,
            give_up_at: self.give_up_at,
            tries: self.tries,
            sign_in: SealedSignIn {
                integration: IntegrationId::from_uuid(self.integration_id),
                name: self.connection_id,
                provider: self.provider,
                tenant: self.tenant_id,
                config: self.connection_config,
                connection_credentials: self.connection_credentials,
                integration_credentials: self.integration_credentials,
            },
        })
    }
}
