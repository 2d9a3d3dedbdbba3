//! The demonstration's customers: how each connects, and how its subscriptions come to be. Over HTTP, as a product and
//! its customers would.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use waypost_simulator::{Control, DEMO_DOMAINS, DEMO_TENANTS, DEMO_USERS};

use super::api::{Api, Through, text};
use super::browser::Browser;
use super::provision::{FETCHING, INTEGRATION};
use super::receiver::{Arrived, Receiver};
use super::report::Report;

/// What every customer's connection gets by itself.
pub(super) const CHATS: &str = "chats/getAllMessages";
pub(super) const PEOPLE: &str = "users";
/// How long what happens by itself may take.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// One customer of the demonstration, with its subscriptions at the simulator.
#[derive(Debug, Clone)]
pub(super) struct Customer {
    pub(super) name: &'static str,
    pub(super) connection_id: String,
    pub(super) tenant: Uuid,
    /// Whose mailbox is watched.
    pub(super) person: Uuid,
    pub(super) chats: Uuid,
    pub(super) people: Uuid,
    pub(super) mail: Uuid,
}

/// The connection whose notifications are completed with what changed.
#[derive(Debug, Clone)]
pub(super) struct Mailbox {
    pub(super) connection_id: &'static str,
    pub(super) tenant: Uuid,
    pub(super) person: Uuid,
    pub(super) mail: Uuid,
}

/// What the receiver must be told beside notifications: a connection, and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Notice {
    pub(super) connection: String,
    pub(super) what: &'static str,
}

/// Customers while they are set up.
pub(super) struct Setting<'a> {
    api: &'a Api,
    control: &'a Control,
    notices: Vec<Notice>,
    report: Report,
}

impl<'a> Setting<'a> {
    pub(super) const fn new(api: &'a Api, control: &'a Control, report: Report) -> Self {
        Self { api, control, notices: Vec::new(), report }
    }

    /// What the receiver must have been told of all this.
    pub(super) fn into_notices(self) -> Vec<Notice> {
        self.notices
    }

    /// Contoso: an administrator follows a link, and a subscription is created through the proxy.
    pub(super) async fn by_link(&mut self, receiver: &Receiver) -> anyhow::Result<Customer> {
        let (tenant, person) = (DEMO_TENANTS[0], DEMO_USERS[0]);
        let end_user = json!({"id": "ada", "display_name": "Ada of Contoso"});
        let link = self.api.connect_link(INTEGRATION, &end_user).await?;
        self.report.done("connect link", &link);
        self.consent(&link, person).await?;
        let connection_id = told_connection(receiver).await?;
        self.expect(&connection_id, "auth.creation");
        self.report
            .done("connection", &format!("{connection_id}, of {} ({tenant}), by link", DEMO_DOMAINS[0]));
        let (chats, people) = self.by_templates(&connection_id).await?;

        let through = Through { integration: INTEGRATION, connection: &connection_id };
        let wish = json!({"resource": format!("users/{person}/messages"), "changeType": "created,updated"});
        let made = self.api.proxied(through, Method::POST, "subscriptions", Some(&wish)).await?;
        let mail: Uuid = text(&made, "/id")?.parse().context("Graph's id of a subscription is a GUID")?;
        self.expect(&connection_id, "subscription.created");
        self.report.done("proxy", &format!("POST /v1.0/subscriptions → {mail}, filled in and adopted"));
        self.read_through_proxy(through, tenant, person).await?;
        Ok(Customer { name: "contoso", connection_id, tenant, person, chats, people, mail })
    }

    /// Plays the administrator in a browser.
    async fn consent(&self, link: &str, person: Uuid) -> anyhow::Result<()> {
        let mut browser = Browser::new()?;
        let mut page = browser.open(link).await?;
        self.report.browsed(&page.title(), &page.place());
        page = browser.press(&page, "Continue with Microsoft", &[]).await?;
        self.report.browsed(&page.title(), &page.place());
        let person = person.to_string();
        // Who they are first, then what the app may do in their organization.
        for _ in 0..2 {
            page = browser.press(&page, "accept", &[("person", &person), ("decision", "accept")]).await?;
            self.report.browsed(&page.title(), &page.place());
        }
        ensure!(
            page.holds("id=\"connected\""),
            "the link did not lead to a connection, but to {}",
            page.title()
        );
        Ok(())
    }

    /// Reads a message as contoso, and compares it with what is in the mailbox.
    async fn read_through_proxy(
        &self,
        through: Through<'_>,
        tenant: Uuid,
        person: Uuid,
    ) -> anyhow::Result<()> {
        let messages = format!("users/{person}/messages");
        let held = self.control.put_item(tenant, &messages, json!({"subject": "An invoice of March"}))?;
        let path = format!("{messages}?$select=subject");
        let read = self.api.proxied(through, Method::GET, &path, None).await?;
        ensure!(
            read.pointer("/value/0/subject") == held.get("subject"),
            "the proxy brought {read}, not what is in the mailbox"
        );
        self.report.done("proxy", &format!("GET /v1.0/{path} → {}", held["subject"]));
        Ok(())
    }

    /// Fabrikam: its administrator consented elsewhere, so the API is told of it, and of the mailbox to watch.
    pub(super) async fn by_api(&mut self) -> anyhow::Result<Customer> {
        let (tenant, person, name) = (DEMO_TENANTS[1], DEMO_USERS[2], "fabrikam");
        // A domain, as people have it at hand: Waypost asks Entra for the tenant behind it.
        self.connect(INTEGRATION, name, DEMO_DOMAINS[1]).await?;
        let (chats, people) = self.by_templates(name).await?;
        let mail = self.subscribe(INTEGRATION, name, person).await?;
        Ok(Customer { name, connection_id: name.to_owned(), tenant, person, chats, people, mail })
    }

    /// A second connection of contoso, to the integration that reads what changed.
    pub(super) async fn mailbox(&mut self) -> anyhow::Result<Mailbox> {
        let (tenant, person, connection_id) = (DEMO_TENANTS[0], DEMO_USERS[1], "contoso-mail");
        self.connect(FETCHING, connection_id, DEMO_DOMAINS[0]).await?;
        let mail = self.subscribe(FETCHING, connection_id, person).await?;
        Ok(Mailbox { connection_id, tenant, person, mail })
    }

    async fn connect(&mut self, integration: &str, id: &str, domain: &str) -> anyhow::Result<()> {
        let wish = json!({
            "provider_config_key": integration, "connection_id": id, "connection_config": {"tenantId": domain},
        });
        self.api.post("/connections", &wish).await?;
        self.expect(id, "auth.creation");
        self.report.done("connection", &format!("{id}, of {domain}, by the API"));
        Ok(())
    }

    /// Creates a subscription to a mailbox.
    async fn subscribe(&mut self, integration: &str, id: &str, person: Uuid) -> anyhow::Result<Uuid> {
        let wish = json!({
            "provider_config_key": integration, "connection_id": id,
            "resource": format!("users/{person}/messages"), "change_type": "created,updated",
        });
        let made = self.api.post("/subscriptions", &wish).await?;
        self.expect(id, "subscription.created");
        let graph_id = text(&made, "/graph_id")?;
        self.report.done("subscription", &format!("{id}: the mailbox of {person}, {graph_id}"));
        Ok(graph_id.parse()?)
    }

    /// Waits for the subscriptions of the templates: to chats and to people.
    async fn by_templates(&mut self, connection: &str) -> anyhow::Result<(Uuid, Uuid)> {
        let path = format!("/subscriptions?connection_id={connection}&provider_config_key={INTEGRATION}");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.api.list(&path).await?;
            let of = |resource: &str| {
                let is = |one: &&Value, name: &str, wanted: &str| one[name].as_str() == Some(wanted);
                let mut active = found.iter().filter(|one| is(one, "status", "active"));
                active.find(|one| is(one, "resource", resource))?.get("graph_id")?.as_str()?.parse().ok()
            };
            if let (Some(chats), Some(people)) = (of(CHATS), of(PEOPLE)) {
                for (resource, id) in [(CHATS, chats), (PEOPLE, people)] {
                    self.expect(connection, "subscription.created");
                    self.report.done("subscription", &format!("{connection}: {resource}, {id}, by template"));
                }
                return Ok((chats, people));
            }
            ensure!(Instant::now() < deadline, "the templates brought {connection} only {found:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn expect(&mut self, connection: &str, what: &'static str) {
        self.notices.push(Notice { connection: connection.to_owned(), what });
    }
}

/// The connection that a link made, as the customer's backend learns of it.
async fn told_connection(receiver: &Receiver) -> anyhow::Result<String> {
    let is_auth = |one: &Arrived| one.body.get("type").and_then(Value::as_str) == Some("auth");
    receiver.wait_for(1, PATIENCE).await;
    let told = receiver.since(0).into_iter().find(is_auth).context("nobody told of the connection")?;
    text(&told.body, "/connectionId")
}
