//! The store and the loops on it, against a real PostgreSQL: what is appended, claimed, settled, held, matched and
//! dropped, by one process and by several at once. Time is a clock of the test's own. What travels over HTTP is the
//! business of the suites `api` and `end_to_end`, and so are row-level security and query plans.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod append;
mod claim;
mod conflicts;
#[path = "../harness/database.rs"]
mod database;
mod deletion;
mod holding;
mod leases;
mod loops;
mod matching;
mod model;
mod partitions;
mod proofs;
mod retention;
mod retry;
mod scene;
mod settle;
mod sharing;
mod turns;
