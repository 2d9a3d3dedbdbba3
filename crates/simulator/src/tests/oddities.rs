//! What Graph does now and then, on demand: stale lists, broken answers, pooled quotas; and the record of calls.

use serde_json::{Value, json};

use super::{Stage, answer, error};
use crate::{DEMO_TENANTS, Fault, Operation};

#[tokio::test]
async fn a_list_can_lag_behind_and_begin_with_an_empty_page() {
    let stage = Stage::set().await;
    let kept = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    let gone = stage.subscribe(DEMO_TENANTS[0], stage.wish("b")).await;
    assert_eq!(stage.graph("DELETE", &format!("/{gone}"), None).await.0, 204);
    let ids = |body: &Value| {
        let mut ids: Vec<_> = body["value"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
        ids.sort_by_key(ToString::to_string);
        ids
    };
    assert_eq!(ids(&stage.graph("GET", "", None).await.1), [json!(kept)]);
    stage.control.behave(|behaviour| behaviour.list_is_stale = true);
    let mut both = vec![json!(kept), json!(gone)];
    both.sort_by_key(ToString::to_string);
    assert_eq!(ids(&stage.graph("GET", "", None).await.1), both);
    assert_eq!(stage.graph("GET", &format!("/{gone}"), None).await.0, 404);
    stage.control.behave(|behaviour| {
        behaviour.list_is_stale = false;
        behaviour.list_starts_empty = true;
    });
    let (_, first) = stage.graph("GET", "", None).await;
    assert_eq!(first["value"], json!([]));
    let next = first["@odata.nextLink"].as_str().unwrap();
    let token = stage.token(DEMO_TENANTS[0]).await;
    assert_eq!(ids(&answer(stage.client.get(next).bearer_auth(token)).await.1), [json!(kept)]);
    stage.strike().await;
}

#[tokio::test]
async fn a_ghost_is_found_nowhere_and_counts_all_the_same() {
    let stage = Stage::set().await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    stage.control.make_ghost(id).unwrap();
    let path = format!("/{id}");
    assert_eq!(stage.graph("GET", &path, None).await.0, 404);
    assert_eq!(stage.graph("DELETE", &path, None).await.0, 404);
    let renewal = json!({"expirationDateTime": stage.minutes(60)});
    assert_eq!(stage.graph("PATCH", &path, Some(renewal)).await.0, 404);
    assert_eq!(stage.graph("GET", "", None).await.1["value"], json!([]));
    assert_eq!(stage.graph("POST", "", Some(stage.wish("a"))).await.0, 409);
    stage.strike().await;
}

#[tokio::test]
async fn an_unclear_create_leaves_its_subscription_behind() {
    let stage = Stage::set().await;
    let token = stage.token(DEMO_TENANTS[0]).await;
    let url = format!("{}v1.0/subscriptions", stage.simulator.graph_url());
    let create = |mailbox: &str| stage.client.post(&url).bearer_auth(&token).json(&stage.wish(mailbox));
    stage.control.set_fault([Fault::unclear(Operation::CreateSubscription, 1)]);
    assert!(create("a").send().await.is_err());
    let cut = Fault { cut_body: true, times: Some(1), ..Fault::on(Operation::CreateSubscription) };
    stage.control.set_fault([cut]);
    let broken = create("b").send().await.unwrap();
    assert_eq!(broken.status(), 201);
    assert!(broken.bytes().await.is_err());
    assert_eq!(stage.control.subscriptions().len(), 2);
    stage.control.behave(|behaviour| behaviour.duplicates_refused = Some(false));
    assert_eq!(answer(create("a")).await.0, 201);
    assert_eq!(stage.control.calls(Operation::CreateSubscription), 3);
    stage.strike().await;
}

#[tokio::test]
async fn a_token_is_refused_once_and_calls_are_recorded() {
    let stage = Stage::set().await;
    stage.control.set_fault([Fault {
        tenant: Some(DEMO_TENANTS[0]),
        ..Fault::unauthorized(Operation::ListSubscriptions, 1)
    }]);
    assert_eq!(stage.graph_in(DEMO_TENANTS[1], "GET", "", None).await.0, 200);
    let (status, body) = stage.graph("GET", "", None).await;
    assert_eq!((status, error(&body).0), (401, "InvalidAuthenticationToken"));
    assert_eq!(stage.graph("GET", "", None).await.0, 200);
    assert_eq!(stage.control.calls(Operation::ListSubscriptions), 3);
    let last = stage.control.call_log().pop().unwrap();
    assert_eq!((last.operation, last.tenant), (Operation::ListSubscriptions, Some(DEMO_TENANTS[0])));
    assert_eq!((last.method.as_str(), last.target.as_str()), ("GET", "/v1.0/subscriptions"));
    stage.strike().await;
}

#[tokio::test]
async fn quotas_are_pooled_by_mailbox_directory_and_teams() {
    let stage = Stage::set_with(|config| {
        config.rules.quota_per_mailbox = 1;
        config.rules.quota_of_directory = 1;
        config.rules.quota_of_teams = 1;
    })
    .await;
    for (first, second, elsewhere) in [
        ("users/a/messages", "users/a/events", "users/b/events"),
        ("users/a", "groups/g", "security/alerts"),
        ("chats/1/messages", "chats/2/messages", "communications/callRecords"),
    ] {
        let wish = |resource: &str| {
            let mut wish = stage.wish("a");
            wish["resource"] = json!(resource);
            wish["changeType"] = json!("updated");
            wish
        };
        assert_eq!(stage.graph("POST", "", Some(wish(first))).await.0, 201, "{first}");
        let (status, body) = stage.graph("POST", "", Some(wish(second))).await;
        assert_eq!((status, error(&body).0), (403, "ExtensionError"), "{second}");
        assert!(error(&body).1.contains("has reached its limit of '1'"));
        assert_eq!(stage.graph("POST", "", Some(wish(elsewhere))).await.0, 201, "{elsewhere}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn everything_can_be_ordered_over_http_too() {
    let stage = Stage::set().await;
    let base = stage.simulator.base_url();
    let order =
        async |order: Value| answer(stage.client.post(format!("{base}_control/orders")).json(&order)).await;
    let (app, tenant) = (crate::DEMO_CLIENT_ID, DEMO_TENANTS[0]);
    for body in [
        json!({"do": "add_secret", "clientId": app, "secret": "s", "expiresAt": "2026-03-02T00:00:00Z"}),
        json!({"do": "set_consent", "clientId": app, "tenant": tenant, "given": true, "delaySeconds": 0}),
        json!({"do": "set_permissions", "clientId": app, "tenant": tenant, "permissions": ["Mail.Read"]}),
        json!({"do": "add_redirect_uri", "clientId": app, "uri": "http://localhost/back"}),
        json!({"do": "add_user", "user": {"id": tenant, "tenant": tenant, "userName": "x@y", "displayName": "X"}}),
        json!({"do": "set_access_token_lifetime", "seconds": 60}),
        json!({"do": "put_content", "tenant": tenant, "path": "users/a/photo/$value", "length": 5}),
        json!({"do": "expire_delta_tokens", "tenant": tenant}),
    ] {
        assert_eq!(order(body.clone()).await.0, 200, "{body}");
    }
    for body in [
        json!({"do": "nothing"}),
        json!({"do": "add_certificate", "clientId": app, "certificate": "AAAA"}),
        json!({"do": "put_content", "tenant": tenant, "path": "users/a/photo/$value"}),
        json!({"do": "put_content", "tenant": tenant, "path": "users/a", "length": 1}),
        json!({"do": "revoke_access_token", "token": "x"}),
    ] {
        assert_eq!(order(body.clone()).await.0, 400, "{body}");
    }
    stage.subscribe(tenant, stage.wish("a")).await;
    let change =
        json!({"tenant": tenant, "path": "users/a/messages", "changeType": "created", "value": {"id": "1"}});
    let (status, changed) = answer(stage.client.post(format!("{base}_control/change")).json(&change)).await;
    assert_eq!((status, changed["deliveries"].as_array().map(Vec::len)), (200, Some(1)), "{changed}");
    stage.control.wait_settled().await;
    let items = stage.client.get(format!("{base}_control/items?tenant={tenant}&path=users/a/messages"));
    assert_eq!(answer(items).await.1["data"][0]["id"], "1");
    let (_, calls) = answer(stage.client.get(format!("{base}_control/calls"))).await;
    assert_eq!(calls["counts"]["create_subscription"], 1);
    let behaviour = stage.client.put(format!("{base}_control/behaviour")).json(&json!({"listIsStale": true}));
    assert_eq!(answer(behaviour).await.1["itemPageSize"], 10);
    assert!(stage.control.behaviour().list_is_stale);
    stage.strike().await;
}
