//! One delivery, as simple as it can be said.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;
use waypost_core::delivery::{DeliveryStatus, Ending, Lease, Next, Settlement, Start};
use waypost_core::id::{AttemptId, EndpointId};

use crate::scene::{MAX_AGE, OpenRow};

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Sending(Lease),
    /// Since then.
    Held(DateTime<Utc>),
    Ended(Ending),
}

/// The delivery.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) endpoint: EndpointId,
    pub(super) state: State,
    pub(super) due_at: DateTime<Utc>,
    give_up_at: DateTime<Utc>,
    /// Those that counted.
    pub(super) attempts: u32,
    pub(super) step: u16,
    /// All attempts: their numbers, and whether they came too late.
    pub(super) tries: BTreeMap<AttemptId, (u32, bool)>,
}

impl Model {
    pub(super) fn starting(endpoint: EndpointId, start: Start, now: DateTime<Utc>) -> Self {
        let (state, due_at) = match start {
            Start::Due(due_at) => (State::Pending, due_at),
            Start::Leased(lease) => (State::Sending(lease), now),
            Start::Held => (State::Held(now), now),
        };
        Self {
            endpoint,
            state,
            due_at,
            give_up_at: now + MAX_AGE,
            attempts: 0,
            step: 0,
            tries: BTreeMap::new(),
        }
    }

    pub(super) const fn ending(&self) -> Option<Ending> {
        match self.state {
            State::Ended(ending) => Some(ending),
            _ => None,
        }
    }

    pub(super) const fn status(&self) -> DeliveryStatus {
        match self.state {
            State::Pending => DeliveryStatus::Pending,
            State::Sending(_) => DeliveryStatus::Sending,
            State::Held(_) => DeliveryStatus::Held,
            State::Ended(ending) => ending.status(),
        }
    }

    /// Its row in the hot table, while it is open.
    pub(super) fn row(&self) -> OpenRow {
        let lease = match self.state {
            State::Sending(lease) => Some(lease),
            _ => None,
        };
        let held_at = match self.state {
            State::Held(since) => Some(since),
            _ => None,
        };
        OpenRow {
            due_at: self.due_at,
            give_up_at: self.give_up_at,
            held_at,
            lease_token: lease.map(|lease| lease.token),
            lease_until: lease.map(|lease| lease.until),
            attempts: i32::try_from(self.attempts).unwrap(),
            step: i16::try_from(self.step).unwrap(),
        }
    }

    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.state == State::Pending && self.due_at <= now
    }

    pub(super) fn has_lease(&self, token: Uuid) -> bool {
        matches!(self.state, State::Sending(lease) if lease.token == token)
    }

    pub(super) fn lease_is_over(&self, now: DateTime<Utc>) -> bool {
        matches!(self.state, State::Sending(lease) if lease.until < now)
    }

    /// Settles, and tells whether that counted.
    pub(super) fn settle(&mut self, settlement: &Settlement, now: DateTime<Utc>) -> bool {
        let applies = self.has_lease(settlement.token);
        if let Some(attempt) = &settlement.attempt {
            self.tries.entry(attempt.id).or_insert((attempt.number, !applies));
        }
        if applies {
            self.attempts += u32::from(settlement.attempt.is_some());
            match settlement.next {
                Next::Ended(ending) => self.state = State::Ended(ending),
                Next::Held => self.state = State::Held(now),
                Next::Retry { due_at, step } => {
                    (self.state, self.due_at, self.step) = (State::Pending, due_at, step);
                }
            }
        }
        applies
    }

    /// Lets it go at `due_at` if it is held, and tells whether it was.
    pub(super) fn release(&mut self, due_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        let State::Held(since) = self.state else { return false };
        self.give_up_at += now - since;
        (self.state, self.due_at) = (State::Pending, due_at);
        true
    }

    /// Opens it again after it died.
    pub(super) fn begin_anew(&mut self, held: bool, now: DateTime<Utc>) {
        self.state = if held { State::Held(now) } else { State::Pending };
        (self.due_at, self.give_up_at, self.step) = (now, now + MAX_AGE, 0);
    }
}
