//! How long loops wait for the store before they try again.
//!
//! A machine that is gone without a word never answers and never closes its connections: who waits without an end waits
//! for ever. The store ends statements by itself much sooner, so nothing that still runs is cut off.

use std::time::Duration;

use waypost_postgres::StoreError;

/// For one step of a loop: a few statements.
pub(crate) const STEP: Duration = Duration::from_mins(1);
/// For a sweep, which may go through a large backlog in many steps. What they did stays done.
pub(crate) const SWEEP: Duration = Duration::from_mins(2);

/// Waits for `work`, but no longer than `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(StoreError::Silent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_counts_as_away() {
        let answer = within(STEP, std::future::pending::<Result<(), StoreError>>()).await;
        assert!(answer.is_err_and(|error| error.is_passing()));
    }
}
