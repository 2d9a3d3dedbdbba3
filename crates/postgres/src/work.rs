//! Telling other processes that there is work: a hint over NOTIFY. A lost hint costs time, never work: timers find it.
//!
//! Never stands in a transaction that appends or settles: NOTIFY would make their commits queue for each other.

use secrecy::ExposeSecret as _;
use sqlx::Executor as _;
use sqlx::postgres::PgListener;

use crate::{Store, StoreError};

/// What is hinted at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Deliveries wait which nobody holds.
    Work,
    /// An event may have got its connection.
    Matching,
}

impl Hint {
    const ALL: [Self; 2] = [Self::Work, Self::Matching];

    const fn channel(self) -> &'static str {
        match self {
            Self::Work => "waypost_work",
            Self::Matching => "waypost_matching",
        }
    }
}

/// Hears hints of other processes. Reconnects by itself.
#[derive(Debug)]
pub struct WorkListener(PgListener);

impl Store {
    /// Tells all processes.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn send_hint_across_environments(&self, hint: Hint) -> Result<(), StoreError> {
        let statement = match hint {
            Hint::Work => "NOTIFY waypost_work",
            Hint::Matching => "NOTIFY waypost_matching",
        };
        self.workers().execute(statement).await?;
        Ok(())
    }

    /// Listens for such hints, on a connection of its own.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn listen_for_hints(&self) -> Result<WorkListener, StoreError> {
        let mut listener = PgListener::connect(self.url().expose_secret()).await?;
        listener.listen_all(Hint::ALL.map(Hint::channel)).await?;
        Ok(WorkListener(listener))
    }
}

impl WorkListener {
    /// Waits for the next hint. `None` when the connection was lost and made again: any may be missing then.
    ///
    /// # Errors
    /// When the connection can't be made again.
    pub async fn heard(&mut self) -> Result<Option<Hint>, StoreError> {
        let heard = self.0.try_recv().await?;
        Ok(heard.and_then(|heard| Hint::ALL.into_iter().find(|hint| hint.channel() == heard.channel())))
    }
}
