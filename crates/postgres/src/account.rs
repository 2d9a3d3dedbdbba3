//! Accounts and environments.
//!
//! These functions are for the admin API and cross environments. An environment is made whole, with its signing key, its
//! first API key and its two named endpoints, or not at all. A deleted one is unknown to everybody from then on.

mod delete;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;
use waypost_core::account::{Account, Environment, Name, WebhookSettings};
use waypost_core::id::{AccountId, EndpointId, EnvironmentId};
use waypost_core::page::{Listed, Page};
use waypost_core::scope::Grant;
use waypost_crypto::signature::{EndpointSecret, SigningKey};

use crate::api_key::{self, NewKey};
use crate::audit::Change;
use crate::store::Actor;
use crate::{Store, StoreError};

/// A new environment, with what is shown once only.
#[derive(Debug)]
pub struct NewEnvironment {
    /// The environment.
    pub environment: Environment,
    /// Its first API key.
    pub secret_key: SecretString,
    /// The key that its webhooks are signed with.
    pub signing_key: SigningKey,
}

/// Why an environment can't be made or named so.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The account has another environment of that name.
    #[error("the account has an environment of that name")]
    NameTaken,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// What shall change in an environment; `None` leaves a setting as it is.
#[derive(Debug, Clone, Default)]
pub struct EnvironmentChange {
    /// What people call it.
    pub name: Option<Name>,
    /// See [`WebhookSettings::on_auth_creation`].
    pub on_auth_creation: Option<bool>,
    /// See [`WebhookSettings::on_auth_refresh_error`].
    pub on_auth_refresh_error: Option<bool>,
    /// See [`WebhookSettings::forward_client_state`].
    pub forward_client_state: Option<bool>,
}

struct AccountRow {
    id: Uuid,
    name: String,
    created_at: DateTime<Utc>,
}

struct EnvironmentRow {
    id: Uuid,
    account_id: Uuid,
    name: String,
    forward_client_state: bool,
    on_auth_creation: bool,
    on_auth_refresh_error: bool,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<AccountRow> for Account {
    type Error = StoreError;

    fn try_from(row: AccountRow) -> Result<Self, StoreError> {
        let name = Name::parse(row.name).map_err(|_| StoreError::inconsistent("accounts", "name", row.id))?;
        Ok(Self { id: AccountId::from_uuid(row.id), name, created_at: row.created_at })
    }
}

impl TryFrom<EnvironmentRow> for Environment {
    type Error = StoreError;

    fn try_from(row: EnvironmentRow) -> Result<Self, StoreError> {
        let name =
            Name::parse(row.name).map_err(|_| StoreError::inconsistent("environments", "name", row.id))?;
        Ok(Self {
            id: EnvironmentId::from_uuid(row.id),
            account: AccountId::from_uuid(row.account_id),
            name,
            webhooks: WebhookSettings {
                on_auth_creation: row.on_auth_creation,
                on_auth_refresh_error: row.on_auth_refresh_error,
                forward_client_state: row.forward_client_state,
            },
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

impl From<sqlx::Error> for EnvironmentError {
    fn from(error: sqlx::Error) -> Self {
        let error = StoreError::from(error);
        if error.breaks("environments_account_name") { Self::NameTaken } else { Self::Store(error) }
    }
}

impl Store {
    /// Makes an account.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn create_account(&self, name: Name, actor: &Actor) -> Result<Account, StoreError> {
        let now = self.clock().now();
        let account = Account { id: AccountId::at(now), name, created_at: now };
        let mut tx = self.requests().begin().await?;
        sqlx::query!(
            "INSERT INTO accounts (id, name, created_at) VALUES ($1, $2, $3)",
            account.id.uuid(),
            account.name.as_str(),
            now,
        )
        .execute(&mut *tx)
        .await?;
        let detail = json!({ "name": account.name });
        let change = Change { action: "account.create", object: &account.id.to_string(), detail };
        self.record(&mut tx, None, actor, change).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// An account.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        sqlx::query_as!(AccountRow, "SELECT id, name, created_at FROM accounts WHERE id = $1", id.uuid())
            .fetch_optional(self.requests())
            .await?
            .map(Account::try_from)
            .transpose()
    }

    /// Accounts, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn accounts(&self, page: Page<AccountId>) -> Result<Listed<Account, AccountId>, StoreError> {
        let rows = sqlx::query_as!(
            AccountRow,
            "SELECT id, name, created_at FROM accounts WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2",
            page.after.map(AccountId::uuid) as Option<Uuid>,
            i64::from(page.limit) + 1,
        )
        .fetch_all(self.requests())
        .await?;
        let rows = rows.into_iter().map(Account::try_from).collect::<Result<Vec<_>, _>>()?;
        Ok(Listed::cut(rows, page.limit, |account| account.id))
    }

    /// Makes an environment of an account that exists, with a signing key, an API key for everything, and the endpoints
    /// `primary` and `secondary`.
    ///
    /// # Errors
    /// [`EnvironmentError::NameTaken`], or when the store fails.
    pub async fn create_environment(
        &self,
        account: AccountId,
        name: Name,
        actor: &Actor,
    ) -> Result<NewEnvironment, EnvironmentError> {
        let now = self.clock().now();
        let webhooks = WebhookSettings::default();
        let environment = Environment {
            id: EnvironmentId::generate(),
            account,
            name,
            webhooks,
            created_at: now,
            updated_at: now,
        };
        let signing_key = SigningKey::generate();
        let mut tx = self.requests().begin().await?;
        self.insert_environment(&mut tx, &environment, &signing_key).await?;
        let first =
            NewKey { display_name: first_key_name(), scopes: vec![Grant::everything()], expires_at: None };
        let (_, secret_key) = api_key::insert(self, &mut tx, environment.id, first).await?;
        for kind in ["primary", "secondary"] {
            self.insert_named_endpoint(&mut tx, environment.id, kind, now).await?;
        }
        let detail = json!({ "account": account, "name": environment.name });
        let change = Change { action: "environment.create", object: &environment.id.to_string(), detail };
        self.record(&mut tx, Some(environment.id), actor, change).await?;
        tx.commit().await?;
        Ok(NewEnvironment { environment, secret_key, signing_key })
    }

    async fn insert_environment(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        environment: &Environment,
        signing_key: &SigningKey,
    ) -> Result<(), EnvironmentError> {
        let id = environment.id.uuid();
        let sealed = self.seal("environments", "signing_key", id.as_bytes(), signing_key.expose().as_bytes());
        sqlx::query!(
            "INSERT INTO environments (id, account_id, name, signing_key, forward_client_state, on_auth_creation,
                                       on_auth_refresh_error, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
            id,
            environment.account.uuid(),
            environment.name.as_str(),
            sealed,
            environment.webhooks.forward_client_state,
            environment.webhooks.on_auth_creation,
            environment.webhooks.on_auth_refresh_error,
            environment.created_at,
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    async fn insert_named_endpoint(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        environment: EnvironmentId,
        kind: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = EndpointId::at(now).uuid();
        sqlx::query!(
            "INSERT INTO endpoints (id, environment_id, kind, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)",
            id,
            environment.uuid(),
            kind,
            now,
        )
        .execute(&mut **tx)
        .await?;
        let secret = waypost_core::id::uuid_at(now);
        let text = EndpointSecret::generate().to_text();
        let sealed =
            self.seal("endpoint_secrets", "sealed", secret.as_bytes(), text.expose_secret().as_bytes());
        sqlx::query!(
            "INSERT INTO endpoint_secrets (id, environment_id, endpoint_id, sealed, created_at)
             VALUES ($1, $2, $3, $4, $5)",
            secret,
            environment.uuid(),
            id,
            sealed,
            now,
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// An environment that is not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn environment(&self, id: EnvironmentId) -> Result<Option<Environment>, StoreError> {
        sqlx::query_as!(
            EnvironmentRow,
            "SELECT id, account_id, name, forward_client_state, on_auth_creation, on_auth_refresh_error, created_at,
                    updated_at
             FROM environments WHERE id = $1 AND deleted_at IS NULL",
            id.uuid(),
        )
        .fetch_optional(self.requests())
        .await?
        .map(Environment::try_from)
        .transpose()
    }

    /// The environments of an account by name; `page.after` is a name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn environments(
        &self,
        account: AccountId,
        page: Page<String>,
    ) -> Result<Listed<Environment, String>, StoreError> {
        let rows = sqlx::query_as!(
            EnvironmentRow,
            "SELECT id, account_id, name, forward_client_state, on_auth_creation, on_auth_refresh_error, created_at,
                    updated_at
             FROM environments
             WHERE account_id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR name > $2)
             ORDER BY name LIMIT $3",
            account.uuid(),
            page.after.as_deref(),
            i64::from(page.limit) + 1,
        )
        .fetch_all(self.requests())
        .await?;
        let rows = rows.into_iter().map(Environment::try_from).collect::<Result<Vec<_>, _>>()?;
        Ok(Listed::cut(rows, page.limit, |environment| environment.name.to_string()))
    }

    /// Changes an environment; `None` when there is none.
    ///
    /// # Errors
    /// [`EnvironmentError::NameTaken`], or when the store fails.
    pub async fn update_environment(
        &self,
        id: EnvironmentId,
        wanted: EnvironmentChange,
        actor: &Actor,
    ) -> Result<Option<Environment>, EnvironmentError> {
        let mut tx = self.requests().begin().await?;
        let row = sqlx::query_as!(
            EnvironmentRow,
            "UPDATE environments
             SET name = coalesce($2, name),
                 on_auth_creation = coalesce($3, on_auth_creation),
                 on_auth_refresh_error = coalesce($4, on_auth_refresh_error),
                 forward_client_state = coalesce($5, forward_client_state),
                 updated_at = $6
             WHERE id = $1 AND deleted_at IS NULL
             RETURNING id, account_id, name, forward_client_state, on_auth_creation, on_auth_refresh_error, created_at,
                       updated_at",
            id.uuid(),
            wanted.name.as_ref().map(Name::as_str),
            wanted.on_auth_creation,
            wanted.on_auth_refresh_error,
            wanted.forward_client_state,
            self.clock().now(),
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(environment) = row.map(Environment::try_from).transpose()? else { return Ok(None) };
        let detail = json!({ "name": environment.name, "webhooks": environment.webhooks });
        let change = Change { action: "environment.update", object: &id.to_string(), detail };
        self.record(&mut tx, Some(id), actor, change).await?;
        tx.commit().await?;
        Ok(Some(environment))
    }
}

#[expect(clippy::expect_used, reason = "the text is a name: short, not blank, without control characters")]
fn first_key_name() -> Name {
    Name::parse("default").expect("a name")
}
