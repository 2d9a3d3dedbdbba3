//! Every notification of one run: when it was to be sent, what was answered, how often it arrived. What makes the
//! reconciliation exact; written by the load's threads and the receiver without a lock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::figures::{self, Latency};

/// An entry's answer; 0 is none yet.
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 2;

/// The notifications of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    origin: Instant,
    next: AtomicUsize,
    entries: Vec<Entry>,
    window: (Duration, Duration),
    arrived_in_window: AtomicU64,
    strangers: AtomicU64,
    latency: Mutex<Histogram<u64>>,
}

#[derive(Debug, Default)]
struct Entry {
    due_nanos: AtomicU64,
    answer: AtomicU8,
    arrivals: AtomicU8,
}

/// What became of all that was sent.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Reconciliation {
    /// Answered 202.
    pub(crate) accepted: u64,
    /// Answered 202 and never arrived.
    pub(crate) lost: u64,
    /// Arrivals past the first of an event.
    pub(crate) duplicates: u64,
    /// Arrived though no 202 was seen for it: the connection broke first.
    pub(crate) arrived_unanswered: u64,
    /// Arrivals that belong to no notification of the run.
    pub(crate) strangers: u64,
}

impl Ledger {
    /// A ledger of at most `capacity` notifications; what is sent in `window`, counted from now, is timed.
    pub(crate) fn new(capacity: usize, window: (Duration, Duration)) -> anyhow::Result<Self> {
        Ok(Self {
            origin: Instant::now(),
            next: AtomicUsize::new(0),
            entries: std::iter::repeat_with(Entry::default).take(capacity).collect(),
            window,
            arrived_in_window: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
            latency: Mutex::new(figures::histogram()?),
        })
    }

    /// When the run began.
    pub(crate) fn origin(&self) -> Instant {
        self.origin
    }

    /// Notes a notification that is due at `due`; `None` when the ledger is full.
    pub(crate) fn send(&self, due: Instant) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = self.entries.get(number)?;
        entry.due_nanos.store(figures::nanos(due.saturating_duration_since(self.origin)), Ordering::Relaxed);
        Some(number)
    }

    /// Notes how it was answered.
    pub(crate) fn answered(&self, number: usize, status: u16) {
        if let Some(entry) = self.entries.get(number) {
            entry.answer.store(if status == 202 { ACCEPTED } else { REFUSED }, Ordering::Relaxed);
        }
    }

    /// Notes that it arrived at the receiver; `None` is an arrival without a readable number.
    pub(crate) fn arrived(&self, number: Option<usize>) {
        let now = self.origin.elapsed();
        let sent = self.next.load(Ordering::Relaxed);
        let Some(entry) = number.filter(|number| *number < sent).and_then(|number| self.entries.get(number))
        else {
            self.strangers.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let earlier = entry.arrivals.load(Ordering::Relaxed);
        entry.arrivals.store(earlier.saturating_add(1), Ordering::Relaxed);
        if earlier > 0 {
            return;
        }
        if (self.window.0..self.window.1).contains(&now) {
            self.arrived_in_window.fetch_add(1, Ordering::Relaxed);
        }
        let due = Duration::from_nanos(entry.due_nanos.load(Ordering::Relaxed));
        if (self.window.0..self.window.1).contains(&due) {
            let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
            latency.saturating_record(figures::micros(now.saturating_sub(due)));
        }
    }

    /// How many different notifications arrived within the window.
    pub(crate) fn arrived_in_window(&self) -> u64 {
        self.arrived_in_window.load(Ordering::Relaxed)
    }

    /// From due to arrival, of those due within the window.
    pub(crate) fn latency(&self) -> Latency {
        Latency::of(&self.latency.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Compares what was promised with what arrived.
    pub(crate) fn reconcile(&self) -> Reconciliation {
        let sent = self.next.load(Ordering::Relaxed).min(self.entries.len());
        let mut result =
            Reconciliation { strangers: self.strangers.load(Ordering::Relaxed), ..Reconciliation::default() };
        for entry in &self.entries[..sent] {
            let arrivals = u64::from(entry.arrivals.load(Ordering::Relaxed));
            let answer = entry.answer.load(Ordering::Relaxed);
            result.accepted += u64::from(answer == ACCEPTED);
            result.lost += u64::from(answer == ACCEPTED && arrivals == 0);
            result.duplicates += arrivals.saturating_sub(1);
            result.arrived_unanswered += u64::from(answer != ACCEPTED && arrivals > 0);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Ledger;

    #[test]
    fn what_was_promised_and_did_not_arrive_is_lost_and_what_came_twice_is_a_duplicate() {
        let ledger = Ledger::new(10, (Duration::ZERO, Duration::from_mins(1))).unwrap();
        let numbers: Vec<usize> = (0..4).filter_map(|_| ledger.send(Instant::now())).collect();
        for number in &numbers[..3] {
            ledger.answered(*number, 202);
        }
        ledger.answered(numbers[3], 503);
        for number in [numbers[0], numbers[1], numbers[1], numbers[3]] {
            ledger.arrived(Some(number));
        }
        ledger.arrived(None);
        ledger.arrived(Some(9));

        let result = ledger.reconcile();

        assert_eq!((result.accepted, result.lost, result.duplicates), (3, 1, 1));
        assert_eq!((result.arrived_unanswered, result.strangers), (1, 2));
        assert_eq!(ledger.arrived_in_window(), 3);
    }

    #[test]
    fn a_full_ledger_takes_no_more() {
        let ledger = Ledger::new(1, (Duration::ZERO, Duration::ZERO)).unwrap();
        assert_eq!(ledger.send(Instant::now()), Some(0));
        assert_eq!(ledger.send(Instant::now()), None);
    }
}
