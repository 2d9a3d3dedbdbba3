//! Who called what: counts without end, and the last calls one by one.
//!
//! Must not influence an answer.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::faults::Operation;

/// Calls that are remembered one by one.
const MAX_CALLS: usize = 10_000;

/// A call that was answered, or cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallRecord {
    /// What was called.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// Path and query as they came.
    pub target: String,
    /// The tenant of the bearer token, if there was a good one.
    pub tenant: Option<Uuid>,
    /// The `client-request-id` that was sent.
    pub client_request_id: Option<String>,
    /// The headers, without those that carry credentials.
    pub headers: BTreeMap<String, String>,
    /// When it came.
    pub at: DateTime<Utc>,
}

#[derive(Debug, Default)]
pub(crate) struct Calls {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<Operation, u64>,
    last: VecDeque<CallRecord>,
}

impl Calls {
    pub(crate) fn record(&self, call: CallRecord) {
        self.with(|state| {
            *state.counts.entry(call.operation).or_default() += 1;
            if state.last.len() >= MAX_CALLS {
                state.last.pop_front();
            }
            state.last.push_back(call);
        });
    }

    pub(crate) fn count(&self, operation: Operation) -> u64 {
        self.with(|state| state.counts.get(&operation).copied().unwrap_or_default())
    }

    pub(crate) fn counts(&self) -> BTreeMap<Operation, u64> {
        self.with(|state| state.counts.clone())
    }

    pub(crate) fn last(&self) -> Vec<CallRecord> {
        self.with(|state| state.last.iter().cloned().collect())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
