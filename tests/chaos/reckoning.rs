//! The reckoning: where is every notification that was accepted?

use std::collections::{HashMap, HashSet};
use std::io::{self, Write as _};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;
use waypost_harness::Client;
use waypost_harness::program::within;

use crate::estate::{Estate, Fate};
use crate::load::Ledger;

/// Longer than a lease, the rest of the schedule, and a loaded machine need.
const SETTLED: Duration = Duration::from_secs(90);
/// So many of what is missing are shown.
const SHOWN: usize = 10;

/// Waits until everything has settled, and fails unless every notification that was accepted has met its fate. `public` is
/// where the environment API is; `logs` shows what the processes said.
pub(crate) async fn reckon(estate: &Estate, public: &Client, ledger: &Ledger, logs: impl Fn() -> String) {
    let begun = std::time::Instant::now();
    until_settled(estate, public, &logs).await;
    let settled = begun.elapsed();
    let arrived = arrived(estate);
    let visible = visible(estate, public).await;

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
    let events: usize = arrived.values().map(|arrival| arrival.events.len()).sum();
    let told = format!(
        "{}; delivered {} in {events} events and {requests} requests; {} refused; settled after {settled:?}\n",
        ledger.summary(),
        arrived.len(),
        estate.refused(),
    );
    io::stderr().write_all(told.as_bytes()).unwrap();
}

/// How a notification arrived.
#[derive(Debug, Default)]
struct Arrival {
    requests: usize,
    events: HashSet<String>,
}

fn met(id: Uuid, fate: Fate, arrived: &HashMap<Uuid, Arrival>, visible: &HashMap<Uuid, &str>) -> bool {
    match fate {
        Fate::Delivered => arrived.contains_key(&id),
        Fate::Dead | Fate::Held | Fate::Unmatched => visible.get(&id) == Some(&fate.status()),
    }
}

/// Waits until no delivery has anything to wait for.
async fn until_settled(estate: &Estate, public: &Client, logs: &impl Fn() -> String) {
    let api = estate.environment.api(public);
    let open = async || {
        let mut open = Vec::new();
        for status in ["pending", "sending"] {
            let page = api.get(&format!("/deliveries?status={status}&limit=10")).await.expect(200);
            open.extend(page["data"].as_array().unwrap().iter().cloned());
        }
        open
    };
    let settled = async || open().await.is_empty().then_some(());
    within(SETTLED, settled, async || format!("an end of {:#?}; {}", open().await, logs())).await;
}

/// What the taker got, signatures checked.
fn arrived(estate: &Estate) -> HashMap<Uuid, Arrival> {
    let mut arrived: HashMap<Uuid, Arrival> = HashMap::new();
    for request in estate.taker.received() {
        let items = request.items();
        assert_eq!(items.len(), 1, "{}", request.summary());
        let arrival = arrived.entry(resource(&items[0])).or_default();
        arrival.requests += 1;
        arrival.events.insert(request.event().to_owned());
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
