//! An environment's settings for webhooks: the URLs of `primary` and `secondary`, the switches, the signing key.

use secrecy::SecretString;
use serde_json::{Map, Value, json};
use sqlx::{PgConnection, Postgres, Transaction};
use waypost_core::account::WebhookSettings;
use waypost_core::endpoint::{EndpointKind, EndpointStatus, EndpointUrl};
use waypost_core::id::EndpointId;
use waypost_crypto::signature::SigningKey;

use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::endpoint::UrlChange;
use crate::{StoreError, TenantStore};

/// The settings as people see them.
#[derive(Debug, Clone)]
pub struct WebhookView {
    /// The URL of `primary`.
    pub primary_url: Option<String>,
    /// The URL of `secondary`.
    pub secondary_url: Option<String>,
    /// How `primary` is, where it has a URL.
    pub primary_status: Option<EndpointStatus>,
    /// How `secondary` is, where it has a URL.
    pub secondary_status: Option<EndpointStatus>,
    /// The switches.
    pub switches: WebhookSettings,
}

/// What is changed; `None` leaves a part as it is.
#[derive(Debug, Default)]
pub struct WebhookChanges {
    /// The URL of `primary`.
    pub primary_url: Option<UrlChange>,
    /// The URL of `secondary`.
    pub secondary_url: Option<UrlChange>,
    /// See [`WebhookSettings::on_auth_creation`].
    pub on_auth_creation: Option<bool>,
    /// See [`WebhookSettings::on_auth_refresh_error`].
    pub on_auth_refresh_error: Option<bool>,
    /// See [`WebhookSettings::forward_client_state`].
    pub forward_client_state: Option<bool>,
}

/// What becomes of the deliveries of an endpoint whose URL was changed.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It has no URL any more: they end.
    Cleared(EndpointId),
    /// It is enabled again: they go out.
    Enabled(EndpointId),
}

impl WebhookChanges {
    /// Whether nothing is to be changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.primary_url.is_none()
            && self.secondary_url.is_none()
            && self.on_auth_creation.is_none()
            && self.on_auth_refresh_error.is_none()
            && self.forward_client_state.is_none()
    }

    fn detail(&self) -> Value {
        let mut detail = Map::new();
        for (name, url) in [("primary_url", &self.primary_url), ("secondary_url", &self.secondary_url)] {
            if let Some(url) = url {
                detail.insert(name.to_owned(), json!(url.url().map(EndpointUrl::as_str)));
            }
        }
        let switches = [
            ("on_auth_creation", self.on_auth_creation),
            ("on_auth_refresh_error", self.on_auth_refresh_error),
            ("forward_client_state", self.forward_client_state),
        ];
        detail.extend(switches.into_iter().filter_map(|(name, on)| Some((name.to_owned(), json!(on?)))));
        Value::Object(detail)
    }
}

impl TenantStore {
    /// The environment's settings for webhooks.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn webhook_settings(&self) -> Result<WebhookView, StoreError> {
        let mut tx = self.begin().await?;
        let view = self.read_webhook_settings(&mut tx).await?;
        tx.commit().await?;
        Ok(view)
    }

    /// Changes the settings. What is on its way to a URL that is taken away ends; what was held for one that had disabled its
    /// endpoint goes to the one that takes its place.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn update_webhook_settings(&self, changes: &WebhookChanges) -> Result<WebhookView, StoreError> {
        let (view, fates) = retry_conflicts(|| self.try_update_webhook_settings(changes)).await?;
        for fate in fates {
            match fate {
                Fate::Cleared(endpoint) => self.discard_deliveries(endpoint).await?,
                Fate::Enabled(endpoint) => self.release_deliveries(endpoint).await?,
            };
        }
        Ok(view)
    }

    /// Tells what became of the endpoints, too.
    async fn try_update_webhook_settings(
        &self,
        changes: &WebhookChanges,
    ) -> Result<(WebhookView, Vec<Fate>), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE environments SET
                 on_auth_creation = coalesce($2, on_auth_creation),
                 on_auth_refresh_error = coalesce($3, on_auth_refresh_error),
                 forward_client_state = coalesce($4, forward_client_state),
                 updated_at = $5
             WHERE id = $1",
            self.environment.uuid(),
            changes.on_auth_creation,
            changes.on_auth_refresh_error,
            changes.forward_client_state,
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        let mut fates = Vec::new();
        let urls = [
            (EndpointKind::Primary, &changes.primary_url),
            (EndpointKind::Secondary, &changes.secondary_url),
        ];
        for (kind, url) in urls {
            if let Some(url) = url {
                fates.extend(self.set_named_url(&mut tx, kind, url.url()).await?);
            }
        }
        let object = self.environment.to_string();
        let change =
            Change { action: "environment.update_webhooks", object: &object, detail: changes.detail() };
        self.record(&mut tx, change).await?;
        let view = self.read_webhook_settings(&mut tx).await?;
        tx.commit().await?;
        Ok((view, fates))
    }

    /// Gives the environment a new signing key, at once: Nango's signatures know no time of grace.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rotate_signing_key(&self) -> Result<SecretString, StoreError> {
        let key = SigningKey::generate();
        let id = self.environment.uuid();
        let sealed = self.store.seal("environments", "signing_key", id.as_bytes(), key.expose().as_bytes());
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE environments SET signing_key = $2, updated_at = $3 WHERE id = $1",
            id,
            sealed,
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        let change = Change {
            action: "environment.rotate_signing_key",
            object: &self.environment.to_string(),
            detail: json!({}),
        };
        self.record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(SecretString::from(key.expose()))
    }

    async fn read_webhook_settings(&self, tx: &mut PgConnection) -> Result<WebhookView, StoreError> {
        let row = sqlx::query!(
            r#"SELECT e.on_auth_creation, e.on_auth_refresh_error, e.forward_client_state,
                      p.url AS "primary_url?", s.url AS "secondary_url?",
                      p.status = 'enabled' AS primary_enabled, s.status = 'enabled' AS secondary_enabled
               FROM environments e
               LEFT JOIN endpoints p ON p.environment_id = e.id AND p.kind = 'primary'
               LEFT JOIN endpoints s ON s.environment_id = e.id AND s.kind = 'secondary'
               WHERE e.id = $1"#,
            self.environment.uuid(),
        )
        .fetch_one(tx)
        .await?;
        Ok(WebhookView {
            primary_status: status_of(row.primary_url.as_ref(), row.primary_enabled),
            secondary_status: status_of(row.secondary_url.as_ref(), row.secondary_enabled),
            primary_url: row.primary_url,
            secondary_url: row.secondary_url,
            switches: WebhookSettings {
                on_auth_creation: row.on_auth_creation,
                on_auth_refresh_error: row.on_auth_refresh_error,
                forward_client_state: row.forward_client_state,
            },
        })
    }

    /// Sets the URL of a named endpoint, or takes it away; tells what becomes of its deliveries, where anything does.
    async fn set_named_url(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        kind: EndpointKind,
        url: Option<&EndpointUrl>,
    ) -> Result<Option<Fate>, StoreError> {
        let id = sqlx::query_scalar!(
            "SELECT id FROM endpoints WHERE environment_id = $1 AND kind = $2 FOR UPDATE",
            self.environment.uuid(),
            kind.as_str(),
        )
        .fetch_optional(&mut **tx)
        .await?;
        let id = id.ok_or_else(|| StoreError::inconsistent("endpoints", "kind", self.environment))?;
        let id = EndpointId::from_uuid(id);
        let Some(url) = url else {
            self.clear_url(tx, id).await?;
            return Ok(Some(Fate::Cleared(id)));
        };
        let enabled = self.enable_for_new_url(tx, id, url).await?;
        sqlx::query!(
            "UPDATE endpoints SET url = $3, updated_at = $4 WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
            url.as_str(),
            self.store.clock().now(),
        )
        .execute(&mut **tx)
        .await?;
        Ok(enabled.then_some(Fate::Enabled(id)))
    }
}

/// How an endpoint is; without a URL it is none.
fn status_of(url: Option<&String>, enabled: Option<bool>) -> Option<EndpointStatus> {
    url?;
    Some(if enabled? { EndpointStatus::Enabled } else { EndpointStatus::Disabled })
}
