//! An answer whose body is passed on piece by piece, within bounds.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{Stream, stream};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use waypost_core::retry;

use crate::body::{self, Deadline};

/// How long the other side may be silent in the middle of a body.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a whole body may take.
const LONGEST: Duration = Duration::from_hours(1);
/// The most bytes of a body that are passed on.
const LARGEST: u64 = 16 << 30;
/// How long a body may take to be read into memory.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// A body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BrokenOff {
    /// The connection broke, or it isn't encoded as its head says.
    #[error("the provider's answer broke off")]
    Broken(#[source] reqwest::Error),
    /// Nothing came for too long, or all of it took too long.
    #[error("the provider's answer didn't go on in time")]
    Slow,
    /// There is more than is passed on.
    #[error("the provider's answer is larger than {LARGEST} bytes")]
    TooLarge,
}

/// The head of an answer; its body is still to come.
#[derive(Debug)]
pub struct Answer {
    response: reqwest::Response,
}

/// What is still to come, and what it may cost.
struct Rest {
    response: reqwest::Response,
    room: u64,
    until: Instant,
}

impl Answer {
    pub(super) const fn new(response: reqwest::Response) -> Self {
        Self { response }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// All headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The longest wait that its `Retry-After` headers ask for.
    #[must_use]
    pub fn retry_after(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let values = self.headers().get_all(RETRY_AFTER).iter();
        values.filter_map(|value| retry::retry_after(value.to_str().ok()?, now)).max()
    }

    /// The body in pieces, in the order and at the pace that they come.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, BrokenOff>> {
        let rest = Rest { response: self.response, room: LARGEST, until: Instant::now() + LONGEST };
        stream::unfold(Some(rest), |rest| async {
            let mut rest = rest?;
            match rest.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(rest))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// The body in memory; `None` when it has more than `most` bytes, breaks off or takes too long.
    pub async fn read(self, most: usize) -> Option<Vec<u8>> {
        let body = body::read(self.response, most, Deadline::after(READ_WITHIN)).await;
        (!body.cut).then_some(body.bytes)
    }
}

impl Rest {
    async fn next(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        let limit = SILENCE.min(self.until.saturating_duration_since(Instant::now()));
        let piece = tokio::time::timeout(limit, self.response.chunk()).await.map_err(|_| BrokenOff::Slow)?;
        let piece = piece.map_err(|error| BrokenOff::Broken(error.without_url()))?;
        if let Some(piece) = &piece {
            let size = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.room = self.room.checked_sub(size).ok_or(BrokenOff::TooLarge)?;
        }
        Ok(piece)
    }
}
