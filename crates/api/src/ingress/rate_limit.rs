//! The rate limit of ingress: one bucket for each environment and integration, refilled over a minute.
//!
//! Bounded in memory: full buckets are forgotten, and when there are too many others a newcomer passes uncounted.
//! Must not fail closed: a limiter that can't count lets through.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::address::Address;

/// The most buckets that are kept.
const MOST_BUCKETS: usize = 20_000;
/// How often full buckets are looked for, at most.
const SWEEP_INTERVAL: TimeDelta = TimeDelta::seconds(1);
const MINUTE_MILLIS: i64 = 60_000;

/// Buckets of `per_minute` requests.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_minute: i64,
    most_buckets: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    by_address: HashMap<Address, Bucket>,
    swept_at: Option<DateTime<Utc>>,
}

/// A bucket. Its level is in parts: a request takes [`MINUTE_MILLIS`] of them, each millisecond brings `per_minute`
/// back, so that the sums stay whole numbers.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: i64,
    at: DateTime<Utc>,
}

impl RateLimit {
    /// A limit of `per_minute` requests; 0 is none.
    pub(super) fn new(per_minute: u32) -> Option<Self> {
        Self::bounded(per_minute, MOST_BUCKETS)
    }

    fn bounded(per_minute: u32, most_buckets: usize) -> Option<Self> {
        let buckets = Mutex::default();
        (per_minute > 0).then_some(Self { per_minute: per_minute.into(), most_buckets, buckets })
    }

    /// Takes one request out of the bucket.
    ///
    /// # Errors
    /// How long it takes until there is room again.
    pub(super) fn take(&self, address: &Address, now: DateTime<Utc>) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.by_address.get_mut(address) {
            *bucket = self.refilled(*bucket, now);
            return self.take_from(bucket);
        }
        if buckets.by_address.len() >= self.most_buckets {
            self.sweep(&mut buckets, now);
        }
        if buckets.by_address.len() < self.most_buckets {
            let mut bucket = Bucket { level: self.full(), at: now };
            let taken = self.take_from(&mut bucket);
            buckets.by_address.insert(address.clone(), bucket);
            return taken;
        }
        Ok(())
    }

    const fn full(&self) -> i64 {
        self.per_minute * MINUTE_MILLIS
    }

    /// A clock that goes back brings nothing and takes nothing away.
    fn refilled(&self, bucket: Bucket, now: DateTime<Utc>) -> Bucket {
        let millis = (now - bucket.at).num_milliseconds().clamp(0, MINUTE_MILLIS);
        Bucket { level: (bucket.level + millis * self.per_minute).min(self.full()), at: now }
    }

    fn take_from(&self, bucket: &mut Bucket) -> Result<(), Duration> {
        let left = bucket.level - MINUTE_MILLIS;
        if left >= 0 {
            bucket.level = left;
            return Ok(());
        }
        let millis = (-left).unsigned_abs().div_ceil(self.per_minute.unsigned_abs());
        Err(Duration::from_millis(millis))
    }

    fn sweep(&self, buckets: &mut Buckets, now: DateTime<Utc>) {
        let due = buckets.swept_at.is_none_or(|at| (now - at).abs() >= SWEEP_INTERVAL);
        if due {
            buckets.swept_at = Some(now);
            buckets.by_address.retain(|_, bucket| self.refilled(*bucket, now).level < self.full());
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;
    use waypost_core::id::EnvironmentId;
    use waypost_core::integration::UniqueKey;

    use super::*;

    fn noon() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 22, 12, 0, 0).unwrap()
    }

    fn address(number: u128) -> Address {
        let environment = EnvironmentId::from_uuid(uuid::Uuid::from_u128(number));
        Address { environment, unique_key: UniqueKey::parse("graph").unwrap() }
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(RateLimit::new(0).is_none());
    }

    #[test]
    fn as_many_pass_at_once_as_the_limit_says_and_the_next_is_told_when() {
        let limit = RateLimit::new(3).unwrap();
        for _ in 0..3 {
            assert_eq!(limit.take(&address(1), noon()), Ok(()));
        }
        assert_eq!(limit.take(&address(1), noon()), Err(Duration::from_secs(20)));
        let later = noon() + TimeDelta::seconds(15);
        assert_eq!(limit.take(&address(1), later), Err(Duration::from_secs(5)));
        assert_eq!(limit.take(&address(1), noon() + TimeDelta::seconds(20)), Ok(()));
    }

    #[test]
    fn buckets_are_independent() {
        let limit = RateLimit::new(1).unwrap();
        assert_eq!(limit.take(&address(1), noon()), Ok(()));
        assert_eq!(limit.take(&address(2), noon()), Ok(()));
        assert!(limit.take(&address(1), noon()).is_err());
    }

    #[test]
    fn a_flood_of_addresses_is_neither_kept_nor_refused() {
        let limit = RateLimit::bounded(1, 10).unwrap();
        for number in 0..100 {
            assert_eq!(limit.take(&address(number), noon()), Ok(()));
        }
        assert_eq!(limit.buckets.lock().unwrap().by_address.len(), 10);
        let later = noon() + TimeDelta::seconds(61);
        assert_eq!(limit.take(&address(1000), later), Ok(()));
        assert_eq!(limit.buckets.lock().unwrap().by_address.len(), 1);
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_refill_pass(per_minute in 1_u32..500, gaps in prop::collection::vec(0_i64..5_000, 1..400)) {
            let limit = RateLimit::new(per_minute).unwrap();
            let mut now = noon();
            let mut passed = 0_i64;
            for gap in gaps {
                now += TimeDelta::milliseconds(gap);
                match limit.take(&address(1), now) {
                    Ok(()) => passed += 1,
                    Err(wait) => prop_assert!(wait > Duration::ZERO),
                }
            }
            let elapsed = (now - noon()).num_milliseconds();
            prop_assert!(passed <= i64::from(per_minute) + elapsed * i64::from(per_minute) / MINUTE_MILLIS);
        }

        #[test]
        fn who_waits_as_told_passes(per_minute in 1_u32..5_000, at in 0_i64..120_000) {
            let limit = RateLimit::new(per_minute).unwrap();
            while limit.take(&address(1), noon()).is_ok() {}
            let now = noon() + TimeDelta::milliseconds(at);
            if let Err(wait) = limit.take(&address(1), now) {
                let then = now + TimeDelta::from_std(wait).unwrap();
                prop_assert_eq!(limit.take(&address(1), then), Ok(()));
            }
        }
    }
}
