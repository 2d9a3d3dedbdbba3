//! Proving who sent encrypted items: validation tokens against key sets, and what that means item by item.
//!
//! What is found is written down at once, since keys roll; an event that was proven stays so. To prove one twice, here or
//! in another process, changes nothing.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use waypost_core::clock::SharedClock;
use waypost_core::cloud::{Cloud, CloudName, Clouds};
use waypost_core::id::EventId;
use waypost_core::proof::{ItemProof, ItemVerdict, Proof};
use waypost_core::provider::graph::key_set::KeySets;
use waypost_core::provider::graph::rich::RichBody;
use waypost_core::provider::graph::validation_token::{Expected, Findings, examine};
use waypost_postgres::proof::Unproven;
use waypost_postgres::{Store, StoreError};

use crate::key_sets::KeyBook;

/// The wait before the second look at an event; it doubles with each.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(30);
/// The longest wait.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(1);

/// How proofs are judged.
#[derive(Debug, Clone)]
pub struct Config {
    /// `graph.publisher_app_id`.
    pub publisher: String,
    /// The clouds, as this installation reaches them.
    pub clouds: Clouds,
    /// `delivery.max_age`: an event that is older is looked at no more.
    pub max_age: TimeDelta,
}

/// Proves events. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Prover {
    store: Store,
    keys: KeyBook,
    clock: SharedClock,
    config: Config,
}

/// The key sets of the clouds, as far as they were needed.
#[derive(Default)]
struct Sets {
    of: HashMap<CloudName, KeySets>,
    /// Those that were fetched anew already.
    renewed: Vec<CloudName>,
}

impl Prover {
    /// A prover for the events in `store`.
    #[must_use]
    pub const fn new(store: Store, keys: KeyBook, clock: SharedClock, config: Config) -> Self {
        Self { store, keys, clock, config }
    }

    /// Proves events as far as that is possible now, writes down what came of it, and gives the verdicts on their items.
    /// Events that are gone, or can't be read, are left out.
    ///
    /// # Errors
    /// When the store fails; what was written until then stays written.
    pub async fn prove(&self, events: &[EventId]) -> Result<HashMap<EventId, Vec<ItemProof>>, StoreError> {
        let mut sets = Sets::default();
        let mut proven = HashMap::new();
        for event in self.store.find_unproven_across_environments(events).await? {
            let findings = self.findings(&event, &mut sets).await?;
            let items = judged(&event, &findings);
            let kept = self.keep(&event, findings, items).await?;
            proven.insert(event.event, kept);
        }
        Ok(proven)
    }

    /// What the tokens of an event showed: what is final is not looked at again.
    async fn findings(&self, event: &Unproven, sets: &mut Sets) -> Result<Findings, StoreError> {
        if let Some(known) = event.proof.findings.as_ref().filter(|known| known.are_final()) {
            return Ok(known.clone());
        }
        let cloud = self.config.clouds.named(event.provider.cloud());
        let keys = match sets.of.remove(&cloud.name) {
            Some(keys) => keys,
            None => self.keys.of(&cloud).await?,
        };
        let mut findings = self.examine(event, &cloud, &keys);
        let mut keys = keys;
        if findings.want_keys() && !sets.renewed.contains(&cloud.name) {
            keys = self.keys.renewed(&cloud).await?;
            sets.renewed.push(cloud.name);
            findings = self.examine(event, &cloud, &keys);
        }
        sets.of.insert(cloud.name, keys);
        Ok(findings)
    }

    fn examine(&self, event: &Unproven, cloud: &Cloud, keys: &KeySets) -> Findings {
        let expected = Expected { cloud, publisher: &self.config.publisher, received_at: event.received_at };
        examine(event.tokens.as_ref().map(|tokens| tokens.as_slice()), expected, keys)
    }

    async fn keep(
        &self,
        event: &Unproven,
        findings: Findings,
        items: Vec<ItemProof>,
    ) -> Result<Vec<ItemProof>, StoreError> {
        let due_at = if findings.are_final() { None } else { self.next_look(event) };
        let proof = Proof { findings: Some(findings), items: Some(items) };
        let kept = self.store.keep_proof_across_environments(event.event, proof, due_at).await?;
        let items = kept.items.unwrap_or_default();
        let known = event.proof.items.as_deref().unwrap_or_default();
        for item in items.iter().filter(|item| !known.contains(item)) {
            let reason = item.verdict.reason().unwrap_or("proven");
            metrics::counter!("waypost_rich_verdicts_total", "verdict" => reason).increment(1);
            if item.verdict.is_quarantined() {
                tracing::warn!(event.id = %event.event, item = item.item, reason, "an encrypted item failed its proof");
            }
        }
        if leaves_nothing(event, &items) {
            self.store.quarantine_across_environments(event.event).await?;
        }
        Ok(items)
    }

    fn next_look(&self, event: &Unproven) -> Option<DateTime<Utc>> {
        let now = self.clock.now();
        let wait = (FIRST_WAIT * (1 << event.tries.min(10))).min(LONGEST_WAIT);
        (now < event.received_at + self.config.max_age).then_some(now + wait)
    }
}

/// The verdict on each encrypted item. What was proven stays so, and one that didn't open stays tampered with, whatever
/// its tokens say.
fn judged(event: &Unproven, findings: &Findings) -> Vec<ItemProof> {
    let Ok(body) = RichBody::read(&event.body) else { return Vec::new() };
    let known = event.proof.items.as_deref().unwrap_or_default();
    // As long as it is not known for whom the event is, no app is the wrong one.
    let apps: &[String] = if event.connection.is_some() { &event.apps } else { &[] };
    let verdict = |item: u32, tenant| {
        let before = known.iter().find(|known| known.item == item).map(|known| known.verdict);
        match before {
            Some(
                kept @ (ItemVerdict::Proven
                | ItemVerdict::NoCertificate
                | ItemVerdict::Unopened
                | ItemVerdict::Tampered),
            ) => kept,
            _ => findings.verdict(apps, tenant).into(),
        }
    };
    let judge = |item: &waypost_core::provider::graph::rich::EncryptedItem<'_>| {
        let index = u32::try_from(item.index).unwrap_or(u32::MAX);
        ItemProof { item: index, verdict: verdict(index, item.tenant.or(event.tenant)) }
    };
    body.encrypted.iter().map(judge).collect()
}

/// Whether every item of the event is encrypted and kept from everybody.
fn leaves_nothing(event: &Unproven, items: &[ItemProof]) -> bool {
    let all = RichBody::read(&event.body).map_or(0, |body| body.items());
    all > 0 && items.len() == all && items.iter().all(|item| item.verdict.is_quarantined())
}
