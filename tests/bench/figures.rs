//! Numbers: latencies, medians, and the conversions that measuring needs. Must not know what is measured.

use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;

/// Longer than any request may take here, in microseconds.
const LONGEST_MICROS: u64 = 120_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// A distribution of latencies, in milliseconds.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Latency {
    /// The median.
    pub(crate) p50_ms: f64,
    /// 99 of 100 are faster.
    pub(crate) p99_ms: f64,
    /// 999 of 1,000 are faster.
    pub(crate) p999_ms: f64,
    /// The slowest.
    pub(crate) max_ms: f64,
    /// How many were timed.
    pub(crate) samples: u64,
}

impl Latency {
    /// Sums up a histogram of microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| float(histogram.value_at_quantile(quantile)) / 1_000.0;
        Self {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: float(histogram.max()) / 1_000.0,
            samples: histogram.len(),
        }
    }
}

/// An empty histogram of microseconds.
pub(crate) fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, SIGNIFICANT_DIGITS).context("a histogram cannot be made")
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whole nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// `amount` for each of `count`; 0 where there are none.
pub(crate) fn per(amount: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { amount / float(count) }
}

/// The element in the middle by `key`; the lower one of two.
pub(crate) fn median_by<T>(mut runs: Vec<T>, key: impl Fn(&T) -> f64) -> Option<T> {
    runs.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let middle = runs.len().checked_sub(1)? / 2;
    Some(runs.swap_remove(middle))
}

#[cfg(test)]
mod tests {
    use super::{Latency, histogram, median_by, per};

    #[test]
    fn the_median_is_the_run_in_the_middle() {
        assert_eq!(median_by(vec![3.0, 1.0, 2.0], |run| *run), Some(2.0));
        assert_eq!(median_by(Vec::<f64>::new(), |run| *run), None);
    }

    #[test]
    fn nothing_for_each_of_none_is_nothing() {
        assert!(per(5.0, 0).abs() < f64::EPSILON);
    }

    #[test]
    fn latencies_are_told_in_milliseconds() {
        let mut timed = histogram().unwrap();
        timed.record_n(2_000, 99).unwrap();
        timed.record(50_000).unwrap();
        let latency = Latency::of(&timed);
        assert!((latency.p50_ms - 2.0).abs() < 0.01 && latency.max_ms > 49.0 && latency.samples == 100);
    }
}
