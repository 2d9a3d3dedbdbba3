//! The queue between the handlers and the flushers: bounded in requests and in bytes, and full means "no" at once. Heavy
//! requests stand in a line of their own.
//!
//! Must not block, wait with a timer, or keep what nobody waits for any more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::gauge;
use tokio::sync::{Notify, oneshot};
use waypost_core::provider::{Answer, Request};

/// From this weight on a request is heavy, a batch of its own: the work of many items would hold up its neighbours.
const HEAVY: usize = 256 * 1024;
/// What a request costs beside its body, roughly.
const OVERHEAD: usize = 1024;

/// What a taker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Everything, what is heavy first: nobody else takes it.
    All,
    /// Only what isn't heavy.
    Light,
}

/// How much of something may be there at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

/// Where a request's answer goes. Dropped without one, the request is told to come again.
#[derive(Debug)]
pub(crate) struct Reply(oneshot::Sender<Answer>);

/// The other end of a [`Reply`].
pub(crate) type Receipt = oneshot::Receiver<Answer>;

/// Why nothing more is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    light: VecDeque<Waiting>,
    heavy: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

impl Reply {
    /// Whether somebody still waits for the answer.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.0.is_closed()
    }

    /// Answers, if anybody still waits: who gave up has been told to come again.
    pub(crate) fn send(self, answer: Answer) {
        drop(self.0.send(answer));
    }
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default(), news: Notify::new() }
    }

    /// Puts a request into the queue.
    pub(crate) fn put(&self, request: Request) -> Result<Receipt, Refused> {
        let weight = weight(&request);
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.requests() >= self.bounds.requests || weight > self.bounds.bytes.saturating_sub(state.bytes)
        {
            return Err(Refused::Full);
        }
        let (reply, receipt) = oneshot::channel();
        state.bytes += weight;
        let waiting = Waiting { request, reply: Reply(reply) };
        if weight < HEAVY {
            state.light.push_back(waiting);
        } else {
            state.heavy.push_back(waiting);
        }
        tell_depth(&state);
        drop(state);
        self.news.notify_waiters();
        Ok(receipt)
    }

    /// Takes what has gathered, at most `most` but always something, and of what is heavy one alone; waits for the first.
    /// `None` once the queue is closed and holds nothing for this lane. What nobody waits for any more is left out: its sender was told to come again.
    pub(crate) async fn take(&self, lane: Lane, most: Bounds) -> Option<Vec<Waiting>> {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on no word is lost, even one that comes before the wait.
            news.as_mut().enable();
            let (batch, closed) = self.take_now(lane, most);
            if !batch.is_empty() {
                return Some(batch);
            }
            if closed {
                return None;
            }
            news.await;
        }
    }

    fn take_now(&self, lane: Lane, most: Bounds) -> (Vec<Waiting>, bool) {
        let mut state = self.state();
        let mut batch = Vec::new();
        while lane == Lane::All && batch.is_empty() && !state.heavy.is_empty() {
            batch.extend(state.pop(|state| &mut state.heavy));
        }
        if batch.is_empty() {
            let mut bytes = 0;
            while let Some(next) = state.light.front() {
                let weight = weight(&next.request);
                let is_full = batch.len() >= most.requests || bytes + weight > most.bytes;
                if !batch.is_empty() && is_full {
                    break;
                }
                if let Some(taken) = state.pop(|state| &mut state.light) {
                    bytes += weight;
                    batch.push(taken);
                }
            }
        }
        tell_depth(&state);
        (batch, state.closed)
    }

    /// Takes nothing more; what is in the queue is still handed out.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.news.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn requests(&self) -> usize {
        self.light.len() + self.heavy.len()
    }

    /// Takes the first one of a line, unless nobody waits for it any more.
    fn pop(&mut self, line: impl FnOnce(&mut Self) -> &mut VecDeque<Waiting>) -> Option<Waiting> {
        let first = line(self).pop_front()?;
        self.bytes -= weight(&first.request);
        first.reply.is_awaited().then_some(first)
    }
}

fn weight(request: &Request) -> usize {
    OVERHEAD + request.body.len() + request.query.len()
}

#[expect(clippy::cast_precision_loss, reason = "a gauge; both are far below 2^52")]
fn tell_depth(state: &State) {
    gauge!("waypost_intake_queue_requests").set(state.requests() as f64);
    gauge!("waypost_intake_queue_bytes").set(state.bytes as f64);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use chrono::DateTime;
    use futures_util::FutureExt as _;
    use http::HeaderMap;
    use waypost_core::id::EnvironmentId;
    use waypost_core::integration::UniqueKey;

    use super::*;

    const ALL: Bounds = Bounds { requests: 500, bytes: 8 << 20 };

    fn request(bytes: usize) -> Request {
        Request {
            environment: EnvironmentId::from_uuid(uuid::Uuid::nil()),
            unique_key: UniqueKey::parse("graph").unwrap(),
            query: "".into(),
            headers: HeaderMap::new(),
            body: Bytes::from(vec![b'x'; bytes]),
            received_at: DateTime::UNIX_EPOCH,
        }
    }

    fn sizes(batch: &[Waiting]) -> Vec<usize> {
        batch.iter().map(|waiting| waiting.request.body.len()).collect()
    }

    #[tokio::test]
    async fn a_batch_is_what_has_gathered_in_the_order_it_came() {
        let queue = Queue::new(Bounds { requests: 10, bytes: 1 << 20 });
        let receipts: Vec<_> = (1..=5).map(|bytes| queue.put(request(bytes)).unwrap()).collect();
        assert_eq!(sizes(&queue.take(Lane::All, Bounds { requests: 3, ..ALL }).await.unwrap()), [1, 2, 3]);
        assert_eq!(sizes(&queue.take(Lane::All, ALL).await.unwrap()), [4, 5]);
        drop(receipts);
    }

    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes_but_never_empty() {
        let queue = Queue::new(Bounds { requests: 10, bytes: 1 << 20 });
        let receipts: Vec<_> = [5000, 100, 6000].map(|bytes| queue.put(request(bytes)).unwrap()).into();
        let small = Bounds { requests: 500, bytes: 4000 };
        assert_eq!(sizes(&queue.take(Lane::All, small).await.unwrap()), [5000]);
        assert_eq!(sizes(&queue.take(Lane::All, small).await.unwrap()), [100]);
        assert_eq!(sizes(&queue.take(Lane::All, small).await.unwrap()), [6000]);
        drop(receipts);
    }

    #[tokio::test]
    async fn a_heavy_request_is_a_batch_of_its_own() {
        let queue = Queue::new(Bounds { requests: 10, bytes: 8 << 20 });
        let receipts: Vec<_> =
            [1, HEAVY, 2, HEAVY + 1, 3].map(|bytes| queue.put(request(bytes)).unwrap()).into();
        for wanted in [&[HEAVY][..], &[HEAVY + 1], &[1, 2, 3]] {
            assert_eq!(sizes(&queue.take(Lane::All, ALL).await.unwrap()), wanted);
        }
        let many: Vec<_> = (0..10).map(|_| queue.put(request(HEAVY / 2)).unwrap()).collect();
        assert_eq!(queue.take(Lane::All, ALL).await.unwrap().len(), 10, "together they may weigh more");
        drop((receipts, many));
    }

    #[tokio::test]
    async fn what_is_light_is_never_behind_what_is_heavy() {
        let queue = Queue::new(Bounds { requests: 10, bytes: 8 << 20 });
        let heavy = [HEAVY, HEAVY].map(|bytes| queue.put(request(bytes)).unwrap());
        let mut waiting = std::pin::pin!(queue.take(Lane::Light, ALL));
        assert!(waiting.as_mut().now_or_never().is_none(), "nothing is light");
        let receipt = queue.put(request(1)).unwrap();
        assert_eq!(sizes(&waiting.await.unwrap()), [1]);
        queue.close();
        assert!(queue.take(Lane::Light, ALL).await.is_none());
        assert_eq!(sizes(&queue.take(Lane::All, ALL).await.unwrap()), [HEAVY]);
        drop((heavy, receipt));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_takes_again_when_there_is_room() {
        let few = Queue::new(Bounds { requests: 2, bytes: 1 << 20 });
        let _receipts = [few.put(request(1)).unwrap(), few.put(request(1)).unwrap()];
        assert_eq!(few.put(request(1)).unwrap_err(), Refused::Full);
        assert_eq!(few.take(Lane::All, ALL).await.unwrap().len(), 2);
        assert!(few.put(request(1)).is_ok());

        let small = Queue::new(Bounds { requests: 100, bytes: 10_000 });
        let _first = small.put(request(8000)).unwrap();
        assert_eq!(small.put(request(1000)).unwrap_err(), Refused::Full);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_left_out() {
        let queue = Queue::new(ALL);
        drop(queue.put(request(1)).unwrap());
        let _awaited = queue.put(request(2)).unwrap();
        assert_eq!(sizes(&queue.take(Lane::All, ALL).await.unwrap()), [2]);
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_and_then_ends_for_every_taker() {
        let queue = Arc::new(Queue::new(ALL));
        let takers: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                async move { queue.take(Lane::All, ALL).await.is_none() }
            })
            .collect();
        let waiting = futures_util::future::join_all(takers);
        let closing = async {
            tokio::task::yield_now().await;
            queue.close();
        };
        let (ended, ()) = tokio::join!(waiting, closing);
        assert_eq!(ended, [true, true, true]);
        assert_eq!(queue.put(request(1)).unwrap_err(), Refused::Closed);

        let rest = Queue::new(ALL);
        let _receipt = rest.put(request(7)).unwrap();
        rest.close();
        assert_eq!(sizes(&rest.take(Lane::All, ALL).await.unwrap()), [7]);
        assert!(rest.take(Lane::All, ALL).await.is_none());
    }
}
