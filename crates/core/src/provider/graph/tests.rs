//! What Graph may send, and what becomes of it.

use serde_json::{Value, json};

use super::*;
use crate::connection::ConnectionId;
use crate::id::{EnvironmentId, IntegrationId, SubscriptionId};
use crate::integration::UniqueKey;
use crate::provider::{IntegrationFacts, Provider, Routes, WebhookSecret};
use waypost_crypto::token::HashKey;

const TENANT_A: &str = "84bd8158-6d4d-4958-8b9f-9d6445542f95";
const TENANT_B: &str = "11111111-2222-4333-8444-555555555555";
const TRACKED: &str = "76619225-ff6b-4489-96ca-4ef547e78b22";

struct World {
    key: HashKey,
    integration: IntegrationFacts,
    routes: Routes,
}

fn connection(number: i64, id: &str) -> ConnectionRef {
    ConnectionRef {
        key: ConnectionKey::from_number(number),
        id: ConnectionId::parse(id).unwrap(),
        override_endpoint: None,
    }
}

fn world() -> World {
    let key = HashKey::from_bytes([7; 32]);
    let state = |text: &str| key.hash(Purpose::ClientState, text.as_bytes());
    let integration = IntegrationFacts {
        environment: EnvironmentId::from_uuid(Uuid::from_u128(1)),
        id: IntegrationId::from_uuid(Uuid::from_u128(2)),
        unique_key: UniqueKey::parse("graph-cc").unwrap(),
        provider: Provider::named("microsoft-oauth2-cc").unwrap(),
        forward_webhooks: true,
        fetch_resource: false,
        fetch_select: None,
        forward_client_state: true,
        secrets: vec![WebhookSecret { hash: state("s3cret"), text: None }],
        pending: Vec::new(),
    };
    let tracked = Tracked {
        id: SubscriptionId::from_uuid(Uuid::from_u128(9)),
        tenant: TENANT_A.parse().unwrap(),
        state: state("own"),
        connections: vec![connection(1, "a-1"), connection(2, "a-2")],
    };
    let routes = Routes {
        subscriptions: [(TRACKED.parse().unwrap(), tracked)].into(),
        tenants: [
            (TENANT_A.parse().unwrap(), vec![connection(1, "a-1")]),
            (TENANT_B.parse().unwrap(), vec![connection(3, "b-1")]),
        ]
        .into(),
        connections: [].into(),
    };
    World { key, integration, routes }
}

impl World {
    fn judge(&self, body: &Value) -> Judgement {
        let body = body.to_string();
        let collection = Collection::read(body.as_bytes()).unwrap();
        judge(
            &collection,
            Facts { integration: &self.integration, routes: &self.routes, hash_key: &self.key },
        )
    }
}

fn item(tenant: &str, state: &str, resource: &str) -> Value {
    json!({"subscriptionId": Uuid::from_u128(77), "clientState": state, "tenantId": tenant, "changeType": "created", "resource": resource})
}

fn resources(draft: &Draft) -> Vec<&str> {
    draft.items.iter().filter_map(|item| item.resource.as_deref()).collect()
}

#[test]
fn each_connection_gets_only_its_own_items() {
    let judged = world().judge(&json!({"value": [
        item(TENANT_A, "s3cret", "one"), item(TENANT_B, "s3cret", "two"), item(&TENANT_A.to_uppercase(), "s3cret", "three"),
    ]}));
    assert_eq!(judged.answer, Answer::Accepted);
    assert!(judged.rejections.is_empty());
    let by_connection: Vec<_> = judged
        .drafts
        .iter()
        .map(|draft| (draft.connection.as_ref().unwrap().id.as_str(), resources(draft)))
        .collect();
    assert_eq!(by_connection, [("a-1", vec!["one", "three"]), ("b-1", vec!["two"])]);
}

#[test]
fn a_tracked_subscription_is_vouched_for_by_its_own_state_alone() {
    let tracked = |state: &str| json!({"value": [{"subscriptionId": TRACKED, "clientState": state, "changeType": "updated"}]});
    let judged = world().judge(&tracked("own"));
    assert_eq!(judged.drafts.len(), 2, "both connections of the subscription");
    let judged = world().judge(&tracked("s3cret"));
    assert_eq!(judged.answer, Answer::Accepted);
    assert!(judged.drafts.is_empty());
    assert_eq!(judged.rejections[0].reason, Reason::ClientStateMismatch);
}

#[test]
fn an_item_of_another_tenant_than_its_subscriptions_is_refused() {
    for tenant in [TENANT_B, "contoso.com", ""] {
        let item = json!({"subscriptionId": TRACKED, "clientState": "own", "tenantId": tenant});
        let judged = world().judge(&json!({"value": [item]}));
        assert_eq!(judged.rejections[0].reason, Reason::TenantMismatch, "{tenant}");
        assert!(judged.drafts.is_empty());
    }
}

#[test]
fn a_bad_item_never_sinks_the_rest() {
    let judged = world().judge(&json!({"value": [
        null, "x", 7, {"subscriptionId": 5}, {"tenantId": {}}, item(TENANT_A, "wrong", "no"), item(TENANT_A, "s3cret", "yes"),
        {"clientState": null, "tenantId": TENANT_A},
    ]}));
    assert_eq!(judged.drafts.len(), 1);
    assert_eq!(resources(&judged.drafts[0]), ["yes"]);
    let reasons: Vec<_> = judged.rejections.iter().map(|rejection| rejection.reason.as_str()).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == "malformed_item").count(), 5);
    assert_eq!(reasons.iter().filter(|reason| **reason == "client_state_mismatch").count(), 2);
    let faults: Vec<_> =
        judged.rejections.iter().filter_map(|rejection| rejection.sample.get("fault")).collect();
    let no_object = "the item is not an object";
    assert_eq!(
        faults,
        [no_object, no_object, no_object, "`subscriptionId` is not a string", "`tenantId` is not a string"]
    );
}

#[test]
fn whatever_is_json_is_an_item_down_to_a_depth() {
    let body = |extra: &str| {
        let item = r#""clientState":"s3cret","resource":"r""#;
        format!(
            r#"{{"value":[{{"tenantId":"{TENANT_A}",{item},{extra}}},{{"tenantId":"{TENANT_A}",{item}}}]}}"#
        )
    };
    let nested = |depth: usize| format!(r#""x":{}1{}"#, "[".repeat(depth), "]".repeat(depth));
    let judged = |extra: &str| {
        let (world, body) = (world(), body(extra));
        let facts = Facts { integration: &world.integration, routes: &world.routes, hash_key: &world.key };
        judge(&Collection::read(body.as_bytes()).unwrap(), facts)
    };
    for extra in [
        &nested(127),
        &nested(511),
        r#""\uD800":1,"b\udfffc":{"\uD83D\uDE00\ud800":"\uDEAD"}"#,
        r#""id":"\ud800""#,
    ] {
        let judged = judged(extra);
        assert!(judged.rejections.is_empty(), "{extra} {:?}", judged.rejections);
        assert_eq!(resources(&judged.drafts[0]), ["r", "r"], "{extra}");
    }
    let payload = String::from_utf8(judged(r#""\uD800":1,"b\uDFFFc":2"#).drafts[0].payload.clone()).unwrap();
    assert!(payload.contains(r#""\ud800":1"#) && payload.contains(r#""b\udfffc":2"#), "{payload}");
    let too_deep = judged(&nested(512));
    assert_eq!(resources(&too_deep.drafts[0]), ["r"], "the other one");
    assert!(too_deep.rejections[0].sample["fault"].as_str().unwrap().starts_with("nested too deeply"));
}

#[test]
fn a_body_holds_so_many_items_and_no_more() {
    let body = |items: usize| format!(r#"{{"value":[{}1]}}"#, "1,".repeat(items - 1));
    assert_eq!(Collection::read(body(MAX_ITEMS).as_bytes()).unwrap().items.len(), MAX_ITEMS);
    let fault = Fault::NotACollection("`value` holds more than 25000 items");
    assert_eq!(Collection::read(body(MAX_ITEMS + 1).as_bytes()).unwrap_err(), fault);
    assert_eq!(Collection::check(body(MAX_ITEMS + 1).as_bytes()).unwrap_err(), fault);
}

#[test]
fn what_would_be_copied_too_often_is_left_to_the_matcher() {
    let mut world = world();
    let many: Vec<_> = (10..160).map(|number| connection(number, &format!("c-{number}"))).collect();
    world.routes.tenants.insert(TENANT_A.parse().unwrap(), many);
    let small = world.judge(&json!({"value": [item(TENANT_A, "s3cret", "one")]}));
    assert_eq!(small.drafts.len(), 150);
    let long = "x".repeat(MOST_COPIED / 150);
    let wide = world.judge(&json!({"value": [
        item(TENANT_A, "s3cret", &long), item(TENANT_B, "s3cret", "b"), item(TENANT_A, "s3cret", "two"),
    ]}));
    assert!(wide.rejections.is_empty() && wide.copies_wait && !small.copies_wait);
    let by_connection: Vec<_> = wide
        .drafts
        .iter()
        .map(|draft| {
            (draft.connection.as_ref().map(|found| found.id.as_str()), draft.tenant, draft.items.len())
        })
        .collect();
    assert_eq!(
        by_connection,
        [(None, Some(TENANT_A.parse().unwrap()), 2), (Some("b-1"), Some(TENANT_B.parse().unwrap()), 1)]
    );
    assert!(wide.drafts.iter().all(|draft| draft.forwarded));
}

#[test]
fn an_unknown_tenant_is_kept_unmatched_one_event_per_tenant() {
    let other = Uuid::from_u128(5).to_string();
    let judged = world().judge(&json!({"value": [
        item(&other, "s3cret", "one"), item(&other, "s3cret", "two"), item("contoso.com", "s3cret", "three"),
    ]}));
    assert_eq!(judged.drafts.len(), 2);
    assert!(judged.drafts.iter().all(|draft| draft.connection.is_none()));
    assert_eq!(judged.drafts.iter().map(|draft| draft.items.len()).sum::<usize>(), 3);
}

#[test]
fn without_a_secret_only_tracked_and_pending_subscriptions_are_heard() {
    let mut world = world();
    world.integration.secrets.clear();
    let judged = world.judge(&json!({"value": [item(TENANT_A, "s3cret", "one")]}));
    assert_eq!(judged.answer, Answer::SecretNotConfigured);
    let judged = world.judge(&json!({"value": []}));
    assert_eq!(judged.answer, Answer::SecretNotConfigured);
    let judged = world.judge(&json!({"value": [item(TENANT_A, "s3cret", "one"), {"subscriptionId": TRACKED, "clientState": "own"}]}));
    assert_eq!(judged.answer, Answer::Accepted);
    assert_eq!(judged.drafts.len(), 2);
    world.integration.pending.push(Tracked {
        id: SubscriptionId::from_uuid(Uuid::from_u128(10)),
        tenant: TENANT_B.parse().unwrap(),
        state: world.key.hash(Purpose::ClientState, b"early"),
        connections: vec![connection(3, "b-1")],
    });
    let judged = world.judge(&json!({"value": [item(TENANT_B, "early", "one")]}));
    assert_eq!(judged.answer, Answer::Accepted);
    assert_eq!(judged.drafts[0].connection.as_ref().unwrap().id.as_str(), "b-1");
}

#[test]
fn lifecycle_items_of_tracked_subscriptions_are_kept_but_not_forwarded() {
    let lifecycle = |id: &str, state: &str| json!({"subscriptionId": id, "clientState": state, "tenantId": TENANT_A, "lifecycleEvent": "missed"});
    let judged = world().judge(&json!({"value": [
        lifecycle(TRACKED, "own"), {"subscriptionId": TRACKED, "clientState": "own", "changeType": "created"},
        lifecycle(&Uuid::from_u128(77).to_string(), "s3cret"),
    ]}));
    let kept: Vec<_> =
        judged.drafts.iter().filter(|draft| !draft.forwarded).map(|draft| draft.items.len()).collect();
    assert_eq!(kept, [1, 1]);
    assert_eq!(judged.drafts.iter().filter(|draft| draft.forwarded).count(), 2);
}

#[test]
fn the_state_is_left_out_where_the_environment_wants_it_so() {
    let mut world = world();
    world.integration.forward_client_state = false;
    let judged = world.judge(&json!({"value": [item(TENANT_A, "s3cret", "one")]}));
    let payload = std::str::from_utf8(&judged.drafts[0].payload).unwrap();
    assert!(!payload.contains("s3cret") && !payload.contains("clientState"), "{payload}");
}

#[test]
fn samples_hold_no_state() {
    let judged = world().judge(&json!({"value": [item(TENANT_A, "wrong-but-secret", "Users/u")]}));
    let shown = Value::Object(judged.rejections[0].sample.clone()).to_string();
    assert!(!shown.contains("wrong-but-secret"));
    assert!(shown.contains("Users/u"));
}

#[test]
fn rich_items_keep_their_content_and_bring_the_tokens_along() {
    let mut rich = item(TENANT_A, "s3cret", "chats('c')/messages('m')");
    rich["encryptedContent"] = json!({"data": "AA==", "dataKey": "BB=="});
    let judged = world()
        .judge(&json!({"value": [rich, item(TENANT_B, "s3cret", "x")], "validationTokens": ["t1", "t2"]}));
    let (rich, basic) = (&judged.drafts[0], &judged.drafts[1]);
    assert!(rich.rich && !basic.rich);
    assert_eq!(rich.proof.as_deref(), Some(br#"["t1","t2"]"#.as_slice()));
    assert!(basic.proof.is_none());
    assert!(String::from_utf8_lossy(&rich.payload).contains("encryptedContent"));
}

#[test]
fn a_repeat_has_the_same_key_and_another_change_has_not() {
    let keys = |value: Value| world().judge(&json!({"value": [value]})).drafts[0].item_keys.clone();
    let with = |extra: Value| {
        let mut item = item(TENANT_A, "s3cret", "one");
        item.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        item
    };
    assert_eq!(keys(with(json!({"id": "n1", "resourceData": {"id": 1}}))), keys(with(json!({"id": "n1"}))));
    assert_ne!(keys(with(json!({"id": "n1"}))), keys(with(json!({"id": "n2"}))));
    assert_eq!(
        keys(with(json!({"resourceData": {"id": 1}}))),
        keys(with(json!({"resourceData": {"id": 1}})))
    );
    assert_ne!(
        keys(with(json!({"resourceData": {"id": 1}}))),
        keys(with(json!({"resourceData": {"id": 2}})))
    );
}

#[test]
fn bodies_that_are_no_collection_are_told_apart() {
    let read = |body: &[u8]| Collection::read(body).map(|_| ()).unwrap_err();
    for body in [&b"{"[..], b"", b"\xff", b"{\"value\":[}", b"{} x"] {
        assert!(matches!(read(body), Fault::NotJson(_)), "{body:?}");
    }
    for body in [&b"[]"[..], b"7", b"\"x\"", b"null", b"{}", b"{\"value\":{}}", b"{\"value\":null}"] {
        assert!(matches!(read(body), Fault::NotACollection(_)), "{body:?}");
    }
}

#[test]
fn of_duplicate_keys_the_last_counts() {
    let body = format!(
        r#"{{"value":[],"value":[{{"clientState":"wrong","clientState":"s3cret","tenantId":"{TENANT_A}","resource":"r"}}]}}"#
    );
    let world = world();
    let collection = Collection::read(body.as_bytes()).unwrap();
    let judged = judge(
        &collection,
        Facts { integration: &world.integration, routes: &world.routes, hash_key: &world.key },
    );
    assert_eq!(judged.drafts.len(), 1);
}
