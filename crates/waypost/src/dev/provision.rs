//! What an operator and an integrator would set up: an account, an environment, integrations of one app registration,
//! an endpoint, and then customers. All over HTTP, as they would.

use std::net::SocketAddr;

use anyhow::Context as _;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use waypost_core::clock::SystemClock;
use waypost_crypto::signature::{EndpointSecret, SigningKey};
use waypost_crypto::token::random_secret;
use waypost_simulator::{DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_TENANTS};

use super::api::{Api, text};
use super::customers::{CHATS, Customer, Mailbox, Notice, PEOPLE, Setting};
use super::house::House;
use super::receiver::{Keys, Receiver};
use super::report::Report;
use crate::cli::admin_token;

/// What the two integrations are called; the second one wants what changed to be read.
pub(super) const INTEGRATION: &str = "graph-cc";
pub(super) const FETCHING: &str = "graph-mail";
const ACCOUNT: &str = "Demo";

/// Where this process listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) public: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// Everything that was set up.
#[derive(Debug)]
pub(super) struct Demo {
    pub(super) customers: [Customer; 2],
    pub(super) mailbox: Mailbox,
    pub(super) ingress: String,
    pub(super) webhook_secret: String,
    pub(super) notices: Vec<Notice>,
    pub(super) api: Api,
    /// An operator's token.
    pub(super) admin_token: String,
}

impl Demo {
    pub(super) async fn make(
        house: &House,
        receiver: &Receiver,
        addresses: Addresses,
        report: Report,
    ) -> anyhow::Result<Self> {
        report.section("Setting up, as an operator and an integrator would");
        let admin_token = admin_token::for_operator(&house.settings.admin, "waypost dev", &SystemClock)?;
        let admin = Api::new(format!("http://{}", addresses.admin), admin_token)?;
        let control = house.simulator()?.control();
        // Contoso's administrator will consent by a link; Fabrikam's did so elsewhere, before all this.
        control.set_consent(DEMO_CLIENT_ID, DEMO_TENANTS[1], true);
        clear(&admin, report).await?;
        let environment = environment(&admin, report).await?;
        let uuid = text(&environment, "/uuid")?;
        let api = Api::new(format!("http://{}", addresses.public), text(&environment, "/secret_key")?)?;
        let webhook_secret = random_secret().expose_secret().to_owned();
        integrations(&api, &webhook_secret, report).await?;
        let hooks = format!("{}/hooks", receiver.url());
        api.send(Method::PATCH, "/environment/webhook-settings", Some(&json!({"primary_url": hooks})))
            .await?;
        report.done("endpoint", &format!("primary, {hooks}"));
        let signing_key = SigningKey::new(text(&environment, "/webhook_signing_key")?);
        // Connecting a customer sends an event already.
        receiver.knows(Keys { signing_key, secret: primary_secret(&api).await? });

        let mut setting = Setting::new(&api, &control, report);
        let contoso = setting.by_link(receiver).await?;
        let fabrikam = setting.by_api().await?;
        let mailbox = setting.mailbox().await?;
        let notices = setting.into_notices();
        let ingress = format!("http://{}/webhook/{uuid}/{INTEGRATION}", addresses.public);
        let customers = [contoso, fabrikam];
        Ok(Self {
            customers,
            mailbox,
            ingress,
            webhook_secret,
            notices,
            admin_token: admin.token().to_owned(),
            api,
        })
    }

    /// How many items were refused for `reason`, as the environment API tells.
    pub(super) async fn refused(&self, reason: &str) -> anyhow::Result<usize> {
        let rows = self.api.list("/rejections").await?;
        let of_reason = rows.iter().filter(|row| row.get("reason").and_then(Value::as_str) == Some(reason));
        let count: u64 = of_reason.filter_map(|row| row.get("count").and_then(Value::as_u64)).sum();
        Ok(usize::try_from(count)?)
    }

    /// How many events fit the filter, as the environment API tells.
    pub(super) async fn events(&self, filter: &str) -> anyhow::Result<usize> {
        Ok(self.api.list(&format!("/events?{filter}")).await?.len())
    }

    /// Why items of quarantined events are kept from everybody, in no order.
    pub(super) async fn quarantined(&self) -> anyhow::Result<Vec<String>> {
        let mut reasons = Vec::new();
        for event in self.api.list("/events?status=quarantined").await? {
            let event = self.api.get(&format!("/events/{}", text(&event, "/id")?)).await?;
            let proofs = event.pointer("/proofs").and_then(Value::as_array).cloned().unwrap_or_default();
            let told = |proof: &Value| proof.get("reason")?.as_str().map(str::to_owned);
            reasons.extend(proofs.iter().map(|proof| told(proof).unwrap_or_else(|| "not told".to_owned())));
        }
        reasons.sort_unstable();
        Ok(reasons)
    }
}

/// Removes what an earlier run left: its subscriptions were an earlier simulator's.
async fn clear(admin: &Api, report: Report) -> anyhow::Result<()> {
    for account in admin.list("/admin/accounts").await? {
        if text(&account, "/name")? != ACCOUNT {
            continue;
        }
        let path = format!("/admin/accounts/{}/environments", text(&account, "/id")?);
        for environment in admin.list(&path).await? {
            let uuid = text(&environment, "/uuid")?;
            admin.send(Method::DELETE, &format!("/admin/environments/{uuid}"), None).await?;
            report.done("removed", &format!("the environment of an earlier run, {uuid}"));
        }
    }
    Ok(())
}

async fn environment(admin: &Api, report: Report) -> anyhow::Result<Value> {
    let account = admin.post("/admin/accounts", &json!({"name": ACCOUNT})).await?;
    let path = format!("/admin/accounts/{}/environments", text(&account, "/id")?);
    let environment = admin.post(&path, &json!({"name": "dev"})).await?;
    report.done("account and environment", &format!("{ACCOUNT} / dev, {}", text(&environment, "/uuid")?));
    Ok(environment)
}

/// Two, with the same app registration: one with templates, and one whose notifications are completed.
async fn integrations(api: &Api, webhook_secret: &str, report: Report) -> anyhow::Result<()> {
    let credentials = json!({
        "type": "OAUTH2_CC", "client_id": DEMO_CLIENT_ID, "client_secret": DEMO_CLIENT_SECRET,
    });
    let provider = "microsoft-oauth2-cc";
    let first = json!({
        "provider": provider, "unique_key": INTEGRATION, "display_name": "Microsoft Graph",
        "credentials": credentials, "custom": {"webhookSecret": webhook_secret},
    });
    api.post("/integrations", &first).await?;
    report.done("integration", &format!("{INTEGRATION}, {provider}, with its app registration"));
    let templates = json!([
        {"name": "chat messages", "resource": CHATS, "change_type": "created,updated", "include_resource_data": true},
        {"name": "people", "resource": PEOPLE, "change_type": "updated"},
    ]);
    let path = format!("/integrations/{INTEGRATION}/subscription-templates");
    api.send(Method::PUT, &path, Some(&templates)).await?;
    report.done("templates", &format!("{CHATS} (rich), {PEOPLE}: for every new connection"));
    let second = json!({
        "provider": provider, "unique_key": FETCHING, "display_name": "Microsoft mail",
        "credentials": credentials, "custom": {}, "fetch_resource": true,
    });
    api.post("/integrations", &second).await?;
    report.done("integration", &format!("{FETCHING}, with fetch_resource"));
    Ok(())
}

async fn primary_secret(api: &Api) -> anyhow::Result<EndpointSecret> {
    let endpoints = api.list("/endpoints").await?;
    let is_primary = |endpoint: &&Value| endpoint.get("kind").and_then(Value::as_str) == Some("primary");
    let primary = endpoints.iter().find(is_primary).context("there is no primary endpoint")?;
    let secret = api.get(&format!("/endpoints/{}/secret", text(primary, "/id")?)).await?;
    Ok(EndpointSecret::parse(&text(&secret, "/secret")?)?)
}
