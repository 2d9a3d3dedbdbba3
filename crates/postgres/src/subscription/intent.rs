//! What is about to be created at Graph, written down before Graph is asked.

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, IntegrationId, SubscriptionId, TenantId};
use waypost_core::subscription::{MOST_CONNECTIONS, Origin, Owner, Wish, WishKey};
use waypost_crypto::token::Purpose;

use super::Managed;
use super::row::SubscriptionRow;
use crate::audit::Change;
use crate::{Store, StoreError, TenantStore};

/// The index that prevents two live subscriptions of one wish.
const ONE_OF_A_WISH: &str = "subscriptions_wish";
/// How often a race for the same wish is run again.
const TRIES: usize = 3;

/// A create that is about to be sent.
#[derive(Debug)]
pub struct Intent<'a> {
    /// Its id inside Waypost.
    pub id: SubscriptionId,
    /// Whether its row exists, as a template's does.
    pub planned: bool,
    /// Who wants it.
    pub origin: Origin,
    /// What is wanted.
    pub wish: &'a Wish,
    /// On whose behalf.
    pub owner: Owner<'a>,
    /// The connection that it serves first.
    pub connection: ConnectionKey,
    /// Its `clientState`.
    pub state: &'a SecretString,
    /// Where its notifications go.
    pub notification_url: &'a str,
    /// The label of its certificate.
    pub certificate_label: Option<&'a str>,
    /// What else it was created with; never a secret.
    pub options: Value,
    /// When somebody looks after it, should its sender be gone by then.
    pub due_at: DateTime<Utc>,
}

/// What came of writing an intent.
#[derive(Debug)]
pub enum Intended {
    /// It stands: the create may be sent.
    Written,
    /// There is an equal one, which serves the connection now.
    Joined(Box<Managed>),
    /// As `Joined`, and it is wanted for longer than it was before.
    Raised(Box<Managed>),
    /// There is an equal one, which serves as many connections as one may.
    Full,
    /// Somebody is creating an equal one at this moment.
    InFlight,
    /// The connection is gone.
    UnknownConnection,
    /// The planned row is gone: nobody wants it any more.
    Dropped,
}

/// The hash and the sealed form of a `clientState`.
pub(super) fn protect(store: &Store, id: SubscriptionId, state: &SecretString) -> ([u8; 32], Vec<u8>) {
    let plain = state.expose_secret().as_bytes();
    let hash = store.hash_key().hash(Purpose::ClientState, plain);
    (*hash.as_bytes(), store.seal("subscriptions", "state_sealed", id.uuid().as_bytes(), plain))
}

impl TenantStore {
    /// Writes an intent, or joins the connection to the equal subscription that is there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn intend_subscription(&self, intent: &Intent<'_>) -> Result<Intended, StoreError> {
        let key = intent.wish.key(&intent.owner);
        for _ in 1..TRIES {
            match self.try_intend(intent, key).await {
                // Somebody else was faster: theirs is joined.
                Err(error) if error.breaks(ONE_OF_A_WISH) => {}
                outcome => return outcome,
            }
        }
        self.try_intend(intent, key).await
    }

    async fn try_intend(&self, intent: &Intent<'_>, key: WishKey) -> Result<Intended, StoreError> {
        let mut tx = self.begin().await?;
        // As whoever deletes it does: the connection first, then its subscriptions.
        let connection = sqlx::query_scalar!(
            "SELECT id FROM connections WHERE environment_id = $1 AND id = $2 AND deleted_at IS NULL FOR SHARE",
            self.environment.uuid(),
            intent.connection.number(),
        );
        if connection.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(Intended::UnknownConnection);
        }
        let equal = sqlx::query!(
            r#"SELECT id, status = 'pending' AND posted_at IS NOT NULL AND last_error IS NULL AND due_at > $4 AS "in_flight!",
                      lifetime_seconds IS NOT NULL AND lifetime_seconds < coalesce($5, lifetime_seconds + 1) AS "is_shorter!"
               FROM subscriptions WHERE environment_id = $1 AND wish_key = $2
                 AND status IN ('pending', 'active', 'renewal_failing') AND id <> $3 FOR UPDATE"#,
            self.environment.uuid(),
            key.as_bytes().as_slice(),
            intent.id.uuid(),
            self.store.clock().now(),
            intent.wish.lifetime.map(|lifetime| lifetime.num_seconds()),
        );
        if let Some(other) = equal.fetch_optional(&mut *tx).await? {
            if other.in_flight {
                return Ok(Intended::InFlight);
            }
            if self.is_full(&mut tx, other.id, intent.connection).await? {
                return Ok(Intended::Full);
            }
            let joined = self.join_equal(&mut tx, SubscriptionId::from_uuid(other.id), intent).await?;
            tx.commit().await?;
            let joined = Box::new(joined);
            return Ok(if other.is_shorter { Intended::Raised(joined) } else { Intended::Joined(joined) });
        }
        if !intent.planned {
            self.insert_intent(&mut tx, intent).await?;
            self.join(&mut tx, intent.id, intent.connection).await?;
        }
        if !self.write_intent(&mut tx, intent, key).await? {
            return Ok(Intended::Dropped);
        }
        tx.commit().await?;
        Ok(Intended::Written)
    }

    async fn join_equal(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        other: SubscriptionId,
        intent: &Intent<'_>,
    ) -> Result<Managed, StoreError> {
        self.join(tx, other, intent.connection).await?;
        sqlx::query!(
            // Whoever wants most decides: a longer life (null is the longest), and that it goes on at all.
            "UPDATE subscriptions SET
                 kept = kept OR status = 'pending',
                 lifetime_seconds = CASE WHEN lifetime_seconds < $3 THEN $3 WHEN $3 IS NOT NULL THEN lifetime_seconds END,
                 renew_at = CASE WHEN $4 AND NOT auto_renew THEN granted_at + (expires_at - granted_at) / 2
                                 ELSE renew_at END,
                 auto_renew = auto_renew OR $4
             WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            other.uuid(),
            intent.wish.lifetime.map(|lifetime| lifetime.num_seconds()) as Option<i64>,
            intent.wish.auto_renew,
        )
        .execute(&mut **tx)
        .await?;
        if intent.planned {
            self.drop_pending(tx, intent.id).await?;
        }
        let (object, detail) = (other.to_string(), json!({"connection": intent.connection}));
        self.record(tx, Change { action: "subscription.join", object: &object, detail }).await?;
        let row = SubscriptionRow::one(tx, self.environment, other).await?;
        row.ok_or_else(|| StoreError::inconsistent("subscriptions", "id", other))?.into_managed()
    }

    /// Whether a subscription, which is locked, serves so many connections that this one can't be added.
    async fn is_full(
        &self,
        tx: &mut PgConnection,
        subscription: Uuid,
        connection: ConnectionKey,
    ) -> Result<bool, StoreError> {
        let full = sqlx::query_scalar!(
            r#"SELECT count(*) >= $4 AND NOT coalesce(bool_or(connection = $3), false) AS "full!"
               FROM subscription_connections WHERE environment_id = $1 AND subscription_id = $2"#,
            self.environment.uuid(),
            subscription,
            connection.number(),
            MOST_CONNECTIONS,
        );
        Ok(full.fetch_one(tx).await?)
    }

    /// Lets a subscription serve a connection.
    pub(super) async fn join(
        &self,
        tx: &mut PgConnection,
        id: SubscriptionId,
        connection: ConnectionKey,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "INSERT INTO subscription_connections (environment_id, subscription_id, connection)
             VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            self.environment.uuid(),
            id.uuid(),
            connection.number(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    pub(super) async fn drop_pending(
        &self,
        tx: &mut PgConnection,
        id: SubscriptionId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM subscriptions WHERE environment_id = $1 AND id = $2 AND status = 'pending'",
            self.environment.uuid(),
            id.uuid(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn insert_intent(&self, tx: &mut PgConnection, intent: &Intent<'_>) -> Result<(), StoreError> {
        let new = NewPending {
            id: intent.id,
            origin: intent.origin,
            integration: intent.owner.integration,
            tenant: intent.owner.tenant,
            wish: intent.wish,
            state: intent.state,
            due_at: intent.due_at,
        };
        self.insert_pending(tx, &new).await
    }

    async fn write_intent(
        &self,
        tx: &mut PgConnection,
        intent: &Intent<'_>,
        key: WishKey,
    ) -> Result<bool, StoreError> {
        let Owner { cloud, client_id, identity, tenant, .. } = intent.owner;
        let now = self.store.clock().now();
        let written = sqlx::query!(
            "UPDATE subscriptions SET
                 wish_key = $3, cloud = $4, client_id = $5, identity = $6, tenant_id = $7, notification_url = $8,
                 certificate_label = $9, options = $10, posted_at = $11, due_at = $12, last_error = NULL, updated_at = $11
             WHERE environment_id = $1 AND id = $2 AND status = 'pending'",
            self.environment.uuid(),
            intent.id.uuid(),
            key.as_bytes().as_slice(),
            cloud,
            client_id,
            identity.to_string(),
            tenant.uuid(),
            intent.notification_url,
            intent.certificate_label,
            intent.options,
            now,
            intent.due_at,
        )
        .execute(tx)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Inserts what is wanted, before its owner is known.
    pub(super) async fn insert_pending(
        &self,
        tx: &mut PgConnection,
        new: &NewPending<'_>,
    ) -> Result<(), StoreError> {
        let (hash, sealed) = protect(&self.store, new.id, new.state);
        sqlx::query!(
            "INSERT INTO subscriptions (id, environment_id, integration_id, tenant_id, state_hash, state_sealed, status,
                                        origin, kept, resource, resource_key, change_type, include_resource_data,
                                        lifetime_seconds, auto_renew, due_at, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $7 = 'template', $8, $9, $10, $11, $12, $13, $14, $15, $15)",
            new.id.uuid(),
            self.environment.uuid(),
            new.integration.uuid(),
            new.tenant.uuid() as Uuid,
            hash.as_slice(),
            sealed,
            new.origin.as_str(),
            new.wish.resource.as_str(),
            new.wish.resource.key(),
            new.wish.change_types.to_string(),
            new.wish.include_resource_data,
            new.wish.lifetime.map(|lifetime| lifetime.num_seconds()),
            new.wish.auto_renew,
            new.due_at,
            self.store.clock().now(),
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// What is wanted, before its owner is known.
pub(super) struct NewPending<'a> {
    pub(super) id: SubscriptionId,
    pub(super) origin: Origin,
    pub(super) integration: IntegrationId,
    pub(super) tenant: TenantId,
    pub(super) wish: &'a Wish,
    pub(super) state: &'a SecretString,
    pub(super) due_at: DateTime<Utc>,
}
