//! The harness of the suites: the real application on free ports, a database of its own for each test, real HTTP both
//! ways, and a receiver that records what a customer's backend would get.
//!
//! ```no_run
//! # async fn example() {
//! use waypost_harness::{Receiver, TestApp, notification};
//!
//! let app = TestApp::spawn().await;
//! let tenant = app.tenant("acme").await;
//! let receiver = Receiver::start().await;
//! tenant.primary(&receiver).await;
//! tenant.connection("conn-1", notification::TENANT).await;
//! tenant.post_notification(&tenant.notification(notification::TENANT)).await.expect(202);
//! let received = receiver.wait_for(1).await;
//! # let _ = received;
//! # }
//! ```
//!
//! Nothing here stands in for a part of Waypost. Nothing sleeps: whoever waits, waits for an effect, for a bounded time.
//! Helpers that touch the database directly start with `db_`. A helper that meets what it did not expect panics, and says
//! what it met.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "helpers of tests fail by panicking"
)]

mod app;
mod client;
mod clock;
mod database;
mod logs;
mod receiver;
mod subscription;
mod tenant;

pub mod notification;
pub mod program;
pub mod wait;

pub use app::{Instance, TestApp, admin_token};
pub use client::{Answer, Client};
pub use clock::TestClock;
pub use receiver::{Gate, Received, Receiver, Reply, Trust};
pub use subscription::Subscription;
pub use tenant::{Tenant, WEBHOOK_SECRET};
