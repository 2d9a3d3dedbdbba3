//! When a call is tried again, and after which wait: arithmetic only.

use chrono::TimeDelta;
use rand::Rng;

use crate::retry;

/// The longest wait between two attempts. What asks for a longer one is passed on to the caller instead.
pub const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(10);

/// The wait before the first repeat, where the provider names none; it doubles with each.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(3);

/// What an attempt met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// No answer.
    Nothing,
    /// An answer of this status, and how long the provider asks to wait.
    Answer(u16, Option<TimeDelta>),
}

/// The repeats that a call has left.
#[derive(Debug, Clone)]
pub struct Repeats {
    left: u32,
    made: u32,
    also_on: Vec<u16>,
    usual: bool,
}

impl Repeats {
    /// `retries` extra attempts, also on the statuses of `also_on`.
    #[must_use]
    pub const fn new(retries: u32, also_on: Vec<u16>) -> Self {
        Self { left: retries, made: 0, also_on, usual: true }
    }

    /// The same for a call that must never take effect twice: only what was surely not carried out is repeated.
    #[must_use]
    pub fn once_only(self) -> Self {
        Self { usual: false, ..self }
    }

    /// How long to wait before the next attempt; `None` when there is none.
    pub fn next(&mut self, seen: Seen, rng: &mut impl Rng) -> Option<TimeDelta> {
        if !self.repeats(seen) {
            return None;
        }
        let own = FIRST_WAIT.checked_mul(1 << self.made.min(10)).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        let wait = match seen {
            Seen::Answer(_, Some(asked)) => asked,
            _ => retry::with_jitter(own, rng),
        };
        if self.left == 0 || wait > LONGEST_WAIT + LONGEST_WAIT / 5 {
            return None;
        }
        self.left -= 1;
        self.made += 1;
        Some(wait)
    }

    fn repeats(&self, seen: Seen) -> bool {
        match seen {
            // Throttled and not let in: nothing was done.
            Seen::Answer(429 | 401, _) => true,
            _ if !self.usual => false,
            Seen::Nothing | Seen::Answer(500.., _) => true,
            Seen::Answer(status, _) => self.also_on.contains(&status),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    fn waits(mut repeats: Repeats, seen: Seen) -> Vec<i64> {
        let mut rng = StdRng::seed_from_u64(1);
        std::iter::from_fn(|| repeats.next(seen, &mut rng)).map(|wait| wait.num_seconds()).collect()
    }

    #[test]
    fn nothing_is_tried_again_unless_it_is_asked_for() {
        for seen in [Seen::Nothing, Seen::Answer(503, None), Seen::Answer(429, Some(TimeDelta::seconds(1)))] {
            assert!(waits(Repeats::new(0, vec![503]), seen).is_empty(), "{seen:?}");
        }
    }

    #[test]
    fn throttling_faults_and_silence_are_tried_again_and_the_rest_only_where_it_is_named() {
        for (seen, wanted) in [
            (Seen::Nothing, 2),
            (Seen::Answer(500, None), 2),
            (Seen::Answer(504, None), 2),
            (Seen::Answer(429, None), 2),
            (Seen::Answer(401, None), 2),
            (Seen::Answer(409, None), 2),
            (Seen::Answer(200, None), 0),
            (Seen::Answer(404, None), 0),
            (Seen::Answer(403, None), 0),
        ] {
            assert_eq!(waits(Repeats::new(2, vec![409]), seen).len(), wanted, "{seen:?}");
        }
    }

    #[test]
    fn what_must_not_happen_twice_is_repeated_only_when_it_surely_did_not_happen() {
        let once = || Repeats::new(2, vec![409]).once_only();
        assert_eq!(waits(once(), Seen::Answer(429, None)).len(), 2);
        assert_eq!(waits(once(), Seen::Answer(401, None)).len(), 2);
        for seen in [Seen::Nothing, Seen::Answer(503, None), Seen::Answer(409, None)] {
            assert!(waits(once(), seen).is_empty(), "{seen:?}");
        }
    }

    #[test]
    fn waits_double_from_three_seconds_with_a_fifth_of_jitter_at_most() {
        let waits = waits(Repeats::new(10, Vec::new()), Seen::Nothing);
        assert_eq!(waits.len(), 10);
        for (number, wait) in waits.into_iter().enumerate() {
            let own = (3 << number).min(600);
            assert!((own..=own + own / 5).contains(&wait), "{number}: {wait}");
        }
    }

    #[test]
    fn the_providers_wait_goes_before_ours_unless_it_is_too_long_to_sit_out() {
        let asked = |seconds| Seen::Answer(429, Some(TimeDelta::seconds(seconds)));
        assert_eq!(waits(Repeats::new(2, Vec::new()), asked(7)), [7, 7]);
        assert!(waits(Repeats::new(2, Vec::new()), asked(3600)).is_empty());
    }

    proptest! {
        #[test]
        fn there_are_never_more_repeats_than_were_asked_for(retries in 0_u32..=12, status in 100_u16..=599) {
            let made = waits(Repeats::new(retries, vec![status]), Seen::Answer(status, None));
            prop_assert_eq!(made.len(), usize::try_from(retries).unwrap());
        }
    }
}
