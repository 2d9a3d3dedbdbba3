//! Reading a request's body: counted, bounded in bytes, time and memory, and let go of cleanly when it is refused.
//!
//! Must not buffer past a limit, nor trust what `Content-Length` says.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

/// How long a sender may take for its body.
const LONGEST_READ: Duration = Duration::from_secs(10);
/// What each body may hold while it is read without taking from the budget: all ordinary ones fit, so that a few large
/// and slow ones can't keep them out.
const FREE_BYTES: usize = 64 * 1024;

/// Why a body can't be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    TooLarge,
    TooSlow,
    BrokenOff,
    /// Too much is being read already.
    Busy,
}

/// What all bodies may hold together while they are read.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }
}

impl Share {
    fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Grows to `bytes`, if the budget has them.
    fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let within = |used: usize| used.checked_add(more).filter(|sum| *sum <= self.budget.limit);
        let taken = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        self.bytes += if taken { more } else { 0 };
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads a body of at most `most` bytes. `announced` is what `Content-Length` says, if it says something.
///
/// # Errors
/// [`BodyFault`]; the rest of the body is unread then.
pub(super) async fn read(
    payload: &mut dev::Payload,
    announced: Option<u64>,
    most: usize,
    budget: &Arc<Budget>,
) -> Result<Bytes, BodyFault> {
    let announced = match announced.map(usize::try_from) {
        Some(Ok(length)) if length <= most => length,
        Some(_) => return Err(BodyFault::TooLarge),
        None => 0,
    };
    let reading = read_chunks(payload, announced, most, budget);
    tokio::time::timeout(LONGEST_READ, reading).await.unwrap_or(Err(BodyFault::TooSlow))
}

async fn read_chunks(
    payload: &mut dev::Payload,
    announced: usize,
    most: usize,
    budget: &Arc<Budget>,
) -> Result<Bytes, BodyFault> {
    let mut share = Share::of(budget);
    // Only so much is set aside on the word of a stranger.
    let mut body = BytesMut::with_capacity(announced.min(FREE_BYTES));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyFault::BrokenOff)?;
        let length = body.len() + chunk.len();
        if length > most {
            return Err(BodyFault::TooLarge);
        }
        if length > FREE_BYTES && !share.grow(length) {
            return Err(BodyFault::Busy);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// An answer to a request whose body is not read to its end. The connection is closed after it, but only once the
/// sender had a moment to read it: to close at once would reset the connection and lose the answer on the way. The
/// payload is held until then, since the server would otherwise go on reading a chunked body without any end.
pub(super) fn leave_unread(response: HttpResponse, payload: dev::Payload) -> HttpResponse {
    match payload {
        dev::Payload::None => response,
        unread => response.map_body(|_, body| BoxBody::new(BesideUnread { body, _unread: unread })),
    }
}

struct BesideUnread {
    body: BoxBody,
    _unread: dev::Payload,
}

impl MessageBody for BesideUnread {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(100);
        let (mut first, mut second) = (Share::of(&budget), Share::of(&budget));
        assert!(first.grow(60));
        assert!(!second.grow(50));
        assert!(second.grow(40));
        assert!(first.grow(60), "growing to what is held takes nothing");
        assert!(!first.grow(61));
        drop(second);
        assert!(first.grow(100));
        drop(first);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
