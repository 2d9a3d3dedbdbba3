//! Reading the body of an answer that may be endless, broken or hostile. Keeps what came, never fails.

use std::time::{Duration, Instant};

/// The end of everything that belongs to one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    /// `limit` from now on.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// How long it has been running.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left of it.
    pub(crate) fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.elapsed())
    }
}

/// A body as far as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// The bytes, as they came.
    pub(crate) bytes: Vec<u8>,
    /// Whether there was more, it broke off or it didn't end in time.
    pub(crate) cut: bool,
}

/// Reads at most `most` bytes and at most until the deadline. The connection of a cut body is closed, since dropping
/// the answer is the only way to be rid of the rest.
pub(crate) async fn read(mut answer: reqwest::Response, most: usize, deadline: Deadline) -> Body {
    let mut bytes = Vec::new();
    loop {
        let chunk = match tokio::time::timeout(deadline.remaining(), answer.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Body { bytes, cut: false },
            Ok(Err(_)) | Err(_) => return Body { bytes, cut: true },
        };
        let room = most - bytes.len();
        bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Body { bytes, cut: true };
        }
    }
}
