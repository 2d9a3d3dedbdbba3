//! The demonstration itself: notifications one after the other, and whether exactly what should have come of them did.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::Value;

use super::customers::Notice;
use super::house::House;
use super::provision::Demo;
use super::receiver::{Arrived, Receiver};
use super::report::{Report, Tone};
use super::step::{Step, items_text, tone};
use super::steps;

/// How long what should come may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take where something was missing already.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// How long what is written down later may take: refusals are written once a second.
const SETTLING: Duration = Duration::from_secs(5);
/// The same where something was wrong already.
const SHORT_SETTLING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// All steps.
#[derive(Debug)]
pub(super) struct Scenario {
    steps: Vec<Step>,
}

impl Scenario {
    pub(super) async fn prepare(house: &House, demo: &Demo) -> anyhow::Result<Self> {
        Ok(Self { steps: steps::all(&house.simulator()?.control(), demo).await? })
    }

    /// Sends them one after the other and compares.
    pub(super) async fn play(
        &self,
        house: &House,
        receiver: &Receiver,
        demo: &Demo,
        report: Report,
    ) -> anyhow::Result<()> {
        report.section("What the customer's backend was told meanwhile");
        receiver.wait_for(demo.notices.len(), PATIENCE).await;
        let mut seen = receiver.since(0).len();
        let mut faults = check_notices(&demo.notices, &receiver.since(0)[..seen], report);
        report.section("Notifications, and what became of them");
        let control = house.simulator()?.control();
        for step in &self.steps {
            let posted = Instant::now();
            faults.extend(step.send(&control, report).await?);
            let patience = if faults.is_empty() { PATIENCE } else { SHORT_PATIENCE };
            receiver.wait_for(seen + step.expected.len(), patience).await;
            let arrived = receiver.since(seen);
            seen += arrived.len();
            faults.extend(step.compare(&arrived, posted, report));
        }
        let settling = if faults.is_empty() { SETTLING } else { SHORT_SETTLING };
        faults.extend(self.check_rest(demo, settling, report).await?);
        let late = receiver.since(seen).len();
        if late > 0 {
            faults.push(format!("{late} deliveries arrived that nobody expected"));
        }
        self.conclude(seen + late, &faults, report)
    }

    fn conclude(&self, received: usize, faults: &[String], report: Report) -> anyhow::Result<()> {
        let good = faults.is_empty();
        let sent = self.steps.len();
        let summary =
            format!("{sent} notifications sent, {received} deliveries received, faults: {}", faults.len());
        report.verdict(good, &summary);
        for fault in faults {
            report.fate(Tone::Bad, fault);
        }
        ensure!(good, "what arrived is not what should have: {}", faults.join("; "));
        Ok(())
    }

    /// What never reaches the receiver, as the environment API shows it.
    async fn check_rest(
        &self,
        demo: &Demo,
        settling: Duration,
        report: Report,
    ) -> anyhow::Result<Vec<String>> {
        report.section("What Waypost shows of the rest");
        let mut rest = Rest { report, settling, faults: Vec::new() };
        let mut reasons: Vec<&str> =
            self.steps.iter().flat_map(|step| step.refused.iter().copied()).collect();
        reasons.sort_unstable();
        for group in reasons.chunk_by(|left, right| left == right) {
            let what = format!("refused: {}", group[0]);
            rest.check(&what, group.len(), || demo.refused(group[0])).await?;
        }
        let mut reasons: Vec<&str> =
            self.steps.iter().flat_map(|step| step.quarantined.iter().copied()).collect();
        reasons.sort_unstable();
        let as_wanted = async || Ok(usize::from(demo.quarantined().await? == reasons) * reasons.len());
        rest.check(&format!("quarantined: {}", reasons.join(", ")), reasons.len(), as_wanted).await?;
        let unmatched = self.steps.iter().map(|step| step.unmatched).sum();
        let what = "unmatched, waiting for a connection of their tenant";
        rest.check(what, unmatched, || demo.events("status=unmatched")).await?;
        let kept = self.steps.iter().map(|step| step.kept).sum();
        let what = "about Waypost's own subscriptions, forwarded to nobody";
        rest.check(what, kept, || demo.events("kind=forward&status=unrouted")).await?;
        rest.check("still on their way", 0, || demo.events("status=pending")).await?;
        Ok(rest.faults)
    }
}

/// What the API shows, compared.
struct Rest {
    report: Report,
    settling: Duration,
    faults: Vec<String>,
}

impl Rest {
    /// Asks until the answer is `wanted`, for a few seconds at most.
    async fn check<F>(&mut self, what: &str, wanted: usize, mut ask: impl FnMut() -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<usize>>,
    {
        let deadline = Instant::now() + self.settling;
        let mut found = ask().await?;
        while found != wanted && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
            found = ask().await?;
        }
        self.report.fate(tone(found == wanted), &format!("{found}  {what}"));
        if found != wanted {
            self.faults.push(format!("{what}: {} found, not {wanted}", items_text(found)));
        }
        Ok(())
    }
}

/// Connections and subscriptions that came to be are told as well: each once, and nothing else.
fn check_notices(wanted: &[Notice], arrived: &[Arrived], report: Report) -> Vec<String> {
    let mut faults = Vec::new();
    let mut missing = wanted.to_vec();
    for one in arrived {
        let text = |name: &str| one.body.get(name).and_then(Value::as_str).unwrap_or("?");
        let (connection, what) = (one.connection(), format!("{}.{}", text("type"), text("operation")));
        let place = missing.iter().position(|notice| notice.connection == connection && notice.what == what);
        let fault = one.forged.or_else(|| place.is_none().then_some("nobody expected it"));
        report.fate(tone(fault.is_none()), &format!("{what} → {}", one.whose()));
        if let Some(place) = place {
            missing.swap_remove(place);
        }
        faults.extend(fault.map(|fault| format!("{what} of {connection}: {fault}")));
    }
    faults.extend(
        missing.iter().map(|notice| format!("{} of {} was not told", notice.what, notice.connection)),
    );
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(kind: &str, operation: &str) -> Arrived {
        Arrived {
            at: Instant::now(),
            path: "/hooks".to_owned(),
            body: json!({"connectionId": "contoso", "type": kind, "operation": operation}),
            event: "evt_1".to_owned(),
            attempt: "1".to_owned(),
            forged: None,
        }
    }

    #[test]
    fn a_notice_too_few_or_too_many_is_a_fault() {
        let wanted = ["auth.creation", "subscription.created"]
            .map(|what| Notice { connection: "contoso".to_owned(), what });
        let both = [told("subscription", "created"), told("auth", "creation")];
        let faults = |arrived: &[Arrived]| check_notices(&wanted, arrived, Report::new()).len();
        assert_eq!(faults(&both), 0);
        assert_eq!(faults(&both[..1]), 1);
        assert_eq!(faults(&[both[0].clone(), both[1].clone(), both[1].clone()]), 1);
        assert_eq!(faults(&[both[0].clone(), told("auth", "deletion")]), 2);
    }
}
