//! What must never be on disk in the clear, nor in a log: looked for in all files of a database, its write-ahead log
//! included, and in the logs of both programs, after a run that touches every kind of secret.

mod house;
mod search;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;
use uuid::Uuid;
use waypost_crypto::certificate::{CertifiedKey, KeySize, Saying};
use waypost_harness::program::{PATIENCE, within};
use waypost_harness::{Client, Reply, TestClock, Trust};
use waypost_simulator::{ChangeType, DEMO_CLIENT_ID, DEMO_TENANTS, DEMO_USERS, Item, Notification};

pub(crate) use search::Search;

use house::House;

const CLIENT_SECRET: &str = "marker-client-secret-2f81";
const WEBHOOK_SECRET: &str = "marker-webhook-secret-2f82";
const SECOND_SECRET: &str = "marker-rotated-secret-2f83";
const SUBJECT: &str = "marker-rich-subject-2f84";
const BODY: &str = "marker-rich-body-2f85";
const FETCHED: &str = "marker-fetched-content-2f86";
const RESOURCE_DATA: &str = "marker-resource-data-2f87";
const PROXIED: &str = "marker-proxied-body-2f88";
const ECHO: &str = "marker-answer-of-a-receiver-2f89";
const GUESS: &str = "marker-guessed-state-2f8a";
const HEADER: &str = "marker-header-of-an-endpoint-2f8b";
/// Stands in a connection's metadata, which is stored in the clear.
const PLANTED: &str = "marker-in-the-clear-2f8c";

/// What every private key of RSA has near its beginning as PKCS#8, whatever its size.
pub(crate) const PRIVATE_KEY: [u8; 20] = [
    0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05,
    0x00, 0x04, 0x82,
];
/// How signed tokens begin: `{"typ":"JWT`, `{"alg":"`.
pub(crate) const TOKENS: [&str; 2] = ["eyJ0eXAiOiJKV1", "eyJhbGciOi"];

/// One secret, by the name to tell it by.
type Secret = (String, String);

/// An environment with an endpoint, and what is secret about it so far.
struct Tenant {
    api: Client,
    secrets: Vec<Secret>,
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{pointer} in {value}")).to_owned()
}

impl Tenant {
    async fn create(house: &House) -> Self {
        let account = house.admin.post("/admin/accounts", &json!({"name": "Acme"})).await.expect(201);
        let path = format!("/admin/accounts/{}/environments", text(&account, "/id"));
        let made = house.admin.post(&path, &json!({"name": "prod"})).await.expect(201);
        let (key, signing_key) = (text(&made, "/secret_key"), text(&made, "/webhook_signing_key"));
        let api = house.public.with_token(&key);
        let credentials =
            |kind: &str| json!({"type": kind, "client_id": DEMO_CLIENT_ID, "client_secret": CLIENT_SECRET});
        for (unique_key, provider, kind, fetch) in [
            ("graph", "microsoft-oauth2-cc", "OAUTH2_CC", false),
            ("fetching", "microsoft-oauth2-cc", "OAUTH2_CC", true),
            ("people", "microsoft", "OAUTH2", false),
        ] {
            let wish = json!({"unique_key": unique_key, "provider": provider, "credentials": credentials(kind),
                "custom": {"webhookSecret": WEBHOOK_SECRET}, "fetch_resource": fetch});
            api.post("/integrations", &wish).await.expect(200);
        }
        let hook = json!({"url": house.receiver.url(), "headers": {"x-own": HEADER}});
        let endpoint = text(&api.post("/endpoints", &hook).await.expect(201), "/id");
        let shown = api.get(&format!("/endpoints/{endpoint}/secret")).await.expect(200);
        let secret = text(&shown, "/secret");
        let trust =
            Trust { signing_key: signing_key.clone(), secret: secret.clone(), clock: TestClock::default() };
        house.receiver.trust(trust);
        let bare = secret.trim_start_matches("whsec_").to_owned();
        let raw = [("API key", key), ("signing key", signing_key), ("secret of an endpoint", bare)];
        let secrets = raw.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        Self { api, secrets }
    }

    fn keep(&mut self, name: &str, secret: impl Into<String>) {
        self.secrets.push((name.to_owned(), secret.into()));
    }

    async fn connect(&self, integration: &str, id: &str, credentials: Option<Value>) {
        let mut wish = json!({"provider_config_key": integration, "connection_id": id,
            "connection_config": {"tenantId": DEMO_TENANTS[0]}, "metadata": {"note": PLANTED}});
        if let Some(credentials) = credentials {
            wish["credentials"] = credentials;
        }
        self.api.post("/connections", &wish).await.expect(201);
    }

    /// Has the connection's tokens shown, the first ones and those that replace them.
    async fn show_tokens(&mut self, integration: &str, id: &str) {
        let path = format!("/connections/{id}?provider_config_key={integration}&refresh_token=true");
        for path in [path.clone(), format!("{path}&force_refresh=true")] {
            let shown = self.api.get(&path).await.expect(200);
            for name in ["token", "access_token", "refresh_token"] {
                if let Some(token) = shown["credentials"][name].as_str() {
                    self.keep(&format!("{name} of {id}"), token);
                }
            }
        }
    }

    async fn subscribe(&self, integration: &str, id: &str, resource: &str, rich: bool) -> Uuid {
        let wish = json!({"provider_config_key": integration, "connection_id": id, "resource": resource,
            "change_type": "updated", "include_resource_data": rich});
        text(&self.api.post("/subscriptions", &wish).await.expect(201), "/graph_id").parse().unwrap()
    }

    async fn proxied(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let mut request = self.api.request(method, &format!("/proxy/v1.0/{path}"));
        request = request.header("Provider-Config-Key", "graph").header("Connection-Id", "conn-1");
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.api.send(request).await;
        assert!(answer.status < 300, "{}", answer.text());
        answer.json()
    }
}

/// The refresh token of a person who signed in.
async fn refresh_token(house: &House) -> String {
    let back = format!("{}oauth/callback", house.public.url("/"));
    let login = house.simulator.login_url();
    let login = login.as_str().trim_end_matches('/');
    let verifier = "a-verifier-that-is-long-enough-to-be-one-0123456789";
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let app = DEMO_CLIENT_ID.to_string();
    let person = DEMO_USERS[1].to_string();
    let form = [
        ("client_id", app.as_str()),
        ("response_type", "code"),
        ("redirect_uri", &back),
        ("scope", "openid offline_access Mail.Read"),
        ("state", "any"),
        ("nonce", "any"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("person", &person),
        ("decision", "accept"),
    ];
    let client = Client::new(String::new());
    let url = format!("{login}/organizations/oauth2/v2.0/authorize");
    let answer = client.send(client.request(Method::POST, &url).form(&form)).await;
    let target: Url = answer.header("location").parse().unwrap_or_else(|_| panic!("{}", answer.text()));
    let code = target.query_pairs().find(|(name, _)| name == "code");
    let code = code.unwrap_or_else(|| panic!("no code in {target}")).1.into_owned();
    let form = [
        ("client_id", app.as_str()),
        ("client_secret", CLIENT_SECRET),
        ("redirect_uri", &back),
        ("code", &code),
        ("code_verifier", verifier),
        ("grant_type", "authorization_code"),
    ];
    let url = format!("{login}/organizations/oauth2/v2.0/token");
    let tokens = client.send(client.request(Method::POST, &url).form(&form)).await.expect(200);
    text(&tokens, "/refresh_token")
}

/// Connections with tokens of every kind, and certificates with private keys.
async fn give_credentials(house: &House, tenant: &mut Tenant) {
    let saying = Saying { common_name: "brought", not_before: 0, not_after: u64::from(u32::MAX) };
    let own = CertifiedKey::make(KeySize::Rsa2048, saying).unwrap();
    let key = own.key().to_pkcs8().unwrap();
    let brought = json!({"certificate": own.certificate().base64(), "private_key": STANDARD.encode(&key)});
    tenant.api.post("/integrations/fetching/certificates", &brought).await.expect(201);
    tenant.api.post("/integrations/graph/certificates", &json!({})).await.expect(201);
    // The end of a private key: the exponents and the coefficient, which nothing public holds.
    tenant.keep("private key", STANDARD.encode(&key[key.len() - 300..key.len() - 180]));

    tenant.connect("graph", "conn-1", None).await;
    tenant.connect("fetching", "conn-2", None).await;
    let refresh = refresh_token(house).await;
    let credentials = json!({"type": "OAUTH2", "access_token": "marker-old-access-token-2f8d",
        "refresh_token": refresh, "expires_at": "2020-01-01T00:00:00Z"});
    tenant.connect("people", "conn-3", Some(credentials)).await;
    tenant.keep("refresh token that was brought", refresh);
    tenant.keep("access token that was brought", "marker-old-access-token-2f8d");
    for (integration, id) in [("graph", "conn-1"), ("fetching", "conn-2"), ("people", "conn-3")] {
        tenant.show_tokens(integration, id).await;
    }
    let session = json!({"end_user": {"id": "ada"}, "allowed_integrations": ["graph"]});
    let session = tenant.api.post("/connect/sessions", &session).await.expect(201);
    let link = text(&session, "/data/connect_link");
    assert_eq!(Client::new(String::new()).get(&link).await.status, 200);
    tenant.keep("connect link", link.rsplit('/').next().unwrap());
    tenant.keep("token of a connect session", text(&session, "/data/token"));
}

/// Sends what is encrypted, what is plain, what has to be read, and what is refused.
async fn notify(house: &House, tenant: &mut Tenant) {
    let graph = house.control();
    let chats = tenant.subscribe("graph", "conn-1", "chats/getAllMessages", true).await;
    let mail =
        tenant.subscribe("fetching", "conn-2", &format!("users/{}/messages", DEMO_USERS[0]), false).await;
    let people = tenant.subscribe("graph", "conn-1", "users", false).await;
    for subscription in graph.subscriptions() {
        tenant.keep("clientState", subscription.client_state.unwrap());
    }
    let seen = house.receiver.count();
    let content = json!({"id": "1", "subject": SUBJECT, "body": {"content": BODY}});
    let rich = Item::change(chats, ChangeType::Updated).holding(content);
    let data = json!({"resourceData": {"id": "1", "note": RESOURCE_DATA}});
    let plain = Item::change(people, ChangeType::Updated).patched(data);
    let forged = plain.clone().patched(json!({"clientState": GUESS}));
    graph.notify(&Notification::of([rich.clone()])).unwrap();
    graph.notify(&Notification::of([rich, plain, forged])).unwrap();
    let message = json!({"subject": FETCHED});
    let held =
        graph.put_item(DEMO_TENANTS[0], &format!("users/{}/messages", DEMO_USERS[0]), message).unwrap();
    let resource = format!("users/{}/messages/{}", DEMO_USERS[0], text(&held, "/id"));
    let read = Item::change(mail, ChangeType::Updated).patched(json!({"resource": resource}));
    graph.notify(&Notification::of([read])).unwrap();
    graph.wait_settled().await;
    let received = house.receiver.wait_for(seen + 3).await;
    let all: String = received.iter().map(waypost_harness::Received::text).collect();
    for marker in [SUBJECT, BODY, RESOURCE_DATA, FETCHED] {
        assert!(all.contains(marker), "{marker} did not arrive, so this shows nothing about it");
    }
    let path = format!("users/{}/messages", DEMO_USERS[1]);
    let made = tenant.proxied(Method::POST, &path, Some(&json!({"subject": PROXIED}))).await;
    tenant.proxied(Method::GET, &format!("{path}/{}", text(&made, "/id")), None).await;
}

/// Rotates what can be.
async fn rotate(tenant: &mut Tenant) {
    let wish = json!({"secret": SECOND_SECRET});
    tenant.api.post("/integrations/graph/webhook-secret/rotate", &wish).await.expect(200);
    let made = tenant.api.post("/integrations/people/webhook-secret/rotate", &json!({})).await.expect(200);
    tenant.keep("generated webhook secret", text(&made, "/webhook_secret"));
    let settled = async || {
        let open = tenant.api.get("/deliveries?status=pending").await.expect(200);
        let refused = tenant.api.get("/rejections").await.expect(200);
        let (open, refused) = (open["data"].as_array().unwrap(), refused["data"].as_array().unwrap());
        (open.is_empty() && !refused.is_empty()).then_some(())
    };
    within(PATIENCE, settled, async || "deliveries are open, or nothing was refused").await;
}

fn search(tenant: &Tenant) -> Search {
    let fixed = [
        CLIENT_SECRET,
        WEBHOOK_SECRET,
        SECOND_SECRET,
        SUBJECT,
        BODY,
        FETCHED,
        RESOURCE_DATA,
        PROXIED,
        ECHO,
        GUESS,
        HEADER,
    ];
    let fixed = fixed.into_iter().chain(TOKENS).map(|text| (text.to_owned(), text.as_bytes().to_vec()));
    let made = tenant.secrets.iter().map(|(name, secret)| match name.as_str() {
        // Keys that are base64 themselves are looked for as the bytes that they are; that finds the base64 too.
        "private key" => (name.clone(), STANDARD.decode(secret).unwrap()),
        _ => (name.clone(), secret.as_bytes().to_vec()),
    });
    let key = ("some private key".to_owned(), PRIVATE_KEY.to_vec());
    Search::new(fixed.chain(made).chain([key]))
}

#[tokio::test]
async fn nothing_that_is_secret_stands_in_any_file() {
    let house = House::open().await;
    house.receiver.answer(Reply::status(200).body(ECHO));
    let mut tenant = Tenant::create(&house).await;
    give_credentials(&house, &mut tenant).await;
    notify(&house, &mut tenant).await;
    rotate(&mut tenant).await;
    assert!(tenant.secrets.iter().any(|(_, secret)| TOKENS.iter().any(|begin| secret.starts_with(begin))));
    let folder = house.close().await;

    let hits = search(&tenant).below(folder.path());
    assert!(hits.is_empty(), "{hits:#?}");

    // That it finds: what is stored in the clear stands in the tables and in the write-ahead log, and the log logs.
    let planted = Search::new([("planted", PLANTED)]).below(folder.path());
    for place in ["postgres/data/base/", "postgres/data/pg_wal/"] {
        let found = planted.iter().any(|hit| hit.file.to_str().unwrap().contains(place));
        assert!(found, "what is in the clear was not found in {place}: {planted:?}");
    }
    let logged = Search::new([("logged", "waypost runs")]).below(&folder.path().join("log"));
    assert_eq!(logged.len(), 1);
}
