//! Client secrets and certificates whose end is known: which end soon, and whose customers were warned.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use waypost_core::id::{ConnectionKey, EnvironmentId};
use waypost_core::notice::AuthOutcome;

use super::telling::ToldRow;
use crate::{Store, StoreError, TenantStore};

/// A connection whose credential ends soon, and whose customer was not warned of that yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndingCredential {
    /// The environment.
    pub environment: EnvironmentId,
    /// The connection.
    pub connection: ConnectionKey,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
}

/// What there is to do with all grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// When the first of all credentials in use ends whose end is known.
    pub soonest_end: Option<DateTime<Utc>>,
    /// Whether a customer is to be warned.
    pub ends_soon: bool,
    /// Whether some sign-in failed.
    pub has_failed: bool,
}

impl Store {
    /// Connections whose credential ends within `days` and who were not warned that many days ahead, by number after
    /// `after`; at most `most`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ending_credentials_across_environments(
        &self,
        days: i16,
        after: ConnectionKey,
        most: i64,
    ) -> Result<Vec<EndingCredential>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT l.environment_id, l.connection, g.credential_ends_at AS "ends_at!"
               FROM connection_grants l
               JOIN grants g ON g.environment_id = l.environment_id AND g.key = l.grant_key
               WHERE g.credential_ends_at <= $1 AND l.connection > $3
                 AND (l.warned_days IS NULL OR l.warned_days > $2)
               ORDER BY l.connection LIMIT $4"#,
            self.clock().now() + TimeDelta::days(i64::from(days)),
            days,
            after.number(),
            most,
        )
        .fetch_all(self.workers())
        .await?;
        let ending = rows.into_iter().map(|row| EndingCredential {
            environment: EnvironmentId::from_uuid(row.environment_id),
            connection: ConnectionKey::from_number(row.connection),
            ends_at: row.ends_at,
        });
        Ok(ending.collect())
    }

    /// What there is to do with grants, in one statement. A customer is to be warned where a credential in use ends within
    /// one of `days` and that was not said that many days ahead.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn glance_at_grants_across_environments(&self, days: &[i16]) -> Result<Glance, StoreError> {
        let glance = sqlx::query_as!(
            Glance,
            r#"SELECT (SELECT g.credential_ends_at FROM grants g
                       WHERE g.credential_ends_at IS NOT NULL
                         AND EXISTS (SELECT FROM connection_grants l
                                     WHERE l.environment_id = g.environment_id AND l.grant_key = g.key)
                       ORDER BY g.credential_ends_at LIMIT 1) AS soonest_end,
                      EXISTS (SELECT FROM grants g
                              JOIN connection_grants l ON l.environment_id = g.environment_id AND l.grant_key = g.key
                              JOIN unnest($2::smallint[]) AS ahead (days)
                                ON g.credential_ends_at <= $1::timestamptz + make_interval(days => ahead.days)
                               AND (l.warned_days IS NULL OR l.warned_days > ahead.days)) AS "ends_soon!",
                      EXISTS (SELECT FROM grants g WHERE g.failure IS NOT NULL) AS "has_failed!""#,
            self.clock().now(),
            days,
        )
        .fetch_one(self.workers())
        .await?;
        Ok(glance)
    }

    /// Destroys grants that no connection uses any more and nobody touched since `before`. Returns how many.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_unused_grants_across_environments(
        &self,
        before: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let gone = sqlx::query!(
            "DELETE FROM grants g WHERE g.updated_at < $1
               AND NOT EXISTS (SELECT FROM connection_grants l WHERE l.environment_id = g.environment_id AND l.grant_key = g.key)",
            before,
        )
        .execute(self.workers())
        .await?;
        Ok(gone.rows_affected())
    }
}

impl TenantStore {
    /// Warns the customer of a connection that its credential ends, unless that was done or the connection uses another
    /// credential meanwhile. Tells whether it was warned.
    ///
    /// # Errors
    /// When the store fails, or a row can't be right.
    pub async fn warn_of_end(
        &self,
        ending: EndingCredential,
        days: i16,
        max_age: TimeDelta,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let warned: Option<Uuid> = sqlx::query_scalar!(
            "UPDATE connection_grants l SET warned_days = $4
             FROM grants g
             WHERE l.environment_id = $1 AND l.connection = $2 AND g.environment_id = $1 AND g.key = l.grant_key
               AND g.credential_ends_at = $3 AND (l.warned_days IS NULL OR l.warned_days > $4)
             RETURNING l.environment_id",
            self.environment.uuid(),
            ending.connection.number(),
            ending.ends_at,
            days,
        )
        .fetch_optional(&mut *tx)
        .await?;
        if warned.is_none() {
            return Ok(false);
        }
        let rows = ToldRow::find(&mut tx, self.environment, ending.connection).await?;
        let left = (ending.ends_at - self.store.clock().now()).num_days().max(0);
        let outcome = AuthOutcome::Ending { ends_at: ending.ends_at, days: left };
        self.tell_rows(&mut tx, rows, outcome, max_age).await?;
        tx.commit().await?;
        Ok(true)
    }
}
