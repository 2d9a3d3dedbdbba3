//! Judging Graph's change notifications: who vouches for an item, and where it goes.
//!
//! Each item is judged alone; a bad one never sinks the rest. A tracked subscription vouches by its own `clientState`
//! and nothing else; the integration's webhook secrets vouch for ids that Waypost doesn't track; an unknown id may also
//! carry the state of a create that is still in flight. Whatever is refused, Graph is told nothing.

pub mod error;
pub mod fetch;
pub mod key_set;
mod notification;
pub mod resource;
pub mod rich;
pub mod sign_in;
mod stored;
pub mod validation_token;

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use uuid::Uuid;
use waypost_crypto::token::{LookupHash, Purpose};

pub use notification::{Collection, Fault, Item, ItemKind, MAX_ITEMS, Malformed};

use super::{Answer, Draft, Facts, Judgement};
use crate::canonical;
use crate::connection::ConnectionRef;
use crate::event::ItemFacts;
use crate::id::{ConnectionKey, TenantId};
use crate::rejection::{Reason, Rejection};
use crate::subscription::Tracked;

/// Members that only Waypost adds to items. A sender's own would look as if they had passed its proofs.
const OURS: [&str; 3] = [rich::DECRYPTED, fetch::FETCHED, fetch::FETCH_ERROR];
/// The same, where items lose their state as well.
const OURS_AND_STATE: [&str; 4] = [rich::DECRYPTED, fetch::FETCHED, fetch::FETCH_ERROR, "clientState"];
/// The most bytes that are copied for the connections of tenants while the sender waits.
const MOST_COPIED: usize = 4 * 1024 * 1024;

/// Which event an item belongs to: one per connection, or per tenant where there is none yet.
type DraftKey = (Option<ConnectionKey>, Option<TenantId>, bool);

/// Judges a collection.
#[must_use]
pub fn judge(collection: &Collection<'_>, facts: Facts<'_>) -> Judgement {
    let mut accepted = Vec::new();
    let mut rejections = Vec::new();
    let mut vouchable = !facts.integration.secrets.is_empty();
    for found in &collection.items {
        let item = match found {
            Ok(item) => item,
            Err(malformed) => {
                let sample = notification::sample_of_malformed(*malformed);
                rejections.push(Rejection { reason: Reason::MalformedItem, sample });
                continue;
            }
        };
        let voucher = vouch(item, facts);
        vouchable |= !matches!(voucher, Err(Reason::SecretNotConfigured));
        match voucher.and_then(|voucher| route(item, voucher, facts)) {
            Ok(destination) => accepted.push((item, destination)),
            Err(reason) => rejections.push(Rejection { reason, sample: item.sample() }),
        }
    }
    if !vouchable {
        return Judgement::refused(Answer::SecretNotConfigured, rejections);
    }
    let copies_wait = leave_copying(&mut accepted);
    let mut drafts: BTreeMap<DraftKey, Building> = BTreeMap::new();
    for (item, destination) in &accepted {
        destination.add(item, facts, &mut drafts, &mut rejections);
    }
    let proof = collection.validation_tokens.map(|tokens| Bytes::copy_from_slice(tokens.as_bytes()));
    let drafts = drafts.into_values().map(|building| building.finish(proof.as_ref())).collect();
    Judgement { answer: Answer::Accepted, drafts, rejections, copies_wait }
}

/// Leaves it to the matcher to copy items for the connections of their tenants, when that would be too much work while
/// the sender waits: they are then kept once, as if no connection were there yet, and the matcher gives each its own.
fn leave_copying(accepted: &mut [(&Item<'_>, Destination<'_>)]) -> bool {
    let copied =
        |(item, to): &(&Item<'_>, Destination<'_>)| item.raw.len().saturating_mul(to.connections.len());
    if accepted.iter().map(copied).fold(0, usize::saturating_add) <= MOST_COPIED {
        return false;
    }
    let mut any = false;
    for (_, to) in accepted {
        if to.of_tenant && to.connections.len() > 1 {
            to.connections = &[];
            any = true;
        }
    }
    any
}

/// What vouches for an item.
#[derive(Clone, Copy)]
enum Voucher<'a> {
    /// A subscription that Waypost tracks, or is about to.
    Tracked(&'a Tracked),
    /// The integration's webhook secret.
    Secret,
}

fn vouch<'a>(item: &Item<'_>, facts: Facts<'a>) -> Result<Voucher<'a>, Reason> {
    let state =
        item.client_state.as_deref().map(|state| facts.hash_key.hash(Purpose::ClientState, state.as_bytes()));
    let equals = |wanted: &LookupHash| state.as_ref().is_some_and(|state| state == wanted);
    if let Some(tracked) = item.subscription.and_then(|id| facts.routes.subscriptions.get(&id)) {
        return if equals(&tracked.state) {
            Ok(Voucher::Tracked(tracked))
        } else {
            Err(Reason::ClientStateMismatch)
        };
    }
    if let Some(pending) = facts.integration.pending.iter().find(|pending| equals(&pending.state)) {
        return Ok(Voucher::Tracked(pending));
    }
    if facts.integration.secrets.is_empty() {
        return Err(Reason::SecretNotConfigured);
    }
    if facts.integration.secrets.iter().any(|secret| equals(&secret.hash)) {
        Ok(Voucher::Secret)
    } else {
        Err(Reason::ClientStateMismatch)
    }
}

struct Destination<'a> {
    connections: &'a [ConnectionRef],
    tenant: Option<TenantId>,
    /// Whether the connections are all that the tenant has.
    of_tenant: bool,
    forwarded: bool,
    /// What stands for the subscription in item keys: stays the same when it is made anew.
    identity: Option<Uuid>,
}

fn route<'a>(item: &Item<'_>, voucher: Voucher<'a>, facts: Facts<'a>) -> Result<Destination<'a>, Reason> {
    match voucher {
        Voucher::Tracked(tracked) => {
            if item.names_tenant && item.tenant != Some(tracked.tenant) {
                return Err(Reason::TenantMismatch);
            }
            let forwarded = !matches!(item.kind, ItemKind::Lifecycle(_));
            let identity = Some(tracked.id.uuid());
            Ok(Destination {
                connections: &tracked.connections,
                tenant: Some(tracked.tenant),
                of_tenant: false,
                forwarded,
                identity,
            })
        }
        Voucher::Secret => {
            let connections = item.tenant.and_then(|tenant| facts.routes.tenants.get(&tenant));
            let connections = connections.map(Vec::as_slice).unwrap_or_default();
            let identity = item.subscription;
            Ok(Destination { connections, tenant: item.tenant, of_tenant: true, forwarded: true, identity })
        }
    }
}

impl Destination<'_> {
    fn add(
        &self,
        item: &Item<'_>,
        facts: Facts<'_>,
        drafts: &mut BTreeMap<DraftKey, Building>,
        rejections: &mut Vec<Rejection>,
    ) {
        let dropped = if facts.integration.forward_client_state { &OURS[..] } else { &OURS_AND_STATE };
        let mut bytes = Vec::with_capacity(item.raw.len());
        if let Err(error) = canonical::canonical_object_without(item.raw.as_bytes(), dropped, &mut bytes) {
            let mut sample = item.sample();
            sample.insert("fault".to_owned(), error.to_string().into());
            rejections.push(Rejection { reason: Reason::MalformedItem, sample });
            return;
        }
        let entry = Entry { item, bytes: &bytes, key: item.key(self.identity) };
        if self.connections.is_empty() {
            let draft = drafts.entry((None, self.tenant, self.forwarded));
            draft.or_insert_with(|| Building::new(None, self.tenant, self.forwarded)).push(&entry);
        }
        for connection in self.connections {
            let draft = drafts.entry((Some(connection.key), None, self.forwarded));
            draft
                .or_insert_with(|| Building::new(Some(connection), self.tenant, self.forwarded))
                .push(&entry);
        }
    }
}

struct Entry<'a> {
    item: &'a Item<'a>,
    bytes: &'a [u8],
    key: String,
}

/// A draft while its items are gathered.
struct Building {
    draft: Draft,
    /// The draft's subscriptions, for looking one up.
    subscriptions: HashSet<Uuid>,
}

impl Building {
    fn new(connection: Option<&ConnectionRef>, tenant: Option<TenantId>, forwarded: bool) -> Self {
        let draft = Draft {
            connection: connection.cloned(),
            tenant,
            subscriptions: Vec::new(),
            items: Vec::new(),
            item_keys: String::new(),
            payload: b"{\"value\":[".to_vec(),
            rich: false,
            proof: None,
            forwarded,
        };
        Self { draft, subscriptions: HashSet::new() }
    }

    fn push(&mut self, entry: &Entry<'_>) {
        let draft = &mut self.draft;
        if !draft.items.is_empty() {
            draft.payload.push(b',');
            draft.item_keys.push(',');
        }
        draft.payload.extend_from_slice(entry.bytes);
        draft.item_keys.push_str(&entry.key);
        draft.rich |= entry.item.rich;
        draft.items.push(ItemFacts {
            change_type: match &entry.item.kind {
                ItemKind::Change(change) => change.as_deref().map(Into::into),
                ItemKind::Lifecycle(_) => None,
            },
            resource: entry.item.resource.as_deref().map(Into::into),
        });
        if let Some(id) = entry.item.subscription
            && self.subscriptions.insert(id)
        {
            draft.subscriptions.push(id);
        }
    }

    fn finish(self, proof: Option<&Bytes>) -> Draft {
        let mut draft = self.draft;
        draft.payload.extend_from_slice(b"]}");
        if draft.rich {
            draft.proof = proof.cloned();
        }
        draft
    }
}

#[cfg(test)]
mod tests;
