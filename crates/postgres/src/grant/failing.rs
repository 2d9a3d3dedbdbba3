//! Grants whose last request failed: which are to be tried again, and which failure counts no more.
//!
//! Must not: decide what a caller does with a failure (that is `waypost_core::token`).

use waypost_core::id::{ConnectionKey, EnvironmentId};
use waypost_core::token::GrantKey;

use crate::{Store, StoreError, TenantStore};

impl Store {
    /// For each grant that failed and is due another try, one connection that uses it; at most `most`, whichever.
    ///
    /// Where nobody has mended anything for long, nobody may ever: the wait grows by a tenth of that time, up to six
    /// hours.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failed_grants_across_environments(
        &self,
        most: i64,
    ) -> Result<Vec<(EnvironmentId, ConnectionKey)>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT g.environment_id,
                      (SELECT min(l.connection) FROM connection_grants l
                       WHERE l.environment_id = g.environment_id AND l.grant_key = g.key) AS "connection!"
               FROM grants g
               WHERE g.failure IS NOT NULL
                 AND (g.failure ->> 'next_try_at')::timestamptz
                     + least(($1 - (g.failure ->> 'since')::timestamptz) / 10, interval '6 hours') <= $1
                 AND EXISTS (SELECT FROM connection_grants l WHERE l.environment_id = g.environment_id AND l.grant_key = g.key)
               -- those that stay due, whatever is tried, must not stand before the others for ever
               ORDER BY random() LIMIT $2"#,
            self.clock().now(),
            most,
        )
        .fetch_all(self.workers())
        .await?;
        let failed = rows.into_iter().map(|row| {
            (EnvironmentId::from_uuid(row.environment_id), ConnectionKey::from_number(row.connection))
        });
        Ok(failed.collect())
    }
}

impl TenantStore {
    /// Forgets that the last request failed, with the token from before, which may be as stale. Who is asking in this
    /// moment, maybe since before it worked, has asked in vain.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_grant_failure(&self, key: GrantKey) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "UPDATE grants SET failure = NULL, told = false, token = NULL, obtained_at = NULL, refresh_at = NULL,
                               expires_at = NULL, generation = generation + 1, lease_token = NULL, leased_until = NULL,
                               updated_at = $3
             WHERE environment_id = $1 AND key = $2 AND failure IS NOT NULL",
            self.environment.uuid(),
            key.as_bytes(),
            self.store.clock().now(),
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}
