//! What runs without a request: delivering, matching, keeping the store in order.
//!
//! Each part is a loop that takes no input: what it does next stands in the store, so the way after a crash is the way
//! it always goes. Loops are woken by hints and by timers, never end on a passing fault, and stop when they are told.
//!
//! Must not: serve HTTP, write SQL, or hold a transaction while it talks to somebody else.

pub mod bell;
pub mod deliverer;
pub mod endings;
pub mod holder;
pub mod matcher;
pub mod metrics_meaning;
mod patience;
pub mod prover;
pub mod retention;
pub mod subscriber;
