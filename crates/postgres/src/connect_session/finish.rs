//! The end of a session: its connection is made and the session used up in one transaction, so that neither is there
//! without the other, however often a page is loaded.

use chrono::TimeDelta;
use uuid::Uuid;

use crate::connection::{NewConnection, Upserted};
use crate::{StoreError, TenantStore};

/// What came of finishing.
#[derive(Debug)]
pub enum Finished {
    /// The connection is there.
    Connected(Box<Upserted>),
    /// The session was used up or ended before.
    SessionOver,
    /// The integration is gone.
    UnknownIntegration,
}

impl TenantStore {
    /// Makes the connection of a session, or replaces the one that it renews, and uses the session up. Its notice is given
    /// up after `max_age`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn finish_connect(
        &self,
        session: Uuid,
        new: NewConnection,
        max_age: TimeDelta,
    ) -> Result<Finished, StoreError> {
        let mut tx = self.begin().await?;
        let open = sqlx::query!(
            "UPDATE connect_sessions SET connected_at = $3
             WHERE environment_id = $1 AND id = $2 AND connected_at IS NULL",
            self.environment.uuid(),
            session,
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if open == 0 {
            return Ok(Finished::SessionOver);
        }
        sqlx::query!(
            "DELETE FROM connect_states WHERE environment_id = $1 AND session_id = $2",
            self.environment.uuid(),
            session
        )
        .execute(&mut *tx)
        .await?;
        match self.upsert_connection_within(tx, new, max_age).await? {
            Some(upserted) => Ok(Finished::Connected(Box::new(upserted))),
            None => Ok(Finished::UnknownIntegration),
        }
    }
}
