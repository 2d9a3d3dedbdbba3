//! Customers connect by a link, as a browser does it; and those who try to cheat don't.

mod browser;

use std::net::TcpListener;

use chrono::TimeDelta;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;
use waypost_harness::{Receiver, Tenant, TestApp, wait};
use waypost_simulator::{
    Control, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, DEMO_USERS, Simulator, SimulatorConfig,
    Tenant as EntraTenant, User,
};

use browser::{Browser, Page};

const CONTOSO_ADMIN: Uuid = DEMO_USERS[0];
const CONTOSO_PERSON: Uuid = DEMO_USERS[1];
const FABRIKAM_ADMIN: Uuid = DEMO_USERS[2];
const PERSONAL_TENANT: Uuid = Uuid::from_u128(0x9188_040d_6c67_4c5b_b112_36a3_04b6_6dad);

struct Scene {
    app: TestApp,
    tenant: Tenant,
    simulator: Simulator,
}

/// A free address, and where the application is reached at it.
fn address() -> (std::net::SocketAddr, Url) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (address, format!("http://{address}").parse().unwrap())
}

/// An integration `graph` of an app that acts by itself, and one `mail` of an app that acts for users; nobody has
/// consented to anything.
async fn scene() -> Scene {
    let (address, public_url) = address();
    let config = SimulatorConfig {
        consent_given: false,
        notification_http_allowed: true,
        redirect_uris: vec![public_url.join("oauth/callback").unwrap()],
        ..SimulatorConfig::default()
    };
    let simulator = Simulator::start(config, waypost_core::clock::system()).await.unwrap();
    let app = TestApp::spawn_with(|settings| {
        settings.server.public_listen = address;
        settings.server.public_url = public_url;
        settings.graph.login_url = simulator.login_url();
        settings.graph.base_url = simulator.graph_url();
    })
    .await;
    let tenant = app.tenant("acme").await;
    for (key, provider, kind, scopes) in [
        ("graph", "microsoft-oauth2-cc", "OAUTH2_CC", Value::Null),
        ("mail", "microsoft", "OAUTH2", json!("Mail.Read")),
    ] {
        let mut credentials =
            json!({"type": kind, "client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET});
        if !scopes.is_null() {
            credentials["scopes"] = scopes;
        }
        let wanted = json!({"unique_key": key, "provider": provider, "display_name": format!("The {key}"),
            "credentials": credentials, "custom": {}});
        tenant.integration_with(&wanted).await;
    }
    Scene { app, tenant, simulator }
}

impl Scene {
    fn control(&self) -> Control {
        self.simulator.control()
    }

    /// The link of a new session.
    async fn link(&self, integration: &str) -> Url {
        self.link_with(&json!({"allowed_integrations": [integration]})).await
    }

    async fn link_with(&self, members: &Value) -> Url {
        let mut wanted =
            json!({"end_user": {"id": "user-1", "display_name": "Ada <b>L.</b>"}, "tags": {"plan": "pro"}});
        for (name, value) in members.as_object().unwrap() {
            wanted[name] = value.clone();
        }
        let made = self.tenant.api.post("/connect/sessions", &wanted).await.expect(201);
        made["data"]["connect_link"].as_str().unwrap().parse().unwrap()
    }

    /// The sign-in page that a link leads to.
    async fn sign_in_page(&self, browser: &mut Browser, link: &Url) -> Page {
        let page = browser.open(link).await;
        page.shows(200, "Continue with Microsoft");
        let page = browser.submit(&page, "Continue with Microsoft", &[]).await;
        let page = browser.follow(page).await;
        page.shows(200, "Permissions requested").clone()
    }

    /// The consent page that an account leads to.
    async fn consent_page(&self, browser: &mut Browser, link: &Url, person: Uuid) -> Page {
        let page = self.sign_in_page(browser, link).await;
        let page = accept(browser, &page, person).await;
        let page = browser.follow(page).await;
        page.shows(200, "review for your organization").clone()
    }

    async fn connections(&self) -> Vec<Value> {
        let listed = self.tenant.api.get("/connections").await.expect(200);
        listed["connections"].as_array().unwrap().clone()
    }

    async fn nothing_connected(&self) {
        assert_eq!(self.connections().await, Vec::<Value>::new());
    }

    async fn end(self) {
        self.app.leave_work();
        drop(self.app);
        self.simulator.stop().await;
    }
}

/// Chooses a person and accepts; stays at the answer.
async fn accept(browser: &mut Browser, page: &Page, person: Uuid) -> Page {
    browser.submit(page, "accept", &[("person", &person.to_string()), ("decision", "accept")]).await
}

/// A parameter of a URL.
fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .unwrap_or_else(|| panic!("no {name} in {url}"))
        .1
        .into_owned()
}

/// The URL with a parameter replaced.
fn with(url: &Url, name: &str, value: &str) -> Url {
    let pairs: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(key, _)| key != name).collect();
    let mut changed = url.clone();
    changed.query_pairs_mut().clear().extend_pairs(pairs).append_pair(name, value);
    changed
}

#[tokio::test]
async fn an_administrator_connects_an_organization_by_a_link() {
    let scene = scene().await;
    let receiver = Receiver::start().await;
    scene.tenant.primary(&receiver).await;
    scene
        .tenant
        .api
        .patch("/environment/webhook-settings", &json!({"on_auth_creation": true}))
        .await
        .expect(200);
    let mut browser = Browser::new();
    let link = scene.link("graph").await;
    let page = browser.open(&link).await;
    page.shows(200, "Connect The graph").shows(200, "Ada &lt;b&gt;L.&lt;/b&gt;");

    let page = scene.consent_page(&mut browser, &link, CONTOSO_ADMIN).await;
    assert!(page.url.path().contains(&DEMO_TENANTS[0].to_string()), "{}", page.url);
    let page = accept(&mut browser, &page, CONTOSO_ADMIN).await;
    let page = browser.follow(page).await;
    page.shows(200, "id=\"connected\"");
    assert_eq!(page.url.path(), "/connect/progress", "nothing of the way stays in the address");

    let connections = scene.connections().await;
    assert_eq!(connections.len(), 1, "{connections:#?}");
    let id = connections[0]["connection_id"].as_str().unwrap();
    let path = format!("/connections/{id}?provider_config_key=graph");
    let connection = scene.tenant.api.get(&path).await.expect(200);
    assert_eq!(connection["connection_config"], json!({"tenantId": DEMO_TENANTS[0]}));
    assert_eq!(connection["end_user"]["id"], "user-1");
    assert_eq!(connection["tags"], json!({"plan": "pro"}));
    let notice = receiver.wait_for(1).await[0].json();
    assert_eq!((&notice["type"], &notice["operation"]), (&json!("auth"), &json!("creation")), "{notice}");
    assert_eq!(notice["connectionId"], id);

    let log = scene.app.viewer().get("/admin/audit-log?limit=10").await.expect(200);
    let made = log["data"].as_array().unwrap().iter().find(|entry| entry["action"] == "connection.create");
    let made = made.unwrap_or_else(|| panic!("{log:#}"));
    assert_eq!((&made["actor_kind"], &made["actor"]), (&json!("end_user"), &json!("user-1")));
    let again = browser.open(&page.url).await;
    again.shows(200, "id=\"connected\"");
    browser.open(&link).await.shows(410, "This link was already used");
    scene.end().await;
}

#[tokio::test]
async fn what_connects_by_a_link_gets_the_subscriptions_of_its_integration() {
    let scene = scene().await;
    let templates =
        json!([{"resource": format!("users/{CONTOSO_PERSON}/messages"), "change_type": "created"}]);
    let path = "/integrations/graph/subscription-templates";
    let put = scene.tenant.api.request(reqwest::Method::PUT, path).json(&templates);
    scene.tenant.api.send(put).await.expect(200);
    let mut browser = Browser::new();
    let page = scene.consent_page(&mut browser, &scene.link("graph").await, CONTOSO_ADMIN).await;
    let page = accept(&mut browser, &page, CONTOSO_ADMIN).await;
    browser.follow(page).await.shows(200, "id=\"connected\"");

    wait::until_true("the template to become a subscription at Graph", async || {
        scene.control().subscriptions().len() == 1
    })
    .await;
    scene.end().await;
}

#[tokio::test]
async fn what_connects_by_a_link_is_not_held_up_by_failures_from_before() {
    let scene = scene().await;
    let earlier = json!({"connection_id": "earlier", "provider_config_key": "graph",
        "connection_config": {"tenantId": DEMO_TENANTS[0]}, "credentials": {"type": "OAUTH2_CC"}});
    let made = scene.tenant.connection_with(&earlier).await;
    assert_eq!(made["credentials_error"]["class"], "tenant", "nobody has consented yet");

    let mut browser = Browser::new();
    let page = scene.consent_page(&mut browser, &scene.link("graph").await, CONTOSO_ADMIN).await;
    let page = accept(&mut browser, &page, CONTOSO_ADMIN).await;
    browser.follow(page).await.shows(200, "id=\"connected\"");

    for connection in scene.connections().await {
        let id = connection["connection_id"].as_str().unwrap();
        let path = format!("/connections/{id}?provider_config_key=graph");
        let shown = scene.tenant.api.get(&path).await.expect(200);
        assert!(shown["credentials"]["token"].is_string(), "{shown}");
    }
    scene.end().await;
}

#[tokio::test]
async fn a_person_connects_a_mailbox_and_its_refresh_token_is_kept() {
    let scene = scene().await;
    let mut browser = Browser::new();
    let page = scene.sign_in_page(&mut browser, &scene.link("mail").await).await;
    page.shows(200, "Mail.Read");
    let page = accept(&mut browser, &page, CONTOSO_PERSON).await;
    browser.follow(page).await.shows(200, "id=\"connected\"");

    let connections = scene.connections().await;
    let id = connections[0]["connection_id"].as_str().unwrap();
    let path = format!("/connections/{id}?provider_config_key=mail&refresh_token=true");
    let connection = scene.tenant.api.get(&path).await.expect(200);
    assert_eq!(connection["connection_config"]["tenantId"], json!(DEMO_TENANTS[0]));
    let first = connection["credentials"]["access_token"].as_str().unwrap().to_owned();
    assert!(connection["credentials"]["refresh_token"].is_string(), "{connection:#}");
    let refreshed = scene.tenant.api.get(&format!("{path}&force_refresh=true")).await.expect(200);
    assert_ne!(refreshed["credentials"]["access_token"], json!(first), "the refresh token works");
    scene.end().await;
}

#[tokio::test]
async fn a_link_without_a_choice_offers_all_and_takes_no_other() {
    let scene = scene().await;
    let mut browser = Browser::new();
    let all = browser.open(&scene.link_with(&json!({"allowed_integrations": ["graph", "mail"]})).await).await;
    all.shows(200, "Choose what to connect").shows(200, "Connect The graph").shows(200, "Connect The mail");
    let page = browser.open(&scene.link("graph").await).await;
    let refused = browser.submit(&page, "Continue", &[("integration", "mail")]).await;
    refused.shows(400, "This can't be connected by this link");
    scene.nothing_connected().await;
    scene.end().await;
}

#[tokio::test]
async fn a_consent_that_takes_its_time_is_waited_for_and_not_for_ever() {
    let scene = scene().await;
    for in_time in [true, false] {
        scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[0], false);
        let mut browser = Browser::new();
        let page = scene.consent_page(&mut browser, &scene.link("graph").await, CONTOSO_ADMIN).await;
        let page = accept(&mut browser, &page, CONTOSO_ADMIN).await;
        scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[0], false);
        let page = browser.follow(page).await;
        page.shows(200, "Almost done").shows(200, "http-equiv=\"refresh\" content=\"3\"");
        scene.nothing_connected().await;
        if in_time {
            scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[0], true);
            scene.app.clock().advance(TimeDelta::seconds(3));
            browser.open(&page.url).await.shows(200, "id=\"connected\"");
            let id = scene.connections().await[0]["connection_id"].as_str().unwrap().to_owned();
            let path = format!("/connections/{id}?provider_config_key=graph");
            scene.tenant.api.delete(&path).await.expect(200);
        } else {
            scene.app.clock().advance(TimeDelta::minutes(6));
            let page = browser.open(&page.url).await;
            page.shows(400, "confirmed the consent yet");
            assert!(page.link("again").is_some(), "{}", page.text);
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn who_declines_is_told_so_and_may_begin_again() {
    let scene = scene().await;
    let link = scene.link("graph").await;
    let mut browser = Browser::new();
    let deny = [("person", CONTOSO_ADMIN.to_string()), ("decision", "deny".to_owned())];
    let deny: Vec<(&str, &str)> = deny.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let page = scene.sign_in_page(&mut browser, &link).await;
    let page = browser.submit(&page, "deny", &deny).await;
    let page = browser.follow(page).await;
    page.shows(400, "Access was declined");
    assert_eq!(page.link("again"), Some(link.clone()));

    let page = scene.consent_page(&mut browser, &link, CONTOSO_ADMIN).await;
    let page = browser.submit(&page, "deny", &deny).await;
    browser.follow(page).await.shows(400, "Access was declined");
    scene.nothing_connected().await;
    let page = scene.consent_page(&mut browser, &link, CONTOSO_ADMIN).await;
    let page = accept(&mut browser, &page, CONTOSO_ADMIN).await;
    browser.follow(page).await.shows(200, "id=\"connected\"");
    scene.end().await;
}

#[tokio::test]
async fn a_state_counts_once_and_only_in_its_own_browser() {
    let scene = scene().await;
    let link = scene.link("graph").await;
    let (mut browser, mut other) = (Browser::new(), Browser::new());
    let page = scene.sign_in_page(&mut browser, &link).await;
    let back = accept(&mut browser, &page, CONTOSO_ADMIN).await.next().unwrap();

    let stolen = other.look(&back).await;
    stolen.shows(403, "began in another browser");
    assert!(stolen.link("again").is_none(), "a stranger is not given the link");
    let page = browser.look(&back).await;
    page.shows(400, "This sign-in was already used");
    assert_eq!(page.link("again"), Some(link.clone()), "its own browser is led back");

    let page = scene.sign_in_page(&mut browser, &link).await;
    let back = accept(&mut browser, &page, CONTOSO_ADMIN).await.next().unwrap();
    assert_eq!(browser.look(&back).await.status, 303);
    browser.look(&back).await.shows(400, "This sign-in was already used");
    other.look(&link.join("/connect/progress").unwrap()).await.shows(403, "another browser");

    let page = scene.sign_in_page(&mut browser, &link).await;
    let back = accept(&mut browser, &page, CONTOSO_ADMIN).await.next().unwrap();
    scene.app.clock().advance(TimeDelta::minutes(16));
    browser.look(&back).await.shows(400, "took too long");
    scene.nothing_connected().await;
    scene.end().await;
}

#[tokio::test]
async fn a_tenant_that_only_the_address_names_is_not_believed() {
    let scene = scene().await;
    scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[1], true);
    let link = scene.link("graph").await;
    let mut browser = Browser::new();
    let consented = |state: &str, tenant: Uuid| {
        let mut url = link.join("/oauth/callback").unwrap();
        url.query_pairs_mut()
            .append_pair("admin_consent", "True")
            .append_pair("tenant", &tenant.to_string())
            .append_pair("state", state);
        url
    };
    // Another tenant, where the app has consent, in place of the one that signed in.
    let page = scene.consent_page(&mut browser, &link, CONTOSO_ADMIN).await;
    let swapped = consented(&parameter(&page.url, "state"), DEMO_TENANTS[1]);
    browser.open(&swapped).await.shows(400, "The organization doesn't match");
    // The right one, but nobody consented.
    let page = scene.consent_page(&mut browser, &link, CONTOSO_ADMIN).await;
    let claimed = consented(&parameter(&page.url, "state"), DEMO_TENANTS[0]);
    browser.open(&claimed).await.shows(200, "Almost done");
    // A consent in the place of a sign-in.
    let page = scene.sign_in_page(&mut browser, &link).await;
    let skipped = consented(&parameter(&page.url, "state"), DEMO_TENANTS[1]);
    browser.open(&skipped).await.shows(400, "couldn't be confirmed");
    scene.nothing_connected().await;
    scene.end().await;
}

/// Signs in as an ordinary person and types the address that an administrator's consent would lead to.
async fn typed(scene: &Scene, browser: &mut Browser, link: &Url, person: Uuid) -> Page {
    let page = scene.sign_in_page(browser, link).await;
    let page = accept(browser, &page, person).await;
    let page = browser.follow(page).await;
    if page.status != 200 {
        return page;
    }
    let mut consented = link.join("/oauth/callback").unwrap();
    consented
        .query_pairs_mut()
        .append_pair("admin_consent", "True")
        .append_pair("tenant", &DEMO_TENANTS[0].to_string())
        .append_pair("state", &parameter(&page.url, "state"));
    browser.open(&consented).await
}

#[tokio::test]
async fn an_organization_that_consented_before_is_not_connected_by_just_anybody_of_it() {
    let scene = scene().await;
    scene.control().set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[0], true);
    let mut browser = Browser::new();
    let refused = typed(&scene, &mut browser, &scene.link("graph").await, CONTOSO_PERSON).await;
    refused.shows(400, "An administrator is needed").shows(400, "wids");
    scene.nothing_connected().await;

    let wish = json!({"integration_config": {"connect_without_admin_proof": true}});
    let changed = scene.tenant.api.patch("/integrations/graph", &wish).await.expect(200);
    assert_eq!(changed["data"]["integration_config"]["connect_without_admin_proof"], true, "{changed}");
    let page = typed(&scene, &mut browser, &scene.link("graph").await, CONTOSO_PERSON).await;
    page.shows(200, "id=\"connected\"");

    // To sign in again lets nobody in who wasn't.
    let wish = json!({"integration_config": {"connect_without_admin_proof": false}});
    scene.tenant.api.patch("/integrations/graph", &wish).await.expect(200);
    let id = scene.connections().await[0]["connection_id"].clone();
    let wanted = json!({"connection_id": id, "integration_id": "graph"});
    let made = scene.tenant.api.post("/connect/sessions/reconnect", &wanted).await.expect(201);
    let link: Url = made["data"]["connect_link"].as_str().unwrap().parse().unwrap();
    typed(&scene, &mut browser, &link, CONTOSO_PERSON).await.shows(200, "id=\"connected\"");
    scene.end().await;
}

#[tokio::test]
async fn a_code_of_another_sign_in_proves_nothing() {
    let scene = scene().await;
    let mut browser = Browser::new();
    let link = scene.link("mail").await;
    // The sign-in page is told another nonce than the state stands for.
    let page = scene.sign_in_page(&mut browser, &link).await;
    let page = browser.look(&with(&page.url, "nonce", "another")).await;
    let page = accept(&mut browser, &page, CONTOSO_PERSON).await;
    browser.follow(page).await.shows(400, "couldn't be confirmed");
    // A code that somebody else's sign-in brought.
    let mut victim = Browser::new();
    let page = scene.sign_in_page(&mut victim, &scene.link("mail").await).await;
    let stolen = parameter(&accept(&mut victim, &page, FABRIKAM_ADMIN).await.next().unwrap(), "code");
    let page = scene.sign_in_page(&mut browser, &link).await;
    let back = accept(&mut browser, &page, CONTOSO_PERSON).await.next().unwrap();
    let page = browser.open(&with(&back, "code", &stolen)).await;
    assert!(page.status >= 400 && page.text.contains("id=\"problem\""), "{}", page.text);
    scene.nothing_connected().await;
    scene.end().await;
}

#[tokio::test]
async fn a_session_makes_one_connection_however_often_it_was_begun() {
    let scene = scene().await;
    let link = scene.link("mail").await;
    let mut browser = Browser::new();
    let first = scene.sign_in_page(&mut browser, &link).await;
    let second = scene.sign_in_page(&mut browser, &link).await;
    let page = browser.open(&link).await;
    let (first, second) = (
        accept(&mut browser, &first, CONTOSO_PERSON).await,
        accept(&mut browser, &second, CONTOSO_PERSON).await,
    );
    browser.follow(first).await.shows(200, "id=\"connected\"");
    let late = browser.follow(second).await;
    assert_eq!(late.status, 400, "{}", late.text);
    browser.submit(&page, "Continue", &[]).await.shows(410, "already used");
    assert_eq!(scene.connections().await.len(), 1);

    let link = scene.link("mail").await;
    scene.app.clock().advance(TimeDelta::minutes(31));
    browser.open(&link).await.shows(410, "This link has expired");
    browser.open(&link.join("/connect/nothing").unwrap()).await.shows(404, "This link leads nowhere");
    scene.end().await;
}

#[tokio::test]
async fn a_form_counts_only_from_its_own_page() {
    let scene = scene().await;
    let link = scene.link("graph").await;
    let (mut browser, mut other) = (Browser::new(), Browser::new());
    let page = browser.open(&link).await;
    browser.submit(&page, "Continue", &[("mark", "forged")]).await.shows(403, "id=\"problem\"");
    other.submit(&page, "Continue", &[]).await.shows(403, "id=\"problem\"");
    other.open(&link).await.shows(200, "Continue");
    other.submit(&page, "Continue", &[]).await.shows(403, "id=\"problem\"");
    scene.end().await;
}

#[tokio::test]
async fn what_a_query_says_is_neither_run_nor_followed() {
    let scene = scene().await;
    let link = scene.link("graph").await;
    let mut browser = Browser::new();
    let page = scene.sign_in_page(&mut browser, &link).await;
    let mut url = link.join("/oauth/callback").unwrap();
    url.query_pairs_mut()
        .append_pair("error", "odd")
        .append_pair("error_description", "<script>alert(1)</script>\"><img src=x>")
        .append_pair("redirect_uri", "https://evil.example/")
        .append_pair("state", "made up");
    let nameless = browser.look(&url).await;
    assert!(
        !nameless.text.contains("alert(1)"),
        "without a state of ours nothing is repeated: {}",
        nameless.text
    );

    let known = browser.look(&with(&url, "state", &parameter(&page.url, "state"))).await;
    known.shows(400, "&lt;script&gt;alert(1)&lt;/script&gt;");
    for page in [&nameless, &known] {
        assert!(!page.text.contains("<script") && !page.text.contains("<img"), "{}", page.text);
        assert!(!page.text.contains("evil.example") && page.headers.get("location").is_none());
    }
    for url in [&link, &known.url, &link.join("/connect/progress").unwrap()] {
        let page = browser.look(url).await;
        let header = |name: &str| page.headers.get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-frame-options"), "DENY");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    scene.end().await;
}

#[tokio::test]
async fn personal_accounts_and_other_organizations_are_turned_away() {
    let scene = scene().await;
    let control = scene.control();
    control.add_tenant(&EntraTenant { id: PERSONAL_TENANT, domain: "live.example".to_owned() });
    let person = User {
        id: Uuid::from_u128(77),
        tenant: PERSONAL_TENANT,
        user_name: "me@live.example".to_owned(),
        display_name: "Me".to_owned(),
        admin: true,
    };
    control.add_user(person.clone());
    let mut browser = Browser::new();
    let page = scene.sign_in_page(&mut browser, &scene.link("mail").await).await;
    let page = accept(&mut browser, &page, person.id).await;
    browser.follow(page).await.shows(400, "A personal account can't be connected");

    let defaults = json!({"mail": {"connection_config": {"tenantId": DEMO_TENANTS[0]}}});
    let wanted = json!({"allowed_integrations": ["mail"], "integrations_config_defaults": defaults});
    let page = scene.sign_in_page(&mut browser, &scene.link_with(&wanted).await).await;
    let anybodys = page.url.as_str().replace(&DEMO_TENANTS[0].to_string(), "organizations");
    let page = browser.look(&anybodys.parse().unwrap()).await;
    let page = accept(&mut browser, &page, FABRIKAM_ADMIN).await;
    let page = browser.follow(page).await;
    assert!(page.status >= 400 && page.text.contains("id=\"problem\""), "{}", page.text);
    scene.nothing_connected().await;
    scene.end().await;
}

#[tokio::test]
async fn what_the_company_has_to_mend_is_said_without_its_secrets() {
    let scene = scene().await;
    let mut browser = Browser::new();
    let link = scene.link("graph").await;
    let page = scene.sign_in_page(&mut browser, &link).await;
    let page = accept(&mut browser, &page, CONTOSO_ADMIN).await;
    scene.control().remove_secrets(DEMO_CLIENT_ID);
    let page = browser.follow(page).await;
    page.shows(502, "an administrator of the company").shows(502, "AADSTS7000215");
    assert!(!page.text.contains(DEMO_CLIENT_SECRET), "{}", page.text);

    scene.control().add_secret(DEMO_CLIENT_ID, DEMO_CLIENT_SECRET.into(), None);
    let page = scene.consent_page(&mut browser, &link, CONTOSO_ADMIN).await;
    let page = accept(&mut browser, &page, CONTOSO_ADMIN).await;
    scene.control().set_app_disabled(DEMO_CLIENT_ID, DEMO_TENANTS[0], true);
    browser.follow(page).await.shows(400, "The application is disabled");
    scene.nothing_connected().await;
    scene.end().await;
}

#[tokio::test]
async fn a_connection_is_renewed_in_place_and_by_its_own_organization_only() {
    let scene = scene().await;
    let mut browser = Browser::new();
    let page = scene.sign_in_page(&mut browser, &scene.link("mail").await).await;
    let page = accept(&mut browser, &page, CONTOSO_PERSON).await;
    browser.follow(page).await.shows(200, "id=\"connected\"");
    let before = scene.connections().await;

    let wanted = json!({"connection_id": before[0]["connection_id"], "integration_id": "mail"});
    let made = scene.tenant.api.post("/connect/sessions/reconnect", &wanted).await.expect(201);
    let link: Url = made["data"]["connect_link"].as_str().unwrap().parse().unwrap();
    let page = scene.sign_in_page(&mut browser, &link).await;
    assert!(page.url.path().contains(&DEMO_TENANTS[0].to_string()), "{}", page.url);
    let page = accept(&mut browser, &page, CONTOSO_PERSON).await;
    browser.follow(page).await.shows(200, "id=\"connected\"");
    let after = scene.connections().await;
    assert_eq!(after.len(), 1);
    assert_eq!((&after[0]["id"], &after[0]["tags"]), (&before[0]["id"], &before[0]["tags"]));
    scene.end().await;
}

#[tokio::test]
async fn nothing_secret_of_the_way_stands_in_the_log() {
    let scene = scene().await;
    let link = scene.link("mail").await;
    let mut browser = Browser::new();
    let page = scene.sign_in_page(&mut browser, &link).await;
    let page = accept(&mut browser, &page, CONTOSO_PERSON).await;
    let back = page.next().unwrap();
    browser.follow(page).await.shows(200, "id=\"connected\"");

    let log = scene.app.logs();
    let secrets = [
        link.path_segments().unwrap().next_back().unwrap().to_owned(),
        parameter(&back, "code"),
        parameter(&back, "state"),
    ];
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} stands in the log");
    }
    scene.end().await;
}
