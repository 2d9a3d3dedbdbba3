//! An environment, its objects, and what arrives for it.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::Map;
use uuid::Uuid;
use waypost_core::account::Name;
use waypost_core::clock::Clock as _;
use waypost_core::connection::{ClientCredentials, ConnectionId};
use waypost_core::delivery::{DeliveryStatus, NewDelivery, Start};
use waypost_core::endpoint::{EndpointKind, EndpointStatus, EndpointUrl};
use waypost_core::event::{EventKind, EventStatus, NewEvent, Routing};
use waypost_core::filter::{Filter, FilterSpec};
use waypost_core::id::{
    ConnectionKey, DeliveryId, EndpointId, EnvironmentId, EventId, IntegrationId, TenantId,
};
use waypost_core::integration::{AppCredentials, UniqueKey};
use waypost_core::page::Page;
use waypost_core::provider::Provider;
use waypost_postgres::TenantStore;
use waypost_postgres::connection::{ConnectionChanges, NewConnection};
use waypost_postgres::delivery::StoredDelivery;
use waypost_postgres::endpoint::{NewEndpoint, UrlChange};
use waypost_postgres::integration::{IntegrationChanges, NewIntegration, Written};
use waypost_postgres::webhook_settings::WebhookChanges;

use super::{MAX_AGE, ManualClock};

/// The unique key of every tenant's integration.
pub(crate) const KEY: &str = "graph-cc";
const PAYLOAD: &[u8] = br#"{"value":[{"changeType":"created","resource":"Users/u/Messages/m"}]}"#;

/// An environment with the integration [`KEY`], and two named endpoints without a URL.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// The store, as its requests see it.
    pub(crate) store: TenantStore,
    /// Its integration.
    pub(crate) integration: IntegrationId,
    clock: ManualClock,
}

impl Tenant {
    pub(super) async fn create(store: TenantStore, clock: ManualClock) -> Self {
        let new = NewIntegration {
            unique_key: key(),
            provider: Provider::named("microsoft-oauth2-cc").unwrap(),
            display_name: Name::parse("Graph").unwrap(),
            forward_webhooks: true,
            credentials: None,
            webhook_secret: None,
            proxy_token_hosts: Vec::new(),
            connect_without_admin_proof: false,
            fetch_resource: false,
            fetch_select: None,
        };
        let Written::Done(integration) = store.create_integration(new).await.unwrap() else {
            panic!("a new environment has no integration of that key")
        };
        Self { store, integration: integration.id, clock }
    }

    /// Its id.
    pub(crate) fn environment(&self) -> EnvironmentId {
        self.store.environment()
    }

    /// Makes an endpoint that takes what the provider sends, and no notices.
    pub(crate) async fn endpoint(&self) -> EndpointId {
        self.endpoint_wanting(forward_only()).await
    }

    /// Makes an endpoint with that filter.
    pub(crate) async fn endpoint_wanting(&self, filter: FilterSpec) -> EndpointId {
        let new = NewEndpoint {
            url: EndpointUrl::parse("https://receiver.example/hook").unwrap(),
            description: String::new(),
            headers: Vec::new(),
            filter: Filter::parse(filter).unwrap(),
        };
        self.store.create_endpoint(new).await.unwrap().id
    }

    /// Gives the environment secrets of each kind: of an endpoint, of the integration, and of a connection.
    pub(crate) async fn secrets(&self) {
        let secret = || SecretString::from("not so secret after all");
        let new = NewEndpoint {
            url: EndpointUrl::parse("https://receiver.example/hook").unwrap(),
            description: String::new(),
            headers: vec![("x-token".to_owned(), secret())],
            filter: Filter::parse(FilterSpec::default()).unwrap(),
        };
        let endpoint = self.store.create_endpoint(new).await.unwrap().id;
        self.store.rotate_endpoint_secret(endpoint, MAX_AGE).await.unwrap();
        let credentials = AppCredentials {
            client_id: "app".to_owned(),
            client_secret: Some(secret()),
            client_secret_expires_at: None,
            certificate: None,
            scopes: None,
        };
        let changes = IntegrationChanges {
            credentials: Some(credentials),
            webhook_secret: Some(secret()),
            ..IntegrationChanges::default()
        };
        let written = self.store.update_integration(&key(), changes, MAX_AGE).await.unwrap();
        assert!(matches!(written, Written::Done(_)), "{written:?}");
        self.connection_with_override("conn-1", some_tenant()).await;
    }

    /// Gives `primary` a URL, and switches the notices of new connections off.
    pub(crate) async fn primary(&self) -> EndpointId {
        let url = EndpointUrl::parse("https://primary.example/hook").unwrap();
        let changes = WebhookChanges {
            primary_url: Some(UrlChange::Set(url)),
            on_auth_creation: Some(false),
            ..WebhookChanges::default()
        };
        self.store.update_webhook_settings(&changes).await.unwrap();
        self.endpoint_of_kind(EndpointKind::Primary).await
    }

    /// Takes the URL of `primary` away.
    pub(crate) async fn clear_primary(&self) {
        let changes = WebhookChanges { primary_url: Some(UrlChange::Clear), ..WebhookChanges::default() };
        self.store.update_webhook_settings(&changes).await.unwrap();
    }

    /// The only endpoint of a kind.
    pub(crate) async fn endpoint_of_kind(&self, kind: EndpointKind) -> EndpointId {
        let listed = self.store.list_endpoints(&Page { limit: 200, after: None }).await.unwrap();
        listed.rows.iter().find(|endpoint| endpoint.kind == kind).unwrap().id
    }

    /// Whether an endpoint takes deliveries, and since when it doesn't.
    pub(crate) async fn endpoint_status(&self, id: EndpointId) -> (EndpointStatus, Option<DateTime<Utc>>) {
        let found = self.store.find_endpoint(id).await.unwrap().unwrap();
        (found.status, found.disabled.map(|(_, at)| at))
    }

    /// Makes a connection.
    pub(crate) async fn connection(&self, id: &str, tenant: TenantId) -> ConnectionKey {
        self.connection_with(id, tenant, ConnectionChanges::default()).await
    }

    /// Makes a connection whose events go to an endpoint of its own.
    pub(crate) async fn connection_with_override(&self, id: &str, tenant: TenantId) -> ConnectionKey {
        let url = EndpointUrl::parse("https://override.example/hook").unwrap();
        let wanted = ConnectionChanges {
            webhook_url_override: Some(UrlChange::Set(url)),
            ..ConnectionChanges::default()
        };
        self.connection_with(id, tenant, wanted).await
    }

    async fn connection_with(&self, id: &str, tenant: TenantId, changes: ConnectionChanges) -> ConnectionKey {
        let new = NewConnection {
            integration: key(),
            id: ConnectionId::parse(id).unwrap(),
            tenant: Some(tenant),
            config: Map::new(),
            credentials: ClientCredentials::default(),
            metadata: None,
            changes,
        };
        self.store.upsert_connection(new, MAX_AGE).await.unwrap().unwrap().connection.key
    }

    /// Deletes a connection.
    pub(crate) async fn delete_connection(&self, id: &str) {
        let id = ConnectionId::parse(id).unwrap();
        self.store.delete_connection(&key(), &id, MAX_AGE).await.unwrap();
    }

    /// Deletes the integration.
    pub(crate) async fn delete_integration(&self) {
        assert!(self.store.delete_integration(&key(), MAX_AGE).await.unwrap());
    }

    /// Stops sending the integration's events on.
    pub(crate) async fn stop_forwarding(&self) {
        let changes = IntegrationChanges { forward_webhooks: Some(false), ..IntegrationChanges::default() };
        let written = self.store.update_integration(&key(), changes, MAX_AGE).await.unwrap();
        assert!(matches!(written, Written::Done(_)), "{written:?}");
    }

    /// A routed event that arrives now, for no connection in particular.
    pub(crate) fn event(&self) -> NewEvent {
        self.event_at(self.clock.now())
    }

    /// A routed event that arrives then.
    pub(crate) fn event_at(&self, at: DateTime<Utc>) -> NewEvent {
        NewEvent {
            id: EventId::at(at),
            environment: self.environment(),
            integration: Some(self.integration),
            connection: None,
            tenant: None,
            subscriptions: Vec::new(),
            kind: EventKind::Forward,
            routing: Routing::Routed,
            received_at: at,
            items: 1,
            item_keys: "key-1".to_owned(),
            rich: false,
            body: PAYLOAD.into(),
            proof: None,
        }
    }

    /// An event of a tenant that has no connection yet.
    pub(crate) fn unmatched(&self, tenant: Option<TenantId>) -> NewEvent {
        NewEvent { tenant, routing: Routing::Unmatched, ..self.event() }
    }

    /// A delivery of an event of this environment.
    pub(crate) fn delivery(&self, event: EventId, endpoint: EndpointId, start: Start) -> NewDelivery {
        let now = self.clock.now();
        NewDelivery {
            id: DeliveryId::at(now),
            event,
            environment: self.environment(),
            endpoint,
            start,
            give_up_at: now + MAX_AGE,
        }
    }

    /// A delivery as people see it.
    pub(crate) async fn find(&self, id: DeliveryId) -> StoredDelivery {
        self.store.find_delivery(id).await.unwrap().unwrap()
    }

    /// Where a delivery stands.
    pub(crate) async fn status(&self, id: DeliveryId) -> DeliveryStatus {
        self.find(id).await.status
    }

    /// Where an event stands.
    pub(crate) async fn event_status(&self, id: EventId) -> EventStatus {
        self.store.find_event(id).await.unwrap().unwrap().event.status
    }
}

/// What takes notifications, and no notices.
pub(crate) fn forward_only() -> FilterSpec {
    FilterSpec { event_types: vec!["forward".to_owned()], ..FilterSpec::default() }
}

fn key() -> UniqueKey {
    UniqueKey::parse(KEY).unwrap()
}

/// A tenant at the provider that no other test knows.
pub(crate) fn some_tenant() -> TenantId {
    TenantId::from_uuid(Uuid::new_v4())
}
