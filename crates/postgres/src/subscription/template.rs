//! Templates: what every new connection of an integration gets by itself.
//!
//! A connection that is made is given its pending subscriptions in the same transaction; a worker creates them at Graph.
//! Connections that are there already get nothing when templates change.

use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgConnection;
use waypost_core::id::{ConnectionKey, IntegrationId, SubscriptionId, TenantId, uuid_at};
use waypost_core::integration::UniqueKey;
use waypost_core::provider::graph::resource::Resource;
use waypost_core::subscription::{ChangeTypes, Origin, Template, Wish};
use waypost_crypto::token::random_secret;

use super::intent::NewPending;
use crate::audit::Change;
use crate::integration::IntegrationRow;
use crate::{StoreError, TenantStore};

struct TemplateRow {
    name: Option<String>,
    resource: String,
    change_type: String,
    include_resource_data: bool,
    lifetime_seconds: Option<i64>,
    auto_renew: bool,
}

impl TemplateRow {
    fn into_template(self, integration: IntegrationId) -> Result<Template, StoreError> {
        let broken = |column| StoreError::inconsistent("subscription_templates", column, integration);
        Ok(Template {
            name: self.name,
            wish: Wish {
                resource: Resource::parse(&self.resource).map_err(|_| broken("resource"))?,
                change_types: ChangeTypes::parse(&self.change_type).map_err(|_| broken("change_type"))?,
                include_resource_data: self.include_resource_data,
                lifetime: self.lifetime_seconds.and_then(TimeDelta::try_seconds),
                auto_renew: self.auto_renew,
            },
        })
    }
}

impl TenantStore {
    /// The templates of an integration, in their order; `None` when there is no such integration.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn subscription_templates(&self, key: &UniqueKey) -> Result<Option<Vec<Template>>, StoreError> {
        let mut tx = self.begin().await?;
        let Some(row) = IntegrationRow::find(&mut tx, self.environment, key).await? else { return Ok(None) };
        let templates = self.templates_of(&mut tx, row.id()).await?;
        tx.commit().await?;
        Ok(Some(templates))
    }

    /// Puts templates in place of those before; false when there is no such integration.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_subscription_templates(
        &self,
        key: &UniqueKey,
        templates: &[Template],
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // Alone: of two that are put at once, the later one stands whole.
        let Some(row) = IntegrationRow::lock(&mut tx, self.environment, key).await? else { return Ok(false) };
        sqlx::query!(
            "DELETE FROM subscription_templates WHERE environment_id = $1 AND integration_id = $2",
            self.environment.uuid(),
            row.id().uuid(),
        )
        .execute(&mut *tx)
        .await?;
        for (position, template) in (0_i32..).zip(templates) {
            self.insert_template(&mut tx, row.id(), position, template).await?;
        }
        let resources: Vec<&str> = templates.iter().map(|template| template.wish.resource.as_str()).collect();
        let detail = json!({ "resources": resources });
        let change =
            Change { action: "integration.put_subscription_templates", object: key.as_str(), detail };
        self.record(&mut tx, change).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Writes down what a new connection is to have. It needs a tenant for that: which one, nobody else says.
    pub(crate) async fn plan_templates(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
        connection: ConnectionKey,
        tenant: Option<TenantId>,
    ) -> Result<(), StoreError> {
        let Some(tenant) = tenant else { return Ok(()) };
        let now = self.store.clock().now();
        for template in self.templates_of(tx, integration).await? {
            let new = NewPending {
                id: SubscriptionId::at(now),
                origin: Origin::Template,
                integration,
                tenant,
                wish: &template.wish,
                state: &random_secret(),
                due_at: now,
            };
            self.insert_pending(tx, &new).await?;
            self.join(tx, new.id, connection).await?;
        }
        Ok(())
    }

    async fn templates_of(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
    ) -> Result<Vec<Template>, StoreError> {
        let rows = sqlx::query_as!(
            TemplateRow,
            "SELECT name, resource, change_type, include_resource_data, lifetime_seconds, auto_renew
             FROM subscription_templates WHERE environment_id = $1 AND integration_id = $2 ORDER BY position",
            self.environment.uuid(),
            integration.uuid(),
        )
        .fetch_all(tx)
        .await?;
        rows.into_iter().map(|row| row.into_template(integration)).collect()
    }

    async fn insert_template(
        &self,
        tx: &mut PgConnection,
        integration: IntegrationId,
        position: i32,
        template: &Template,
    ) -> Result<(), StoreError> {
        let (now, wish) = (self.store.clock().now(), &template.wish);
        sqlx::query!(
            "INSERT INTO subscription_templates (id, environment_id, integration_id, position, name, resource, change_type,
                                                 include_resource_data, lifetime_seconds, auto_renew, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            uuid_at(now),
            self.environment.uuid(),
            integration.uuid(),
            position,
            template.name,
            wish.resource.as_str(),
            wish.change_types.to_string(),
            wish.include_resource_data,
            wish.lifetime.map(|lifetime| lifetime.num_seconds()),
            wish.auto_renew,
            now,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
