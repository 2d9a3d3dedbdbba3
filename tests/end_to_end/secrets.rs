//! What must never be on disk or in a log in the clear. The whole database is read, table by table, after a run that
//! touches every kind of secret.

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;
use waypost_crypto::seal::KeyRing;
use waypost_harness::notification::{OTHER_TENANT, TENANT, item, item_with};
use waypost_harness::{Receiver, Reply, Subscription, Tenant, TestApp, WEBHOOK_SECRET, wait};
use waypost_postgres::{Config, Store, StoreError};

const TRACKED_STATE: &str = "marker-tracked-state-7aa1";
const CONTENT: &str = "marker-content-of-a-customer-7aa2";
const RESPONSE: &str = "marker-response-body-7aa3";
const HEADER: &str = "marker-header-value-7aa4";
const REFUSED_STATE: &str = "marker-refused-state-7aa5";
const REPLACED_SECRET: &str = "marker-new-secret-7aa6";

/// Does everything that handles a secret, and gives the secrets.
async fn run(app: &TestApp) -> Vec<String> {
    let receiver = Receiver::start().await;
    receiver.script([Reply::status(500).body(RESPONSE)]);
    let tenant = app.tenant("acme").await;
    let primary = tenant.primary(&receiver).await;
    let connection = tenant.connection("conn-1", TENANT).await;
    let custom = Receiver::start().await;
    let endpoint = tenant.endpoint_with(&custom, &json!({"headers": {"x-own": HEADER}})).await;
    let graph_id = Uuid::new_v4();
    let subscription = Subscription {
        graph_id: Some(graph_id),
        tenant: TENANT.parse().unwrap(),
        client_state: TRACKED_STATE.to_owned(),
        connections: vec![connection["id"].as_i64().unwrap()],
    };
    subscription.db_track(app, &tenant).await;

    let content = json!({"id": CONTENT});
    let tracked = json!({"subscriptionId": graph_id, "clientState": TRACKED_STATE, "resourceData": content});
    tenant.accept(&[item_with(TENANT, &json!({"resourceData": content})), item_with(TENANT, &tracked)]).await;
    tenant.accept(&[item_with(OTHER_TENANT, &json!({"resourceData": content}))]).await;
    tenant
        .accept(&[item_with(TENANT, &json!({"clientState": REFUSED_STATE, "resourceData": content}))])
        .await;
    receiver.wait_for(1).await;
    app.until_settled().await;
    let first = tenant.trust(&primary).await.secret;
    let second = tenant.trust(&endpoint).await.secret;
    rotate(app, &tenant, &endpoint).await;
    custom.wait_for(1).await;
    wait::until_true("the rejection to be written", async || !tenant.list("/rejections").await.is_empty())
        .await;
    app.leave_work();
    vec![tenant.key.clone(), tenant.signing_key.clone(), first, second]
}

async fn rotate(app: &TestApp, tenant: &Tenant, endpoint: &str) {
    tenant.api.post(&format!("/endpoints/{endpoint}/secret/rotate"), &json!({})).await.expect(200);
    tenant
        .api
        .patch("/integrations/graph-cc", &json!({"custom": {"webhookSecret": REPLACED_SECRET}}))
        .await
        .expect(200);
    let keys = format!("/admin/environments/{}/api-keys", tenant.environment);
    app.admin().post(&keys, &json!({"display_name": "k"})).await.expect(201);
}

fn markers(made: &[String]) -> Vec<String> {
    let fixed = [
        TRACKED_STATE,
        CONTENT,
        RESPONSE,
        HEADER,
        REFUSED_STATE,
        REPLACED_SECRET,
        WEBHOOK_SECRET,
        "token-that-nobody-should-see",
        "client-secret-that-nobody-should-see",
    ];
    let mut markers: Vec<String> = fixed.iter().map(|marker| (*marker).to_owned()).collect();
    for secret in made {
        markers.push(secret.trim_start_matches("whsec_").to_owned());
    }
    markers
}

/// Every row of every table, as text; bytes are written in hexadecimal.
pub(super) async fn everything(connection: &mut PgConnection) -> Vec<(String, String)> {
    let tables =
        "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')";
    let tables = sqlx::query(tables).fetch_all(&mut *connection).await.unwrap();
    let mut all = Vec::new();
    for table in tables {
        let name: String = table.get("name");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT t::text FROM {name} t")))
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        all.extend(rows.into_iter().map(|row| (name.clone(), row)));
    }
    all
}

#[tokio::test]
async fn no_secret_and_no_content_is_stored_in_the_clear() {
    let app = TestApp::spawn().await;
    let made = run(&app).await;

    let rows = everything(&mut app.db_connect().await).await;

    let filled: std::collections::BTreeSet<&str> = rows.iter().map(|(table, _)| table.as_str()).collect();
    for table in [
        "connections",
        "deliveries",
        "endpoint_secrets",
        "integration_secrets",
        "subscriptions",
        "rejections",
        "audit_log",
    ] {
        assert!(filled.contains(table), "{table} is empty, so this shows nothing about it: {filled:?}");
    }
    for prefix in ["events_", "attempts_", "delivery_results_"] {
        assert!(filled.iter().any(|table| table.starts_with(prefix)), "no row in {prefix}: {filled:?}");
    }
    for marker in markers(&made) {
        let hexadecimal = hex::encode(&marker);
        for (table, row) in &rows {
            assert!(
                !row.contains(&marker) && !row.contains(&hexadecimal),
                "{marker} stands in {table}: {row}"
            );
        }
    }
}

#[tokio::test]
async fn no_secret_and_no_content_is_logged() {
    let app = TestApp::spawn().await;
    let made = run(&app).await;
    // A key that is refused is as secret as one that is taken: it may be mistyped by a letter.
    let nearly = Uuid::new_v4().to_string();
    app.public().with_token(&nearly).get("/integrations").await.expect(401);
    app.public().post_bytes("/admin/nothing", CONTENT).await;

    let logs = app.logs();

    assert!(logs.contains("waypost"), "nothing was logged at all");
    for marker in markers(&made).into_iter().chain([nearly]) {
        let found = logs.lines().find(|line| line.contains(&marker));
        assert!(found.is_none(), "{marker} stands in the log: {found:?}");
    }
}

#[tokio::test]
async fn a_database_can_not_be_read_with_another_key() {
    let mut app = TestApp::spawn().await;
    let tenant = app.tenant("acme").await;
    tenant.accept(&[item(TENANT)]).await;
    app.stop().await;

    let wrong = KeyRing::parse(&"other:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into()).unwrap();
    let config = Config { url: app.db_url().into(), max_connections: 4 };
    let refused = Store::connect(config, wrong, app.clock().shared()).await.unwrap_err();

    assert!(matches!(refused, StoreError::Sealed { .. }), "{refused}");
}
