//! Opening encrypted items on the way out: anew at each attempt, on the blocking pool, in memory alone.
//!
//! First who sent them (the stored verdicts, or a proof now), then the keys by the id that the items name, within the
//! event's own connection and integration, then the envelopes. What can't be told or opened yet makes the delivery wait;
//! what failed is taken out. Items that lack a certificate hold up those that are ready for a quarter of an hour; then the
//! event goes out without them. Each later attempt tries them again.
//!
//! Must not: write plaintext anywhere, log more of a failure than that it failed, or keep a key longer than needed to
//! spare its parsing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Semaphore;
use waypost_core::clock::SharedClock;
use waypost_core::delivery::{Leased, Message};
use waypost_core::id::{CertificateId, EventId};
use waypost_core::proof::{ItemProof, ItemVerdict, Proof};
use waypost_core::provider::graph::rich::{EncryptedContent, Fate, RichBody, canonical_content};
use waypost_crypto::envelope::{EnvelopeError, OpeningKey};
use waypost_postgres::certificate::{KeptKey, Owner};
use waypost_postgres::{Store, StoreError};
use waypost_upstream::proofs::Prover;

use super::body::PATIENCE;

/// How long a delivery waits whose items' origin can't be told yet.
const UNPROVEN_WAIT: TimeDelta = TimeDelta::minutes(1);
/// How long one waits whose certificate isn't here.
const NO_CERTIFICATE_WAIT: TimeDelta = TimeDelta::minutes(5);
/// The least that one waits for which others are waiting.
const LEAST_WAIT: TimeDelta = TimeDelta::seconds(1);
/// How long one waits that can't be read at all.
const UNREADABLE_WAIT: TimeDelta = TimeDelta::hours(1);
/// How long one waits when the store fails.
const STORE_WAIT: TimeDelta = TimeDelta::seconds(5);
/// How many parsed keys are kept in memory. Their rows are looked up each time all the same.
const MOST_KEYS: usize = 1024;

/// What came of opening an event.
#[derive(Debug)]
pub(super) enum Opened {
    /// This goes out.
    Ready(Message),
    /// It has to wait, for this reason.
    Wait(TimeDelta, &'static str),
    /// Nothing is left of it.
    Nothing,
}

/// Opens events. One for all attempts of a process.
#[derive(Debug)]
pub(super) struct Opener {
    store: Store,
    prover: Prover,
    clock: SharedClock,
    /// How many are opened at one time: it is work for processors.
    places: Arc<Semaphore>,
    keys: Mutex<HashMap<CertificateId, Arc<OpeningKey>>>,
}

/// A key that may open items of that name.
#[derive(Clone)]
struct Key {
    label: String,
    thumbprint: String,
    opening: Arc<OpeningKey>,
}

/// What opening on the blocking pool brought.
struct Worked {
    message: Option<Message>,
    verdicts: Vec<ItemProof>,
}

impl Opener {
    pub(super) fn new(store: Store, prover: Prover, clock: SharedClock) -> Self {
        let places = std::thread::available_parallelism().map_or(2, usize::from);
        Self { store, prover, clock, places: Arc::new(Semaphore::new(places)), keys: Mutex::default() }
    }

    /// What goes out for an event with encrypted items.
    pub(super) async fn open(&self, delivery: &Leased) -> Opened {
        match self.try_open(&delivery.message, delivery.id.made_at() + PATIENCE).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(
                    event.id = %delivery.message.event, error = &error as &dyn std::error::Error,
                    "an event can't be opened now"
                );
                Opened::Wait(STORE_WAIT, "store")
            }
        }
    }

    async fn try_open(&self, message: &Message, give_up_at: DateTime<Utc>) -> Result<Opened, StoreError> {
        let Some(known) = self.store.find_proof_across_environments(message.event).await? else {
            return Ok(Opened::Nothing);
        };
        let verdicts = match known.proof.settled() {
            Some(settled) => settled.to_vec(),
            None => self.prover.prove(&[message.event]).await?.remove(&message.event).unwrap_or_default(),
        };
        if let Some(open) = verdicts.iter().find(|item| item.verdict.is_open()) {
            return Ok(Opened::Wait(UNPROVEN_WAIT, open.verdict.reason().unwrap_or_default()));
        }
        let keys = match known.owner {
            Some(owner) => self.keys(owner, &message.body).await?,
            None => Vec::new(),
        };
        let Some(mut worked) = self.work(message.clone(), verdicts.clone(), keys).await else {
            // Only a body that this code didn't store, or a panic, leads here: the delivery waits and is seen.
            tracing::error!(event.id = %message.event, "an event with encrypted items can't be read");
            return Ok(Opened::Wait(UNREADABLE_WAIT, "unreadable"));
        };
        let wait = worked.wait(self.clock.now(), give_up_at);
        if wait.is_none() {
            worked.give_up();
        }
        if worked.verdicts != verdicts {
            let proof =
                Proof { findings: self.findings(message.event).await?, items: Some(worked.verdicts.clone()) };
            self.store.keep_proof_across_environments(message.event, proof, None).await?;
        }
        if let Some(wait) = wait {
            return Ok(Opened::Wait(wait, "unknown_certificate"));
        }
        let Some(message) = worked.message else {
            self.store.quarantine_across_environments(message.event).await?;
            return Ok(Opened::Nothing);
        };
        Ok(Opened::Ready(message))
    }

    async fn findings(
        &self,
        event: EventId,
    ) -> Result<Option<waypost_core::provider::graph::validation_token::Findings>, StoreError> {
        let known = self.store.find_proof_across_environments(event).await?;
        Ok(known.and_then(|known| known.proof.findings))
    }

    /// The keys that the items of a body name.
    async fn keys(&self, owner: Owner, body: &[u8]) -> Result<Vec<Key>, StoreError> {
        let mut labels: Vec<String> = RichBody::read(body)
            .map(|body| body.encrypted.into_iter().filter_map(|item| item.content).collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .map(|content| content.encryption_certificate_id.into_owned())
            .collect();
        labels.sort_unstable();
        labels.dedup();
        let kept = self.store.opening_keys_across_environments(owner, &labels).await?;
        Ok(kept.into_iter().filter_map(|kept| self.parsed(kept)).collect())
    }

    fn parsed(&self, kept: KeptKey) -> Option<Key> {
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(&kept.id).map(Arc::clone);
        let opening = match known {
            Some(opening) => opening,
            None => match OpeningKey::from_pkcs8(&kept.pkcs8) {
                Ok(key) => self.remember(kept.id, Arc::new(key)),
                Err(error) => {
                    tracing::error!(certificate.id = %kept.id, %error, "a certificate's key can't be used");
                    return None;
                }
            },
        };
        Some(Key { label: kept.label, thumbprint: kept.thumbprint, opening })
    }

    fn remember(&self, id: CertificateId, key: Arc<OpeningKey>) -> Arc<OpeningKey> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MOST_KEYS {
            keys.clear();
        }
        Arc::clone(keys.entry(id).or_insert(key))
    }

    async fn work(&self, message: Message, verdicts: Vec<ItemProof>, keys: Vec<Key>) -> Option<Worked> {
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await;
        let started = Instant::now();
        let worked = tokio::task::spawn_blocking(move || {
            let worked = open_all(&message, &verdicts, &keys);
            drop(place);
            worked
        });
        let worked = worked.await.unwrap_or_default();
        metrics::histogram!("waypost_rich_open_seconds").record(started.elapsed().as_secs_f64());
        worked
    }
}

impl Worked {
    /// How long to wait for certificates; `None` when the event goes out, or nothing will be left of it.
    fn wait(&self, now: DateTime<Utc>, give_up_at: DateTime<Utc>) -> Option<TimeDelta> {
        let awaited = self.verdicts.iter().any(|item| item.verdict == ItemVerdict::NoCertificate);
        if self.message.is_none() {
            let lacking = self.verdicts.iter().any(|item| item.verdict.lacks_certificate());
            return lacking.then_some(NO_CERTIFICATE_WAIT);
        }
        (awaited && now < give_up_at).then(|| NO_CERTIFICATE_WAIT.min(give_up_at - now).max(LEAST_WAIT))
    }

    /// The event goes out without the items that lack a certificate.
    fn give_up(&mut self) {
        for item in self.verdicts.iter_mut().filter(|item| item.verdict == ItemVerdict::NoCertificate) {
            count("unopened");
            item.verdict = ItemVerdict::Unopened;
        }
    }
}

/// Opens all items that are believed; `None` when the body isn't one of ours.
fn open_all(message: &Message, verdicts: &[ItemProof], keys: &[Key]) -> Option<Worked> {
    let body = RichBody::read(&message.body).ok()?;
    let mut fates = Vec::with_capacity(body.encrypted.len());
    let mut found = Vec::with_capacity(body.encrypted.len());
    for item in &body.encrypted {
        let index = u32::try_from(item.index).ok()?;
        // What nobody has judged is not believed.
        let before = verdicts.iter().find(|proof| proof.item == index)?.verdict;
        let (fate, verdict) = match before {
            ItemVerdict::Unopened => match open_one(item.content.as_ref(), keys) {
                // The others don't wait for it a second time.
                (fate, ItemVerdict::NoCertificate) => (fate, ItemVerdict::Unopened),
                opened => opened,
            },
            ItemVerdict::Proven | ItemVerdict::NoCertificate => open_one(item.content.as_ref(), keys),
            quarantined => (Fate::TakenOut, quarantined),
        };
        fates.push(fate);
        found.push(ItemProof { item: index, verdict });
    }
    let outgoing = body.outgoing(&fates, &message.item_keys);
    let message = (outgoing.items > 0).then(|| Message {
        // Wiped once nobody sends it any more.
        body: Bytes::from_owner(outgoing.body),
        item_keys: outgoing.item_keys.as_str().into(),
        ..message.clone()
    });
    Some(Worked { message, verdicts: found })
}

/// Opens one item with the keys of the id that it names.
fn open_one(content: Option<&EncryptedContent<'_>>, keys: &[Key]) -> (Fate, ItemVerdict) {
    let Some(content) = content else { return failed("parts") };
    let named = keys.iter().filter(|key| key.label == content.encryption_certificate_id);
    let mut fitting = named.filter(|key| content.is_for(&key.thumbprint)).peekable();
    if fitting.peek().is_none() {
        count("unknown_certificate");
        return (Fate::TakenOut, ItemVerdict::NoCertificate);
    }
    let mut stage = EnvelopeError::Key;
    for key in fitting {
        match key.opening.open(content.envelope()) {
            Ok(plaintext) => return shown(&plaintext),
            // Where an item names no thumbprint, another key of that id may be the one.
            Err(error @ (EnvelopeError::Key | EnvelopeError::KeyLength)) => stage = error,
            Err(error) => return failed(error.stage()),
        }
    }
    failed(stage.stage())
}

fn shown(plaintext: &[u8]) -> (Fate, ItemVerdict) {
    if let Ok(content) = canonical_content(plaintext) {
        count("opened");
        (Fate::Opened(content), ItemVerdict::Proven)
    } else {
        tracing::error!("the content of an item opened, but is no JSON: has its format changed?");
        failed("content")
    }
}

/// Stages are told apart in metrics alone: whoever made the item up must not learn from us where it failed.
fn failed(stage: &'static str) -> (Fate, ItemVerdict) {
    count(stage);
    (Fate::TakenOut, ItemVerdict::Tampered)
}

fn count(outcome: &'static str) {
    metrics::counter!("waypost_rich_items_total", "outcome" => outcome).increment(1);
}
