//! Telling other processes that there is work: a hint over NOTIFY. A lost hint costs time, never work: timers find it.
//!
//! Never stands in a transaction that appends or settles: NOTIFY would make their commits queue for each other.

use secrecy::ExposeSecret as _;
use sqlx::Executor as _;
use sqlx::postgres::PgListener;

use crate::{Store, StoreError};

const CHANNEL: &str = "waypost_work";

/// Hears hints of other processes. Reconnects by itself.
#[derive(Debug)]
pub struct WorkListener(PgListener);

impl Store {
    /// Tells all processes that deliveries wait which nobody holds.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn notify_work_across_environments(&self) -> Result<(), StoreError> {
        self.workers().execute("NOTIFY waypost_work").await?;
        Ok(())
    }

    /// Listens for such hints, on a connection of its own.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn listen_for_work(&self) -> Result<WorkListener, StoreError> {
        let mut listener = PgListener::connect(self.url().expose_secret()).await?;
        listener.listen(CHANNEL).await?;
        Ok(WorkListener(listener))
    }
}

impl WorkListener {
    /// Waits for the next hint. Also returns when the connection was lost and made again, as hints may be missing then.
    ///
    /// # Errors
    /// When the connection can't be made again.
    pub async fn heard(&mut self) -> Result<(), StoreError> {
        self.0.try_recv().await?;
        Ok(())
    }
}
