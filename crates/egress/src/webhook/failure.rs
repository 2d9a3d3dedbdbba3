//! Why there was no answer, read from the types in an error's chain. Never from texts, which change.

use std::error::Error;
use std::io;

use waypost_core::delivery::Failure;

use crate::guard::Refused;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The attempt failed.
    Failed(Failure),
    /// There was no attempt.
    Overloaded,
}

impl NoAnswer {
    /// For callers who wait for the answer themselves: to them a process too busy to ask is one that was too slow.
    pub(crate) fn to_caller(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::Overloaded => Failure::Timeout,
        }
    }
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Refused> for NoAnswer {
    fn from(refused: Refused) -> Self {
        refused.failure().map_or(Self::Overloaded, Self::Failed)
    }
}

/// What the chain of `error` says. A cause that names the reason exactly goes before one that only says when.
pub(crate) fn classify(error: &reqwest::Error) -> NoAnswer {
    find::<Refused>(error).map_or_else(|| failure(error).into(), |refused| (*refused).into())
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_builder() {
        return Failure::Request;
    }
    if error.is_timeout() {
        return Failure::Timeout;
    }
    if error.is_dns() {
        return Failure::Dns;
    }
    if find::<rustls::Error>(error).is_some() {
        return Failure::Tls;
    }
    // The innermost IO error is the operating system's or the handshake's; those around it are wrappers.
    let io = chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last().map(io::Error::kind);
    if error.is_connect() {
        // TCP can't end before it began: this is the other side hanging up on the handshake.
        return if io == Some(io::ErrorKind::UnexpectedEof) { Failure::Tls } else { Failure::Connect };
    }
    match find::<hyper::Error>(error) {
        Some(error) if error.is_parse() => Failure::Protocol,
        Some(error) if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => {
            Failure::Reset
        }
        _ if io.is_some() => Failure::Reset,
        _ => Failure::Connect,
    }
}

/// The first `E` in the chain.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|cause| cause.downcast_ref())
}

/// `error` and its causes, the innermost last.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

/// The next error of a chain. An IO error's `source` skips the error that it wraps, so that one is asked for by name.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source())
}
