//! Appending what was accepted: one commit for a whole batch, and one statement unless the batch is very large.
//!
//! Must not bind more than a slice at a time: an event's body is there once for each connection of its tenant, so a batch
//! can be many times what was sent.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;
use waypost_core::delivery::{NewDelivery, Start};
use waypost_core::event::NewEvent;
use waypost_core::id::{ConnectionKey, IntegrationId, TenantId};

use crate::{Store, StoreError};

/// What the parameters of one statement may weigh, roughly; a single row may weigh more.
const SLICE_BYTES: usize = 16 * 1024 * 1024;
/// From this weight on, sealing is left to other threads.
const ASIDE_BYTES: usize = 256 * 1024;
/// What a row weighs beside the texts and bytes in it, roughly.
const ROW_BYTES: usize = 256;

/// What a batch of accepted requests adds.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events.
    pub events: Vec<NewEvent>,
    /// Their deliveries.
    pub deliveries: Vec<NewDelivery>,
}

impl Store {
    /// Stores a batch: events, what is unmatched or to be proven, and deliveries, in one commit. When it returns, all of it is on disk;
    /// when it fails, none of it is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn append_across_environments(&self, batch: &Batch) -> Result<(), StoreError> {
        if batch.events.is_empty() {
            return Ok(());
        }
        if let [slice] = Slice::all_of(batch).as_slice() {
            return self.append_slice(self.workers(), slice).await;
        }
        let mut tx = self.workers().begin().await?;
        self.append_on(&mut tx, batch).await?;
        Ok(tx.commit().await?)
    }

    /// Stores a batch as part of the transaction on `connection`: the notices of a change commit with the change.
    pub(crate) async fn append_on(
        &self,
        connection: &mut PgConnection,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        for slice in Slice::all_of(batch) {
            self.append_slice(&mut *connection, &slice).await?;
        }
        Ok(())
    }

    async fn append_slice<'e>(
        &self,
        executor: impl PgExecutor<'e>,
        slice: &Slice<'_>,
    ) -> Result<(), StoreError> {
        let events = self.seal_events(slice.events).await;
        let deliveries = DeliveryColumns::of(slice.deliveries);
        sqlx::query_file!(
            "queries/append.sql",
            &events.id,
            &events.environment,
            &events.integration as &[Option<Uuid>],
            &events.connection as &[Option<i64>],
            &events.tenant as &[Option<Uuid>],
            &events.subscriptions,
            &events.kind,
            &events.routing,
            &events.rich,
            &events.items,
            &events.received_at,
            &events.item_keys,
            &events.body,
            &events.proof as &[Option<Vec<u8>>],
            &deliveries.id,
            &deliveries.event,
            &deliveries.environment,
            &deliveries.endpoint,
            &deliveries.due_at,
            &deliveries.give_up_at,
            &deliveries.held_at as &[Option<DateTime<Utc>>],
            &deliveries.lease_token as &[Option<Uuid>],
            &deliveries.lease_until as &[Option<DateTime<Utc>>],
        )
        .execute(executor)
        .await?;
        Ok(())
    }
}

impl Store {
    /// Seals events; away from the threads that serve others when it is much.
    async fn seal_events(&self, events: &[NewEvent]) -> EventColumns {
        if events.iter().map(weight).sum::<usize>() < ASIDE_BYTES {
            return EventColumns::of(self, events);
        }
        let (store, aside) = (self.clone(), events.to_vec());
        match tokio::task::spawn_blocking(move || EventColumns::of(&store, &aside)).await {
            Ok(columns) => columns,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => EventColumns::of(self, events),
            },
        }
    }
}

/// A part of a batch that one statement can hold.
#[derive(Debug)]
struct Slice<'a> {
    events: &'a [NewEvent],
    deliveries: &'a [NewDelivery],
}

impl<'a> Slice<'a> {
    fn all_of(batch: &'a Batch) -> Vec<Self> {
        let mut events = cut(&batch.events, SLICE_BYTES, weight);
        let mut deliveries = cut(&batch.deliveries, SLICE_BYTES, |_| ROW_BYTES);
        let count = events.len().max(deliveries.len());
        events.resize(count, &[]);
        deliveries.resize(count, &[]);
        events.into_iter().zip(deliveries).map(|(events, deliveries)| Self { events, deliveries }).collect()
    }
}

fn weight(event: &NewEvent) -> usize {
    let proof = event.proof.as_ref().map_or(0, bytes::Bytes::len);
    // An id in an array is written as text.
    ROW_BYTES + event.body.len() + proof + event.item_keys.len() + 37 * event.subscriptions.len()
}

/// Cuts `rows` into parts of at most `most` in weight, but of one row at least.
fn cut<T>(rows: &[T], most: usize, weight: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut parts, mut start, mut weighed) = (Vec::new(), 0, 0);
    for (index, row) in rows.iter().enumerate() {
        let more = weight(row);
        if index > start && weighed + more > most {
            parts.push(&rows[start..index]);
            (start, weighed) = (index, 0);
        }
        weighed += more;
    }
    if start < rows.len() {
        parts.push(&rows[start..]);
    }
    parts
}

#[derive(Default)]
struct EventColumns {
    id: Vec<Uuid>,
    environment: Vec<Uuid>,
    integration: Vec<Option<Uuid>>,
    connection: Vec<Option<i64>>,
    tenant: Vec<Option<Uuid>>,
    subscriptions: Vec<String>,
    kind: Vec<i16>,
    routing: Vec<i16>,
    rich: Vec<bool>,
    items: Vec<i32>,
    received_at: Vec<DateTime<Utc>>,
    item_keys: Vec<String>,
    body: Vec<Vec<u8>>,
    proof: Vec<Option<Vec<u8>>>,
}

impl EventColumns {
    fn of(store: &Store, events: &[NewEvent]) -> Self {
        let mut columns = Self::default();
        for event in events {
            let row = *event.id.uuid().as_bytes();
            columns.id.push(event.id.uuid());
            columns.environment.push(event.environment.uuid());
            columns.integration.push(event.integration.map(IntegrationId::uuid));
            columns.connection.push(event.connection.map(ConnectionKey::number));
            columns.tenant.push(event.tenant.map(TenantId::uuid));
            columns.subscriptions.push(array_literal(&event.subscriptions));
            columns.kind.push(event.kind.code());
            columns.routing.push(event.routing.code());
            columns.rich.push(event.rich);
            columns.items.push(i32::try_from(event.items).unwrap_or(i32::MAX));
            columns.received_at.push(event.received_at);
            columns.item_keys.push(event.item_keys.clone());
            columns.body.push(store.seal("events", "body", &row, &event.body));
            columns.proof.push(event.proof.as_ref().map(|proof| store.seal("events", "proof", &row, proof)));
        }
        columns
    }
}

/// An array of ids as PostgreSQL writes it: arrays of arrays can't be bound, their inner lengths differ.
fn array_literal(ids: &[Uuid]) -> String {
    let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    format!("{{{}}}", ids.join(","))
}

#[derive(Default)]
struct DeliveryColumns {
    id: Vec<Uuid>,
    event: Vec<Uuid>,
    environment: Vec<Uuid>,
    endpoint: Vec<Uuid>,
    due_at: Vec<DateTime<Utc>>,
    give_up_at: Vec<DateTime<Utc>>,
    held_at: Vec<Option<DateTime<Utc>>>,
    lease_token: Vec<Option<Uuid>>,
    lease_until: Vec<Option<DateTime<Utc>>>,
}

impl DeliveryColumns {
    fn of(deliveries: &[NewDelivery]) -> Self {
        let mut columns = Self::default();
        for delivery in deliveries {
            let made_at = delivery.id.made_at();
            let (due_at, held_at, lease) = match delivery.start {
                Start::Leased(lease) => (made_at, None, Some(lease)),
                Start::Due(due_at) => (due_at, None, None),
                Start::Held => (made_at, Some(made_at), None),
            };
            columns.id.push(delivery.id.uuid());
            columns.event.push(delivery.event.uuid());
            columns.environment.push(delivery.environment.uuid());
            columns.endpoint.push(delivery.endpoint.uuid());
            columns.due_at.push(due_at);
            columns.give_up_at.push(delivery.give_up_at);
            columns.held_at.push(held_at);
            columns.lease_token.push(lease.map(|lease| lease.token));
            columns.lease_until.push(lease.map(|lease| lease.until));
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::cut;

    proptest! {
        #[test]
        fn parts_are_all_rows_in_order_and_none_is_too_heavy(rows in prop::collection::vec(0_usize..30, 0..60), most in 1_usize..50) {
            let parts = cut(&rows, most, |row| *row);
            prop_assert_eq!(&parts.concat(), &rows);
            for part in parts {
                prop_assert!(part.len() == 1 || (!part.is_empty() && part.iter().sum::<usize>() <= most));
            }
        }
    }
}
