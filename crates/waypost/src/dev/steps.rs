//! The demonstration's notifications: what Graph sends for the subscriptions that were made, encrypted and plain, every
//! other shape that its workloads are known to send, and what somebody might forge.

use anyhow::{Context as _, ensure};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;
use waypost_core::clock::{Clock as _, SystemClock};
use waypost_simulator::sample::{self, Target};
use waypost_simulator::{
    ChangeType, Control, ExpirationStyle, Item, LifecycleEvent, Notification, Prepared, Shape, Tamper, Tokens,
};

use super::api::Through;
use super::customers::Customer;
use super::provision::{Demo, FETCHING};
use super::step::Step;

/// A subscription that somebody else made and Waypost doesn't track: the integration's secret vouches for its items.
const UNTRACKED: Uuid = Uuid::from_u128(0x6c1d_94a7_0f3e_4b52_9a68_d2e7_51b0_c4f9);
/// Of a tenant that nobody connected.
const STRANGER: Uuid = Uuid::from_u128(0x5772_616e_6765_4abc_8def_0123_4567_89ab);

/// All of them, in the order in which they are sent.
pub(super) async fn all(control: &Control, demo: &Demo) -> anyhow::Result<Vec<Step>> {
    let graph = Graph { control, demo };
    let mut steps = graph.plain()?;
    steps.extend(graph.rich()?);
    steps.push(graph.fetched().await?);
    steps.extend(samples(demo)?);
    steps.push(mixed(demo)?);
    steps.push(forged(demo)?);
    Ok(steps)
}

/// What Graph itself sends for the subscriptions that were made.
struct Graph<'a> {
    control: &'a Control,
    demo: &'a Demo,
}

impl Graph<'_> {
    fn step(&self, name: impl Into<String>, notification: &Notification) -> anyhow::Result<Step> {
        let [post] =
            self.control.prepare(notification)?.try_into().ok().context("items of a step share one URL")?;
        Ok(Step::new(name, post))
    }

    /// Basic items of both customers, and what Graph tells Waypost of its subscriptions.
    fn plain(&self) -> anyhow::Result<Vec<Step>> {
        let mut steps = Vec::new();
        for customer in &self.demo.customers {
            for (what, subscription) in
                [("a new message", customer.mail), ("a changed person", customer.people)]
            {
                let item = Item::change(subscription, ChangeType::Updated);
                let mut step = self.step(format!("{}: {what}", customer.name), &Notification::of([item]))?;
                step.expected = vec![(customer.connection_id.clone(), step.items()?)];
                steps.push(step);
            }
            let event = Item::lifecycle(customer.mail, LifecycleEvent::ReauthorizationRequired);
            let name = format!("{}: reauthorizationRequired", customer.name);
            steps.push(Step { kept: 1, ..self.step(name, &Notification::of([event]))? });
        }
        Ok(steps)
    }

    /// Encrypted items: opened where they are proven, and kept from everybody where they are not.
    fn rich(&self) -> anyhow::Result<Vec<Step>> {
        let [contoso, fabrikam] = &self.demo.customers;
        let mut steps = vec![
            self.opened("contoso: a chat message, encrypted", &[(contoso, None)])?,
            self.opened("both in one POST, each with its own token", &[(contoso, None), (fabrikam, None)])?,
            self.opened(
                "three encrypted, the second one tampered with",
                &[(contoso, None), (contoso, Some(Tamper::Data)), (contoso, None)],
            )?,
        ];
        let (item, _) = self.message(fabrikam)?;
        let name = "an encrypted item that was tampered with";
        let step = self.step(name, &Notification::of([item.tampered(Tamper::Signature)]))?;
        steps.push(Step { quarantined: vec!["tampered"], ..step });
        let (item, _) = self.message(contoso)?;
        let forged = Notification { items: vec![item], tokens: Tokens::Forged };
        let step = self.step("an encrypted item with a forged token", &forged)?;
        steps.push(Step { quarantined: vec!["signature"], ..step });
        Ok(steps)
    }

    /// Chat messages, of which those arrive opened that nobody tampered with.
    fn opened(&self, name: &str, wanted: &[(&Customer, Option<Tamper>)]) -> anyhow::Result<Step> {
        let mut items = Vec::new();
        let mut contents = Vec::new();
        for (customer, tamper) in wanted {
            let (item, held) = self.message(customer)?;
            items.push(Item { tamper: *tamper, ..item });
            contents.push(held);
        }
        let mut step = self.step(name, &Notification::of(items))?;
        let mut expected: Vec<(String, Vec<Value>)> = Vec::new();
        for (((customer, tamper), content), sent) in wanted.iter().zip(contents).zip(step.items()?) {
            if tamper.is_some() {
                continue;
            }
            let item = opened(sent, content)?;
            match expected.iter_mut().find(|(connection, _)| *connection == customer.connection_id) {
                Some((_, items)) => items.push(item),
                None => expected.push((customer.connection_id.clone(), vec![item])),
            }
        }
        step.expected = expected;
        Ok(step)
    }

    /// A chat message that the simulator holds, and the item that tells of it.
    fn message(&self, customer: &Customer) -> anyhow::Result<(Item, Value)> {
        let chat = format!("19:{}@thread.v2", Uuid::new_v4().simple());
        let text = format!("Confidential for {} — Ünïcode ✓ {}", customer.name, Uuid::new_v4());
        let value = json!({"messageType": "message", "body": {"contentType": "text", "content": text}});
        let path = format!("chats/{chat}/messages");
        let made = self.control.put_item(customer.tenant, &path, value)?;
        let id = made["id"].as_str().context("a message has an id")?;
        let held = self.control.item(customer.tenant, &format!("{path}/{id}"));
        let held = held.context("the simulator forgot a message")?;
        let resource = format!("chats('{chat}')/messages('{id}')");
        let data = json!({"@odata.type": "#Microsoft.Graph.chatMessage", "@odata.id": resource, "id": id});
        let item = Item::change(customer.chats, ChangeType::Created)
            .holding(held.clone())
            .patched(json!({"resource": resource, "resourceData": data}));
        Ok((item, held))
    }

    /// A basic item that arrives with what changed, as Graph gives it to who reads it.
    async fn fetched(&self) -> anyhow::Result<Step> {
        let mailbox = &self.demo.mailbox;
        let messages = format!("Users/{}/Messages", mailbox.person);
        let value =
            json!({"subject": "Quarterly figures — draft ✓", "body": {"content": "Not for everybody."}});
        let made = self.control.put_item(mailbox.tenant, &messages, value)?;
        let resource = format!("{messages}/{}", made["id"].as_str().context("a message has an id")?);
        let through = Through { integration: FETCHING, connection: mailbox.connection_id };
        let read = self.demo.api.proxied(through, Method::GET, &resource, None).await?;
        for member in ["subject", "body"] {
            ensure!(read[member] == made[member], "the proxy brought {read}, not {made}");
        }
        let item = Item::change(mailbox.mail, ChangeType::Created).patched(json!({
            "resource": resource,
            "resourceData": {"@odata.id": resource, "id": made["id"], "@odata.etag": made["@odata.etag"]},
        }));
        let mut step = self.step("contoso-mail: a new message, to be read", &Notification::of([item]))?;
        let mut items = step.items()?;
        items[0]["fetchedContent"] = read;
        step.expected = vec![(mailbox.connection_id.to_owned(), items)];
        Ok(step)
    }
}

/// An encrypted item as it must arrive.
fn opened(mut sent: Value, content: Value) -> anyhow::Result<Value> {
    let item = sent.as_object_mut().context("an item is an object")?;
    item.remove("encryptedContent").context("the item is not encrypted")?;
    item.insert("decryptedContent".to_owned(), content);
    Ok(sent)
}

fn target(tenant: Uuid, state: &str) -> Target {
    Target {
        subscription_id: UNTRACKED,
        tenant_id: tenant,
        client_state: Some(state.to_owned()),
        expires_at: SystemClock.now() + TimeDelta::hours(20),
    }
}

fn post(demo: &Demo, path: &str, items: &[Value]) -> anyhow::Result<Prepared> {
    let body = serde_json::to_vec(&sample::collection(items.iter().cloned()))?;
    let url = Url::parse(&format!("{}{path}", demo.ingress))?;
    Ok(Prepared { url, body: body.into(), subscriptions: Vec::new(), items: items.len() })
}

/// Every shape that Graph's workloads are known to send, for a subscription that Waypost doesn't track.
fn samples(demo: &Demo) -> anyhow::Result<Vec<Step>> {
    let customer = &demo.customers[0];
    sample::samples(&target(customer.tenant, &demo.webhook_secret))
        .into_iter()
        .map(|sample| {
            let path = if sample.item.get("lifecycleEvent").is_some() { "/lifecycle" } else { "" };
            let mut step = Step::new(sample.name, post(demo, path, std::slice::from_ref(&sample.item))?);
            step.expected = vec![(customer.connection_id.clone(), vec![sample.item])];
            Ok(step)
        })
        .collect()
}

fn message(tenant: Uuid, state: &str) -> Value {
    let (shape, change, style) = (Shape::OutlookMessage, ChangeType::Updated, ExpirationStyle::Pacific);
    sample::change_item(&target(tenant, state), shape, change, style)
}

/// Two tenants, a stranger, a wrong state and nonsense in one POST: each item is judged alone.
fn mixed(demo: &Demo) -> anyhow::Result<Step> {
    let [first, second] = &demo.customers;
    let state = demo.webhook_secret.as_str();
    let (one, two, three) =
        (message(first.tenant, state), message(second.tenant, state), message(first.tenant, state));
    let items = [
        one.clone(),
        two.clone(),
        message(STRANGER, state),
        message(first.tenant, "guessed"),
        json!(null),
        three.clone(),
    ];
    let name = "two tenants, a stranger, a wrong state and a null in one POST";
    Ok(Step {
        expected: vec![
            (first.connection_id.clone(), vec![one, three]),
            (second.connection_id.clone(), vec![two]),
        ],
        refused: vec!["client_state_mismatch", "malformed_item"],
        unmatched: 1,
        ..Step::new(name, post(demo, "", &items)?)
    })
}

/// A guess at the secret: answered like everything else, and kept from everybody.
fn forged(demo: &Demo) -> anyhow::Result<Step> {
    let items = [message(demo.customers[1].tenant, "not the secret")];
    let step = Step::new("a forged notification", post(demo, "", &items)?);
    Ok(Step { refused: vec!["client_state_mismatch"], ..step })
}
