//! Access tokens that are worth nothing although their time is not over.
//!
//! Must not keep what could not be presented any more for ever: bounded, the oldest go first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use uuid::Uuid;

use super::token::AccessClaims;

/// Single tokens that are remembered as revoked.
const MAX_SINGLE: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Revoked {
    serial: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    single: VecDeque<String>,
    /// Tokens of an application in a tenant with a serial up to this one.
    up_to: HashMap<(Uuid, Uuid), u64>,
}

impl Revoked {
    pub(crate) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Revokes this one.
    pub(crate) fn revoke(&self, claims: &AccessClaims) {
        self.with(|state| {
            if state.single.len() >= MAX_SINGLE {
                state.single.pop_front();
            }
            state.single.push_back(claims.uti.clone());
        });
    }

    /// Revokes everything that was issued to an application in a tenant until now.
    pub(crate) fn revoke_all(&self, app: Uuid, tenant: Uuid) {
        let last = self.serial.load(Ordering::Relaxed);
        self.with(|state| state.up_to.insert((app, tenant), last));
    }

    pub(crate) fn is_revoked(&self, claims: &AccessClaims) -> bool {
        self.with(|state| {
            let bulk = state.up_to.get(&(claims.appid, claims.tid));
            bulk.is_some_and(|last| claims.serial <= *last) || state.single.contains(&claims.uti)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
