//! Faults on demand: what an operation does wrong, how often, and with what chance.
//!
//! Must not touch the rules of an operation: a fault stands in front of it, or after it, never inside. The one exception
//! is the expiry that is granted, which no outside reordering could fake.

use std::sync::{Mutex, PoisonError};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::entra::problem;

/// More faults than this in one plan are cut off.
const MAX_FAULTS: usize = 256;

/// What can go wrong by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// The sign-in page, shown or answered.
    Authorize,
    /// The page on which an administrator consents, shown or answered.
    AdminConsent,
    /// `GET` of a collection.
    ListItems,
    /// `GET` of one item.
    GetItem,
    /// `POST` to a collection.
    CreateItem,
    /// `PATCH` of an item.
    UpdateItem,
    /// `DELETE` of an item.
    DeleteItem,
    /// `POST` of an action: send, move.
    Act,
    /// A delta query, first or following.
    Delta,
    /// `POST /$batch`; its parts are calls of their own.
    Batch,
    /// `GET` of raw content.
    ReadContent,
    /// `PUT` of raw content.
    WriteContent,
}

impl Operation {
    /// Whether it answers in Entra's shape rather than Graph's.
    pub(crate) fn is_entra(self) -> bool {
        matches!(
            self,
            Self::Token | Self::OpenidConfiguration | Self::Keys | Self::Authorize | Self::AdminConsent
        )
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
    /// Give the ordinary answer, but break off in the middle of its body.
    #[serde(default)]
    pub cut_body: bool,
    /// Strikes only calls whose path and query contain this text; all when absent.
    #[serde(default)]
    pub target: Option<String>,
    /// Strikes only calls with a good token of this tenant; all when absent.
    #[serde(default)]
    pub tenant: Option<Uuid>,
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
            cut_body: false,
            target: None,
            tenant: None,
        }
    }

    /// The next `times` calls of the token endpoint are refused with this number, in the form that it has at Entra.
    /// A number that is not known has the form of a server's error.
    #[must_use]
    pub fn sign_in(times: u32, number: u32) -> Self {
        let (status, code, text) = problem::known(number).unwrap_or((500, "server_error", "An error."));
        Self {
            message: Some(format!("AADSTS{number}: {text}")),
            ..Self::answer(Operation::Token, times, status, code)
        }
    }

    /// The next `times` calls do their work, and then the connection breaks without an answer.
    #[must_use]
    pub fn unclear(operation: Operation, times: u32) -> Self {
        Self { times: Some(times), drop_connection: true, after_effect: true, ..Self::on(operation) }
    }

    /// The next `times` calls find nobody: the connection breaks before anything is done.
    #[must_use]
    pub fn unreachable(operation: Operation, times: u32) -> Self {
        Self { times: Some(times), drop_connection: true, ..Self::on(operation) }
    }

    /// The next `times` calls take so many milliseconds longer.
    #[must_use]
    pub fn slow(operation: Operation, times: u32, milliseconds: u64) -> Self {
        Self { times: Some(times), delay_ms: Some(milliseconds), ..Self::on(operation) }
    }

    /// The next `times` calls are told to wait so many seconds.
    #[must_use]
    pub fn throttled(operation: Operation, times: u32, seconds: u32) -> Self {
        let code = if operation.is_entra() { "temporarily_unavailable" } else { "TooManyRequests" };
        Self { retry_after: Some(seconds.to_string()), ..Self::answer(operation, times, 429, code) }
    }

    /// The next `times` calls find their token refused, as one that was revoked.
    #[must_use]
    pub fn unauthorized(operation: Operation, times: u32) -> Self {
        Self::answer(operation, times, 401, "InvalidAuthenticationToken")
    }

    /// Strikes only calls whose path and query contain this text.
    #[must_use]
    pub fn where_target(self, text: &str) -> Self {
        Self { target: Some(text.to_owned()), ..self }
    }

    fn fits(&self, struck: &Struck<'_>) -> bool {
        self.operation == struck.operation
            && self.times != Some(0)
            && self.target.as_deref().is_none_or(|text| struck.target.contains(text))
            && self.tenant.is_none_or(|tenant| struck.tenant == Some(tenant))
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

/// A call that a fault may strike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Struck<'a> {
    pub(crate) operation: Operation,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) tenant: Option<Uuid>,
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
    pub(crate) fn draw(&self, struck: &Struck<'_>) -> Option<Fault> {
        self.with(|state| {
            let State { plan, generator } = state;
            let mut fitting = plan.faults.iter_mut().filter(|fault| fault.fits(struck));
            let fault = fitting.find(|fault| generator.random_bool(chance(fault.probability)))?;
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

    fn call(operation: Operation) -> Struck<'static> {
        Struck { operation, target: "/login/contoso/token?a=1", tenant: None }
    }

    #[test]
    fn a_fault_for_a_target_or_a_tenant_leaves_other_calls_alone() {
        let faults = Faults::new(1);
        let strikes = |fault: Fault| {
            faults.set(FaultPlan { faults: vec![fault], ..FaultPlan::default() });
            faults.draw(&call(Operation::Token)).is_some()
        };
        assert!(strikes(Fault::on(Operation::Token).where_target("contoso")));
        assert!(!strikes(Fault::on(Operation::Token).where_target("fabrikam")));
        assert!(!strikes(Fault { tenant: Some(Uuid::nil()), ..Fault::on(Operation::Token) }));
    }

    #[test]
    fn a_counted_fault_strikes_so_many_calls_of_its_operation_and_no_more() {
        let faults = Faults::new(1);
        let fault = Fault::answer(Operation::Token, 2, 503, "temporarily_unavailable");
        faults.set(FaultPlan { faults: vec![fault], ..FaultPlan::default() });
        assert!(faults.draw(&call(Operation::Keys)).is_none());
        let struck = (0..5).filter(|_| faults.draw(&call(Operation::Token)).is_some()).count();
        assert_eq!(struck, 2);
    }

    #[test]
    fn the_same_seed_strikes_the_same_calls() {
        let strikes = |seed| {
            let faults = Faults::new(0);
            let fault = Fault { probability: 0.5, ..Fault::on(Operation::Keys) };
            faults.set(FaultPlan { seed: Some(seed), faults: vec![fault], ..FaultPlan::default() });
            (0..64).map(|_| faults.draw(&call(Operation::Keys)).is_some()).collect::<Vec<_>>()
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
            assert_eq!(faults.draw(&call(Operation::Keys)).is_some(), probability > 0.0);
        }
    }
}
