//! Faults on demand: what an operation does wrong, how often, and with what chance.
//!
//! Must not touch the rules of an operation: a fault stands in front of it, or after it, never inside. The one exception
//! is the expiry that is granted, which no outside reordering could fake.

use std::sync::{Mutex, PoisonError};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// More faults than this in one plan are cut off.
const MAX_FAULTS: usize = 256;

/// What can go wrong by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The token endpoint.
    Token,
    /// Either `OpenID` configuration document.
    OpenidConfiguration,
    /// Either key set.
    Keys,
    /// `POST /subscriptions`
    CreateSubscription,
    /// `GET /subscriptions`
    ListSubscriptions,
    /// `GET /subscriptions/{id}`
    GetSubscription,
    /// `PATCH /subscriptions/{id}`
    UpdateSubscription,
    /// `DELETE /subscriptions/{id}`
    DeleteSubscription,
    /// `POST /subscriptions/{id}/reauthorize`
    ReauthorizeSubscription,
}

impl Operation {
    /// Whether it answers in Entra's shape rather than Graph's.
    pub(crate) fn is_entra(self) -> bool {
        matches!(self, Self::Token | Self::OpenidConfiguration | Self::Keys)
    }
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub operation: Operation,
    /// How many more calls it strikes; without end when absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// The chance that it strikes a call, from 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Milliseconds before anything else happens.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// Answer with this status; the call goes its ordinary way when absent.
    #[serde(default)]
    pub status: Option<u16>,
    /// Graph's `error.code` or Entra's `error`.
    #[serde(default)]
    pub code: Option<String>,
    /// The message; for Entra `AADSTS` and a number in front of it fill `error_codes`.
    #[serde(default)]
    pub message: Option<String>,
    /// `Retry-After` as it stands, so that nonsense can be sent too.
    #[serde(default)]
    pub retry_after: Option<String>,
    /// Cut the connection instead of answering.
    #[serde(default)]
    pub drop_connection: bool,
    /// Do the work first, and then fail: the unclear outcome.
    #[serde(default)]
    pub after_effect: bool,
}

fn always() -> f64 {
    1.0
}

impl Fault {
    /// A fault that strikes every call of `operation`, and so far does nothing to it.
    #[must_use]
    pub fn on(operation: Operation) -> Self {
        Self {
            operation,
            times: None,
            probability: 1.0,
            delay_ms: None,
            status: None,
            code: None,
            message: None,
            retry_after: None,
            drop_connection: false,
            after_effect: false,
        }
    }

    /// The next `times` calls answer `status` with `code`.
    #[must_use]
    pub fn answer(operation: Operation, times: u32, status: u16, code: &str) -> Self {
        Self { times: Some(times), status: Some(status), code: Some(code.to_owned()), ..Self::on(operation) }
    }
}

/// All faults at one time; setting a plan replaces the one before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultPlan {
    /// Starts the generator anew with this seed.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Every create and renewal is granted only so many seconds, whatever was asked for.
    #[serde(default)]
    pub grant_seconds: Option<u32>,
    /// Tried in this order; the first that strikes a call is taken.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

#[derive(Debug)]
pub(crate) struct Faults {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    generator: StdRng,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State { plan: FaultPlan::default(), generator: StdRng::seed_from_u64(seed) };
        Self { state: Mutex::new(state) }
    }

    pub(crate) fn set(&self, mut plan: FaultPlan) {
        plan.faults.truncate(MAX_FAULTS);
        self.with(|state| {
            if let Some(seed) = plan.seed {
                state.generator = StdRng::seed_from_u64(seed);
            }
            state.plan = plan;
        });
    }

    /// The plan with what is left of it.
    pub(crate) fn plan(&self) -> FaultPlan {
        self.with(|state| state.plan.clone())
    }

    pub(crate) fn grant_seconds(&self) -> Option<u32> {
        self.with(|state| state.plan.grant_seconds)
    }

    /// The fault that strikes this call, if any; its count goes down.
    pub(crate) fn draw(&self, operation: Operation) -> Option<Fault> {
        self.with(|state| {
            let State { plan, generator } = state;
            let fault =
                plan.faults.iter_mut().filter(|fault| fault.operation == operation).find(|fault| {
                    fault.times != Some(0) && generator.random_bool(chance(fault.probability))
                })?;
            if let Some(times) = &mut fault.times {
                *times -= 1;
            }
            Some(fault.clone())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The probability as the generator takes it: it panics on anything outside 0 to 1, not-a-number included.
fn chance(probability: f64) -> f64 {
    if probability > 0.0 { probability.min(1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_fault_strikes_so_many_calls_of_its_operation_and_no_more() {
        let faults = Faults::new(1);
        let fault = Fault::answer(Operation::Token, 2, 503, "temporarily_unavailable");
        faults.set(FaultPlan { faults: vec![fault], ..FaultPlan::default() });
        assert!(faults.draw(Operation::Keys).is_none());
        let struck = (0..5).filter(|_| faults.draw(Operation::Token).is_some()).count();
        assert_eq!(struck, 2);
    }

    #[test]
    fn the_same_seed_strikes_the_same_calls() {
        let strikes = |seed| {
            let faults = Faults::new(0);
            let fault = Fault { probability: 0.5, ..Fault::on(Operation::Keys) };
            faults.set(FaultPlan { seed: Some(seed), faults: vec![fault], ..FaultPlan::default() });
            (0..64).map(|_| faults.draw(Operation::Keys).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(strikes(7), strikes(7));
        assert_ne!(strikes(7), strikes(8));
    }

    #[test]
    fn a_probability_that_is_no_number_from_0_to_1_is_clamped_not_a_panic() {
        let faults = Faults::new(0);
        for probability in [-1.0, 2.0, f64::INFINITY, f64::NAN] {
            let fault = Fault { probability, ..Fault::on(Operation::Keys) };
            faults.set(FaultPlan { faults: vec![fault], ..FaultPlan::default() });
            assert_eq!(faults.draw(Operation::Keys).is_some(), probability > 0.0);
        }
    }
}
