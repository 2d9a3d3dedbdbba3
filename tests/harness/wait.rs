//! Waiting for an effect: look, and look again soon, for a bounded time. Must not wait for time to pass: a test that
//! needs that moves its clock.

use std::time::{Duration, Instant};

/// How long an effect may take. Generous, since it is only spent when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `look` finds something; panics, naming `what`, when it doesn't for a long time.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    let mut pause = PAUSE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Looks until `holds` is true; panics, naming `what`, when it isn't for a long time.
pub async fn until_true(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    until(what, async || holds().await.then_some(())).await;
}
