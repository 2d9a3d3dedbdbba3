//! Faults on demand, as a client meets them.

use serde_json::json;

use super::{Stage, answer, error};
use crate::{DEMO_TENANTS, Fault, FaultPlan, Operation};

#[tokio::test]
async fn the_next_calls_answer_what_was_ordered_and_then_all_is_well() {
    let stage = Stage::set().await;
    let fault = Fault {
        retry_after: Some("7".to_owned()),
        ..Fault::answer(Operation::CreateSubscription, 2, 429, "TooManyRequests")
    };
    stage.control.set_fault([fault]);
    let token = stage.token(DEMO_TENANTS[0]).await;
    let url = format!("{}v1.0/subscriptions", stage.simulator.graph_url());
    let create = || stage.client.post(&url).bearer_auth(&token).json(&stage.wish("a"));
    for _ in 0..2 {
        let response = create().send().await.unwrap();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert!(response.headers().contains_key("request-id"));
    }
    assert_eq!(answer(create()).await.0, 201);
    stage.strike().await;
}

#[tokio::test]
async fn a_failure_after_the_effect_leaves_the_subscription_behind() {
    let stage = Stage::set().await;
    let fault = Fault {
        after_effect: true,
        ..Fault::answer(Operation::CreateSubscription, 1, 504, "ServiceUnavailable")
    };
    stage.control.set_fault([fault]);
    let (status, body) = stage.graph("POST", "", Some(stage.wish("a"))).await;
    assert_eq!((status, error(&body).0), (504, "ServiceUnavailable"));
    assert_eq!(stage.control.subscriptions().len(), 1);
    stage.strike().await;
}

#[tokio::test]
async fn a_dropped_connection_has_no_answer() {
    let stage = Stage::set().await;
    let fault = Fault { drop_connection: true, times: Some(1), ..Fault::on(Operation::Keys) };
    stage.control.set_fault([fault]);
    let keys = format!("{}/common/discovery/keys", stage.simulator.login_url());
    let failed = stage.client.get(&keys).send().await;
    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(answer(stage.client.get(&keys)).await.0, 200);
    stage.strike().await;
}

#[tokio::test]
async fn entra_faults_have_entras_shape() {
    let stage = Stage::set().await;
    let fault = Fault {
        message: Some("AADSTS90033: A transient error has occurred.".to_owned()),
        ..Fault::answer(Operation::Token, 1, 503, "temporarily_unavailable")
    };
    stage.control.set_fault([fault]);
    let (status, body) = answer(stage.token_request("contoso.example")).await;
    assert_eq!((status, &body["error_codes"]), (503, &json!([90_033])));
    assert_eq!(body["error"], "temporarily_unavailable");
    stage.strike().await;
}

#[tokio::test]
async fn the_expiry_can_be_granted_in_seconds() {
    let stage = Stage::set().await;
    let plan =
        json!({"grantSeconds": 5, "faults": [{"operation": "token", "probability": 0.0, "status": 500}]});
    let url = format!("{}_control/faults", stage.simulator.base_url());
    let (status, left) = answer(stage.client.put(&url).json(&plan)).await;
    assert_eq!((status, &left["grantSeconds"]), (200, &json!(5)));
    let (_, created) = stage.graph("POST", "", Some(stage.wish("a"))).await;
    assert_eq!(created["expirationDateTime"], "2026-03-01T12:00:05Z");
    stage.control.set_faults(FaultPlan::default());
    assert_eq!(answer(stage.client.put(&url).json(&json!({"unknown": 1}))).await.0, 400);
    stage.strike().await;
}

#[tokio::test]
async fn calls_above_the_published_rate_are_throttled_with_a_time_to_come_back() {
    let stage = Stage::set().await;
    let token = stage.token(DEMO_TENANTS[0]).await;
    let url = format!("{}v1.0/subscriptions", stage.simulator.graph_url());
    let mut statuses = Vec::new();
    for _ in 0..26 {
        let response = stage.client.get(&url).bearer_auth(&token).send().await.unwrap();
        let wait = response.headers().get("retry-after").is_some();
        statuses.push((response.status().as_u16(), wait));
    }
    assert_eq!(statuses.pop(), Some((429, true)));
    assert!(statuses.iter().all(|status| *status == (200, false)));
    stage.strike().await;
}
