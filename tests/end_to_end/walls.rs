//! Row-level security, the second wall between tenants: asked of the catalogue, so that no table is forgotten.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use waypost_harness::notification::{OTHER_TENANT, TENANT, item, item_with};
use waypost_harness::{Receiver, Subscription, Tenant, TestApp, wait};

/// Every table with rows of an environment; partitions are reached through their parents.
const TABLES: &str = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'environment_id' AND NOT a.attisdropped)
    ORDER BY 1";

async fn names(connection: &mut PgConnection, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

/// Fills every table for a tenant.
async fn fill(app: &TestApp, tenant: &Tenant) {
    let receiver = Receiver::start().await;
    let endpoint = tenant.primary(&receiver).await;
    let connection = tenant.connection("conn-1", TENANT).await;
    let subscription = Subscription {
        graph_id: Some(uuid::Uuid::new_v4()),
        tenant: TENANT.parse().unwrap(),
        client_state: "state".to_owned(),
        connections: vec![connection["id"].as_i64().unwrap()],
    };
    subscription.db_track(app, tenant).await;
    fill_subscriptions(app, tenant, &subscription).await;
    tenant.accept(&[item(TENANT), item(OTHER_TENANT)]).await;
    tenant.accept(&[item_with(TENANT, &serde_json::json!({"clientState": "wrong"}))]).await;
    receiver.wait_for(1).await;
    app.until_settled().await;
    tenant.api.post(&format!("/endpoints/{endpoint}/disable"), &serde_json::json!({})).await.expect(200);
    tenant.accept(&[item(TENANT)]).await;
    tenant.api.post("/integrations/graph-cc/certificates", &serde_json::json!({})).await.expect(201);
    fill_connecting(app, tenant).await;
    let rich = serde_json::json!({"encryptedContent": {"data": "AA=="}});
    tenant.accept(&[item_with(TENANT, &rich)]).await;
    wait::until_true("the rejection", async || !tenant.list("/rejections").await.is_empty()).await;
    app.leave_work();
}

/// A link to connect by, and somebody who is on the way.
async fn fill_connecting(app: &TestApp, tenant: &Tenant) {
    let session = serde_json::json!({"end_user": {"id": "u1"}});
    tenant.api.post("/connect/sessions", &session).await.expect(201);
    let state = "INSERT INTO connect_states (hash, environment_id, session_id, unique_key, browser_hash, step, secrets, created_at, expires_at)
                 SELECT sha256(id::text::bytea), environment_id, id, 'graph-cc', sha256('browser'), 'sign_in', 'sealed', now(), now()
                 FROM connect_sessions WHERE environment_id = $1::uuid";
    sqlx::query(state).bind(&tenant.environment).execute(&mut app.db_connect().await).await.unwrap();
}

/// Templates, a subscription that had another id before, and one that Graph can't be told to delete.
async fn fill_subscriptions(app: &TestApp, tenant: &Tenant, subscription: &Subscription) {
    let templates = serde_json::json!([{"resource": "users", "change_type": "updated"}]);
    let path = "/integrations/graph-cc/subscription-templates";
    let put = tenant.api.request(reqwest::Method::PUT, path).json(&templates);
    tenant.api.send(put).await.expect(200);
    let unwanted = tenant.only("/subscriptions").await["id"].as_str().unwrap().to_owned();
    tenant.api.delete(&format!("/subscriptions/{unwanted}")).await.expect(200);
    Subscription { graph_id: Some(uuid::Uuid::new_v4()), ..subscription.clone() }.db_track(app, tenant).await;
    let before = "INSERT INTO subscription_graph_ids (environment_id, integration_id, graph_id, subscription_id, valid_until)
                  SELECT environment_id, integration_id, gen_random_uuid(), id, now() FROM subscriptions
                  WHERE environment_id = $1::uuid";
    sqlx::query(before).bind(&tenant.environment).execute(&mut app.db_connect().await).await.unwrap();
}

/// How many rows of `table` the role of tenants sees, with the setting as given.
async fn seen(connection: &mut PgConnection, table: &str, environment: Option<&str>) -> i64 {
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("SELECT set_config('role', 'waypost_tenant', true)")
        .execute(&mut *transaction)
        .await
        .unwrap();
    if let Some(environment) = environment {
        let set = sqlx::query("SELECT set_config('waypost.environment', $1, true)").bind(environment);
        set.execute(&mut *transaction).await.unwrap();
    }
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    let count = sqlx::query_scalar(count)
        .fetch_one(&mut *transaction)
        .await
        .unwrap_or_else(|error| panic!("{table}: {error}"));
    transaction.rollback().await.unwrap();
    count
}

#[tokio::test]
async fn a_tenants_role_sees_its_own_rows_only_and_without_a_tenant_none() {
    let app = TestApp::spawn().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    fill(&app, &acme).await;
    fill(&app, &umbrella).await;
    let mut connection = app.db_connect().await;

    for table in names(&mut connection, TABLES).await {
        let all: i64 = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let own = seen(&mut connection, &table, Some(&acme.environment)).await;

        assert!(own > 0, "{table} has no row of the tenant, so this shows nothing about it");
        assert!(own < all, "{table} has rows of others, which the tenant sees");
        assert_eq!(seen(&mut connection, &table, None).await, 0, "{table} without a tenant");
        assert_eq!(seen(&mut connection, &table, Some("")).await, 0, "{table} with an empty tenant");
        let stranger = uuid::Uuid::new_v4().to_string();
        assert_eq!(seen(&mut connection, &table, Some(&stranger)).await, 0, "{table} for a stranger");
    }
    assert_eq!(seen(&mut connection, "environments", None).await, 0);
    assert_eq!(seen(&mut connection, "environments", Some(&acme.environment)).await, 1);
}

#[tokio::test]
async fn every_table_of_an_environment_has_the_policy() {
    let app = TestApp::spawn().await;
    let mut connection = app.db_connect().await;
    let tables = names(&mut connection, TABLES).await;
    assert!(tables.len() >= 15, "{tables:?}");

    let walled = "SELECT c.relname::text FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid
                  WHERE c.relrowsecurity AND p.polname = 'own_environment' AND p.polqual IS NOT NULL
                    AND p.polwithcheck IS NOT NULL AND c.relname <> 'environments' ORDER BY 1";
    assert_eq!(names(&mut connection, walled).await, tables);
}

#[tokio::test]
async fn a_tenants_role_reaches_nothing_beside_its_tables() {
    let app = TestApp::spawn().await;
    let mut connection = app.db_connect().await;

    let open = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relrowsecurity
                  AND has_table_privilege('waypost_tenant', c.oid, 'SELECT, INSERT, UPDATE, DELETE') ORDER BY 1";
    assert_eq!(names(&mut connection, open).await, Vec::<String>::new());
    let change =
        "SELECT has_table_privilege('waypost_tenant', 'audit_log', 'UPDATE, DELETE, TRUNCATE')::text";
    assert_eq!(names(&mut connection, change).await, ["false"]);
    let login = "SELECT rolcanlogin::text FROM pg_roles WHERE rolname = 'waypost_tenant'";
    assert_eq!(names(&mut connection, login).await, ["false"]);
}

#[tokio::test]
async fn a_tenants_role_can_not_write_rows_of_another() {
    let app = TestApp::spawn().await;
    let (acme, umbrella) = (app.tenant("acme").await, app.tenant("umbrella").await);
    let mut connection = app.db_connect().await;
    let mut transaction = connection.begin().await.unwrap();
    let enter =
        "SELECT set_config('role', 'waypost_tenant', true), set_config('waypost.environment', $1, true)";
    sqlx::query(enter).bind(&acme.environment).execute(&mut *transaction).await.unwrap();

    let stolen = sqlx::query("UPDATE integrations SET display_name = 'stolen'")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let insert = "INSERT INTO rejections (environment_id, integration_id, minute, reason, count, samples)
                  VALUES ($1::uuid, gen_random_uuid(), now(), 'x', 1, '[]')";
    let forged = sqlx::query(insert).bind(&umbrella.environment).execute(&mut *transaction).await;

    assert_eq!(stolen.rows_affected(), 1, "its own one");
    assert!(forged.unwrap_err().to_string().contains("row-level security"));
}

#[tokio::test]
async fn tables_and_what_names_do_not_tell_are_commented() {
    let app = TestApp::spawn().await;
    let mut connection = app.db_connect().await;

    let bare = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                  AND c.relname <> '_sqlx_migrations' AND obj_description(c.oid) IS NULL";
    assert_eq!(names(&mut connection, bare).await, Vec::<String>::new());
}
