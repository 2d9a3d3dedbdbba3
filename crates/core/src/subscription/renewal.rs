//! When a subscription is renewed. Arithmetic only.

use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng, RngExt as _};

/// How long before its end a subscription is renewed at the latest, where it lives long enough.
pub const LATEST_BEFORE_END: TimeDelta = TimeDelta::minutes(15);
/// The stretch of the granted life in which it is renewed, in thousandths.
const WINDOW: std::ops::RangeInclusive<i64> = 500..=660;

/// When to renew what was granted from `granted_at` to `expires_at`: somewhere from 50 to 66 % of that life, by lot, so
/// that what was made together isn't renewed together; and with a quarter of an hour left, where there is one.
#[must_use]
pub fn renew_at(
    granted_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    random: &mut impl Rng,
) -> DateTime<Utc> {
    let life = (expires_at - granted_at).max(TimeDelta::zero());
    let share = random.random_range(WINDOW);
    let chosen = TimeDelta::milliseconds(life.num_milliseconds() / 1_000 * share);
    let latest = (life - LATEST_BEFORE_END).max(life / 2);
    granted_at + chosen.min(latest)
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    proptest! {
        #[test]
        fn it_falls_into_the_middle_of_the_granted_life(seconds in 1_i64..4_000_000, seed: u64) {
            let granted = Utc.timestamp_opt(1_800_000_000, 0).unwrap();
            let life = TimeDelta::seconds(seconds);
            let at = renew_at(granted, granted + life, &mut StdRng::seed_from_u64(seed)) - granted;
            // What is lost by rounding is under a second.
            prop_assert!(at + TimeDelta::seconds(1) >= life / 2, "{at} of {life}");
            prop_assert!(at <= life * 66 / 100, "{at} of {life}");
            if life >= LATEST_BEFORE_END * 2 {
                prop_assert!(life - at >= LATEST_BEFORE_END, "{at} of {life}");
            }
        }

        #[test]
        fn a_grant_that_is_over_is_due_at_once(seconds in 0_i64..1_000, seed: u64) {
            let granted = Utc.timestamp_opt(1_800_000_000, 0).unwrap();
            let at = renew_at(granted, granted - TimeDelta::seconds(seconds), &mut StdRng::seed_from_u64(seed));
            prop_assert_eq!(at, granted);
        }
    }

    #[test]
    fn it_is_spread() {
        let granted = Utc.timestamp_opt(1_800_000_000, 0).unwrap();
        let times: std::collections::BTreeSet<_> = (0..50)
            .map(|seed| renew_at(granted, granted + TimeDelta::days(3), &mut StdRng::seed_from_u64(seed)))
            .collect();
        assert!(times.len() > 20);
    }
}
