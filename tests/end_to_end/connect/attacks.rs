//! What people try who want to connect what isn't theirs.

use chrono::TimeDelta;
use serde_json::json;
use url::Url;
use uuid::Uuid;
use waypost_simulator::{DEMO_CLIENT_ID, DEMO_TENANTS};

use super::browser::{Browser, Page};
use super::scene::{CONTOSO_ADMIN, CONTOSO_PERSON, FABRIKAM_ADMIN, Scene, accept, parameter, scene, with};

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
