//! How an endpoint is judged by the speed of its answers: slow endpoints wait, very slow ones lose notifications.
//!
//! Pure: moments are arguments. Must not know what was sent.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::config::DeliveryPolicy;

/// Answers remembered per host.
const MAX_ANSWERS: usize = 10_000;

/// What happens to a new notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is sent.
    Send,
    /// It waits this long first.
    Hold(Duration),
    /// It is lost.
    Drop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Slow { until: Instant },
    Dropping { until: Instant },
}

/// The recent answers of one host.
#[derive(Debug)]
pub(crate) struct Health {
    answers: VecDeque<(Instant, Duration)>,
    state: State,
}

impl Health {
    pub(crate) fn new() -> Self {
        Self { answers: VecDeque::new(), state: State::Free }
    }

    /// Remembers that an answer took so long, or that a try was given up after so long.
    pub(crate) fn record(&mut self, policy: &DeliveryPolicy, now: Instant, took: Duration) {
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((now, took));
        self.judge(policy, now);
    }

    pub(crate) fn admit(&mut self, policy: &DeliveryPolicy, now: Instant) -> Admission {
        self.release(now);
        match self.state {
            State::Free => Admission::Send,
            State::Slow { .. } => Admission::Hold(policy.hold),
            State::Dropping { .. } => Admission::Drop,
        }
    }

    /// Whether nothing is remembered that still counts.
    pub(crate) fn is_idle(&self, policy: &DeliveryPolicy, now: Instant) -> bool {
        let last = self.answers.back();
        self.state == State::Free && last.is_none_or(|(at, _)| now.duration_since(*at) > policy.judged_over)
    }

    /// Ends a state whose time is over; what comes next is judged on fresh answers alone.
    fn release(&mut self, now: Instant) {
        if let State::Slow { until } | State::Dropping { until } = self.state
            && now >= until
        {
            self.state = State::Free;
            self.answers.clear();
        }
    }

    fn judge(&mut self, policy: &DeliveryPolicy, now: Instant) {
        self.release(now);
        while self.answers.front().is_some_and(|(at, _)| now.duration_since(*at) > policy.judged_over) {
            self.answers.pop_front();
        }
        let all = self.answers.len();
        if all < policy.minimum_answers {
            return;
        }
        let past = |limit| self.answers.iter().filter(|(_, took)| *took >= limit).count();
        let until = now + policy.hold;
        if past(policy.retry_limit) * 100 > all * 15 {
            self.state = State::Dropping { until };
        } else if past(policy.first_limit) * 100 > all * 10 && self.state == State::Free {
            self.state = State::Slow { until };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(20);
    const SLOW: Duration = Duration::from_secs(4);
    const ENDLESS: Duration = Duration::from_secs(10);

    fn after(answers: &[(usize, Duration)]) -> (Health, DeliveryPolicy, Instant) {
        let (mut health, policy, now) = (Health::new(), DeliveryPolicy::default(), Instant::now());
        for (count, took) in answers {
            (0..*count).for_each(|_| health.record(&policy, now, *took));
        }
        (health, policy, now)
    }

    #[test]
    fn ten_percent_of_slow_answers_are_borne_and_one_more_holds_new_notifications() {
        let (mut health, policy, now) = after(&[(90, FAST), (10, SLOW)]);
        assert_eq!(health.admit(&policy, now), Admission::Send);
        health.record(&policy, now, SLOW);
        assert_eq!(health.admit(&policy, now), Admission::Hold(policy.hold));
        assert_eq!(health.admit(&policy, now + policy.hold), Admission::Send);
    }

    #[test]
    fn more_than_fifteen_percent_past_the_retry_limit_drop_new_notifications() {
        let (mut health, policy, now) = after(&[(85, FAST), (15, ENDLESS)]);
        assert_eq!(health.admit(&policy, now), Admission::Hold(policy.hold));
        health.record(&policy, now, ENDLESS);
        assert_eq!(health.admit(&policy, now), Admission::Drop);
        assert_eq!(health.admit(&policy, now + policy.hold), Admission::Send);
    }

    #[test]
    fn a_few_answers_are_no_ground_for_a_judgement_and_old_ones_do_not_count() {
        let (mut health, policy, now) = after(&[(9, SLOW)]);
        assert_eq!(health.admit(&policy, now), Admission::Send);
        let later = now + policy.judged_over * 2;
        assert!(health.is_idle(&policy, later));
        (0..9).for_each(|_| health.record(&policy, later, FAST));
        assert_eq!(health.admit(&policy, later), Admission::Send);
    }
}
