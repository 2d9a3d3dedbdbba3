//! What goes back to the caller.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use waypost_egress::graph::proxy::{Answer, BrokenOff};

use super::places::Place;

/// Where the time of a call went, its own work excepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Until the heads of the provider's answers.
    pub upstream: Duration,
    /// Between attempts.
    pub waiting: Duration,
    /// How many attempts there were.
    pub attempts: u32,
}

/// The provider's answer, on its way to the caller.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, those excepted that stay behind.
    pub headers: HeaderMap,
    /// Where the time went.
    pub timing: Timing,
    body: Body,
    place: Place,
}

#[derive(Debug)]
pub(super) enum Body {
    /// Still coming.
    Streamed(Answer),
    /// Read already.
    Whole(Bytes),
}

impl Reply {
    pub(super) fn new(
        status: StatusCode,
        headers: HeaderMap,
        body: Body,
        place: Place,
        timing: Timing,
    ) -> Self {
        Self { status, headers, timing, body, place }
    }

    /// The body, piece by piece.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, BrokenOff>> {
        let Self { body, place, .. } = self;
        let pieces = match body {
            Body::Streamed(answer) => Either::Left(answer.into_stream()),
            Body::Whole(bytes) => Either::Right(stream::iter([Ok(bytes)])),
        };
        pieces.inspect(move |_| {
            let _held_to_the_last_piece = &place;
        })
    }
}
