//! What all parts of a process stand on: the store, the ways out, the clock and the bell.

use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use waypost_core::clock::SharedClock;
use waypost_egress::guard::{Guard, Policy};
use waypost_egress::webhook::WebhookClient;
use waypost_postgres::Store;
use waypost_worker::bell::Bell;

use super::parts;
use crate::config::Settings;

pub(super) struct Foundation {
    pub(super) store: Store,
    pub(super) guard: Guard,
    pub(super) webhooks: WebhookClient,
    pub(super) clock: SharedClock,
    pub(super) bell: Bell,
    /// Tells the deliverer and the loops to take nothing new.
    pub(super) stopping: CancellationToken,
}

impl Foundation {
    /// Connects to the database, which must be migrated.
    pub(super) async fn lay(settings: &Settings, clock: SharedClock) -> anyhow::Result<Self> {
        let ring =
            settings.security.encryption_keys.clone().context("security.encryption_keys is not set")?;
        let store = Store::connect(parts::store_config(settings)?, ring, Arc::clone(&clock)).await?;
        let guard = Guard::new(Policy::new(settings.egress.allow.iter().copied()));
        let webhooks = WebhookClient::new(guard.clone(), &parts::webhook_config(settings))?;
        let (bell, stopping) = (Bell::default(), CancellationToken::new());
        Ok(Self { store, guard, webhooks, clock, bell, stopping })
    }
}
