//! One POST of the demonstration and what must come of it: compared item by item, nothing more and nothing less.

use std::time::Instant;

use anyhow::Context as _;
use serde_json::Value;
use waypost_simulator::{Control, Outcome, Prepared};

use super::receiver::Arrived;
use super::report::{Report, Tone, millis};

/// One POST and what must come of it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) post: Prepared,
    /// Items per connection, in the order of the POST.
    pub(super) expected: Vec<(String, Vec<Value>)>,
    /// Items that must be refused, by reason.
    pub(super) refused: Vec<&'static str>,
    /// Items that must be kept from everybody, by reason, in events that have nothing else.
    pub(super) quarantined: Vec<&'static str>,
    /// Events that are kept and forwarded to nobody: what Graph tells Waypost of its own subscriptions.
    pub(super) kept: usize,
    /// Tenants that nobody has connected.
    pub(super) unmatched: usize,
}

impl Step {
    /// A POST of which nothing comes.
    pub(super) fn new(name: impl Into<String>, post: Prepared) -> Self {
        let (expected, refused, quarantined) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.into(), post, expected, refused, quarantined, kept: 0, unmatched: 0 }
    }

    /// The items of the POST, as they are sent.
    pub(super) fn items(&self) -> anyhow::Result<Vec<Value>> {
        let body: Value = serde_json::from_slice(&self.post.body)?;
        body.pointer("/value").and_then(Value::as_array).cloned().context("a notification has no items")
    }

    /// Sends it as Graph does, and says how it was answered.
    pub(super) async fn send(&self, control: &Control, report: Report) -> anyhow::Result<Vec<String>> {
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

    /// Compares what arrived with what should have, and tells both what is wrong.
    pub(super) fn compare(&self, arrived: &[Arrived], posted: Instant, report: Report) -> Vec<String> {
        let mut faults = Vec::new();
        for one in arrived {
            let fault = self.fault_of(one);
            report.fate(tone(fault.is_none()), &line(one, posted));
            faults.extend(fault);
        }
        faults.extend(self.miscounted(arrived));
        for (reasons, fate) in [(&self.refused, "refused"), (&self.quarantined, "quarantined")] {
            for reason in reasons {
                report.fate(Tone::Refused, &format!("one item {fate}: {reason}"));
            }
        }
        if self.kept > 0 {
            report.fate(Tone::Refused, "kept, and forwarded to nobody: it is for Waypost");
        }
        if self.unmatched > 0 {
            report.fate(Tone::Refused, &format!("{} kept: its tenant has no connection yet", self.unmatched));
        }
        faults
    }

    /// Connections that did not get exactly one delivery.
    fn miscounted(&self, arrived: &[Arrived]) -> Vec<String> {
        let wrong = self.expected.iter().filter_map(|(connection, items)| {
            let got = arrived.iter().filter(|one| one.connection() == connection).count();
            let text = || {
                format!(
                    "{}: {connection} got {got} deliveries with its {}",
                    self.name,
                    items_text(items.len())
                )
            };
            (got != 1).then(text)
        });
        wrong.collect()
    }

    /// What is wrong with a delivery.
    fn fault_of(&self, one: &Arrived) -> Option<String> {
        let connection = one.connection();
        let items = one.body.pointer("/payload/value").and_then(Value::as_array);
        let expected = self.expected.iter().find(|(wanted, _)| wanted == connection).map(|(_, items)| items);
        let fault = match (expected, items) {
            (None, _) => "nobody expected it",
            (Some(wanted), Some(items)) if wanted == items => one.forged?,
            _ => "its items are not those that should have come",
        };
        Some(format!("{}: {} for {connection}: {fault}", self.name, one.event))
    }
}

pub(super) const fn tone(good: bool) -> Tone {
    if good { Tone::Good } else { Tone::Bad }
}

pub(super) fn items_text(count: usize) -> String {
    if count == 1 { "1 item".to_owned() } else { format!("{count} items") }
}

fn line(one: &Arrived, posted: Instant) -> String {
    let items = one.body.pointer("/payload/value").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let with = |member: &str| items.iter().filter(|item| item.get(member).is_some()).count();
    let mut what = items_text(items.len());
    for (count, done) in [(with("decryptedContent"), "opened"), (with("fetchedContent"), "fetched")] {
        if count > 0 {
            what = format!("{what}, {count} {done}");
        }
    }
    let signature = one.forged.unwrap_or("signatures right");
    let took = millis(one.at.saturating_duration_since(posted));
    let (connection, attempt) = (one.whose(), &one.attempt);
    format!("→ {connection}  {what}  {}  200  {took}  {signature}  attempt {attempt}", one.path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step() -> Step {
        let url = "http://127.0.0.1:9/webhook".parse().unwrap();
        let post = Prepared { url, body: Vec::new().into(), subscriptions: Vec::new(), items: 1 };
        Step { expected: vec![("contoso".to_owned(), vec![item("secret")])], ..Step::new("a step", post) }
    }

    fn item(content: &str) -> Value {
        json!({"changeType": "created", "decryptedContent": {"body": content}})
    }

    fn arrived(connection: &str, items: &[Value]) -> Arrived {
        Arrived {
            at: Instant::now(),
            path: "/hooks".to_owned(),
            body: json!({"connectionId": connection, "payload": {"value": items}, "type": "forward"}),
            event: "evt_1".to_owned(),
            attempt: "1".to_owned(),
            forged: None,
        }
    }

    fn faults(arrived: &[Arrived]) -> usize {
        let step = step();
        step.miscounted(arrived).len() + arrived.iter().filter_map(|one| step.fault_of(one)).count()
    }

    #[test]
    fn exactly_what_should_have_come_has_no_fault() {
        assert_eq!(faults(&[arrived("contoso", &[item("secret")])]), 0);
    }

    #[test]
    fn every_difference_is_a_fault() {
        let good = arrived("contoso", &[item("secret")]);
        let forged = Arrived { forged: Some("webhook-signature is wrong"), ..good.clone() };
        for (what, wrong) in [
            ("nothing came", vec![]),
            ("it came twice", vec![good.clone(), good.clone()]),
            ("another content", vec![arrived("contoso", &[item("secrét")])]),
            ("an item more", vec![arrived("contoso", &[item("secret"), item("secret")])]),
            ("no items", vec![arrived("contoso", &[])]),
            ("a stranger's as well", vec![good, arrived("fabrikam", &[item("secret")])]),
            ("a wrong signature", vec![forged]),
        ] {
            assert!(faults(&wrong) > 0, "{what}");
        }
    }
}
