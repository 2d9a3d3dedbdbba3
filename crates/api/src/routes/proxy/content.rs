//! The body of a proxied call. A small one is gathered, so that it can be sent again; a large one is sent as it comes.

use std::io;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use waypost_upstream::proxy::{Content, LARGEST_REPEATABLE, Upload};

use crate::error::ApiError;

/// The largest body, in bytes: as much as Graph takes in one request.
const LARGEST: usize = 64 * 1024 * 1024;
/// How long a small body may take to arrive.
const GATHERED_WITHIN: Duration = Duration::from_secs(30);
/// How long a caller may be silent in the middle of a large one.
const SILENCE: Duration = Duration::from_mins(1);
/// How many pieces wait for a slow provider.
const PIECES: usize = 4;

/// What is to be sent: nothing for the methods whose bodies have no meaning.
pub(super) async fn read(request: &HttpRequest, payload: Payload) -> Result<Content, ApiError> {
    if !["POST", "PUT", "PATCH", "DELETE"].contains(&request.method().as_str()) {
        return Ok(Content::Empty);
    }
    refuse_compressed(request)?;
    let length = stated_length(request);
    if length.is_some_and(|length| length > LARGEST) {
        return Err(ApiError::PayloadTooLarge { limit: LARGEST });
    }
    let first = if length.is_some_and(|length| length > LARGEST_REPEATABLE) {
        Gathered::More(Bytes::new(), payload)
    } else {
        let gathering = tokio::time::timeout(GATHERED_WITHIN, gather(payload));
        gathering.await.map_err(|_| ApiError::RequestTimeout)??
    };
    Ok(match first {
        Gathered::All(bytes) if bytes.is_empty() => Content::Empty,
        Gathered::All(bytes) => Content::Whole(bytes),
        Gathered::More(bytes, payload) => Content::Streamed(streamed(bytes, payload, length)),
    })
}

/// The bytes of a body would be compressed, and nothing would tell the provider.
fn refuse_compressed(request: &HttpRequest) -> Result<(), ApiError> {
    let encoding = request.headers().get(CONTENT_ENCODING);
    let compressed = encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let told = request.headers().contains_key("nango-proxy-content-encoding");
    if compressed && !told { Err(ApiError::CompressedBody) } else { Ok(()) }
}

fn stated_length(request: &HttpRequest) -> Option<usize> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

enum Gathered {
    All(Bytes),
    /// The beginning, and where the rest comes from.
    More(Bytes, Payload),
}

async fn gather(mut payload: Payload) -> Result<Gathered, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = payload.next().await {
        let piece = piece
            .map_err(|_| ApiError::bad_request("invalid_body", "The body could not be read to its end"))?;
        bytes.extend_from_slice(&piece);
        if bytes.len() > LARGEST_REPEATABLE {
            return Ok(Gathered::More(bytes.freeze(), payload));
        }
    }
    Ok(Gathered::All(bytes.freeze()))
}

/// Passes pieces on as they come, no faster than they are taken, until either side gives up.
fn streamed(first: Bytes, mut payload: Payload, length: Option<usize>) -> Upload {
    let (sender, pieces) = mpsc::channel(PIECES);
    let pump = async move {
        let mut total = first.len();
        if !first.is_empty() && sender.send(Ok(first)).await.is_err() {
            return;
        }
        loop {
            let piece = match tokio::time::timeout(SILENCE, payload.next()).await {
                Ok(None) => return,
                Ok(Some(Ok(piece))) => Ok(piece),
                Ok(Some(Err(_))) => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
            };
            total += piece.as_ref().map_or(0, Bytes::len);
            let piece = piece.and_then(|piece| {
                if total > LARGEST { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(piece) }
            });
            let last = piece.is_err();
            if sender.send(piece).await.is_err() || last {
                return;
            }
        }
    };
    // Belongs to no tracker: it ends with the request, whose other end it feeds.
    TaskTracker::new().spawn_local(pump);
    Upload { pieces, length: length.and_then(|length| u64::try_from(length).ok()) }
}
