//! The demonstration's notifications, and what must come of each: compared item by item, nothing more and nothing less.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use chrono::TimeDelta;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;
use waypost_core::clock::{Clock as _, SystemClock};
use waypost_simulator::sample::{self, Target};
use waypost_simulator::{ChangeType, Item, LifecycleEvent, Notification, Outcome, Prepared};

use super::house::House;
use super::provision::{Customer, Demo};
use super::receiver::{Arrived, Receiver};
use super::report::{Report, Tone, millis};

/// The events that the connections themselves cause, before the first notification.
const AUTH_EVENTS: usize = 2;

/// One POST and what must come of it.
#[derive(Debug)]
struct Step {
    name: String,
    post: Prepared,
    /// Items per connection, in the order of the POST.
    expected: Vec<(&'static str, Vec<Value>)>,
    /// Items that must be refused, by reason.
    refused: Vec<&'static str>,
    /// Tenants that nobody has connected.
    unmatched: usize,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Scenario {
    steps: Vec<Step>,
}

impl Scenario {
    pub(super) fn prepare(house: &House, demo: &Demo) -> anyhow::Result<Self> {
        let mut steps = from_graph(house, demo)?;
        steps.extend(samples(demo)?);
        steps.push(mixed(demo)?);
        steps.push(forged(demo)?);
        Ok(Self { steps })
    }

    /// Sends them one after the other and compares.
    pub(super) async fn play(
        &self,
        house: &House,
        receiver: &Receiver,
        demo: &Demo,
        report: Report,
    ) -> anyhow::Result<()> {
        report.section("Notifications, and what became of them");
        receiver.wait_for(AUTH_EVENTS).await;
        let mut faults = check_auth(&receiver.since(0), report);
        let mut seen = AUTH_EVENTS;
        for step in &self.steps {
            let posted = Instant::now();
            faults.extend(step.post(house, report).await?);
            receiver.wait_for(seen + step.expected.len()).await;
            let arrived = receiver.since(seen);
            seen += arrived.len();
            faults.extend(step.compare(&arrived, posted, report));
        }
        faults.extend(self.check_refusals(demo, report).await?);
        let late = receiver.since(seen).len();
        if late > 0 {
            faults.push(format!("{late} deliveries arrived that nobody expected"));
        }
        let sent = self.steps.len();
        let good = faults.is_empty();
        let summary = format!(
            "{sent} notifications sent, {} deliveries received, faults: {}",
            seen + late,
            faults.len()
        );
        report.verdict(good, &summary);
        for fault in &faults {
            report.fate(Tone::Bad, fault);
        }
        ensure!(good, "what arrived is not what should have: {}", faults.join("; "));
        Ok(())
    }

    async fn check_refusals(&self, demo: &Demo, report: Report) -> anyhow::Result<Vec<String>> {
        report.section("What Waypost shows of the rest");
        let mut faults = Vec::new();
        let mut reasons: Vec<&str> =
            self.steps.iter().flat_map(|step| step.refused.iter().copied()).collect();
        reasons.sort_unstable();
        for group in reasons.chunk_by(|left, right| left == right) {
            let (reason, wanted) = (group[0], u64::try_from(group.len())?);
            let found = settles_at(wanted, || demo.refused(reason)).await?;
            report.fate(
                tone(found == wanted),
                &format!("{} refused: {reason}", items_text(usize::try_from(found)?)),
            );
            if found != wanted {
                faults.push(format!("{found} items were refused as {reason}, not {wanted}"));
            }
        }
        let wanted = self.steps.iter().map(|step| step.unmatched).sum::<usize>();
        let found = demo.events_with("unmatched").await?;
        report.fate(
            tone(found == wanted),
            &format!("unmatched, waiting for a connection of their tenant: {found}"),
        );
        if found != wanted {
            faults.push(format!("{found} events are unmatched, not {wanted}"));
        }
        Ok(faults)
    }
}

fn tone(good: bool) -> Tone {
    if good { Tone::Good } else { Tone::Bad }
}

/// Asks until the answer is `wanted`, for a few seconds at most: refusals are written down once a second.
async fn settles_at<F>(wanted: u64, mut ask: impl FnMut() -> F) -> anyhow::Result<u64>
where
    F: Future<Output = anyhow::Result<u64>>,
{
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let found = ask().await?;
        if found == wanted || Instant::now() > deadline {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Connecting a customer is told as well.
fn check_auth(arrived: &[Arrived], report: Report) -> Vec<String> {
    let mut faults = Vec::new();
    for one in arrived {
        let told = one.body.get("type").and_then(Value::as_str) == Some("auth");
        let connection = one.body.get("connectionId").and_then(Value::as_str).unwrap_or("?");
        let good = told && one.forged.is_none();
        report.fate(tone(good), &format!("auth event: {connection} connected → {}", one.path));
        if !good {
            faults.push(format!("the auth event of {connection} is not right"));
        }
    }
    if arrived.len() != AUTH_EVENTS {
        faults.push(format!("{} auth events arrived, not {AUTH_EVENTS}", arrived.len()));
    }
    faults
}

impl Step {
    /// Sends the step's POST through the simulator, and says how it was answered.
    async fn post(&self, house: &House, report: Report) -> anyhow::Result<Vec<String>> {
        let control = house.simulator()?.control();
        let id = control.send(self.post.clone())?;
        control.wait_settled().await;
        let record = control.delivery(id).context("the simulator forgot a delivery")?;
        let last = record.tries.last();
        let status = last
            .and_then(|one| if let Outcome::Answered(status) = one.outcome { Some(status) } else { None });
        report.posted(&self.name, status, 202, last.map(|one| one.took).unwrap_or_default());
        Ok(if status == Some(202) {
            Vec::new()
        } else {
            vec![format!("{}: answered with {status:?}", self.name)]
        })
    }

    fn compare(&self, arrived: &[Arrived], posted: Instant, report: Report) -> Vec<String> {
        let mut faults = Vec::new();
        for one in arrived {
            faults.extend(self.compare_one(one, posted, report));
        }
        for (connection, items) in &self.expected {
            let got = arrived.iter().filter(|one| connection_of(one) == *connection).count();
            if got != 1 {
                faults.push(format!(
                    "{}: {connection} got {got} deliveries with its {} items",
                    self.name,
                    items.len()
                ));
            }
        }
        for reason in &self.refused {
            report.fate(Tone::Refused, &format!("one item refused: {reason}"));
        }
        if self.unmatched > 0 {
            report.fate(Tone::Refused, &format!("{} kept: its tenant has no connection yet", self.unmatched));
        }
        faults
    }

    fn compare_one(&self, one: &Arrived, posted: Instant, report: Report) -> Option<String> {
        let connection = connection_of(one);
        let items = one.body.pointer("/payload/value").and_then(Value::as_array);
        let expected = self.expected.iter().find(|(wanted, _)| *wanted == connection).map(|(_, items)| items);
        let fault = match (expected, items) {
            (None, _) => Some("nobody expected it".to_owned()),
            (Some(wanted), Some(items)) if wanted == items => one.forged.map(str::to_owned),
            _ => Some("its items are not those that were sent".to_owned()),
        };
        let signature = one.forged.unwrap_or("signatures right");
        let took = millis(one.at.duration_since(posted));
        let count = items.map_or(0, Vec::len);
        let text = format!(
            "→ {connection}  {}  {}  200  {took}  {signature}  attempt {}",
            items_text(count),
            one.path,
            one.attempt
        );
        report.fate(tone(fault.is_none()), &text);
        fault.map(|fault| format!("{}: {} for {connection}: {fault}", self.name, one.event))
    }
}

fn items_text(count: usize) -> String {
    if count == 1 { "1 item".to_owned() } else { format!("{count} items") }
}

fn connection_of(one: &Arrived) -> &str {
    one.body.get("connectionId").and_then(Value::as_str).unwrap_or("nobody")
}

/// What Graph itself sends for the two subscriptions.
fn from_graph(house: &House, demo: &Demo) -> anyhow::Result<Vec<Step>> {
    let control = house.simulator()?.control();
    let mut steps = Vec::new();
    for customer in &demo.customers {
        let change = Notification::of([Item::change(customer.subscription, ChangeType::Created)]);
        let lifecycle = Notification::of([Item::lifecycle(
            customer.subscription,
            LifecycleEvent::ReauthorizationRequired,
        )]);
        for (what, notification) in [("a new message", change), ("reauthorizationRequired", lifecycle)] {
            for post in control.prepare(&notification)? {
                let body: Value = serde_json::from_slice(&post.body)?;
                let items = body.pointer("/value").and_then(Value::as_array).cloned().unwrap_or_default();
                let name = format!("{what} of {}'s subscription", customer.connection_id);
                let expected = vec![(customer.connection_id, items)];
                steps.push(Step { name, post, expected, refused: Vec::new(), unmatched: 0 });
            }
        }
    }
    Ok(steps)
}

fn target(customer: &Customer, state: &str) -> Target {
    Target {
        subscription_id: customer.subscription,
        tenant_id: customer.tenant,
        client_state: Some(state.to_owned()),
        expires_at: SystemClock.now() + TimeDelta::hours(20),
    }
}

fn post(demo: &Demo, path: &str, items: &[Value]) -> anyhow::Result<Prepared> {
    let body = serde_json::to_vec(&sample::collection(items.iter().cloned()))?;
    let url = Url::parse(&format!("{}{path}", demo.ingress))?;
    Ok(Prepared { url, body: body.into(), subscriptions: Vec::new(), items: items.len() })
}

/// Every shape that Graph's workloads are known to send.
fn samples(demo: &Demo) -> anyhow::Result<Vec<Step>> {
    let customer = &demo.customers[0];
    sample::samples(&target(customer, &demo.webhook_secret))
        .into_iter()
        .map(|sample| {
            let lifecycle = sample.item.get("lifecycleEvent").is_some();
            let post =
                post(demo, if lifecycle { "/lifecycle" } else { "" }, std::slice::from_ref(&sample.item))?;
            let expected = vec![(customer.connection_id, vec![sample.item])];
            Ok(Step { name: sample.name.to_owned(), post, expected, refused: Vec::new(), unmatched: 0 })
        })
        .collect()
}

fn message(customer: &Customer, state: &str) -> Value {
    use waypost_simulator::{ExpirationStyle, Shape};
    sample::change_item(
        &target(customer, state),
        Shape::OutlookMessage,
        ChangeType::Updated,
        ExpirationStyle::Pacific,
    )
}

/// Two tenants, a stranger, a wrong state and nonsense in one POST: each item is judged alone.
fn mixed(demo: &Demo) -> anyhow::Result<Step> {
    let [first, second] = &demo.customers;
    let state = demo.webhook_secret.as_str();
    let stranger =
        Customer { tenant: Uuid::from_u128(0x5772_616e_6765_4abc_8def_0123_4567_89ab), ..first.clone() };
    let (one, two, three) = (message(first, state), message(second, state), message(first, state));
    let items = [
        one.clone(),
        two.clone(),
        message(&stranger, state),
        message(first, "guessed"),
        json!(null),
        three.clone(),
    ];
    let expected = vec![(first.connection_id, vec![one, three]), (second.connection_id, vec![two])];
    let refused = vec!["client_state_mismatch", "malformed_item"];
    let name = "two tenants, a stranger, a wrong state and a null in one POST".to_owned();
    Ok(Step { name, post: post(demo, "", &items)?, expected, refused, unmatched: 1 })
}

/// A guess at the secret: answered like everything else, and kept from everybody.
fn forged(demo: &Demo) -> anyhow::Result<Step> {
    let items = [message(&demo.customers[1], "not the secret")];
    let name = "a forged notification".to_owned();
    Ok(Step {
        name,
        post: post(demo, "", &items)?,
        expected: Vec::new(),
        refused: vec!["client_state_mismatch"],
        unmatched: 0,
    })
}
