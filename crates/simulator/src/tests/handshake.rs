//! The proof of an endpoint, accepted and refused in each way.

use std::time::Duration;

use serde_json::json;

use super::{Shake, Stage, error};
use crate::DEMO_TENANTS;

#[tokio::test]
async fn both_urls_are_asked_as_graph_asks_them() {
    let stage = Stage::set().await;
    stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    let mut asked = stage.receiver.handshakes();
    asked.sort_by(|a, b| a.path.cmp(&b.path));
    let paths: Vec<_> = asked.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/in", "/life"]);
    assert!(asked[0].query.starts_with("tenant=1&validationToken=Validation%3a+Testing+client+application"));
    assert!(asked[1].query.starts_with("validationToken="));
    for request in asked {
        assert!(request.body.is_empty());
        assert_eq!(request.headers["content-type"], "text/plain; charset=utf-8");
        for absent in ["user-agent", "referer", "authorization"] {
            assert!(!request.headers.contains_key(absent), "{absent}");
        }
    }
    stage.strike().await;
}

#[tokio::test]
async fn every_answer_but_the_right_one_is_a_validation_error_and_leaves_nothing() {
    let stage = Stage::set_with(|config| config.rules.handshake_limit = Duration::from_millis(1500)).await;
    let cases = [
        (Shake::Status(201), "must respond with 200 OK"),
        (Shake::Status(202), "must respond with 200 OK"),
        (Shake::Redirect, "must respond with 200 OK"),
        (Shake::Status(403), "HTTP status code is 'Forbidden'"),
        (Shake::Status(404), "HTTP status code is 'NotFound'"),
        (Shake::Status(500), "HTTP status code is 'InternalServerError'"),
        (Shake::Html, "text/plain"),
        (Shake::Quoted, "must exactly match validationToken"),
        (Shake::Newline, "must exactly match validationToken"),
        (Shake::PercentDecodedOnly, "must exactly match validationToken"),
        (Shake::Silent, "timed out"),
    ];
    for (shake, text) in cases {
        *stage.receiver.shake.lock().unwrap() = shake;
        let (status, body) = stage.graph("POST", "", Some(stage.wish("a"))).await;
        assert_eq!(status, 400, "{shake:?}");
        let (code, message) = error(&body);
        assert_eq!(code, "ValidationError", "{shake:?}");
        assert!(message.contains(text), "{shake:?}: {message}");
    }
    assert!(stage.receiver.all().iter().all(|request| request.path != "/elsewhere"));
    assert!(stage.control.subscriptions().is_empty());
    stage.strike().await;
}

#[tokio::test]
async fn endpoints_that_are_out_of_reach_fail_the_handshake() {
    let stage = Stage::set().await;
    // Port 9 of the loopback interface, and an address that the simulator must not call at all.
    for url in ["https://127.0.0.1:9/in", "https://192.0.2.1/in"] {
        let mut wish = stage.wish("a");
        wish["notificationUrl"] = json!(url);
        let (status, body) = stage.graph("POST", "", Some(wish)).await;
        assert_eq!((status, error(&body).0), (400, "ValidationError"), "{url}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn moving_the_url_is_proved_again_and_a_renewal_is_not() {
    let stage = Stage::set().await;
    let id = stage.subscribe(DEMO_TENANTS[0], stage.wish("a")).await;
    let before = stage.receiver.handshakes().len();
    let renewal = json!({"expirationDateTime": stage.minutes(3000)});
    assert_eq!(stage.graph("PATCH", &format!("/{id}"), Some(renewal)).await.0, 200);
    assert_eq!(stage.receiver.handshakes().len(), before);
    let moved = json!({"notificationUrl": format!("{}/moved", stage.receiver_url)});
    *stage.receiver.shake.lock().unwrap() = Shake::Status(404);
    assert_eq!(stage.graph("PATCH", &format!("/{id}"), Some(moved.clone())).await.0, 400);
    assert_eq!(stage.control.subscriptions()[0].notification_url.path(), "/in");
    *stage.receiver.shake.lock().unwrap() = Shake::Right;
    assert_eq!(stage.graph("PATCH", &format!("/{id}"), Some(moved)).await.0, 200);
    assert_eq!(stage.control.subscriptions()[0].notification_url.path(), "/moved");
    assert!(stage.receiver.handshakes().iter().any(|request| request.path == "/moved"));
    stage.strike().await;
}
