//! Names that take long, and those that must not wait for them.

use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::guard::lanes::{FAST_FOR, FAST_PLACES, PATIENCE, SLOW_PLACES};

/// How long an answer takes, on a clock that stands still.
const A_MOMENT: Duration = Duration::from_millis(10);

/// Answers soon, or never for a name of `slow.example`; counts both the questions and those still open.
#[derive(Debug, Default)]
struct Uneven {
    asked: AtomicUsize,
    open: Arc<AtomicUsize>,
}

/// One that is being asked.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Lookup for Uneven {
    fn addresses(&self, host: &str) -> Answer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        let (open, slow) = (Open(Arc::clone(&self.open)), host.ends_with("slow.example"));
        Box::pin(async move {
            let _open = open;
            tokio::time::sleep(A_MOMENT).await;
            if slow {
                std::future::pending::<()>().await;
            }
            Ok(vec!["8.8.8.8".parse().unwrap()])
        })
    }
}

fn uneven() -> (Guard, Arc<Uneven>) {
    let lookup = Arc::new(Uneven::default());
    (Guard::with_lookup(Policy::default(), lookup.clone()), lookup)
}

async fn look_up_slow(guard: &Guard, names: usize) -> Vec<Result<(), Refused>> {
    let urls: Vec<_> = (0..names).map(|number| format!("https://n{number}.slow.example/")).collect();
    join_all(urls.iter().map(|url| check(guard, url))).await
}

fn busy(verdicts: &[Result<(), Refused>]) -> usize {
    verdicts.iter().filter(|verdict| **verdict == Err(Refused::Busy)).count()
}

#[tokio::test(start_paused = true)]
async fn concurrent_connects_to_a_name_share_one_look_up_and_later_ones_ask_again() {
    let (guard, lookup) = uneven();
    for round in 1..=3 {
        let verdicts = join_all((0..100).map(|_| check(&guard, "https://hooks.example.com/"))).await;
        assert!(verdicts.iter().all(Result::is_ok));
        assert_eq!(lookup.asked.load(Ordering::SeqCst), round);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_name_is_looked_up_at_once_among_any_number_that_are_known_to_be_slow() {
    let (guard, lookup) = uneven();
    // Every one of them holds a place of the fast lane for a moment, once.
    let verdicts = look_up_slow(&guard, FAST_PLACES).await;
    assert_eq!(busy(&verdicts), FAST_PLACES - SLOW_PLACES);
    assert!(verdicts.iter().all(Result::is_err));

    let slow = look_up_slow(&guard, FAST_PLACES);
    let fast = async {
        tokio::task::yield_now().await;
        let started = Instant::now();
        assert_eq!(check(&guard, "https://hooks.example.com/").await, Ok(()));
        assert!(started.elapsed() <= A_MOMENT);
        assert!(lookup.open.load(Ordering::SeqCst) <= SLOW_PLACES);
    };
    let (verdicts, ()) = tokio::join!(slow, fast);
    assert_eq!(busy(&verdicts), FAST_PLACES - SLOW_PLACES);
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Err(Refused::Slow)).count(), SLOW_PLACES);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_in_vain_is_told_that_it_is_no_fault_of_the_name() {
    let (guard, _) = uneven();
    let slow = look_up_slow(&guard, 4 * FAST_PLACES);
    let started = Instant::now();
    let fast = async {
        tokio::task::yield_now().await;
        let verdict = check(&guard, "https://hooks.example.com/").await;
        assert_eq!(verdict, Err(Refused::Busy));
        assert!(started.elapsed() <= PATIENCE + FAST_FOR);
        assert_eq!(Refused::Busy.failure(), None);
    };
    tokio::join!(slow, fast);
    assert_eq!(check(&guard, "https://hooks.example.com/").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_nobody_waits_for_any_more_ends_and_frees_its_place() {
    let (guard, lookup) = uneven();
    for _ in 0..3 {
        let all = look_up_slow(&guard, FAST_PLACES);
        assert!(tokio::time::timeout(FAST_FOR / 2, all).await.is_err());
        assert_eq!(lookup.open.load(Ordering::SeqCst), 0);
    }
    assert_eq!(check(&guard, "https://hooks.example.com/").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn one_who_gives_up_does_not_end_the_look_up_of_others() {
    let (guard, lookup) = uneven();
    let first = tokio::time::timeout(FAST_FOR / 2, check(&guard, "https://a.slow.example/"));
    let (first, second) = tokio::join!(first, check(&guard, "https://a.slow.example/"));
    assert!(first.is_err());
    assert_eq!(second, Err(Refused::Slow));
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 1);
}
