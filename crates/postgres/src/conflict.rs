//! Changes that the database undid for the sake of others: deadlocks and serialization failures.
//!
//! Whoever changes rows of several tables meets others who take them in another order. The database then undoes one of
//! the two, whole, and lets the other go first: nothing is wrong with the one that was undone, it only has to be made
//! again. Every change of an environment that locks more than one row goes through [`retry_conflicts`], and so does each
//! chunk of a worker's sweep. What a loop repeats by itself (settling, appending, claiming, matching) does not: to it a
//! conflict is one more passing fault.
//!
//! Must not: repeat anything that has committed. What is repeated is one transaction, from its beginning.

use crate::StoreError;

/// How often a change is tried in all.
const TRIES: usize = 3;

/// Makes a change; makes it again when the database undid it for the sake of another.
pub(crate) async fn retry_conflicts<T, F>(change: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 1..TRIES {
        match change().await {
            // No pause: the one that it met goes first, and is waited for at its locks.
            Err(StoreError::Conflict(error)) => {
                tracing::info!(
                    error = &error as &dyn std::error::Error,
                    "a change met another; it is made again"
                );
            }
            done => return done,
        }
    }
    change().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Makes a change that the first `conflicts` times meets another; tells what came of it, and of how many tries.
    async fn meeting(conflicts: usize) -> (Result<usize, StoreError>, usize) {
        let tries = AtomicUsize::new(0);
        let result = retry_conflicts(|| async {
            let before = tries.fetch_add(1, Ordering::Relaxed);
            if before < conflicts {
                Err(StoreError::Conflict(sqlx::Error::WorkerCrashed))
            } else {
                Ok(before)
            }
        });
        (result.await, tries.into_inner())
    }

    #[tokio::test]
    async fn a_change_is_made_again_until_it_meets_nobody() {
        for conflicts in 0..TRIES {
            let (result, tries) = meeting(conflicts).await;
            assert_eq!((result.unwrap(), tries), (conflicts, conflicts + 1));
        }
    }

    #[tokio::test]
    async fn a_change_that_always_meets_another_is_given_up_and_worth_another_try_later() {
        let (result, tries) = meeting(usize::MAX).await;
        assert!(result.is_err_and(|error| error.is_passing()));
        assert_eq!(tries, TRIES);
    }

    #[tokio::test]
    async fn any_other_fault_is_told_at_once() {
        let tries = AtomicUsize::new(0);
        let result: Result<(), StoreError> = retry_conflicts(|| async {
            tries.fetch_add(1, Ordering::Relaxed);
            Err(StoreError::Silent)
        })
        .await;
        assert!(matches!(result, Err(StoreError::Silent)));
        assert_eq!(tries.into_inner(), 1);
    }
}
