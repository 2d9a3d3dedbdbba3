//! `/health/live` and `/health/ready`, and what readiness is made of.
//!
//! Parts of the process (loops, partitions, listeners) tell how they are through a [`Readiness`] that they share; the
//! store is asked at each request. Liveness only says that the process answers: a store that is away must not get the
//! process restarted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use utoipa::ToSchema;
use waypost_postgres::Store;

use crate::routes::routes;

/// How long the store may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the parts of this process are. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, State>>>);

/// One part of the process, as readiness sees it. Not ready until it says so.
#[derive(Debug, Clone)]
pub struct Part {
    readiness: Readiness,
    name: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Failing,
}

impl Readiness {
    /// Adds a part that has to be ready. It begins as not ready.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Part {
        let part = Part { readiness: self.clone(), name };
        part.failing();
        part
    }

    /// The names of the parts that are not ready.
    #[must_use]
    pub fn failing(&self) -> Vec<&'static str> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, state)| **state == State::Failing).map(|(name, _)| *name).collect()
    }

    fn set(&self, name: &'static str, state: State) -> Option<State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, state)
    }
}

impl Part {
    /// It works.
    pub fn ready(&self) {
        if self.readiness.set(self.name, State::Ready) != Some(State::Ready) {
            tracing::info!(part = self.name, "a part is ready");
        }
    }

    /// It doesn't work at the moment.
    pub fn failing(&self) {
        if self.readiness.set(self.name, State::Failing) == Some(State::Ready) {
            tracing::warn!(part = self.name, "a part is not ready any more");
        }
    }

    /// It ends, as it was asked to: nothing to warn of.
    pub fn ending(&self) {
        self.readiness.set(self.name, State::Failing);
    }
}

/// The state of a process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `unavailable`.
    #[schema(value_type = String)]
    status: &'static str,
    /// The parts that are not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    failing: Vec<&'static str>,
}

/// Whether the process answers
///
/// Without a key, on either listener.
#[utoipa::path(tag = "Health", security(()), responses((status = 200, description = "It does", body = Health)))]
#[get("/health/live")]
async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok", failing: Vec::new() })
}

/// Whether the process can do its work
///
/// Without a key, on either listener. It can when the store answers and all its parts work.
#[utoipa::path(
    tag = "Health",
    security(()),
    responses(
        (status = 200, description = "It can", body = Health),
        (status = 503, description = "It can't; `failing` names what is missing", body = Health),
    )
)]
#[get("/health/ready")]
async fn ready(readiness: web::Data<Readiness>, store: web::Data<Store>) -> HttpResponse {
    let mut failing = readiness.failing();
    if !matches!(tokio::time::timeout(PATIENCE, store.ping()).await, Ok(Ok(()))) {
        failing.push("store");
    }
    let (status, word) = if failing.is_empty() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    HttpResponse::build(status).json(Health { status: word, failing })
}

routes![live, ready];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_failing_until_it_says_that_it_is_ready() {
        let readiness = Readiness::default();
        let (loops, partitions) = (readiness.part("renewer"), readiness.part("partitions"));
        assert_eq!(readiness.failing(), ["partitions", "renewer"]);
        loops.ready();
        partitions.ready();
        assert!(readiness.failing().is_empty());
        partitions.failing();
        assert_eq!(readiness.failing(), ["partitions"]);
        loops.ending();
        assert_eq!(readiness.failing(), ["partitions", "renewer"]);
    }
}
