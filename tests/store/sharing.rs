//! Subscriptions that serve several connections, and how many they may serve.

use chrono::TimeDelta;
use serde_json::json;
use waypost_core::id::{ConnectionKey, SubscriptionId, TenantId};
use waypost_core::provider::graph::resource::Resource;
use waypost_core::subscription::{ChangeTypes, Identity, MOST_CONNECTIONS, Origin, Owner, Wish};
use waypost_postgres::subscription::intent::{Intended, Intent};

use crate::scene::{Scene, Tenant, some_tenant};

/// What a wish for `users` comes to, of a connection of one customer.
async fn intend(scene: &Scene, tenant: &Tenant, customer: TenantId, connection: ConnectionKey) -> Intended {
    let wish = Wish {
        resource: Resource::parse("users").unwrap(),
        change_types: ChangeTypes::parse("updated").unwrap(),
        include_resource_data: false,
        lifetime: None,
        auto_renew: true,
    };
    let owner = Owner {
        integration: tenant.integration,
        cloud: "global",
        tenant: customer,
        client_id: "app",
        identity: Identity::App,
    };
    let intent = Intent {
        id: SubscriptionId::at(scene.now()),
        planned: false,
        origin: Origin::Api,
        wish: &wish,
        owner,
        connection,
        state: &"state".into(),
        notification_url: "https://waypost.example/webhook",
        certificate_label: None,
        options: json!({}),
        // Its sender is gone: others join it.
        due_at: scene.now() - TimeDelta::minutes(1),
    };
    tenant.store.intend_subscription(&intent).await.unwrap()
}

#[tokio::test]
async fn a_subscription_serves_so_many_connections_and_no_more() {
    let scene = Scene::start().await;
    let tenant = scene.tenant("acme").await;
    let customer = some_tenant();
    let first = tenant.connection("conn-0", customer).await;
    assert!(matches!(intend(&scene, &tenant, customer, first).await, Intended::Written));
    for number in 1..MOST_CONNECTIONS {
        let connection = tenant.connection(&format!("conn-{number}"), customer).await;
        let intended = intend(&scene, &tenant, customer, connection).await;
        assert!(matches!(intended, Intended::Joined(_)), "{number}: {intended:?}");
    }

    let further = tenant.connection("further", customer).await;
    assert!(matches!(intend(&scene, &tenant, customer, further).await, Intended::Full));
    assert!(
        matches!(intend(&scene, &tenant, customer, first).await, Intended::Joined(_)),
        "one that it serves"
    );
    tenant.delete_connection("conn-1").await;
    assert!(
        matches!(intend(&scene, &tenant, customer, further).await, Intended::Joined(_)),
        "there is room again"
    );
}
