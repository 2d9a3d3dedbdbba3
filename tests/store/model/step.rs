//! What may happen next.

use proptest::prelude::*;
use proptest::sample::Index;
use waypost_postgres::endpoint::Held;

/// One thing that a worker, a person or time does. Indices choose among what there is by then.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A delivery is accepted.
    Append { endpoint: usize, begins: Begins },
    /// A worker claims that many.
    Claim { total: u32 },
    /// A worker settles under a lease that it has, or had.
    Settle { lease: Index, came: Came },
    /// A settlement is written once more.
    Repeat { settlement: Index },
    /// Time passes.
    Wait { seconds: i64 },
    /// Leases that have run out are taken back.
    TakeBack,
    /// Somebody disables an endpoint.
    Disable { endpoint: usize },
    /// Somebody enables an endpoint.
    Enable { endpoint: usize, held: Held },
    /// Somebody deletes an endpoint.
    Delete { endpoint: usize },
    /// The holder looks.
    Reconcile,
    /// Somebody retries a delivery.
    Retry { delivery: Index },
}

/// How a delivery begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Begins {
    Due,
    Later,
    Leased,
    Held,
}

/// What came of a lease.
#[derive(Debug, Clone, Copy)]
pub(super) enum Came {
    Delivered,
    Failed,
    Throttled,
    Gone,
    Exhausted,
    TooOld,
    /// It goes back without an attempt.
    Back,
    /// It waits for its endpoint, without an attempt.
    Held,
    /// It ends without an attempt.
    Discarded,
}

/// How many endpoints there are.
pub(super) const ENDPOINTS: usize = 3;

pub(super) fn step() -> impl Strategy<Value = Step> {
    let endpoint = 0..ENDPOINTS;
    let index = any::<Index>;
    prop_oneof![
        8 => (endpoint.clone(), begins()).prop_map(|(endpoint, begins)| Step::Append { endpoint, begins }),
        8 => (1_u32..8).prop_map(|total| Step::Claim { total }),
        3 => Just(Step::Claim { total: 1000 }),
        16 => (index(), came()).prop_map(|(lease, came)| Step::Settle { lease, came }),
        3 => index().prop_map(|settlement| Step::Repeat { settlement }),
        8 => (0_i64..40).prop_map(|seconds| Step::Wait { seconds }),
        3 => Just(Step::TakeBack),
        2 => endpoint.clone().prop_map(|endpoint| Step::Disable { endpoint }),
        3 => (endpoint.clone(), held()).prop_map(|(endpoint, held)| Step::Enable { endpoint, held }),
        // The last one is never deleted, so that a case doesn't run out of things to do.
        1 => (0..ENDPOINTS - 1).prop_map(|endpoint| Step::Delete { endpoint }),
        3 => Just(Step::Reconcile),
        6 => index().prop_map(|delivery| Step::Retry { delivery }),
    ]
}

fn begins() -> impl Strategy<Value = Begins> {
    prop_oneof![
        4 => Just(Begins::Due), 1 => Just(Begins::Later), 2 => Just(Begins::Leased), 1 => Just(Begins::Held),
    ]
}

fn came() -> impl Strategy<Value = Came> {
    prop_oneof![
        4 => Just(Came::Delivered), 4 => Just(Came::Failed), 2 => Just(Came::Throttled), 1 => Just(Came::Gone),
        2 => Just(Came::Exhausted), 1 => Just(Came::TooOld), 1 => Just(Came::Back), 1 => Just(Came::Held),
        1 => Just(Came::Discarded),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![3 => Just(Held::Deliver), 1 => Just(Held::Discard)]
}
