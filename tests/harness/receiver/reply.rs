//! What a customer's backend may do with a request, the rude ways included.

use std::time::Duration;

use tokio::sync::watch;

/// How a request is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) first: First,
    pub(super) manner: Manner,
}

/// What happens before anything is answered.
#[derive(Debug, Clone)]
pub(super) enum First {
    Nothing,
    Delay(Duration),
    Gate(Gate),
}

/// How the answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As HTTP has it.
    Proper,
    /// Not at all: the connection stays open.
    Hang,
    /// The head, then a body that never ends.
    Drip,
    /// The connection is reset.
    Reset,
    /// The head promises more than comes; then the connection is reset.
    Cut,
}

impl Default for Reply {
    fn default() -> Self {
        Self::status(200)
    }
}

impl Reply {
    /// A status with an empty body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), first: First::Nothing, manner: Manner::Proper }
    }

    /// 429 with this `Retry-After`.
    #[must_use]
    pub fn throttled(retry_after: &str) -> Self {
        Self::status(429).header("retry-after", retry_after)
    }

    /// A redirect to `location`.
    #[must_use]
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).header("location", location)
    }

    /// No answer, ever.
    #[must_use]
    pub fn hang() -> Self {
        Self { manner: Manner::Hang, ..Self::default() }
    }

    /// 200, and a body that never ends.
    #[must_use]
    pub fn endless() -> Self {
        Self { manner: Manner::Drip, ..Self::default() }
    }

    /// A reset in place of an answer.
    #[must_use]
    pub fn reset() -> Self {
        Self { manner: Manner::Reset, ..Self::default() }
    }

    /// 200 with a body that is cut off by a reset.
    #[must_use]
    pub fn cut_off() -> Self {
        Self { manner: Manner::Cut, ..Self::default() }
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// After a while.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.first = First::Delay(delay);
        self
    }

    /// When the gate has been opened.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.first = First::Gate(gate.clone());
        self
    }
}

/// Keeps answers back until it is opened. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self::closed()
    }
}

impl Gate {
    /// A gate that is closed.
    #[must_use]
    pub fn closed() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Opens it, for good.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub(super) async fn opened(&self) {
        let mut watching = self.0.subscribe();
        // Can't fail: this gate holds a sender itself.
        let _open = watching.wait_for(|open| *open).await;
    }
}
