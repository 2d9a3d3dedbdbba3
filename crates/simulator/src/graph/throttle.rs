//! The published call rates of the subscription service, as sliding windows of 20 seconds.
//!
//! Measured in the machine's time: a test's clock that stands still must not throttle for ever.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::call::{Caller, Problem};
use crate::faults::Operation;

const WINDOW: Duration = Duration::from_secs(20);

/// What shares one allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Write,
    Reauthorize,
    Get,
    List,
}

impl Class {
    fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::CreateSubscription | Operation::UpdateSubscription | Operation::DeleteSubscription => {
                Some(Self::Write)
            }
            Operation::ReauthorizeSubscription => Some(Self::Reauthorize),
            Operation::GetSubscription => Some(Self::Get),
            Operation::ListSubscriptions => Some(Self::List),
            _ => None,
        }
    }

    /// Calls in a window per application over all tenants, and per application and tenant.
    fn limits(self) -> (usize, usize) {
        match self {
            Self::Write | Self::Get => (2_000, 500),
            Self::Reauthorize => (4_000, 1_000),
            Self::List => (40, 25),
        }
    }
}

type Key = (Class, Uuid, Option<Uuid>);

#[derive(Debug)]
pub(crate) struct Throttle {
    enabled: bool,
    /// Each queue is as long as its limit at most; the keys are tokens' applications and tenants.
    calls: Mutex<HashMap<Key, VecDeque<Instant>>>,
}

impl Throttle {
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, calls: Mutex::new(HashMap::new()) }
    }

    /// Counts a call, or refuses it.
    pub(crate) fn admit(&self, caller: Caller, operation: Operation) -> Result<(), Problem> {
        match Class::of(operation) {
            Some(class) if self.enabled => self.count(caller, class, Instant::now()),
            _ => Ok(()),
        }
    }

    fn count(&self, caller: Caller, class: Class, now: Instant) -> Result<(), Problem> {
        let (per_app, per_tenant) = class.limits();
        let keys =
            [((class, caller.app, None), per_app), ((class, caller.app, Some(caller.tenant)), per_tenant)];
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, limit) in keys {
            let seen = calls.entry(key).or_default();
            while seen.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
                seen.pop_front();
            }
            if let (true, Some(first)) = (seen.len() >= limit, seen.front()) {
                let wait = WINDOW.saturating_sub(now.duration_since(*first));
                return Err(Problem::throttled(wait.as_secs() + 1));
            }
        }
        for (key, _) in keys {
            calls.entry(key).or_default().push_back(now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_26th_list_call_of_a_tenant_within_20_seconds_is_refused_and_told_when_to_come_back() {
        let throttle = Throttle::new(true);
        let caller = Caller { app: Uuid::from_u128(1), tenant: Uuid::from_u128(2), user: None };
        let start = Instant::now();
        for _ in 0..25 {
            throttle.count(caller, Class::List, start).unwrap();
        }
        let later = start + Duration::from_secs(5);
        assert_eq!(throttle.count(caller, Class::List, later), Err(Problem::throttled(16)));
        let neighbour = Caller { tenant: Uuid::from_u128(3), ..caller };
        throttle.count(neighbour, Class::List, later).unwrap();
        throttle.count(caller, Class::List, start + WINDOW).unwrap();
    }
}
