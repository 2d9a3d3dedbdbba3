//! Leasing due deliveries and settling them: the hot table's two ends.
//!
//! A lease is a row's token and its end; no transaction outlives a statement. Whoever settles shows the token: when the
//! row has passed to another meanwhile, the settlement changes nothing and only its attempt is kept, marked as such.
//! Crosses environments: for workers only.

mod settle;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use waypost_core::delivery::{Lease, Leased, Message, Progress, Target};
use waypost_core::endpoint::EndpointStatus;
use waypost_core::event::EventKind;
use waypost_core::id::{ConnectionKey, DeliveryId, EndpointId, EnvironmentId, EventId};
use waypost_core::provider::Provider;
use waypost_core::provider::graph::fetch::Wish;

pub use settle::Settled;

use crate::integration::read_select;
use crate::target;
use crate::{Store, StoreError};

/// How many endpoints one claim looks at, whether their work is due or not.
const ENDPOINTS_A_CLAIM: i64 = 512;

/// How many leases are taken back at a time.
const LARGEST_TAKE_BACK: i64 = 1000;

/// What taking back brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakenBack {
    /// How many leases had run out.
    pub count: u64,
    /// When the next one runs out, if it isn't settled before; at once when there may be more. `None` when nothing is
    /// leased.
    pub next: Option<DateTime<Utc>>,
}

/// What a claim may take.
#[derive(Debug)]
pub struct ClaimLimits<'a> {
    /// Deliveries in all.
    pub total: u32,
    /// Deliveries of one endpoint that has nothing in flight here.
    pub per_endpoint: u32,
    /// What is left for endpoints that have something in flight here.
    pub endpoints: &'a [(EndpointId, u32)],
    /// Deliveries of one environment that has nothing in flight here.
    pub per_environment: u32,
    /// What is left for environments that have something in flight here.
    pub environments: &'a [(EnvironmentId, u32)],
    /// Where the turn over environments and endpoints begins: after this one.
    pub after: Option<(EnvironmentId, EndpointId)>,
}

/// What a claim brought.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Ready to be sent.
    pub ready: Vec<Leased>,
    /// Under lease, but their endpoint takes nothing now.
    pub to_hold: Vec<Unsendable>,
    /// Under lease, but their endpoint, connection or event is gone.
    pub to_discard: Vec<Unsendable>,
    /// Under lease, but their endpoint or event can't be opened now: as when its key is missing from this process.
    pub to_put_off: Vec<Unsendable>,
    /// The last endpoint that was looked at: where the next claim begins. `None` when the turn came to its end.
    pub last: Option<(EnvironmentId, EndpointId)>,
}

impl Claimed {
    /// How many rows were leased.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.len() + self.to_hold.len() + self.to_discard.len() + self.to_put_off.len()
    }

    /// Whether nothing was leased.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A leased delivery that can't be sent.
#[derive(Debug, Clone, Copy)]
pub struct Unsendable {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Its event.
    pub event: EventId,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its endpoint.
    pub endpoint: EndpointId,
    /// The lease's token.
    pub token: Uuid,
    /// Which step of the schedule its next attempt is.
    pub step: u16,
}

/// What a look-up of leased rows brought, by id; `None` for what is there and can't be opened.
type Opened<T> = HashMap<Uuid, Option<T>>;

/// A row of `claim.sql`: the last endpoint that was looked at, and a delivery when there is one.
struct LookedRow {
    last_environment: Uuid,
    last_endpoint: Uuid,
    looked: i64,
    id: Option<Uuid>,
    event_id: Option<Uuid>,
    environment_id: Option<Uuid>,
    endpoint_id: Option<Uuid>,
    attempts: Option<i32>,
    step: Option<i16>,
    give_up_at: Option<DateTime<Utc>>,
}

impl LookedRow {
    fn claimed(&self) -> Option<ClaimRow> {
        Some(ClaimRow {
            id: self.id?,
            event_id: self.event_id?,
            environment_id: self.environment_id?,
            endpoint_id: self.endpoint_id?,
            attempts: self.attempts?,
            step: self.step?,
            give_up_at: self.give_up_at?,
        })
    }
}

struct ClaimRow {
    id: Uuid,
    event_id: Uuid,
    environment_id: Uuid,
    endpoint_id: Uuid,
    attempts: i32,
    step: i16,
    give_up_at: DateTime<Utc>,
}

struct EventRow {
    id: Uuid,
    body: Vec<u8>,
    item_keys: String,
    rich: bool,
    connection: Option<i64>,
    provider: Option<String>,
    fetch_resource: Option<bool>,
    fetch_select: Option<String>,
}

impl EventRow {
    /// What is to be read before it goes out, as its integration stands now.
    fn wish(&self) -> Result<Option<Wish>, StoreError> {
        let (Some(connection), Some(provider)) = (self.connection, &self.provider) else { return Ok(None) };
        let provider = Provider::named(provider)
            .ok_or_else(|| StoreError::inconsistent("integrations", "provider", self.id))?;
        let select = read_select(self.fetch_select.as_deref(), self.id)?;
        let wanted = self.fetch_resource.unwrap_or_default();
        Ok(Wish::of(provider, wanted, select.as_ref(), ConnectionKey::from_number(connection)))
    }
}

impl Store {
    /// Leases due deliveries, in turns: one of each environment, then the next of each, and within an environment one
    /// of each endpoint, then the next; whose turn is first is drawn by lot. Rows that others have locked are passed
    /// over.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn claim_across_environments(
        &self,
        limits: &ClaimLimits<'_>,
        now: DateTime<Utc>,
        term: TimeDelta,
    ) -> Result<Claimed, StoreError> {
        let lease = Lease::starting(now, term);
        let looked = self.claim_rows(limits, now, lease).await?;
        let rows: Vec<ClaimRow> = looked.iter().filter_map(LookedRow::claimed).collect();
        let mut claimed = Claimed { last: last_of(&looked), ..Claimed::default() };
        if rows.is_empty() {
            return Ok(claimed);
        }
        let messages = self.messages(&rows).await?;
        let targets = self.targets(&rows, now).await?;
        for row in &rows {
            sort_in(row, lease, &messages, &targets, &mut claimed);
        }
        Ok(claimed)
    }

    async fn claim_rows(
        &self,
        limits: &ClaimLimits<'_>,
        now: DateTime<Utc>,
        lease: Lease,
    ) -> Result<Vec<LookedRow>, StoreError> {
        let endpoints: Vec<Uuid> = limits.endpoints.iter().map(|(id, _)| id.uuid()).collect();
        let for_endpoints: Vec<i64> = limits.endpoints.iter().map(|(_, left)| i64::from(*left)).collect();
        let environments: Vec<Uuid> = limits.environments.iter().map(|(id, _)| id.uuid()).collect();
        let for_environments: Vec<i64> =
            limits.environments.iter().map(|(_, left)| i64::from(*left)).collect();
        let (after_environment, after_endpoint) =
            limits.after.map_or((Uuid::nil(), Uuid::nil()), |(environment, endpoint)| {
                (environment.uuid(), endpoint.uuid())
            });
        let rows = sqlx::query_file_as!(
            LookedRow,
            "queries/claim.sql",
            after_environment,
            after_endpoint,
            ENDPOINTS_A_CLAIM,
            &endpoints,
            &for_endpoints,
            now,
            i64::from(limits.per_endpoint),
            i64::from(limits.total),
            lease.token,
            lease.until,
            i64::from(limits.per_environment),
            &environments,
            &for_environments,
        )
        .fetch_all(self.workers())
        .await?;
        Ok(rows)
    }

    /// The messages of leased rows: each look-up goes to the partition of its event's day. Those of deleted connections
    /// and integrations are left out, whenever their events came; only the notice of a deletion still goes out.
    async fn messages(&self, rows: &[ClaimRow]) -> Result<Opened<Message>, StoreError> {
        let ids: Vec<Uuid> =
            rows.iter().map(|row| row.event_id).collect::<BTreeSet<_>>().into_iter().collect();
        let events = sqlx::query_as!(
            EventRow,
            r#"
            -- find_messages
            SELECT e.id, e.body, e.item_keys, e.rich, e.connection, i.provider AS "provider?",
                   i.fetch_resource AS "fetch_resource?", i.fetch_select AS "fetch_select?"
            FROM unnest($1::uuid[]) AS w (id)
            CROSS JOIN LATERAL (SELECT * FROM events WHERE id = w.id LIMIT 1) e
            -- Notices bring nothing to be read.
            LEFT JOIN LATERAL (
                SELECT provider, fetch_resource, fetch_select FROM integrations
                WHERE id = e.integration_id AND e.kind = $3 LIMIT 1
            ) i ON true
            WHERE e.kind = $2 OR NOT (
                EXISTS (SELECT FROM connections WHERE id = e.connection AND deleted_at IS NOT NULL)
                OR EXISTS (SELECT FROM integrations WHERE id = e.integration_id AND deleted_at IS NOT NULL)
            )
            "#,
            &ids,
            EventKind::AuthDeletion.code(),
            EventKind::Forward.code(),
        )
        .fetch_all(self.workers())
        .await?;
        Ok(events.into_iter().map(|row| (row.id, told(self.open_message(&row)))).collect())
    }

    fn open_message(&self, row: &EventRow) -> Result<Message, StoreError> {
        let body = self.open("events", "body", row.id.as_bytes(), &row.body)?;
        Ok(Message {
            event: EventId::from_uuid(row.id),
            body: body.to_vec().into(),
            item_keys: row.item_keys.as_str().into(),
            rich: row.rich,
            fetch: row.wish()?,
        })
    }

    async fn targets(
        &self,
        rows: &[ClaimRow],
        now: DateTime<Utc>,
    ) -> Result<Opened<Arc<Target>>, StoreError> {
        let ids: Vec<Uuid> =
            rows.iter().map(|row| row.endpoint_id).collect::<BTreeSet<_>>().into_iter().collect();
        let found = target::rows_by_id(self.workers(), &ids, now).await?;
        let open = |row: target::TargetRow| Ok(Arc::new(row.split()?.1.open(self)?));
        Ok(found.into_iter().map(|row| (row.id, told(open(row)))).collect())
    }

    /// When the next delivery is due that nobody holds; `None` when none is waiting. Looks at a bounded number of
    /// endpoints, so it may be later than the truth, never earlier.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next_due_across_environments(&self) -> Result<Option<DateTime<Utc>>, StoreError> {
        let due = sqlx::query_scalar!(
            r#"
            -- next_due
            WITH RECURSIVE turn AS (
                (SELECT environment_id, endpoint_id, due_at FROM deliveries
                 WHERE lease_token IS NULL AND held_at IS NULL
                 ORDER BY environment_id, endpoint_id, due_at LIMIT 1)
                UNION ALL
                SELECT n.environment_id, n.endpoint_id, n.due_at FROM turn
                CROSS JOIN LATERAL (
                    SELECT environment_id, endpoint_id, due_at FROM deliveries
                    WHERE lease_token IS NULL AND held_at IS NULL
                      AND (environment_id, endpoint_id) > (turn.environment_id, turn.endpoint_id)
                    ORDER BY environment_id, endpoint_id, due_at LIMIT 1
                ) n
            )
            SELECT min(due_at) FROM (SELECT due_at FROM turn LIMIT 4096) t
            "#
        )
        .fetch_one(self.workers())
        .await?;
        Ok(due)
    }

    /// Takes back leases that have run out: their process is gone, or too slow.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take_back_expired_across_environments(
        &self,
        now: DateTime<Utc>,
    ) -> Result<TakenBack, StoreError> {
        let row = sqlx::query!(
            r#"-- take_back_expired
            WITH expired AS MATERIALIZED (
                SELECT id FROM deliveries WHERE lease_token IS NOT NULL AND lease_until < $1
                ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED
            ), taken AS (
                UPDATE deliveries d SET lease_token = NULL, lease_until = NULL FROM expired WHERE d.id = expired.id
                RETURNING d.id
            )
            SELECT (SELECT count(*) FROM taken) AS "count!",
                   (SELECT lease_until FROM deliveries WHERE lease_token IS NOT NULL AND lease_until >= $1
                    ORDER BY lease_until LIMIT 1) AS next"#,
            now,
            LARGEST_TAKE_BACK,
        )
        .fetch_one(self.workers())
        .await?;
        let more = row.count >= LARGEST_TAKE_BACK;
        Ok(TakenBack {
            count: u64::try_from(row.count).unwrap_or_default(),
            next: if more { Some(now) } else { row.next },
        })
    }
}

/// Where the next claim goes on, when there may be more endpoints than this one looked at.
fn last_of(looked: &[LookedRow]) -> Option<(EnvironmentId, EndpointId)> {
    let row = looked.first().filter(|row| row.looked >= ENDPOINTS_A_CLAIM)?;
    Some((EnvironmentId::from_uuid(row.last_environment), EndpointId::from_uuid(row.last_endpoint)))
}

/// One row that can't be opened must not keep the others from being sent.
fn told<T>(opened: Result<T, StoreError>) -> Option<T> {
    if let Err(error) = &opened {
        tracing::error!(error = error as &dyn std::error::Error, "a delivery can't be opened");
    }
    opened.ok()
}

fn sort_in(
    row: &ClaimRow,
    lease: Lease,
    messages: &Opened<Message>,
    targets: &Opened<Arc<Target>>,
    claimed: &mut Claimed,
) {
    let step = u16::try_from(row.step).unwrap_or_default();
    let unsendable = Unsendable {
        delivery: DeliveryId::from_uuid(row.id),
        event: EventId::from_uuid(row.event_id),
        environment: EnvironmentId::from_uuid(row.environment_id),
        endpoint: EndpointId::from_uuid(row.endpoint_id),
        token: lease.token,
        step,
    };
    let (message, target) = match (messages.get(&row.event_id), targets.get(&row.endpoint_id)) {
        (Some(Some(message)), Some(Some(target))) => (message, target),
        (None, _) | (_, None) => return claimed.to_discard.push(unsendable),
        (Some(_), Some(_)) => return claimed.to_put_off.push(unsendable),
    };
    if target.status == EndpointStatus::Disabled {
        return claimed.to_hold.push(unsendable);
    }
    claimed.ready.push(Leased {
        id: unsendable.delivery,
        environment: unsendable.environment,
        lease,
        progress: Progress {
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            step,
            give_up_at: row.give_up_at,
        },
        message: message.clone(),
        target: Arc::clone(target),
    });
}
