//! Customers connect by a link, as a browser does it; and those who try to cheat don't.

mod attacks;
mod browser;
mod scene;

use chrono::TimeDelta;
use serde_json::json;
use url::Url;
use uuid::Uuid;
use waypost_harness::{Receiver, wait};
use waypost_simulator::{DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS, Tenant as EntraTenant, User};

use browser::Browser;
use scene::{CONTOSO_ADMIN, CONTOSO_PERSON, FABRIKAM_ADMIN, PERSONAL_TENANT, accept, parameter, scene};

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
