//! Chaos: real processes and a real PostgreSQL, killed again and again under load, and an account of every notification.
//!
//! What was answered 202 must have arrived, or be visible where it stands; twice is allowed, not at all is not. The short
//! forms run with every test; those named `slow_…` do the same for as many rounds as `WAYPOST_CHAOS_ROUNDS` says.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod database;
mod door;
mod estate;
mod load;
mod postgres;
mod processes;
mod receivers;
mod reckoning;

use std::env;
use std::time::Duration;

use uuid::Uuid;

/// Rounds of the short forms.
const FEW: usize = 3;
/// Rounds of the long forms where nothing else is asked for.
const MANY: usize = 50;

/// Rounds of the long forms.
fn rounds() -> usize {
    match env::var("WAYPOST_CHAOS_ROUNDS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("WAYPOST_CHAOS_ROUNDS is not a number: {text}")),
        Err(_) => MANY,
    }
}

/// A random time below `limit`.
fn random(limit: Duration) -> Duration {
    let part = u32::try_from(Uuid::new_v4().as_u128() % 1000).unwrap();
    limit * part / 1000
}
