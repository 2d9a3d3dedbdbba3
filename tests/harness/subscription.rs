//! Subscriptions that Waypost tracks, written straight into the store, with the state and the id that a test chooses.

use uuid::Uuid;
use waypost_core::clock::Clock as _;
use waypost_core::id::SubscriptionId;
use waypost_crypto::token::Purpose;

use crate::app::TestApp;
use crate::tenant::Tenant;

/// A subscription of `graph-cc`.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// Graph's id; none while its create is in flight.
    pub graph_id: Option<Uuid>,
    /// The Entra tenant.
    pub tenant: Uuid,
    /// The `clientState` that it was created with.
    pub client_state: String,
    /// The numbers of the connections that it serves.
    pub connections: Vec<i64>,
}

impl Subscription {
    /// Writes it down as one that the tenant's environment tracks.
    pub async fn db_track(&self, app: &TestApp, tenant: &Tenant) {
        let (now, environment) = (app.clock().now(), tenant.environment.parse::<Uuid>().unwrap());
        let id = SubscriptionId::at(now).uuid();
        let store = app.db_store().await;
        let state = store.hash_key().hash(Purpose::ClientState, self.client_state.as_bytes());
        let mut connection = app.db_connect().await;
        let insert =
            "INSERT INTO subscriptions (id, environment_id, integration_id, graph_id, tenant_id, state_hash,
                                                 resource, change_type, status, created_at, updated_at)
                      SELECT $1, $2, i.id, $3, $4, $5, 'users', 'updated',
                             CASE WHEN $3::uuid IS NULL THEN 'pending' ELSE 'active' END, $6, $6 FROM integrations i
                      WHERE i.environment_id = $2 AND i.unique_key = 'graph-cc' AND i.deleted_at IS NULL";
        let insert = sqlx::query(insert).bind(id).bind(environment).bind(self.graph_id).bind(self.tenant);
        let inserted =
            insert.bind(state.as_bytes().as_slice()).bind(now).execute(&mut connection).await.unwrap();
        assert_eq!(inserted.rows_affected(), 1, "the tenant has the integration graph-cc");
        for number in &self.connections {
            sqlx::query("INSERT INTO subscription_connections (environment_id, subscription_id, connection) VALUES ($1, $2, $3)")
                .bind(environment)
                .bind(id)
                .bind(number)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        store.close().await;
    }
}
