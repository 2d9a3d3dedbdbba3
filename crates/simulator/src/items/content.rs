//! Raw bytes: photographs, files, attachments; as large as is wished without being held.
//!
//! Must not collect a body: what goes out and what comes in flows through.

use std::io;

use actix_web::{HttpResponse, body::SizedStream, http::StatusCode, web::Payload};
use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use crate::graph::call::{Call, Problem};

/// What comes in is kept up to this length; of more only the length and the digest.
const MAX_KEPT: usize = 4 * 1024 * 1024;
/// How much is handed on at one time.
const CHUNK: u64 = 64 * 1024;
/// The period of made-up bytes; prime, so that chunks differ.
const PERIOD: u64 = 251;

/// Raw bytes under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These.
    Bytes {
        /// Themselves.
        bytes: Bytes,
        /// Their media type.
        content_type: String,
    },
    /// So many, each the remainder of its place by 251.
    MadeUp {
        /// How many.
        length: u64,
    },
    /// What somebody sent and was too long to keep.
    Told(ContentView),
}

/// What is known of raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentView {
    /// How many.
    pub length: u64,
    /// Their SHA-256 in hex; of made-up ones none is taken.
    pub sha256: Option<String>,
    /// Their media type.
    pub content_type: String,
}

impl Content {
    /// What is known of it.
    #[must_use]
    pub fn view(&self) -> ContentView {
        match self {
            Self::Bytes { bytes, content_type } => ContentView {
                length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                sha256: Some(hex::encode(aws_lc_rs::digest::digest(&SHA256, bytes))),
                content_type: content_type.clone(),
            },
            Self::MadeUp { length } => {
                ContentView { length: *length, sha256: None, content_type: OCTETS.to_owned() }
            }
            Self::Told(view) => view.clone(),
        }
    }

    /// The bytes from one place up to another, if they are held or can be made.
    fn part(&self, from: u64, to: u64) -> Option<Bytes> {
        match self {
            Self::Bytes { bytes, .. } => {
                Some(bytes.slice(usize::try_from(from).ok()?..usize::try_from(to).ok()?))
            }
            Self::MadeUp { .. } => {
                Some((from..to).map(|place| u8::try_from(place % PERIOD).unwrap_or_default()).collect())
            }
            Self::Told(_) => None,
        }
    }
}

const OCTETS: &str = "application/octet-stream";

/// The answer to a read, of all or of one range.
pub(crate) fn answer(call: &Call, content: Content, range: Option<&str>) -> Result<HttpResponse, Problem> {
    let view = content.view();
    if matches!(content, Content::Told(_)) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "itemNotFound", "The content was not kept."));
    }
    let asked = match range {
        None => None,
        Some(text) => Some(range_of(text, view.length).ok_or_else(|| {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            Problem::new(status, "invalidRange", "The range is not within the content.")
        })?),
    };
    let (from, to) = asked.unwrap_or((0, view.length));
    let mut response = call.start(if asked.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    response.insert_header(("content-type", view.content_type));
    response.insert_header(("accept-ranges", "bytes"));
    if asked.is_some() {
        response.insert_header(("content-range", format!("bytes {from}-{}/{}", to - 1, view.length)));
    }
    let chunks = stream::unfold((content, from), move |(content, at)| async move {
        let end = at.saturating_add(CHUNK).min(to);
        let part = (at < to).then(|| content.part(at, end)).flatten()?;
        Some((Ok::<_, io::Error>(part), (content, end)))
    });
    Ok(response.body(SizedStream::new(to - from, chunks.boxed_local())))
}

/// `bytes=from-to` with both ends, one, or the last so many; as from and past the end.
fn range_of(text: &str, length: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (first, last) {
        ("", count) => (length.saturating_sub(count.parse().ok()?), length),
        (from, "") => (from.parse().ok()?, length),
        (from, last) => (from.parse().ok()?, last.parse::<u64>().ok()?.saturating_add(1).min(length)),
    };
    (from < to).then_some((from, to))
}

/// Takes what is sent, to its end.
pub(crate) async fn take(mut payload: Payload, content_type: Option<&str>) -> Result<Content, Problem> {
    let content_type = content_type.unwrap_or(OCTETS).to_owned();
    let (mut digest, mut length, mut kept) = (Context::new(&SHA256), 0_u64, Some(BytesMut::new()));
    while let Some(chunk) = payload.next().await {
        let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "BadRequest", "The body broke off.");
        let chunk = chunk.map_err(broken)?;
        digest.update(&chunk);
        length += u64::try_from(chunk.len()).unwrap_or_default();
        kept = kept.filter(|kept| kept.len() + chunk.len() <= MAX_KEPT);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&chunk);
        }
    }
    Ok(match kept {
        Some(bytes) => Content::Bytes { bytes: bytes.freeze(), content_type },
        None => {
            Content::Told(ContentView { length, sha256: Some(hex::encode(digest.finish())), content_type })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_in_all_three_forms_and_end_with_the_content() {
        for (text, expected) in [
            ("bytes=0-9", Some((0, 10))),
            ("bytes=90-200", Some((90, 100))),
            ("bytes=10-", Some((10, 100))),
            ("bytes=-5", Some((95, 100))),
            ("bytes=100-", None),
            ("bytes=9-3", None),
            ("items=0-1", None),
        ] {
            assert_eq!(range_of(text, 100), expected, "{text}");
        }
    }
}
