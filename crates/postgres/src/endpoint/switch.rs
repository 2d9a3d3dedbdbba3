//! Disabling and enabling endpoints by hand.
//!
//! The endpoint's own row is changed first, and told of in the same transaction; then what is on its way to it is moved by
//! [`crate::holding`], which finds by itself whatever a crash in between leaves over.

use chrono::TimeDelta;
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};
use waypost_core::endpoint::{DisabledReason, Endpoint, EndpointStatus, EndpointUrl};
use waypost_core::event::EventKind;
use waypost_core::id::EndpointId;

use super::{EndpointRow, Held};
use crate::audit::Change;
use crate::conflict::retry_conflicts;
use crate::endpoint_notice::EndpointNotice;
use crate::{StoreError, TenantStore};

impl TenantStore {
    /// Disables an endpoint by hand: from then on its deliveries are held, and the other endpoints are told by a notice
    /// that is given up after `max_age`. `None` when there is none of that id; one that is disabled stays as it is.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn disable_endpoint(
        &self,
        id: EndpointId,
        max_age: TimeDelta,
    ) -> Result<Option<Endpoint>, StoreError> {
        let disabled = retry_conflicts(|| self.try_disable_endpoint(id, max_age)).await?;
        if disabled.is_some() {
            self.hold_deliveries(id).await?;
        }
        Ok(disabled)
    }

    async fn try_disable_endpoint(
        &self,
        id: EndpointId,
        max_age: TimeDelta,
    ) -> Result<Option<Endpoint>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = EndpointRow::lock(&mut tx, self.environment, id).await? else { return Ok(None) };
        if row.status()? == EndpointStatus::Enabled {
            sqlx::query!(
                "UPDATE endpoints SET status = 'disabled', disabled_reason = $3, disabled_at = $4, updated_at = $4
                 WHERE environment_id = $1 AND id = $2",
                self.environment.uuid(),
                id.uuid(),
                DisabledReason::Manual.as_str(),
                self.store.clock().now(),
            )
            .execute(&mut *tx)
            .await?;
            let change = Change { action: "endpoint.disable", object: &id.to_string(), detail: json!({}) };
            self.record(&mut tx, change).await?;
            self.tell_disabled(&mut tx, &row, max_age).await?;
        }
        let disabled = self.existing(&mut tx, id).await?;
        tx.commit().await?;
        Ok(Some(disabled))
    }

    /// Tells the other endpoints of the environment that one was disabled by hand.
    async fn tell_disabled(
        &self,
        tx: &mut PgConnection,
        row: &EndpointRow,
        max_age: TimeDelta,
    ) -> Result<(), StoreError> {
        let rows = EndpointRow::for_routing(tx, self.environment, &[]).await?;
        // One that can't be read is not told; the others are, and this one is disabled all the same.
        let candidates: Vec<_> = rows.into_iter().filter_map(|row| row.into_candidate().ok()).collect();
        let notice = EndpointNotice {
            kind: EventKind::EndpointDisabled,
            environment: self.environment,
            endpoint: row.id(),
            url: row.url.as_deref().unwrap_or_default(),
            reason: DisabledReason::Manual.as_str(),
        };
        self.store.append_endpoint_notice(tx, &notice, &candidates, max_age).await
    }

    /// Enables an endpoint again. `None` when there is none of that id; one that is enabled stays as it is.
    ///
    /// # Errors
    /// When the store fails, or the row can't be right.
    pub async fn enable_endpoint(&self, id: EndpointId, held: Held) -> Result<Option<Endpoint>, StoreError> {
        match self.find_endpoint(id).await? {
            Some(endpoint) if endpoint.status == EndpointStatus::Enabled => return Ok(Some(endpoint)),
            Some(_) => {}
            None => return Ok(None),
        }
        // While it is disabled still: once enabled, what is held goes out.
        if held == Held::Discard {
            self.discard_deliveries(id).await?;
        }
        let enabled = retry_conflicts(|| self.try_enable_endpoint(id, held)).await?;
        if enabled.is_some() {
            self.release_deliveries(id).await?;
        }
        Ok(enabled)
    }

    /// Enables an endpoint whose old URL had disabled it (410, or failing for long) when `url` is another: what was said of
    /// the one says nothing of the other. Whoever was disabled by hand stays so. Tells whether it did.
    pub(crate) async fn enable_for_new_url(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        id: EndpointId,
        url: &EndpointUrl,
    ) -> Result<bool, StoreError> {
        let enabled = sqlx::query!(
            "UPDATE endpoints SET status = 'enabled', disabled_reason = NULL, disabled_at = NULL, updated_at = $4
             WHERE environment_id = $1 AND id = $2 AND url IS DISTINCT FROM $3 AND status = 'disabled'
               AND disabled_reason <> $5",
            self.environment.uuid(),
            id.uuid(),
            url.as_str(),
            self.store.clock().now(),
            DisabledReason::Manual.as_str(),
        )
        .execute(&mut **tx)
        .await?
        .rows_affected()
            > 0;
        if enabled {
            let detail = json!({ "held": "deliver", "url": url.as_str() });
            self.record(tx, Change { action: "endpoint.enable", object: &id.to_string(), detail }).await?;
        }
        Ok(enabled)
    }

    async fn try_enable_endpoint(&self, id: EndpointId, held: Held) -> Result<Option<Endpoint>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(_) = EndpointRow::lock(&mut tx, self.environment, id).await? else { return Ok(None) };
        sqlx::query!(
            "UPDATE endpoints SET status = 'enabled', disabled_reason = NULL, disabled_at = NULL, updated_at = $3
             WHERE environment_id = $1 AND id = $2",
            self.environment.uuid(),
            id.uuid(),
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        let word = if held == Held::Deliver { "deliver" } else { "discard" };
        let detail = json!({ "held": word });
        self.record(&mut tx, Change { action: "endpoint.enable", object: &id.to_string(), detail }).await?;
        let enabled = self.existing(&mut tx, id).await?;
        tx.commit().await?;
        Ok(Some(enabled))
    }
}
