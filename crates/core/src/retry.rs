//! When a delivery is tried again: arithmetic only.
//!
//! A schedule is a list of waits, one before each attempt. Jitter of 0 to 20 % is added, never taken away, so that a
//! wait is at least what was promised. Times that a receiver asks for (`Retry-After`) are clamped, whatever they say.

use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng, RngExt as _};

/// The longest that one `Retry-After` may put off a delivery.
pub const LONGEST_RETRY_AFTER: TimeDelta = TimeDelta::hours(1);
/// How long a throttled delivery waits when the receiver gives no usable time.
pub const DEFAULT_THROTTLE: TimeDelta = TimeDelta::seconds(60);
/// The shortest wait that a `Retry-After` stands for: "at once" still leaves the receiver a moment.
pub const SHORTEST_RETRY_AFTER: TimeDelta = TimeDelta::seconds(1);
/// The longest wait that a schedule may hold.
pub const LONGEST_WAIT: TimeDelta = TimeDelta::days(7);

/// What is wrong with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There must be a first attempt.
    #[error("a schedule holds 1 to 100 waits")]
    Length,
    /// A wait is negative or over [`LONGEST_WAIT`].
    #[error("a wait is between 0 s and 7 d")]
    Wait,
}

/// The waits before each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Vec<TimeDelta>);

impl Schedule {
    /// Takes the waits, the first one before the first attempt.
    ///
    /// # Errors
    /// [`ScheduleError`] when there are none or too many, or one is out of range.
    pub fn new(waits: Vec<TimeDelta>) -> Result<Self, ScheduleError> {
        if !(1..=100).contains(&waits.len()) {
            return Err(ScheduleError::Length);
        }
        if waits.iter().any(|wait| *wait < TimeDelta::zero() || *wait > LONGEST_WAIT) {
            return Err(ScheduleError::Wait);
        }
        Ok(Self(waits))
    }

    /// When the attempt at `step` (from 0) is due; `None` past the end of the schedule.
    #[must_use]
    pub fn due(&self, step: u16, now: DateTime<Utc>, rng: &mut impl Rng) -> Option<DateTime<Utc>> {
        self.0.get(usize::from(step)).map(|wait| now + with_jitter(*wait, rng))
    }

    /// The wait before the first attempt, without jitter.
    #[must_use]
    pub fn first_wait(&self) -> TimeDelta {
        self.0.first().copied().unwrap_or_default()
    }

    /// How many attempts there are.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.0.len()
    }
}

impl Default for Schedule {
    /// The schedule of the Standard Webhooks advice: ten attempts over some three days.
    fn default() -> Self {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 3600;
        let waits =
            [0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self(waits.into_iter().map(TimeDelta::seconds).collect())
    }
}

/// `wait` and up to a fifth more.
#[must_use]
pub fn with_jitter(wait: TimeDelta, rng: &mut impl Rng) -> TimeDelta {
    let millis = wait.num_milliseconds();
    if millis <= 0 {
        return wait;
    }
    wait + TimeDelta::milliseconds(rng.random_range(0..=millis / 5))
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds or an HTTP date. Clamped to [`SHORTEST_RETRY_AFTER`], also for a
/// date that has passed, and [`LONGEST_RETRY_AFTER`]; `None` for anything that says no time.
#[must_use]
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<TimeDelta> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => {
            TimeDelta::try_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)).unwrap_or(TimeDelta::MAX)
        }
        Err(_) if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => TimeDelta::MAX,
        Err(_) => DateTime::<Utc>::from(httpdate::parse_http_date(value).ok()?) - now,
    };
    Some(wait.clamp(SHORTEST_RETRY_AFTER, LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn noon() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 11, 22, 12, 0, 0).unwrap()
    }

    #[test]
    fn a_retry_after_is_seconds_or_a_date_and_at_most_an_hour() {
        let seconds = |n| Some(TimeDelta::seconds(n));
        for (text, wanted) in [
            ("120", seconds(120)),
            (" 7 ", seconds(7)),
            ("0", seconds(1)),
            ("00", seconds(1)),
            ("-5", None),
            ("1.5", None),
            ("99999999999999999999999", seconds(3600)),
            ("86400", seconds(3600)),
            ("Sun, 22 Nov 2026 12:00:30 GMT", seconds(30)),
            ("Sun, 22 Nov 2026 11:00:00 GMT", seconds(1)),
            ("Sun, 22 Nov 2026 12:00:00 GMT", seconds(1)),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, noon()), wanted, "{text:?}");
        }
    }

    #[test]
    fn the_default_schedule_has_ten_attempts_and_the_first_is_at_once() {
        let mut rng = StdRng::seed_from_u64(1);
        assert_eq!(Schedule::default().attempts(), 10);
        assert_eq!(Schedule::default().due(0, noon(), &mut rng), Some(noon()));
        assert_eq!(Schedule::default().due(10, noon(), &mut rng), None);
    }

    proptest! {
        #[test]
        fn jitter_only_adds_and_never_more_than_a_fifth(millis in 0_i64..=604_800_000, seed: u64) {
            let wait = TimeDelta::milliseconds(millis);
            let jittered = with_jitter(wait, &mut StdRng::seed_from_u64(seed));
            prop_assert!(jittered >= wait);
            prop_assert!(jittered <= wait + TimeDelta::milliseconds(millis / 5));
        }

        #[test]
        fn no_retry_after_goes_past_its_bounds(text in "[ -~]{0,30}") {
            if let Some(wait) = retry_after(&text, noon()) {
                prop_assert!((SHORTEST_RETRY_AFTER..=LONGEST_RETRY_AFTER).contains(&wait));
            }
        }
    }
}
