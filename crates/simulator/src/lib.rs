//! Microsoft Graph and Entra as a program, as strict as the real ones.
//!
//! One listener serves sign-in (`/login`: tokens by secret, certificate, code and refresh token, the pages that people
//! see, key sets), the subscriptions API (`/v1.0`) with the real handshake, resources to read, write and follow, and a
//! control surface (`/_control`) through which things happen and faults are ordered. The same control is offered in
//! process by [`Control`]. Deliveries go out over real HTTP with Graph's limits and retries.
//!
//! Must not: know anything of Waypost but its clock; connect to anything but the loopback interface; write to disk.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use waypost_simulator::{ChangeType, Item, Notification, Simulator, SimulatorConfig};
//!
//! let config = SimulatorConfig { notification_http_allowed: true, ..SimulatorConfig::default() };
//! let simulator = Simulator::start(config, waypost_core::clock::system()).await?;
//! // … a client signs in at `login_url()`, creates a subscription at `graph_url()` …
//! let control = simulator.control();
//! for subscription in control.subscriptions() {
//!     control.notify(&Notification::of([Item::change(subscription.id, ChangeType::Created)]))?;
//! }
//! control.wait_settled().await;
//! simulator.stop().await;
//! # Ok(())
//! # }
//! ```

mod behaviour;
mod calls;
mod config;
mod control;
mod der;
mod entra;
mod faults;
mod graph;
mod items;
mod notify;
mod outbound;
pub mod sample;
mod server;
mod world;

#[cfg(test)]
mod tests;

pub use crate::{
    behaviour::Behaviour,
    calls::CallRecord,
    config::{
        App, DEMO_CLIENT_ID, DEMO_CLIENT_SECRET, DEMO_DOMAINS, DEMO_TENANTS, DEMO_USERS, DeliveryPolicy,
        Rules, SimulatorConfig, Tenant, User,
    },
    control::Control,
    entra::keys::CryptoFailure,
    faults::{Fault, FaultPlan, Operation},
    graph::{ChangeType, SubscriptionView},
    items::{ChangeError, Changed, Content, ContentView},
    notify::{
        DeliveryRecord, DeliveryState, ExpirationStyle, Item, LifecycleEvent, Notification, NotifyError,
        Outcome, Prepared, Shape, Tamper, Tokens, Try,
    },
    server::{Simulator, SimulatorError},
};
