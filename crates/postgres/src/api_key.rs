//! API keys of an environment: making, listing, revoking and using them.
//!
//! A key is shown once, when it is made; stored is its keyed hash. A key that is revoked or over is as unknown as one that
//! never was.

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;
use waypost_core::account::Name;
use waypost_core::id::{ApiKeyId, EnvironmentId};
use waypost_core::page::{Listed, Page};
use waypost_core::scope::Grant;
use waypost_crypto::token::Purpose;

use crate::audit::Change;
use crate::{Store, StoreError, TenantStore};

/// The most keys that an environment may have at a time.
pub const MOST_KEYS: i64 = 50;
/// How old the time of a key's last use may get before it is written anew.
const DEBOUNCE: TimeDelta = TimeDelta::minutes(1);

/// An API key, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What people call it.
    pub display_name: Name,
    /// What it may do.
    pub scopes: Vec<Grant>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A key that is wanted.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What people call it.
    pub display_name: Name,
    /// What it may do.
    pub scopes: Vec<Grant>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// What a presented key stands for.
#[derive(Debug, Clone)]
pub struct KnownKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The environment that it opens.
    pub environment: EnvironmentId,
    /// What it may do there.
    pub scopes: Vec<Grant>,
}

/// Why a key can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The environment has [`MOST_KEYS`] keys.
    #[error("an environment has at most {MOST_KEYS} API keys")]
    TooMany,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

struct KeyRow {
    id: Uuid,
    display_name: String,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl TryFrom<KeyRow> for ApiKey {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        let name = Name::parse(row.display_name);
        Ok(Self {
            id: ApiKeyId::from_uuid(row.id),
            display_name: name.map_err(|_| StoreError::inconsistent("api_keys", "display_name", row.id))?,
            scopes: grants(row.id, row.scopes)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        })
    }
}

fn grants(row: Uuid, scopes: Vec<String>) -> Result<Vec<Grant>, StoreError> {
    let grants = scopes.into_iter().map(Grant::parse).collect::<Result<_, _>>();
    grants.map_err(|_| StoreError::inconsistent("api_keys", "scopes", row))
}

impl Store {
    /// What a presented key stands for, and a note that it was used; `None` for a key that is unknown, revoked or over, or
    /// whose environment is deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn use_api_key(&self, key: &SecretString) -> Result<Option<KnownKey>, StoreError> {
        let now = self.clock().now();
        let hash = self.hash_key().hash(Purpose::ApiKey, key.expose_secret().as_bytes());
        let row = sqlx::query!(
            "SELECT k.id, k.environment_id, k.scopes, k.last_used_at
             FROM api_keys k
             JOIN environments e ON e.id = k.environment_id AND e.deleted_at IS NULL
             WHERE k.hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)",
            hash.as_bytes().as_slice(),
            now,
        )
        .fetch_optional(self.requests())
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.last_used_at.is_none_or(|used| used < now - DEBOUNCE) {
            sqlx::query!(
                "UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)",
                row.id,
                now,
                now - DEBOUNCE,
            )
            .execute(self.requests())
            .await?;
        }
        Ok(Some(KnownKey {
            id: ApiKeyId::from_uuid(row.id),
            environment: EnvironmentId::from_uuid(row.environment_id),
            scopes: grants(row.id, row.scopes)?,
        }))
    }
}

impl TenantStore {
    /// Makes a key. The key itself is in the answer and nowhere else.
    ///
    /// # Errors
    /// [`ApiKeyError::TooMany`], or when the store fails.
    pub async fn create_api_key(&self, wanted: NewKey) -> Result<(ApiKey, SecretString), ApiKeyError> {
        let mut tx = self.begin().await?;
        // Holds up others who make a key here, so that the count below stays true.
        sqlx::query!("SELECT id FROM environments WHERE id = $1 FOR NO KEY UPDATE", self.environment.uuid())
            .fetch_optional(&mut *tx)
            .await
            .map_err(StoreError::from)?;
        let keys = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM api_keys WHERE environment_id = $1 AND revoked_at IS NULL"#,
            self.environment.uuid(),
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::from)?;
        if keys >= MOST_KEYS {
            return Err(ApiKeyError::TooMany);
        }
        let (key, secret) = insert(&self.store, &mut tx, self.environment, wanted).await?;
        let detail = json!({
            "display_name": key.display_name, "scopes": key.scopes, "expires_at": key.expires_at,
        });
        let change = Change { action: "api_key.create", object: &key.id.to_string(), detail };
        self.record(&mut tx, change).await?;
        tx.commit().await.map_err(StoreError::from)?;
        Ok((key, secret))
    }

    /// The keys that are not revoked, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn api_keys(&self, page: Page<ApiKeyId>) -> Result<Listed<ApiKey, ApiKeyId>, StoreError> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query_as!(
            KeyRow,
            "SELECT id, display_name, scopes, created_at, expires_at, last_used_at
             FROM api_keys
             WHERE environment_id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR id > $2)
             ORDER BY id LIMIT $3",
            self.environment.uuid(),
            page.after.map(ApiKeyId::uuid) as Option<Uuid>,
            i64::from(page.limit) + 1,
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let rows = rows.into_iter().map(ApiKey::try_from).collect::<Result<Vec<_>, _>>()?;
        Ok(Listed::cut(rows, page.limit, |key| key.id))
    }

    /// Revokes a key, at once. Tells whether there was one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_api_key(&self, id: ApiKeyId) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let revoked = sqlx::query!(
            "UPDATE api_keys SET revoked_at = $3 WHERE environment_id = $1 AND id = $2 AND revoked_at IS NULL",
            self.environment.uuid(),
            id.uuid(),
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if revoked == 0 {
            return Ok(false);
        }
        let change = Change { action: "api_key.revoke", object: &id.to_string(), detail: json!({}) };
        self.record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Makes a key inside a transaction; its caller writes the audit log.
pub(crate) async fn insert(
    store: &Store,
    tx: &mut Transaction<'_, Postgres>,
    environment: EnvironmentId,
    wanted: NewKey,
) -> Result<(ApiKey, SecretString), StoreError> {
    let now = store.clock().now();
    let secret = SecretString::from(Uuid::new_v4().to_string());
    let hash = store.hash_key().hash(Purpose::ApiKey, secret.expose_secret().as_bytes());
    let key = ApiKey {
        id: ApiKeyId::at(now),
        display_name: wanted.display_name,
        scopes: wanted.scopes,
        created_at: now,
        expires_at: wanted.expires_at,
        last_used_at: None,
    };
    let scopes: Vec<String> = key.scopes.iter().map(|grant| grant.as_str().to_owned()).collect();
    sqlx::query!(
        "INSERT INTO api_keys (id, environment_id, display_name, scopes, hash, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        key.id.uuid(),
        environment.uuid(),
        key.display_name.as_str(),
        &scopes,
        hash.as_bytes().as_slice(),
        now,
        key.expires_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok((key, secret))
}
