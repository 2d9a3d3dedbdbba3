//! The key sets of the clouds, kept in the store and fetched when they are due.
//!
//! All processes share what one of them fetched; whose turn it is, the store decides. Within a process whoever comes
//! while somebody fetches waits for that. A set that can't be fetched stays as it was.

use std::sync::Arc;

use chrono::TimeDelta;
use tokio::sync::Mutex;
use waypost_core::clock::SharedClock;
use waypost_core::cloud::Cloud;
use waypost_core::provider::graph::key_set::{
    AFTER_FAILURE, Generation, KeySet, KeySets, REFRESH_EVERY, UNKNOWN_KEY_EVERY,
};
use waypost_egress::graph::TrustedClient;
use waypost_egress::graph::keys::key_set_url;
use waypost_postgres::{Store, StoreError};

/// The key sets. Cheap to clone; clones share who fetches.
#[derive(Debug, Clone)]
pub struct KeyBook {
    store: Store,
    client: TrustedClient,
    clock: SharedClock,
    fetching: Arc<Mutex<()>>,
}

impl KeyBook {
    /// The sets in `store`, fetched with `client`.
    #[must_use]
    pub fn new(store: Store, client: TrustedClient, clock: SharedClock) -> Self {
        Self { store, client, clock, fetching: Arc::default() }
    }

    /// The sets of a cloud; what is due is fetched first.
    ///
    /// # Errors
    /// When the store fails. That a set can't be fetched is none: it is as it was, or empty.
    pub async fn of(&self, cloud: &Cloud) -> Result<KeySets, StoreError> {
        let mut sets = KeySets::default();
        for generation in Generation::ALL {
            *sets.of_mut(generation) = self.fresh(cloud, generation).await?;
        }
        Ok(sets)
    }

    /// The sets of a cloud, fetched anew because a key was not in them; at most every [`UNKNOWN_KEY_EVERY`].
    ///
    /// # Errors
    /// As [`Self::of`].
    pub async fn renewed(&self, cloud: &Cloud) -> Result<KeySets, StoreError> {
        let mut sets = KeySets::default();
        for generation in Generation::ALL {
            let url = key_set_url(&cloud.login_url, generation);
            let _alone = self.fetching.lock().await;
            self.fetch(&url, UNKNOWN_KEY_EVERY).await?;
            *sets.of_mut(generation) = self.store.key_set(url.as_str()).await?;
        }
        Ok(sets)
    }

    async fn fresh(&self, cloud: &Cloud, generation: Generation) -> Result<KeySet, StoreError> {
        let url = key_set_url(&cloud.login_url, generation);
        let set = self.store.key_set(url.as_str()).await?;
        if !set.is_stale(self.clock.now()) {
            return Ok(set);
        }
        let _alone = self.fetching.lock().await;
        let set = self.store.key_set(url.as_str()).await?;
        if !set.is_stale(self.clock.now()) {
            return Ok(set);
        }
        // One that is stale is tried again soon, whether it failed or its turn was lost with a process.
        let gap = if set.fetched_at.is_some() { REFRESH_EVERY } else { AFTER_FAILURE };
        self.fetch(&url, gap).await?;
        self.store.key_set(url.as_str()).await
    }

    /// Fetches a set if it is this process's turn.
    async fn fetch(&self, url: &url::Url, gap: TimeDelta) -> Result<(), StoreError> {
        let now = self.clock.now();
        if !self.store.take_turn_to_fetch(url.as_str(), now, gap).await? {
            return Ok(());
        }
        let outcome = match self.client.fetch_keys(url).await {
            Ok(keys) => {
                self.store.keep_key_set(url.as_str(), &keys, now).await?;
                "fetched"
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the keys of validation tokens can't be fetched"
                );
                "failed"
            }
        };
        metrics::counter!("waypost_key_set_fetches_total", "outcome" => outcome).increment(1);
        Ok(())
    }
}
