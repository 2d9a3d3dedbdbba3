//! The reckoning: where is every notification that was accepted?

use std::collections::{HashMap, HashSet};
use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;
use waypost_harness::Client;
use waypost_harness::program::{Program, within};

use crate::estate::{Estate, Fate};
use crate::load::Ledger;

/// Longer than a lease, the rest of the schedule, and a loaded machine need.
const SETTLED: Duration = Duration::from_secs(90);
/// So many of what is missing are shown.
const SHOWN: usize = 10;

/// Waits until everything has settled, and fails unless every notification that was accepted has met its fate. `api` is the
/// process that serves the APIs; `logs` shows what all processes said. Returns how many attempts were repeated.
pub(crate) async fn reckon(
    estate: &Estate,
    api: &Program,
    ledger: &Ledger,
    logs: impl Fn() -> String,
) -> usize {
    let begun = std::time::Instant::now();
    until_settled(api, &logs).await;
    let settled = begun.elapsed();
    let arrived = arrived(estate);
    let visible = visible(estate, &api.public()).await;

    assert!(ledger.wrong.is_empty(), "{}", ledger.summary());
    let lost: Vec<_> =
        ledger.accepted.iter().filter(|(id, fate)| !met(**id, **fate, &arrived, &visible)).collect();
    if !lost.is_empty() {
        let shown: Vec<_> = lost.iter().take(SHOWN).map(|(id, fate)| (id, fate, visible.get(id))).collect();
        panic!("{} of {} were lost: {shown:#?}; {}", lost.len(), ledger.summary(), logs());
    }
    let unknown: Vec<_> = arrived.keys().filter(|id| !ledger.sent.contains_key(id)).take(SHOWN).collect();
    assert!(unknown.is_empty(), "nobody sent {unknown:?}");
    assert!(!logs().contains("panicked"), "{}", logs());

    let requests: usize = arrived.values().map(|arrival| arrival.requests).sum();
    let different: usize = arrived.values().map(|arrival| arrival.attempts.len()).sum();
    let repeated = requests - different;
    let told = format!(
        "{}; {} arrived in {requests} requests, {repeated} of them repeated; {} refused; settled after {settled:?}\n",
        ledger.summary(),
        arrived.len(),
        estate.refused(),
    );
    io::stderr().write_all(told.as_bytes()).unwrap();
    repeated
}

/// How a notification arrived.
#[derive(Debug, Default)]
struct Arrival {
    requests: usize,
    /// The event and the number of the attempt: a request that has both in common with another repeats it.
    attempts: HashSet<(String, u32)>,
}

fn met(id: Uuid, fate: Fate, arrived: &HashMap<Uuid, Arrival>, visible: &HashMap<Uuid, &str>) -> bool {
    match fate {
        Fate::Delivered => arrived.contains_key(&id),
        Fate::Dead | Fate::Held | Fate::Unmatched => visible.get(&id) == Some(&fate.status()),
    }
}

/// Waits until no delivery is due, being sent, or waiting for its next try. Asks for all of them at once: a delivery that
/// goes to and fro would slip through between two questions.
async fn until_settled(api: &Program, logs: &impl Fn() -> String) {
    let queue = async || api.admin().get("/admin/queue").await.expect(200);
    let depth = |queue: &Value, class: &str| queue[class]["depth"].as_u64().unwrap();
    let settled = async || {
        let queue = queue().await;
        let open: u64 = ["due", "sending", "waiting"].map(|class| depth(&queue, class)).iter().sum();
        (open == 0).then_some(())
    };
    within(SETTLED, settled, async || format!("an end of {}; {}", queue().await, logs())).await;
}

/// What the taker got, signatures checked.
fn arrived(estate: &Estate) -> HashMap<Uuid, Arrival> {
    let mut arrived: HashMap<Uuid, Arrival> = HashMap::new();
    for request in estate.taker.received() {
        let items = request.items();
        assert_eq!(items.len(), 1, "{}", request.summary());
        let arrival = arrived.entry(resource(&items[0])).or_default();
        arrival.requests += 1;
        arrival.attempts.insert((request.event().to_owned(), request.attempt()));
    }
    arrived
}

/// What the API shows of that which was not delivered.
async fn visible(estate: &Estate, public: &Client) -> HashMap<Uuid, &'static str> {
    let api = estate.environment.api(public);
    let mut visible = HashMap::new();
    for status in ["pending", "sending", "held", "dead", "unmatched"] {
        for event in estate.environment.list(public, &format!("/events?status={status}&limit=200")).await {
            let path = format!("/events/{}", event["id"].as_str().unwrap());
            let shown = api.get(&path).await.expect(200);
            let items =
                shown["payload"]["value"].as_array().unwrap_or_else(|| panic!("{path}: no items in {shown}"));
            visible.extend(items.iter().map(|item| (resource(item), status)));
        }
    }
    visible
}

fn resource(item: &Value) -> Uuid {
    let id = item["resourceData"]["id"].as_str().unwrap_or_else(|| panic!("no id of a resource in {item}"));
    id.parse().unwrap()
}
