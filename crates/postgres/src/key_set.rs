//! Key sets for validation tokens: what was fetched last, and whose turn it is to fetch.
//!
//! Shared by all processes and of no environment. A set that can't be fetched stays as it was; a key that leaves it is
//! kept with the time it was last seen.
//!
//! Must not: fetch anything, or decide when that is due.

use chrono::{DateTime, TimeDelta, Utc};
use waypost_core::provider::graph::key_set::{AFTER_FAILURE, KeySet, KnownKey, PublishedKey};

use crate::{Store, StoreError};

/// How long a key is kept that has left its set: longer than anything is checked after it came.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(60);

impl Store {
    /// The set at `url`, as far as it is known.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn key_set(&self, url: &str) -> Result<KeySet, StoreError> {
        let rows = sqlx::query!(
            r#"-- find_key_set
               SELECT s.fetched_at, k.kid AS "kid?", k.issuer AS "issuer?", k.modulus AS "modulus?",
                      k.exponent AS "exponent?", k.last_seen_at AS "last_seen_at?"
               FROM key_sets s LEFT JOIN LATERAL (SELECT * FROM key_set_keys WHERE url = s.url) k ON true
               WHERE s.url = $1"#,
            url,
        );
        let mut set = KeySet::default();
        for row in rows.fetch_all(self.workers()).await? {
            set.fetched_at = row.fetched_at;
            let parts = (row.kid, row.issuer, row.modulus, row.exponent, row.last_seen_at);
            let (Some(kid), Some(issuer), Some(modulus), Some(exponent), Some(seen)) = parts else {
                continue;
            };
            let issuer = Some(issuer).filter(|issuer| !issuer.is_empty());
            let gone_since = row.fetched_at.is_some_and(|fetched| seen < fetched).then_some(seen);
            set.keys.push(KnownKey { key: PublishedKey { kid, issuer, modulus, exponent }, gone_since });
        }
        Ok(set)
    }

    /// Takes the turn to fetch the set at `url`; false when somebody did within `gap` (or, when that failed, within
    /// [`AFTER_FAILURE`]).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take_turn_to_fetch(
        &self,
        url: &str,
        now: DateTime<Utc>,
        gap: TimeDelta,
    ) -> Result<bool, StoreError> {
        let taken = sqlx::query!(
            "-- take_turn_to_fetch
             INSERT INTO key_sets (url, tried_at) VALUES ($1, $2)
             ON CONFLICT (url) DO UPDATE SET tried_at = $2
             WHERE key_sets.tried_at <= CASE WHEN key_sets.fetched_at = key_sets.tried_at THEN $3::timestamptz ELSE $4::timestamptz END",
            url,
            now,
            now - gap,
            now - AFTER_FAILURE.min(gap),
        );
        Ok(taken.execute(self.workers()).await?.rows_affected() == 1)
    }

    /// Keeps the set that was fetched in the turn that began at `tried_at`.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_key_set(
        &self,
        url: &str,
        keys: &[PublishedKey],
        tried_at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let column =
            |of: fn(&PublishedKey) -> &str| keys.iter().map(|key| of(key).to_owned()).collect::<Vec<_>>();
        let mut tx = self.workers().begin().await?;
        // The row is locked first: sets that two processes fetched don't mix.
        sqlx::query!(
            "-- note_fetched_key_set
             UPDATE key_sets SET fetched_at = greatest(fetched_at, $2) WHERE url = $1",
            url,
            tried_at
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "-- keep_key_set
             INSERT INTO key_set_keys (url, kid, issuer, modulus, exponent, last_seen_at)
             SELECT DISTINCT ON (kid, issuer) $1, kid, issuer, modulus, exponent, $6
             FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS k (kid, issuer, modulus, exponent)
             ON CONFLICT (url, kid, issuer) DO UPDATE
             SET modulus = excluded.modulus, exponent = excluded.exponent, last_seen_at = excluded.last_seen_at",
            url,
            &column(|key| &key.kid),
            &column(|key| key.issuer.as_deref().unwrap_or_default()),
            &column(|key| &key.modulus),
            &column(|key| &key.exponent),
            tried_at,
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "-- forget_old_keys
             DELETE FROM key_set_keys WHERE url = $1 AND last_seen_at < $2",
            url,
            tried_at - FORGOTTEN_AFTER,
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}
